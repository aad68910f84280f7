"""Finished sweeps made up for reports."""

from dataclasses import replace
from typing import Any

from tests.tuning.trials import reports, trial
from tuning.ledger import Manifest, Outcome, Trial, TrialState
from tuning.reporting.facts import Ending, Facts
from tuning.spec import SweepSpec

NASTY = "</script><b>&\"'"
"""What a page must show as it is."""


def make_facts(trials: list[Trial] | None = None, **fields: Any) -> Facts:
    """A sweep of four folds: its trials, or six made up ones."""
    spec = SweepSpec.load(
        {
            "name": "risks",
            "data": {"bundled": "iris"},
            "folds": {"n_splits": 4},
            "trainer": "sklearn",
            "space": {"x": {"uniform": [0.0, 1.0]}},
            "n_trials": 6,
            "resources": {"cpu": 2.0},
            **fields,
        }
    )
    manifest = Manifest("id", spec.tied(), "a" * 64)
    if trials is None:
        trials = made_up_trials()
        outcome = Outcome("risks", "3", "challenger", 1, 0.9, "parent-run")
        manifest = replace(manifest, outcome=outcome)
    return Facts(spec, manifest, trials, make_ending(spec))


def made_up_trials() -> list[Trial]:
    """Two branches, one trial stopped early, one failed."""
    return [
        trial(0, 0.7, 0.8, 0.7, 0.8, params={"kind": "tree", "depth": 3}),
        trial(1, 0.9, 0.9, 0.8, 0.9, params={"kind": "line", "C": 0.01}),
        trial(2, 0.8, 0.8, 0.9, 0.8, params={"kind": NASTY, "C": 10.0}),
        trial(3, params={"kind": "tree", "depth": 9}, state=TrialState.PRUNED,
              reports=reports(0.5, of=4), started_at_s=1.0, ended_at_s=3.0),
        trial(4, params={"kind": "tree", "depth": 1}, state=TrialState.FAILED,
              reports=(), error=f"ValueError: {NASTY}"),
        trial(5, 0.6, 0.7, 0.6, 0.7, params={"kind": "tree", "depth": 2}),
    ]  # fmt: skip


def make_ending(spec: SweepSpec) -> Ending:
    """What its end knew."""
    return Ending(
        spec=spec.model_dump(mode="json", by_alias=True),
        command="python -m tuning risks.yaml",
        commit="4f2c+",
        versions={"Python": "3.11"},
        rows=(120, 30),
        columns=4,
        classes=("low", NASTY),
        sweep_run_id="parent-run",
        trial_run_id="trial-run",
        holdout={"accuracy": 0.9},
        confusion=[[14, 1], [2, 13]],
    )
