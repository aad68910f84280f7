"""A small Parquet body may stand for a table that no gateway has the memory for."""

import io
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from deployments.errors import MalformedRequestError, RequestTooLargeError
from deployments.protocols import mlflow_parsing
from deployments.protocols.mlflow_parsing import parse_parquet
from deployments.protocols.tensors import Layout, Signature

pytestmark = pytest.mark.ray

UNKNOWN = Signature(Layout.UNKNOWN)


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    write_table(pa.table(columns), file, compression="zstd", **options)
    return file.getvalue()


def repeated(text: str, rows: int) -> pa.Array:
    indices = pa.array(np.zeros(rows, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text]))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(parquet({f"x{n}": np.zeros(100_000) for n in range(40)}), id="equal-numbers"),
        pytest.param(parquet({"x": repeated("x" * 100_000, 2000)}), id="one-long-text"),
        pytest.param(
            parquet(
                {"x": pa.array(["x" * 10_000] * 5000)},
                use_dictionary=False,
                column_encoding={"x": "DELTA_BYTE_ARRAY"},
            ),
            id="texts-that-share-a-beginning",
        ),
        pytest.param(
            parquet(
                {
                    "x": pa.ListArray.from_arrays(
                        np.arange(2001, dtype=np.int32), repeated("x" * 100_000, 2000)
                    )
                }
            ),
            id="lists-of-one-long-text",
        ),
        pytest.param(
            parquet(
                {
                    "x": pa.ListArray.from_arrays(
                        np.arange(0, 4_000_001, 400, dtype=np.int32), np.zeros(4_000_000, np.int8)
                    )
                }
            ),
            id="lists-of-equal-numbers",
        ),
    ],
)
def test_a_table_that_is_too_large_is_refused_before_it_is_read(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_parsing, "MAX_PARQUET_BYTES", 16_000_000)
    assert len(body) < 100_000

    with (
        patch("mlflow.pyfunc.scoring_server.parse_parquet_input", side_effect=AssertionError),
        pytest.raises(RequestTooLargeError),
    ):
        parse_parquet(body, UNKNOWN)


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([f"{n}" * 8 for n in range(50_000)], id="texts"),
        pytest.param([[f"{n}" * 8] for n in range(50_000)], id="lists-of-texts"),
        pytest.param([{"a": f"{n}" * 8} for n in range(50_000)], id="structs-of-texts"),
        pytest.param([None] * 50_000, id="nothing"),
    ],
)
def test_many_short_texts_are_read(texts: list[Any]) -> None:
    body = parquet({"x": pa.array(texts)}, dictionary_pagesize_limit=2**24)

    assert parse_parquet(body, UNKNOWN).rows == 50_000


def test_what_is_no_parquet_is_still_malformed() -> None:
    with pytest.raises(MalformedRequestError, match="cannot be read"):
        parse_parquet(b"PAR1 but no more", UNKNOWN)
