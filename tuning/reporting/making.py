"""Gathers what a sweep left behind, and writes its page."""

import shlex
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from msgspec.structs import replace

from tuning.errors import ConfigError
from tuning.fitted import Fitted
from tuning.flavors import predicted_codes
from tuning.home import Home
from tuning.ledger import Ledger, Manifest
from tuning.provenance import commit_with_changes
from tuning.reporting.facts import (
    Ending,
    Facts,
    confusion_matrix,
    installed_versions,
    read_ending,
    thin_predictions,
    write_ending,
)
from tuning.reporting.page import render
from tuning.spec import SweepSpec, Task
from tuning.trainers.trainer import Metrics

ELSEWHERE = 'env -u MLFLOW_TRACKING_URI -u MLFLOW_REGISTRY_URI RAYFLEET_HOME="$(mktemp -d)"'
"""Before the command that runs a sweep again: beside this sweep it would be this sweep, resumed or
forgotten, and its winner would be one more version of the model, with its alias."""

REPORT_FILE = "report.html"
"""Beside a sweep's trials, and an artifact of its run."""


@dataclass(frozen=True, slots=True)
class Report:
    """A page, and where it belongs."""

    path: Path
    html: str
    facts: Facts


def make_report(home: Home, name: str) -> Report:
    """Write the page about a sweep anew.

    Raises:
        ConfigError: There is no sweep of that name here, or its files are damaged.
    """
    folder = home.sweeps / name
    ledger = Ledger(folder)
    manifest = ledger.manifest() if folder.is_dir() else None
    if manifest is None:
        known = sorted(path.parent.name for path in home.sweeps.glob("*/sweep.json"))
        raise ConfigError(
            f"sweep: {name!r}: not in {home.sweeps}, allowed: {', '.join(known) or 'none yet'}"
        )
    return write_report(ledger, manifest)


def write_report(ledger: Ledger, manifest: Manifest) -> Report:
    """Write the page into a sweep's folder."""
    ending = read_ending(ledger.folder)
    # A field that was added since has its default.
    plain = manifest.spec if ending is None else ending.spec
    spec = SweepSpec.load(plain, where=str(ledger.folder / "sweep.json"))
    facts = Facts(spec, manifest, ledger.trials(), ending)
    path = ledger.folder / REPORT_FILE
    html = render(facts)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(html, encoding="utf-8")
    unfinished.replace(path)
    return Report(path, html, facts)


def note_fitted(
    ledger: Ledger, ending: Ending, task: Task, fitted: Fitted, holdout: Metrics
) -> None:
    """Keep what the winner did on the hold-out."""
    rows, labels = task.holdout_rows
    matrix = pairs = None
    # A trainer of one's own may answer something else than its classes.
    with suppress(Exception):
        outputs = fitted.outputs(rows)
        if task.problem.regression:
            pairs = thin_predictions(labels, outputs.reshape(len(labels)))
        else:
            codes = predicted_codes(outputs)
            matrix = confusion_matrix(labels, codes, len(task.table.classes))
    scores = {name: float(value) for name, value in holdout.items() if isfinite(value)}
    noted = replace(ending, holdout=scores, confusion=matrix, predictions=pairs)
    write_ending(ledger.folder, noted)


def new_ending(task: Task, where: str, sweep_run_id: str, trial_run_id: str | None) -> Ending:
    """Note how a sweep was called and what it ran on."""
    spec = task.spec
    arguments = ["python", "-m", "tuning", where, "--trials", str(spec.n_trials)]
    arguments += ["--seed", str(spec.seed)]
    return Ending(
        spec=spec.model_dump(mode="json", by_alias=True),
        command=f"{ELSEWHERE} {shlex.join(arguments)}",
        commit=commit_with_changes(),
        versions=dict(installed_versions()),
        rows=(len(task.split.training), len(task.split.holdout)),
        columns=len(task.table.columns),
        classes=task.table.classes,
        sweep_run_id=sweep_run_id,
        trial_run_id=trial_run_id,
    )
