from typing import Any

import numpy as np
import pytest

from deployments.errors import MalformedRequestError
from deployments.protocols.conformance import WireTensor, conform, count_rows
from deployments.protocols.datatypes import DTYPES
from deployments.protocols.signature import SignatureMismatchError
from deployments.protocols.tensors import Layout, Signature, TensorSpec


def wire(datatype: str, values: Any, name: str = "x", *, decimal: bool = True) -> WireTensor:
    return WireTensor(name, datatype, np.array(values, dtype=DTYPES[datatype]), decimal)


def tensors(*specs: TensorSpec) -> Signature:
    return Signature(Layout.NAMED_TENSORS, specs)


def columns(*specs: TensorSpec) -> Signature:
    return Signature(Layout.COLUMNS, specs)


@pytest.mark.parametrize(
    ("sent", "datatype", "values"),
    [
        pytest.param(wire("FP32", [1.5]), "FP64", [1.5], id="wider-float"),
        pytest.param(wire("UINT8", [255]), "INT16", [255], id="wider-integer"),
        pytest.param(wire("INT32", [7]), "FP64", [7.0], id="integer-to-wide-float"),
        pytest.param(wire("INT64", [2**53]), "FP64", [2.0**53], id="largest-gap-free-fp64"),
        pytest.param(wire("INT64", [2**24]), "FP32", [2.0**24], id="largest-gap-free-fp32"),
        pytest.param(wire("INT64", [2**31 - 1]), "INT32", [2**31 - 1], id="in-range"),
        pytest.param(wire("UINT64", [1]), "INT64", [1], id="unsigned-in-range"),
        pytest.param(wire("FP64", [0.1]), "FP32", [np.float32(0.1)], id="decimal-text-rounds"),
        pytest.param(wire("FP64", [0.5], decimal=False), "FP32", [0.5], id="binary-if-exact"),
        pytest.param(
            wire("FP64", [np.nan, np.inf], decimal=False), "FP32", [np.nan, np.inf], id="nan"
        ),
    ],
)
def test_casts_what_loses_nothing(sent: WireTensor, datatype: str, values: list[Any]) -> None:
    (array,) = conform([sent], tensors(TensorSpec("x", datatype, (-1,)))).values()

    assert array.dtype == DTYPES[datatype]
    np.testing.assert_array_equal(array, np.array(values, dtype=array.dtype))


@pytest.mark.parametrize(
    ("sent", "datatype", "reason"),
    [
        pytest.param(wire("INT64", [2**53 + 1]), "FP64", "values from", id="first-gap-fp64"),
        pytest.param(wire("INT64", [-(2**24) - 1]), "FP32", "values from", id="first-gap-fp32"),
        pytest.param(wire("INT64", [2**31]), "INT32", "to 2147483647", id="out-of-range"),
        pytest.param(wire("INT32", [-1]), "UINT8", "from 0", id="negative-to-unsigned"),
        pytest.param(wire("FP64", [1.0]), "INT64", "kinds", id="float-to-integer-never"),
        pytest.param(wire("BOOL", [True]), "FP64", "kinds", id="bool-to-number-never"),
        pytest.param(wire("UINT8", [1]), "BOOL", "kinds", id="number-to-bool-never"),
        pytest.param(wire("BYTES", ["1"]), "FP64", "never mix", id="bytes-to-number-never"),
        pytest.param(wire("FP64", [1.0]), "BYTES", "never mix", id="number-to-bytes-never"),
        pytest.param(wire("FP64", [0.1], decimal=False), "FP32", "digits", id="binary-inexact"),
    ],
)
def test_refuses_a_cast_that_loses(sent: WireTensor, datatype: str, reason: str) -> None:
    expected = f"input 'x': datatype {sent.datatype} does not fit, expected {datatype}.*{reason}"

    with pytest.raises(SignatureMismatchError, match=expected):
        conform([sent], tensors(TensorSpec("x", datatype, (-1,))))


def test_refuses_a_float_that_would_become_infinite() -> None:
    with pytest.raises(MalformedRequestError, match=r"1e[+]300 is outside the range of FP32"):
        conform([wire("FP64", [1e300])], tensors(TensorSpec("x", "FP32", (-1,))))


