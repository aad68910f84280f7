"""The lock files of the environments beside our own."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
OURS = REPOSITORY / "requirements.lock"
MLSERVER = REPOSITORY / "benchmarks" / "serving" / "requirements-mlserver.lock"
CLIENTS = REPOSITORY / "tests" / "clients" / "requirements.lock"


def pins(path: Path) -> dict[str, str]:
    """Versions by name; a line that pins nothing fails."""
    found = {}
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^+\s]+)", line)
            assert match, f"{path.name}: {line!r} is not NAME==VERSION without a local label"
            found[match[1].lower()] = match[2]
    return found


@pytest.mark.parametrize("path", [OURS, MLSERVER, CLIENTS], ids=["ours", "mlserver", "clients"])
def test_every_requirement_is_pinned(path: Path) -> None:
    assert pins(path)


@pytest.mark.parametrize("package", ["scikit-learn", "numpy", "joblib"])
def test_the_peer_unpickles_the_model_with_the_versions_that_fitted_it(package: str) -> None:
    assert pins(MLSERVER)[package] == pins(OURS)[package]
