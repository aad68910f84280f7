"""A sweep whose MLflow is away for a minute, beside all else that it loses."""

from pathlib import Path

import pytest

from tests.integration.test_sweep_faults import (
    Surroundings,
    folder,
    lose_everything,
    surroundings,
)

__all__ = ["folder", "surroundings"]

pytestmark = pytest.mark.soak

AWAY_S = 60.0


def test_a_minute_without_mlflow_loses_nothing(
    surroundings: Surroundings, folder: Path, tmp_path: Path
) -> None:
    lose_everything(surroundings, folder, tmp_path, mlflow_away_s=AWAY_S)