@pytest.mark.parametrize(
    ("shape", "spec_shape", "fits"),
    [
        pytest.param((5, 3), (-1, 3), True, id="free-rows"),
        pytest.param((5, 4), (-1, 3), False, id="wrong-width"),
        pytest.param((5, 3), (-1, -1), True, id="free-width"),
        pytest.param((3,), (-1, 3), False, id="axis-missing"),
        pytest.param((5, 3, 1), (-1, 3), False, id="axis-too-many"),
        pytest.param((2, 3), (2, 3), True, id="fixed-rows"),
        pytest.param((1, 3), (2, 3), False, id="fixed-rows-otherwise"),
        pytest.param((5, 1), (-1,), False, id="a-tensor-is-no-column"),
        pytest.param((1, 0), (-1, -1), True, id="row-without-elements"),
    ],
)
def test_tensor_shapes(shape: tuple[int, ...], spec_shape: tuple[int, ...], fits: bool) -> None:
    sent = [wire("FP32", np.zeros(shape))]
    described = tensors(TensorSpec("x", "FP32", spec_shape))

    if fits:
        assert conform(sent, described)["x"].shape == shape
    else:
        with pytest.raises(SignatureMismatchError, match=r"shape .* does not fit"):
            conform(sent, described)


@pytest.mark.parametrize("shape", [pytest.param((3,), id="n"), pytest.param((3, 1), id="n-by-1")])
def test_columns_come_out_one_dimensional(shape: tuple[int, ...]) -> None:
    arrays = conform([wire("INT64", np.ones(shape))], columns(TensorSpec("x", "INT64", (-1,))))

    assert arrays["x"].shape == (3,)


def test_a_column_of_arrays_holds_one_array_a_row() -> None:
    spec = TensorSpec("x", "INT64", (-1, -1), mlflow_type="array")

    (column,) = conform([wire("INT64", [[1, 2], [3, 4]])], columns(spec)).values()

    assert column.shape == (2,)
    assert [row.tolist() for row in column] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["a", "b", "z"], r"\['z'\] are unknown, expected \['a', 'b'\]", id="unknown"),
        pytest.param(["a"], r"\['b'\] are missing, expected \['a', 'b'\]", id="missing"),
        pytest.param([], r"\['a', 'b'\] are missing", id="none"),
        pytest.param(["A", "b"], r"\['A'\] are unknown", id="case-counts"),
    ],
)
def test_names(names: list[str], message: str) -> None:
    described = columns(TensorSpec("a", "FP64", (-1,)), TensorSpec("b", "FP64", (-1,)))

    with pytest.raises(SignatureMismatchError, match=message):
        conform([wire("FP64", [1.0], name) for name in names], described)


def test_an_optional_input_may_be_left_out_and_order_is_the_signature_s() -> None:
    described = columns(
        TensorSpec("a", "FP64", (-1,)),
        TensorSpec("b", "FP64", (-1,), required=False),
        TensorSpec("c", "FP64", (-1,)),
    )

    arrays = conform([wire("FP64", [1.0], "c"), wire("FP64", [2.0], "a")], described)

    assert list(arrays) == ["a", "c"]


def test_a_repeated_name_is_refused() -> None:
    with pytest.raises(MalformedRequestError, match="repeat, expected each once"):
        conform([wire("FP64", [1.0]), wire("FP64", [1.0])], Signature(Layout.UNKNOWN))


def test_without_a_signature_anything_passes() -> None:
    sent = [wire("INT8", [[1]], "a"), wire("BYTES", [b"t"], "b")]

    arrays = conform(sent, Signature(Layout.UNKNOWN))

    assert (arrays["a"].tolist(), arrays["b"].tolist()) == ([[1]], ["t"])


@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param([0], id="no-rows"),
        pytest.param([], id="no-inputs"),
        pytest.param([1, 2], id="unequal"),
    ],
)
def test_rows_are_refused(lengths: list[int]) -> None:
    arrays = {str(index): np.zeros(length) for index, length in enumerate(lengths)}

    with pytest.raises(MalformedRequestError, match="same number of rows in each, at least 1"):
        count_rows(arrays)


def test_rows_are_counted_on_the_first_axis() -> None:
    assert count_rows({"a": np.zeros((3, 2)), "b": np.zeros(3)}) == 3
