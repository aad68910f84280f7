import numpy as np
import pytest

from deployments.protocols.datatypes import DTYPES, ITEM_BYTES, datatype_of


@pytest.mark.parametrize("datatype", [word for word in DTYPES if word not in {"BF16", "BYTES"}])
def test_each_number_has_one_word_and_one_type(datatype: str) -> None:
    assert datatype_of(DTYPES[datatype]) == datatype


@pytest.mark.parametrize(
    ("dtype", "datatype"),
    [
        pytest.param(">f8", "FP64", id="other-byte-order"),
        pytest.param("U3", "BYTES", id="text"),
        pytest.param("S3", "BYTES", id="bytes"),
        pytest.param("O", "BYTES", id="objects"),
        pytest.param("M8[ns]", "BYTES", id="dates-travel-as-text"),
        pytest.param("c16", None, id="complex-has-no-word"),
        pytest.param("m8[s]", None, id="durations-have-no-word"),
    ],
)
def test_datatype_of(dtype: str, datatype: str | None) -> None:
    assert datatype_of(np.dtype(dtype)) == datatype


def test_sizes_on_the_wire_are_those_in_the_name() -> None:
    bits = {word: int("".join(filter(str.isdigit, word)) or 8) for word in ITEM_BYTES}

    assert {word: 8 * size for word, size in ITEM_BYTES.items()} == bits
