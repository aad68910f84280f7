import json
from typing import Any

import pytest

from deployments.protocols import open_inference_pages as pages
from deployments.protocols.open_inference_pages import IndexEntry, State
from deployments.protocols.tensors import Layout, Signature, TensorSpec


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(pages.server_live(), {"live": True}, id="live"),
        pytest.param(pages.server_ready(), {"ready": True, "live": True}, id="ready-both-keys"),
        pytest.param(pages.model_ready("m"), {"name": "m", "ready": True}, id="model-ready"),
        pytest.param(pages.model_names(["a", "b"]), {"models": ["a", "b"]}, id="models"),
    ],
)
def test_small_pages(body: bytes, expected: Any) -> None:
    assert json.loads(body) == expected


def test_server_metadata_advertises_the_binary_extension() -> None:
    body = json.loads(pages.server_metadata())

    assert body["name"] == "rayfleet"
    assert body["version"]
    assert "binary_tensor_data" in body["extensions"]


def test_model_metadata() -> None:
    signature = Signature(
        Layout.NAMED_TENSORS,
        (TensorSpec("a", "FP32", (-1, 3)), TensorSpec("b", "BYTES", (-1,), required=False)),
        (TensorSpec("y", "INT64", (-1,)),),
    )

    body = json.loads(pages.model_metadata("m", ["1", "2"], "sklearn", signature))

    assert body == {
        "name": "m",
        "versions": ["1", "2"],
        "platform": "sklearn",
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "b", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
        "properties": {"optional_inputs": "b"},
    }


def test_a_config_speaks_of_one_row() -> None:
    signature = Signature(
        Layout.NAMED_TENSORS,
        (TensorSpec("a", "FP32", (-1, 3)), TensorSpec("b", "BYTES", (-1,), required=False)),
        (TensorSpec("y", "INT64", (-1,)),),
    )

    body = json.loads(pages.model_config("m", "sklearn", signature, 8))

    assert body == {
        "name": "m",
        "platform": "sklearn",
        "max_batch_size": 8,
        "input": [
            {"name": "a", "data_type": "TYPE_FP32", "dims": [3], "optional": False},
            {"name": "b", "data_type": "TYPE_STRING", "dims": [], "optional": True},
        ],
        "output": [{"name": "y", "data_type": "TYPE_INT64", "dims": []}],
        "dynamic_batching": {},
    }


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param((TensorSpec("a", "FP32", (2, 3)),), id="fixed-rows"),
        pytest.param((), id="no-signature"),
    ],
)
def test_what_has_no_rows_has_no_batches(inputs: tuple[TensorSpec, ...]) -> None:
    body = json.loads(pages.model_config("m", "pyfunc", Signature(Layout.TENSOR, inputs), 8))

    assert (body["max_batch_size"], "dynamic_batching" in body) == (0, False)
    assert [each["dims"] for each in body["input"]] == [list(each.shape) for each in inputs]


def test_model_metadata_without_properties_has_no_such_key() -> None:
    body = json.loads(pages.model_metadata("m", [], "pyfunc", Signature(Layout.UNKNOWN)))

    assert "properties" not in body


@pytest.mark.parametrize(
    ("only_ready", "versions"),
    [pytest.param(False, ["1", "2"], id="all"), pytest.param(True, ["1"], id="ready-ones")],
)
def test_repository_index(only_ready: bool, versions: list[str]) -> None:
    entries = [IndexEntry("m", "1", State.READY), IndexEntry("m", "2", State.LOADING, "soon")]

    body = json.loads(pages.repository_index(entries, only_ready=only_ready))

    assert [entry["version"] for entry in body] == versions
    assert body[0] == {"name": "m", "version": "1", "state": "READY", "reason": ""}
