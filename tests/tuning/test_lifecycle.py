from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.tuning.test_registry import home_at
from tuning.console import SweepConsole
from tuning.errors import ConfigError
from tuning.ledger import Ledger, Manifest
from tuning.lifecycle import run_sweep
from tuning.spec import SweepSpec, Task, check_sweep

pytestmark = pytest.mark.ray  # imports Ray and MLflow, though it starts neither

FRAME = pd.DataFrame({"x": range(20), "y": [0, 1] * 10})


def make_task(folder: Path, frame: pd.DataFrame, **changes: Any) -> Task:
    path = folder / "rows.csv"
    frame.to_csv(path, index=False)
    spec = SweepSpec.load(
        {
            "name": "s",
            "data": {"path": str(path), "target": "y"},
            "folds": {"n_splits": 2},
            "trainer": "sklearn",
            "space": {"estimator": "logistic_regression", "C": {"uniform": [0.1, 1.0]}},
            "n_trials": 2,
            **changes,
        }
    )
    return check_sweep(spec, "s.yaml")


@pytest.mark.parametrize(
    ("frame", "changes", "begins"),
    [
        pytest.param(
            FRAME.assign(x=range(1, 21)), {}, "s.yaml: data: hash ", id="another-row-of-data"
        ),
        pytest.param(
            FRAME, {"n_trials": 3}, "s.yaml: n_trials: 3, but the sweep 's' began with 2: ",
            id="another-spec",
        ),
        pytest.param(
            FRAME, {"constraints": ["p99_ms <= 1"]}, "s.yaml: constraints: ",
            id="another-constraint",
        ),
    ],
)  # fmt: skip
def test_what_a_sweep_began_with_may_not_change(
    tmp_path: Path, frame: pd.DataFrame, changes: dict[str, Any], begins: str
) -> None:
    before = make_task(tmp_path, FRAME)
    ledger = Ledger(tmp_path / "sweeps" / "s")
    ledger.write_manifest(Manifest("id", before.spec.tied(), before.table.sha256))

    with pytest.raises(ConfigError) as refusal:
        run(make_task(tmp_path, frame, **changes), tmp_path)

    assert str(refusal.value).startswith(begins)
    assert str(refusal.value).count("\n") == 0
    assert "undo the change, give the sweep another name, or say --restart" in str(refusal.value)


def test_a_warm_start_from_nowhere_leaves_nothing_behind(tmp_path: Path) -> None:
    task = make_task(tmp_path, FRAME, warm_start="nowhere")

    with pytest.raises(ConfigError, match="warm_start: 'nowhere': no sweep of this name"):
        run(task, tmp_path)

    assert Ledger(tmp_path / "sweeps" / "s").manifest() is None


def run(task: Task, folder: Path) -> Any:
    call: Callable[..., Any] = run_sweep
    console = SweepConsole(file=StringIO())
    return call(task, home=home_at(folder), console=console, where="s.yaml", restart=False)
