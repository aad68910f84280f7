"""What Python callers hold, written and read back by MLflow's own parser: the same values."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.ray  # imports MLflow


def times(*texts: str | None) -> pd.DataFrame:
    return pd.DataFrame({"a": np.array(texts, "M8[ns]")})


FRAMES = {
    "tiny-and-long-numbers": pd.DataFrame({"a": [1.23e-12, 0.12345678901234567, -1e300]}),
    "wide-integers": pd.DataFrame({"a": [2**62 + 1, -3]}),
    "float32": pd.DataFrame({"a": np.array([0.1, 2.5], "f4")}),
    "texts-and-booleans": pd.DataFrame({"a": ["ö", "y"], "b": [True, False]}),
    "bytes": pd.DataFrame({"a": [b"ab\x00", b"\xff"]}),
    "whole-seconds": times("2026-01-31T12:00:00", "1960-01-01"),
    "fractions-of-some": times("2026-01-31T12:00:00", "2026-01-31T12:00:00.123456789"),
    "missing-time": times("2026-01-31T12:00:00", None),
    "lists": pd.DataFrame({"a": [[1, 2], [3]]}),
}  # fmt: skip


@pytest.fixture
def written() -> Callable[[Any], Any]:
    # Not at the top: collecting the fast tests must not cost the seconds of MLflow's import.
    from deployments.protocols.mlflow_writing import write_inputs  # noqa: PLC0415

    return lambda inputs: json.loads(write_inputs(inputs))


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_frame_comes_back_as_it_was(written: Any, frame: pd.DataFrame) -> None:
    from mlflow.models import infer_signature  # noqa: PLC0415
    from mlflow.models.utils import _enforce_schema  # noqa: PLC0415
    from mlflow.pyfunc.scoring_server import infer_and_parse_data  # noqa: PLC0415

    schema = infer_signature(frame).inputs

    read = _enforce_schema(infer_and_parse_data(written(frame), schema), schema)

    pd.testing.assert_frame_equal(read, frame, check_dtype=False, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        pytest.param(pd.Series([1.5, 2.0], name="q"),
                     {"dataframe_split": {"columns": ["q"], "index": [0, 1],
                                          "data": [[1.5], [2.0]]}}, id="series"),
        pytest.param(pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
                     {"dataframe_split": {"columns": ["a"], "index": [0, 1],
                                          "data": [[1], [None]]}}, id="missing-integer"),
        pytest.param(np.array([[1e-300, 2]]), {"inputs": [[1e-300, 2.0]]}, id="array"),
        pytest.param({"x": np.array([1], "i8"), "y": ["a"]},
                     {"inputs": {"x": [1], "y": ["a"]}}, id="arrays-by-name"),
        pytest.param({"x": [b"a\x00"]}, {"inputs": {"x": ["YQA=\n"]}}, id="bytes-by-name"),
        pytest.param({"x": np.array(["2026-01-31T12"], "M8[ns]")},
                     {"inputs": {"x": ["2026-01-31T12:00:00"]}}, id="times-by-name"),
        pytest.param({"x": pd.Series(pd.to_datetime(["2026-01-31"]))},
                     {"inputs": {"x": ["2026-01-31T00:00:00"]}}, id="series-by-name"),
        pytest.param([np.datetime64("2026-01-31T12", "ns"), np.float64(1.5), pd.NaT],
                     {"inputs": ["2026-01-31T12:00:00", 1.5, None]}, id="list"),
        pytest.param("text", {"inputs": "text"}, id="text"),
    ],
)  # fmt: skip
def test_everything_else_has_the_form_that_mlflow_reads(
    written: Any, inputs: Any, expected: Any
) -> None:
    assert written(inputs) == expected


def test_sparse_matrices_are_filled_up(written: Any) -> None:
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    assert written(csr_matrix([[0.0, 1.0]])) == {"inputs": [[0.0, 1.0]]}


def test_what_json_has_no_form_for_is_refused(written: Any) -> None:
    with pytest.raises(TypeError, match="complex"):
        written([1j])
