"""Start what makes up bytes, in a process of its own: libFuzzer takes its process over."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from deployments.protocols import open_inference_pb2 as pb
from tests.documents import REPOSITORY

LONGEST_BYTES = 600


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.5, 2]} | changes


def request(*inputs: Any, **fields: Any) -> bytes:
    return json.dumps({"inputs": list(inputs)} | fields).encode()


def seeds(target: str) -> list[bytes]:
    """Requests to begin with: good ones of every kind, behind the bytes that choose how."""
    match target:
        case "rest":
            plain = [bytes([which, 0, 0]) + each for which in range(5) for each in _rest_bodies()]
            return [*plain, *_binary_bodies()]
        case "mlflow":
            return [bytes([which]) + body for which in range(5) for body in _mlflow_bodies()]
        case "grpc":
            return [bytes([which]) + _rpc() for which in range(5)]
    return [request(tensor())]


def run(target: str, folder: Path, *options: str, timeout_s: float = 600.0) -> tuple[int, str]:
    """Look for a fault; returns the status, 0 where there was none, and what was printed."""
    corpus = folder / target
    corpus.mkdir()
    for number, seed in enumerate(seeds(target)):
        (corpus / str(number)).write_bytes(seed)
    command = [sys.executable, "-m", "tests.guided.reading", target, str(corpus), *options]
    finished = subprocess.run(
        [*command, f"-max_len={LONGEST_BYTES}", f"-artifact_prefix={folder}/", "-timeout=20"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=timeout_s,
    )  # fmt: skip
    return finished.returncode, finished.stdout + finished.stderr


def _rest_bodies() -> list[bytes]:
    named = request(tensor(), id="r", outputs=[{"name": "y"}])
    column = tensor(shape=[2], data=[1, 2], datatype="FP32")
    return [
        named,
        request(tensor()),
        request(tensor(shape=[2], data=[1, 2], datatype="INT32")),
        request(column, tensor(name="t", shape=[2], data=["a", "b"], datatype="BYTES")),
        request(tensor(), parameters={"k": 3, "binary_data_output": True}),
    ]


def _binary_bodies() -> list[bytes]:
    blob = np.arange(2.0).tobytes()
    said = {"name": "x", "shape": [1, 2], "datatype": "FP64"}
    text = request({**said, "parameters": {"binary_data_size": len(blob)}})
    texts = struct.pack("<I", 1) + b"a" + struct.pack("<I", 0)
    said_of_texts = {"name": "x", "shape": [2], "datatype": "BYTES"}
    head = request({**said_of_texts, "parameters": {"binary_data_size": len(texts)}})
    return [
        bytes([128 | 1]) + len(text).to_bytes(2, "little") + text + blob,
        bytes([128 | 2]) + len(head).to_bytes(2, "little") + head + texts,
        bytes([128 | 4, 0, 0]) + blob,
    ]


def _mlflow_bodies() -> list[bytes]:
    return [
        b'{"inputs": [[1.5, 2]]}',
        b'{"dataframe_split": {"columns": ["x", "t"], "data": [[1, "a"]]}, "params": {"k": 2}}',
        b'{"dataframe_records": [{"x": 1, "t": "a"}]}',
        b'{"instances": [{"x": 1}]}',
    ]


def _rpc() -> bytes:
    message = pb.ModelInferRequest(model_name="m", id="r")
    given = message.inputs.add(name="x", datatype="FP64", shape=[1, 2])
    given.contents.fp64_contents.extend([1.5, 2.0])
    bare = message.inputs.add(name="t", datatype="BYTES", shape=[1])
    bare.contents.bytes_contents.append(b"a")
    message.parameters["k"].int64_param = 3
    whole: bytes = message.SerializeToString()
    return whole
