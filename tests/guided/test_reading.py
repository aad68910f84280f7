"""Whatever bytes come, reading them fails with a request's own error or not at all."""

import importlib.util
from pathlib import Path

import pytest

from tests.guided.running import run

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is missing: it has wheels for Linux",
)


@pytest.mark.parametrize(
    ("target", "runs"), [("rest", 20_000), ("grpc", 20_000), ("mlflow", 1_500)]
)
def test_bytes_that_reach_every_branch_cause_no_fault(
    target: str, runs: int, tmp_path: Path
) -> None:
    status, said = run(target, tmp_path, f"-runs={runs}", "-seed=1")

    assert status == 0, said[-5000:]
    assert f"Done {runs} runs" in said


def test_a_fault_behind_some_branches_is_found(tmp_path: Path) -> None:
    status, said = run("faulty", tmp_path, "-runs=200000", "-seed=1")

    assert status != 0
    assert "ValueError" in said
