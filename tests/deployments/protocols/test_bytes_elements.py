from typing import Any

import numpy as np
import pytest

from deployments.errors import MalformedRequestError
from deployments.protocols.bytes_elements import to_bytes, to_model, to_texts
from deployments.protocols.tensors import Array


def objects(*elements: Any) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


@pytest.mark.parametrize(
    ("mlflow_type", "element", "value"),
    [
        pytest.param("string", b"\xc3\xb6", "ö", id="string-from-binary"),
        pytest.param("string", "ö", "ö", id="string-from-json"),
        pytest.param("binary", "ö", b"\xc3\xb6", id="binary-from-json"),
        pytest.param("binary", b"\xff", b"\xff", id="binary-from-binary"),
        pytest.param("", b"text", "text", id="unsigned-text"),
        pytest.param("", b"\xff", b"\xff", id="unsigned-bytes"),
        pytest.param("object", '{"a": [1]}', {"a": [1]}, id="nested-as-json"),
        pytest.param("array", b"[1, 2]", [1, 2], id="array-as-json"),
        pytest.param("str", b"ab", np.str_("ab"), id="numpy-text"),
        pytest.param("bytes", "ab", np.bytes_(b"ab"), id="numpy-bytes"),
    ],
)
def test_to_model(mlflow_type: str, element: str | bytes, value: Any) -> None:
    (converted,) = to_model("x", objects(element), mlflow_type)

    assert (type(converted), converted) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        pytest.param("2026-01-31", "2026-01-31T00:00:00", id="date"),
        pytest.param("2026-01-31T12:00:00.123456", "2026-01-31T12:00:00.123456", id="micros"),
        pytest.param("2026-01-31T12:00:00Z", "2026-01-31T12:00:00", id="zulu"),
        pytest.param("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00", id="offset-to-utc"),
        pytest.param("2026-01-31 12:00:00", "2026-01-31T12:00:00", id="space"),
    ],
)
def test_dates_become_naive_utc(text: str, moment: str) -> None:
    (converted,) = to_model("x", objects(text), "datetime")

    assert converted == np.datetime64(moment, "ns")


@pytest.mark.parametrize(
    ("mlflow_type", "element", "expected"),
    [
        pytest.param("string", b"\xff", "UTF-8 text", id="not-utf8"),
        pytest.param("datetime", "yesterday", "ISO 8601", id="no-date"),
        pytest.param("datetime", "3000-01-01", "ISO 8601", id="nanoseconds-would-wrap-around"),
        pytest.param("datetime", "NaT", "ISO 8601", id="not-a-time"),
        pytest.param("datetime", b"\xff", "UTF-8 text", id="date-not-utf8"),
        pytest.param("datetime", "0001-01-01T00:00:00+23:00", "ISO 8601", id="before-year-one"),
        pytest.param("map", "{", "JSON text", id="no-json"),
        pytest.param("map", b"\xff", "JSON text", id="json-not-utf8"),
        pytest.param("map", "[" * 100_000, "JSON text", id="json-too-deep"),
    ],
)
def test_refuses_by_element(mlflow_type: str, element: str | bytes, expected: str) -> None:
    with pytest.raises(MalformedRequestError, match=f"input 'x': element 1 is not .*{expected}"):
        to_model(
            "x",
            objects({"datetime": "2026-01-31", "map": "{}"}.get(mlflow_type, ""), element),
            mlflow_type,
        )


def test_shape_is_kept() -> None:
    array = objects("a", "b", "c", "d").reshape(2, 2)

    assert to_model("x", array, "string").shape == (2, 2)


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        pytest.param(objects("a", b"b"), ["a", "b"], id="text-and-utf8"),
        pytest.param(np.array(["a", "ö"]), ["a", "ö"], id="numpy-text"),
        pytest.param(np.array([b"a"]), ["a"], id="numpy-bytes"),
        pytest.param(
            np.array(["2026-01-31T12:00"], "M8[s]"), ["2026-01-31T12:00:00"], id="dates-as-iso"
        ),
        pytest.param(objects({"a": 1}, None, 1.5), ['{"a":1}', "null", "1.5"], id="json"),
        pytest.param(objects([np.int64(1)]), ["[1]"], id="numpy-inside-json"),
        pytest.param(objects("\ud800"), ["?"], id="lone-surrogate"),
    ],
)
def test_output_texts(array: Array, texts: list[str]) -> None:
    assert to_texts(array) == texts
    assert to_bytes(array).tolist() == [text.encode() for text in texts]


def test_an_output_without_a_text_is_named_by_its_type() -> None:
    with pytest.raises(TypeError, match="type complex has no form"):
        to_texts(objects(1j))
