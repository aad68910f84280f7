"""Stock inference clients, in their own environment, against a running fleet."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[3]
CLIENTS = REPOSITORY / ".venvs" / "clients" / "bin" / "python"
TRITON_HTTP = REPOSITORY / "tests" / "clients" / "triton_http.py"

MODELS = ("breast-cancer", "digits", "wine")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(
        not CLIENTS.exists(), reason="no stock clients: make .venvs/clients/.installed"
    ),
]


@pytest.fixture(scope="module")
def report(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tritonclient got for the hold-out rows of every model."""
    cases = tmp_path_factory.mktemp("clients") / "rows.npz"
    np.savez(cases, **{name: fleet.models[name].holdout_rows for name in MODELS})
    address = fleet.url.removeprefix("http://")
    finished = subprocess.run(
        [CLIENTS, TRITON_HTTP, "--url", address, "--cases", cases],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    answers: dict[str, Any] = json.loads(finished.stdout)
    return answers


@pytest.mark.parametrize("model", MODELS)
def test_tritonclient_gets_the_offline_predictions(
    fleet: Any, report: dict[str, Any], model: str
) -> None:
    expected = np.asarray(fleet.models[model].expected)

    answer = report["models"][model]
    first = np.asarray(next(iter(answer["outputs"].values())))

    assert answer["version"] == str(fleet.models[model].version)
    if np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_allclose(first.reshape(expected.shape), expected, rtol=1e-5)
    else:
        np.testing.assert_array_equal(first.reshape(expected.shape), expected)


def test_tritonclient_sees_a_ready_server(report: dict[str, Any]) -> None:
    assert (report["live"], report["ready"]) == (True, True)
    assert all(answer["ready"] for answer in report["models"].values())


def test_tritonclient_shows_our_errors_as_its_own(report: dict[str, Any]) -> None:
    assert set(report["errors"]) == {"unknown model", "infer unknown model", "wrong shape"}
    assert "no-such-model" in report["errors"]["unknown model"]
    assert "no-such-model" in report["errors"]["infer unknown model"]
    assert "shape" in report["errors"]["wrong shape"]
