"""The compiled messages are those of the `.proto` files beside them."""

import re
from pathlib import Path

import pytest
from grpc_tools import protoc

from deployments.gateway.grpc_methods import SERVICES
from deployments.protocols import health_pb2, open_inference_pb2

ROOT = Path(__file__).parents[3]
PROTOS = sorted(path.relative_to(ROOT) for path in ROOT.glob("deployments/**/*.proto"))


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_make_proto_would_change_nothing(proto: Path, tmp_path: Path) -> None:
    options = [f"--proto_path={ROOT}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]

    assert protoc.main(["protoc", *options, str(ROOT / proto)]) == 0

    for suffix in ("_pb2.py", "_pb2.pyi"):
        name = proto.with_name(proto.stem + suffix)
        assert (ROOT / name).read_text() == (tmp_path / name).read_text(), "run make proto"


def test_there_are_messages_to_check() -> None:
    assert [path.stem for path in PROTOS] == ["health", "open_inference"]


def test_the_methods_are_those_of_the_services() -> None:
    described = {
        service.full_name: {method.name for method in service.methods}
        for module in (health_pb2, open_inference_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    }

    assert {service: set(methods) for service, methods in SERVICES.items()} == described


def test_field_numbers_are_the_protocol_s() -> None:
    """Written down once more from KServe's and Triton's own files."""
    numbers = {
        message: {field.name: field.number for field in descriptor.fields}
        for message, descriptor in open_inference_pb2.DESCRIPTOR.message_types_by_name.items()
    }

    assert numbers["ModelInferRequest"] == {
        "model_name": 1, "model_version": 2, "id": 3, "parameters": 4, "inputs": 5, "outputs": 6,
        "raw_input_contents": 7,
    }  # fmt: skip
    assert numbers["ModelInferResponse"] == {
        "model_name": 1, "model_version": 2, "id": 3, "parameters": 4, "outputs": 5,
        "raw_output_contents": 6,
    }  # fmt: skip
    assert list(numbers["InferTensorContents"].values()) == list(range(1, 9))
    assert [re.sub("_.*", "", name) for name in numbers["InferParameter"]] == [
        "bool", "int64", "string", "double", "uint64",
    ]  # fmt: skip
