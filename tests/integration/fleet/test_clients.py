"""Stock clients over HTTP, in their own environment, at both doors of a fleet."""

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.hosting import Fleet

REPOSITORY = Path(__file__).parents[3]
CLIENTS = REPOSITORY / ".venvs" / "clients" / "bin" / "python"
PROGRAMS = REPOSITORY / "tests" / "clients"

MODELS = ("breast-cancer", "digits", "wine")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(
        not CLIENTS.exists(), reason="no stock clients: make .venvs/clients/.installed"
    ),
]


@pytest.fixture(scope="module")
def run(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    """Runs a program of the clients' environment at a door; returns its report."""
    cases = tmp_path_factory.mktemp("clients") / "rows.npz"
    np.savez(cases, **{name: fleet.models[name].holdout_rows for name in MODELS})

    @cache
    def run(program: str, door: str) -> Any:
        address = fleet.doors[door].removeprefix("http://")
        finished = subprocess.run(
            [CLIENTS, PROGRAMS / program, "--url", address, "--cases", cases],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    return run


@pytest.fixture(params=["serve", "express"])
def door(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def assert_predicted(fleet: Fleet, model: str, got: Any) -> None:
    expected = np.asarray(fleet.models[model].expected)
    shaped = np.asarray(got).reshape(expected.shape)
    if np.issubdtype(expected.dtype, np.floating):
        # Sums of 32-bit floats depend on how many rows are in a batch; scores are about 1.
        np.testing.assert_allclose(shaped, expected, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(shaped, expected)


@pytest.mark.parametrize("program", ["triton_http.py", "triton_http_aio.py"])
class TestTriton:
    @pytest.fixture
    def report(self, run: Any, program: str, door: str) -> Any:
        return run(program, door)

    @pytest.mark.parametrize("model", MODELS)
    def test_it_gets_the_offline_predictions(self, fleet: Fleet, report: Any, model: str) -> None:
        answer = report["models"][model]

        assert (answer["version"], answer["ready"]) == (str(fleet.models[model].version), True)
        assert_predicted(fleet, model, next(iter(answer["outputs"].values())))
        if "alone" in answer:
            assert_predicted(fleet, model, answer["alone"])

    @pytest.mark.parametrize("form", ["plain", "chosen", "json", "gzip", "deflate"])
    def test_outputs_are_chosen_and_compressed(self, fleet: Fleet, report: Any, form: str) -> None:
        assert_predicted(fleet, MODELS[0], report["forms"][form])

    def test_it_reads_a_model_s_config(self, fleet: Fleet, report: Any) -> None:
        rows = fleet.models[MODELS[0]].holdout_rows
        (tensor,) = report["config"]["input"]

        assert (report["config"]["name"], report["config"]["max_batch_size"]) == (MODELS[0], 256)
        assert tensor["dims"] == list(rows.shape[1:])

    def test_it_sees_a_ready_server(self, report: Any) -> None:
        assert (report["live"], report["ready"]) == (True, True)

    def test_it_shows_our_errors_as_its_own(self, report: Any) -> None:
        errors = report["errors"]

        assert set(errors) == {
            "unknown model", "infer unknown model", "wrong shape", "unknown output",
        }  # fmt: skip
        assert "no-such-model" in errors["unknown model"]
        assert "no-such-model" in errors["infer unknown model"]
        assert "shape" in errors["wrong shape"]
        assert "no-such-output" in errors["unknown output"]


class TestKserve:
    @pytest.fixture
    def report(self, run: Any, door: str) -> Any:
        return run("kserve_rest.py", door)

    @pytest.mark.parametrize("form", ["binary", "json", "chosen", "binary-answer"])
    @pytest.mark.parametrize("model", MODELS)
    def test_it_gets_the_offline_predictions(
        self, fleet: Fleet, report: Any, model: str, form: str
    ) -> None:
        answer = report["models"][model]

        assert answer["ready"]
        assert_predicted(fleet, model, next(iter(answer["forms"][form].values())))

    def test_it_sees_a_ready_server(self, report: Any) -> None:
        assert (report["live"], report["ready"]) == (True, True)

    def test_it_shows_our_errors_as_its_own(self, report: Any) -> None:
        errors = report["errors"]

        assert errors["infer unknown model"].startswith("unknown model 'no-such-model', '404 ")
        assert "shape" in errors["wrong shape"]
        assert errors["unknown model"] == "False"
