"""Requests that are kept to check a version by: how they are read, and what is a right answer."""

import json
from typing import Any

import numpy as np
import pytest

from deployments.controller.heldout import HeldOut, example_of, requests_of, wrong
from deployments.errors import ConfigError
from deployments.protocols.tensors import Layout, Signature, TensorSpec

SIGNATURE = Signature(
    Layout.TENSOR,
    (TensorSpec("input-0", "FP64", (-1, 1)),),
    (TensorSpec("output-0", "FP64", (-1, 1)),),
)


def tensor(name: str, *numbers: float) -> dict[str, Any]:
    shape = [len(numbers), 1]
    return {"name": name, "shape": shape, "datatype": "FP64", "data": list(numbers)}


def line(*numbers: float, **more: Any) -> bytes:
    return json.dumps({"inputs": [tensor("input-0", *numbers)], **more}).encode()


def kept(*lines: bytes) -> list[HeldOut]:
    return requests_of("/kept.jsonl", b"\n".join(lines), SIGNATURE)


def array(*numbers: float) -> dict[str, Any]:
    return {"output-0": np.array(numbers).reshape(-1, 1)}


def test_a_file_has_a_request_a_line_and_may_say_what_is_right() -> None:
    first, second = kept(line(1.0, 2.0), b"", line(3.0, expected=[tensor("output-0", 6.0)]))

    assert (first.name, first.request.rows, first.expected) == ("line 1", 2, None)
    assert first.batch.inputs["input-0"].tolist() == [[1.0], [2.0]]
    assert first.batch.layout is Layout.TENSOR
    assert second.name == "line 3"
    assert second.expected is not None
    assert second.expected["output-0"].tolist() == [[6.0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(b"", "/kept.jsonl: has no requests", id="empty"),
        pytest.param(line(1.0) + b"\n{", "/kept.jsonl: line 2: ", id="torn"),
        pytest.param(b"[1]", "line 1: should be an inference request", id="no-request"),
        pytest.param(b'{"inputs": []}', "line 1: ", id="no-inputs"),
        pytest.param(line(1.0, expected=6), "line 1: expected: 6: should be a list", id="answer"),
        pytest.param(
            line(1.0, expectd=[]), "unknown key 'expectd' (did you mean 'expected'?)", id="misspelt"
        ),
        pytest.param(b"\n".join([line(1.0)] * 10_001), "more than 10000 requests", id="many"),
    ],
)
def test_files_that_are_refused(text: bytes, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        requests_of("/kept.jsonl", text, SIGNATURE)

    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_input_example_is_a_request() -> None:
    (held,) = example_of(b'{"inputs": [[1.5], [2.5]]}', SIGNATURE)

    assert (held.name, held.request.rows, held.expected) == ("its input example", 2, None)
    with pytest.raises(ConfigError, match="its input example: "):
        example_of(b'{"inputs": [["a"]]}', SIGNATURE)


@pytest.mark.parametrize(
    ("answer", "right", "words"),
    [
        pytest.param(array(2.0), array(2.0), None, id="equal"),
        pytest.param(array(2.0 + 1e-7), array(2.0), None, id="within-tolerance"),
        pytest.param(array(2.5), array(2.0), "differs from stable's answer, by 0.5", id="differs"),
        pytest.param(array(np.nan), array(2.0), "differs from stable's answer", id="nan"),
        pytest.param({}, array(2.0), "no output 'output-0'", id="missing"),
        pytest.param({**array(2.0), "x": np.ones(1)}, array(2.0), "differs", id="more"),
    ],
)
def test_answers_held_against_stable_s(answer: Any, right: Any, words: str | None) -> None:
    (held,) = kept(line(1.0))

    found = wrong(held, answer, right, 1e-5)

    assert found == words if words is None else found is not None and words in found


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param({"output-0": np.array([2.0])}, None, id="another-shape-of-the-same"),
        pytest.param({**array(2.0), "x": np.ones(1)}, None, id="what-is-not-written-is-free"),
        pytest.param(array(3.0), "line 1: differs from what is expected, by 1", id="differs"),
        pytest.param({"output-0": np.array([2.0, 2.0])}, "line 1: differs", id="two-for-one"),
    ],
)
def test_answers_held_against_what_is_written(answer: Any, words: str | None) -> None:
    (held,) = kept(line(1.0, expected=[tensor("output-0", 2.0)]))
    assert held.expected is not None

    found = wrong(held, answer, held.expected, 1e-5)

    assert found == words if words is None else found is not None and words in found
