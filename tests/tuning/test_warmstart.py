from pathlib import Path
from typing import Any

import pytest

from tests.tuning.trials import trial
from tuning.errors import ConfigError
from tuning.home import Home
from tuning.ledger import Ledger, Manifest, TrialState
from tuning.spec import SweepSpec
from tuning.suggestion import make_suggestions
from tuning.warmstart import Finding, draws_of, load_priors, make_priors

SPACE: dict[str, Any] = {
    "kind": {
        "choice": {
            "a": {"x": {"uniform": [0.0, 1.0]}, "n": {"int": [2, 10], "step": 4}},
            "b": {"c": {"choice": [1, None, "1"]}},
        }
    },
    "fixed": 5,
}


def make_spec(**changes: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "later",
            "model": "m",
            "data": {"bundled": "iris"},
            "trainer": "sklearn",
            "space": SPACE,
            "n_trials": 5,
            "warm_start": "earlier",
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("params", "draws"),
    [
        pytest.param(
            {"kind": "a", "x": 0.5, "n": 6, "fixed": 5},
            {"kind": "a", "kind.a.x": 0.5, "kind.a.n": 6},
            id="as-the-ledger-has-it",
        ),
        pytest.param(
            {"kind": "a", "x": "0.5", "n": "10", "fixed": "5"},
            {"kind": "a", "kind.a.x": 0.5, "kind.a.n": 10},
            id="as-mlflow-has-it",
        ),
        pytest.param(
            {"kind": "b", "c": "None", "fixed": "5", "more": 1},
            {"kind": "b", "kind.b.c": None},
            id="what-is-beyond-the-space-is-left-out",
        ),
        pytest.param({"kind": "a", "x": 1.5, "n": 6, "fixed": 5}, None, id="out-of-range"),
        pytest.param({"kind": "a", "x": 0.5, "n": 7, "fixed": 5}, None, id="between-the-steps"),
        pytest.param({"kind": "a", "x": 0.5, "n": 6, "fixed": 4}, None, id="another-constant"),
        pytest.param({"kind": "z", "fixed": 5}, None, id="unknown-branch"),
        pytest.param({"kind": "a", "x": 0.5, "fixed": 5}, None, id="a-parameter-lacks"),
        pytest.param({"kind": "a", "x": "much", "n": 6, "fixed": 5}, None, id="no-number"),
    ],
)
def test_parameters_as_this_space_would_have_drawn_them(
    params: dict[str, Any], draws: dict[str, Any] | None
) -> None:
    assert draws_of(make_spec().space, params) == draws


def test_findings_without_the_metric_are_left_out() -> None:
    params = {"kind": "b", "c": 1, "fixed": 5}
    findings = [Finding(params, {"accuracy": 0.9}), Finding(params, {"log_loss": 0.1})]

    assert [prior.values for prior in make_priors(make_spec(), findings)] == [[0.9]]


def earlier(root: Path, model: str = "m") -> Home:
    uri = f"sqlite:///{root / 'mlflow.db'}"
    home = Home(root, uri, uri, None, "")
    ledger = Ledger(home.sweeps / "earlier")
    ledger.write_manifest(Manifest("id", {"name": "earlier", "model": model}, "hash"))
    for number in range(20):
        x = number / 20
        params = {"kind": "a", "x": x, "n": 6, "fixed": 5}
        ledger.write_trial(trial(number, x, x, params=params))
    ledger.write_trial(trial(20, 0.9, params={}, state=TrialState.FAILED))
    return home


@pytest.mark.parametrize("kind", ["tpe", pytest.param("gp", marks=pytest.mark.ray), "nsga2"])
def test_a_warm_search_begins_where_the_earlier_one_ended(tmp_path: Path, kind: str) -> None:
    spec = make_spec(searcher={"kind": kind, "population_size": 4})

    priors = load_priors(spec, earlier(tmp_path))
    warm, cold = make_suggestions(spec, priors), make_suggestions(spec)
    warm_draws = [warm.draw(number)[0] for number in range(5)]
    cold_draws = [cold.draw(number)[0] for number in range(5)]

    assert len(priors) == 20
    # What was tried had kind a; a cold search knows of no preference.
    assert sum(draw["kind"] == "a" for draw in warm_draws) >= 2
    assert warm_draws != cold_draws


def test_cmaes_takes_its_first_distribution_from_the_earlier_sweep(tmp_path: Path) -> None:
    space = {"x": {"uniform": [0.0, 1.0]}, "n": {"int": [2, 10]}}
    spec = make_spec(searcher={"kind": "cmaes"}, space=space)
    warm = make_suggestions(spec, load_priors(spec, earlier(tmp_path)))

    drawn = [float(str(warm.draw(number)[0]["x"])) for number in range(1, 9)]

    # The best of the earlier trials have x near 0.95; a cold start draws around 0.5.
    assert sum(drawn) / len(drawn) > 0.6


def test_an_unknown_sweep_is_refused_and_nothing_is_made_to_look_for_it(tmp_path: Path) -> None:
    home = earlier(tmp_path)

    with pytest.raises(ConfigError, match="warm_start: 'nope': no sweep of this name under"):
        load_priors(make_spec(warm_start="nope"), home)

    assert [path.name for path in tmp_path.iterdir()] == ["sweeps"]


def test_a_sweep_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tuned the model 'other', allowed: sweeps of 'm'"):
        load_priors(make_spec(), earlier(tmp_path, model="other"))


def test_a_sweep_that_shares_no_point_of_the_space_is_refused(tmp_path: Path) -> None:
    space = {"y": {"uniform": [0.0, 1.0]}}

    with pytest.raises(ConfigError, match="none of its 20 completed trials lies in this space"):
        load_priors(make_spec(space=space), earlier(tmp_path))
