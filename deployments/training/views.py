"""What the control API and the command show of sweeps."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuning.configfile import KnownKeys

State = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED", "UNKNOWN"]


class View(BaseModel):
    """Base of what is shown."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class SweepView(View):
    """One sweep: its newest job and its newest run."""

    name: str

    state: State
    """Of the job; of the run where the sweep was not submitted as a job. A job is `FAILED` when
    no version was registered, too."""

    job_id: str | None
    """Ray job that ran it last; null where Ray knows none."""

    message: str
    """What Ray says of the job."""

    run_id: str | None
    """MLflow run; null while it has none."""

    n_trials: int = Field(ge=0)
    trials: dict[str, int]
    """Trials by state: running, complete, pruned, failed, interrupted."""

    metric: str | None
    best: float | None
    """Mean over the folds of the best trial that keeps to the constraints."""

    best_std: float | None
    best_trial: int | None
    best_params: dict[str, str]
    elapsed_s: float
    remaining_s: float | None
    """At the pace so far; null where nothing can be said."""

    resources: dict[str, float]
    """What running trials hold: `cpu`, `gpu`."""

    refused: str | None
    """Why the winner was not registered."""


class SweepLogs(View):
    """What a sweep's job printed."""

    job_id: str
    logs: str


class SettingView(View):
    """A setting in which two sweeps differ."""

    setting: str
    left: str | None
    right: str | None


class SweepComparison(View):
    """Two sweeps side by side."""

    left: SweepView
    right: SweepView
    same_data: bool
    same_folds: bool
    gain: float | None
    """The right one's improvement over the left one's best mean; null where not comparable."""

    p: float | None
    """Of the corrected resampled t-test, two-sided; 1 where all folds differ by as much, which
    proves nothing."""

    verdict: str
    """In one line."""

    settings: list[SettingView]
    """Where their specs differ."""


class NewSweep(KnownKeys):
    """A sweep to run."""

    spec: dict[str, Any]
    """What a sweep's YAML file holds. Files and trainers that it names must be on the cluster."""
