"""Sweeps on a cluster: submit, list, follow, stop, resume, compare. Every call may block."""

import json
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml

from deployments.errors import ConflictError, DependencyError, MalformedRequestError, NotFoundError
from deployments.training.jobs import FOLDER, SPEC, SWEEP, Job, Jobs
from deployments.training.views import (
    NewSweep,
    SettingView,
    State,
    SweepComparison,
    SweepLogs,
    SweepView,
)
from tuning.errors import ConfigError
from tuning.home import Home

Answer = TypeVar("Answer")

FILE = "sweep.yaml"
"""Name of a spec that arrived without a file."""

COMMAND = ("python", "-m", "tuning")

RUN_STATES: Mapping[str, State] = {
    "RUNNING": "RUNNING",
    "FINISHED": "SUCCEEDED",
    "FAILED": "FAILED",
    "KILLED": "STOPPED",
}
"""A job's word for what a run says of a sweep that was started otherwise."""


class Training:
    """What may be asked of the sweeps of one cluster."""

    def __init__(self, jobs: Jobs, home: Home, clock: Callable[[], float] = time.time) -> None:
        self._jobs = jobs
        self._home = home
        self._clock = clock
        self._mlflow: Any = None

    def sweeps(self) -> list[SweepView]:
        """Every sweep that Ray or MLflow knows, the newest first."""
        jobs = self._newest_jobs()
        runs = {
            run.data.tags[SWEEP]: run for run in self._ask(lambda board, c: board.all_sweeps(c))
        }
        return [self._view(name, jobs.get(name), runs.get(name)) for name in {**jobs, **runs}]

    def sweep(self, name: str) -> SweepView:
        """One sweep.

        Raises:
            NotFoundError: Neither Ray nor MLflow knows it.
        """
        job = self._newest_jobs().get(name)
        run = self._ask(lambda board, client: board.find_sweep(client, name))
        if job is None and run is None:
            raise NotFoundError(f"sweep {name!r} is not known: no job and no run has its name")
        return self._view(name, job, run)

    def submit(
        self, new: NewSweep, *, folder: Path | None = None, file: Path | None = None
    ) -> SweepView:
        """Run a sweep, or what is left of it.

        Args:
            new: The sweep.
            folder: Working directory with the files and trainers that it names; None sends the
                spec alone.
            file: The spec's own file in that folder; None writes one.

        Raises:
            MalformedRequestError: The spec; a line for each fault.
            ConflictError: A job runs a sweep of this name.
            DependencyError: The job API is away.
        """
        from tuning.spec import SweepSpec  # noqa: PLC0415, pandas

        try:
            spec = SweepSpec.load(new.spec, path="spec")
        except ConfigError as error:
            raise MalformedRequestError(str(error)) from None
        job = self._newest_jobs().get(spec.name)
        if job is not None and job.active:
            raise ConflictError(f"sweep {spec.name!r} is {job.status.lower()} as job {job.job_id}")
        plain = spec.model_dump(mode="json", by_alias=True)
        self._start(spec.name, plain, folder, file)
        return self._after(spec.name)

    def resume(self, name: str, *, folder: Path | None = None) -> SweepView:
        """Submit a sweep again, with the spec that it ran with: it goes on where it was.

        Raises:
            NotFoundError: It is not known, or nobody kept its spec.
            ConflictError: It runs, or was submitted from a folder and none is given now.
            DependencyError: The job API or MLflow is away.
        """
        job = self._newest_jobs().get(name)
        if job is not None and job.active:
            raise ConflictError(f"sweep {name!r} is {job.status.lower()} as job {job.job_id}")
        plain = json.loads(job.metadata[SPEC]) if job is not None and SPEC in job.metadata else None
        if plain is None:
            plain = self._ask(lambda board, client: _recorded(board, client, name))
        if plain is None:
            raise NotFoundError(f"sweep {name!r}: no job and no run keeps its spec")
        if folder is None and _needs_files(plain):
            raise ConflictError(
                f"sweep {name!r} needs files of its own; resume it from their folder, with "
                f"`rayfleet sweep resume {name}`"
            )
        self._start(name, plain, folder, None)
        return self._after(name)

    def stop(self, name: str) -> SweepView:
        """Interrupt a sweep; `resume` goes on.

        Raises:
            NotFoundError: It is not known.
            ConflictError: It does not run as a job.
            DependencyError: The job API or MLflow is away.
        """
        view = self.sweep(name)
        job = self._newest_jobs().get(name)
        if job is None or not job.active:
            raise ConflictError(f"sweep {name!r} does not run as a job, it is {view.state}")
        self._jobs.stop(job.job_id)
        return self.sweep(name)

    def logs(self, name: str, lines: int) -> SweepLogs:
        """Return the last lines that a sweep's newest job printed.

        Raises:
            NotFoundError: Ray knows no job of it.
            DependencyError: The job API is away.
        """
        job = self._newest_jobs().get(name)
        if job is None:
            raise NotFoundError(f"sweep {name!r}: Ray knows no job of it")
        printed = self._jobs.logs(job.job_id).splitlines(keepends=True)
        return SweepLogs(job_id=job.job_id, logs="".join(printed[-lines:]))

    def compare(self, left: str, right: str) -> SweepComparison:
        """Hold two sweeps side by side.

        Raises:
            NotFoundError: One of them has no run in MLflow.
            DependencyError: The job API or MLflow is away.
        """
        jobs = self._newest_jobs()
        runs = [self._run(name) for name in (left, right)]
        views = [
            self._view(name, jobs.get(name), run)
            for name, run in zip((left, right), runs, strict=True)
        ]
        found = self._ask(lambda board, client: board.versus(client, *runs))
        differing = self._ask(lambda board, client: board.differing(*runs))
        comparison = found.comparison
        return SweepComparison(
            left=views[0],
            right=views[1],
            same_data=found.same_data,
            same_folds=found.same_folds,
            gain=None if comparison is None else comparison.gain,
            p=None if comparison is None else comparison.p_two_sided,
            verdict=_verdict(found, left, right),
            settings=[
                SettingView(setting=key, left=ours, right=theirs)
                for key, (ours, theirs) in differing.items()
                if key != "name"
            ],
        )

    def _start(
        self, name: str, plain: Mapping[str, Any], folder: Path | None, file: Path | None
    ) -> None:
        job_id = f"sweep-{name}-{int(self._clock() * 1000)}"
        metadata = {SWEEP: name, SPEC: json.dumps(plain)}
        if folder is not None:
            metadata[FOLDER] = str(folder)
        if folder is not None and file is not None:
            self._jobs.submit(job_id, shlex.join((*COMMAND, str(file))), folder, metadata)
            return
        with tempfile.TemporaryDirectory(prefix="rayfleet-sweep-") as made:
            at = Path(made) if folder is None else folder
            # Beside the user's files, where one of that name would be theirs.
            written = at / (FILE if folder is None else f".{job_id}.yaml")
            written.write_text(yaml.safe_dump(dict(plain), sort_keys=False), encoding="utf-8")
            try:
                self._jobs.submit(job_id, shlex.join((*COMMAND, written.name)), at, metadata)
            finally:
                written.unlink(missing_ok=True)

    def _after(self, name: str) -> SweepView:
        """Show a sweep that was just submitted, though MLflow may be away."""
        job, run = self._newest_jobs().get(name), None
        with suppress(DependencyError):
            run = self._ask(lambda board, client: board.find_sweep(client, name))
        return self._view(name, job, run)

    def _newest_jobs(self) -> dict[str, Job]:
        newest: dict[str, Job] = {}
        for job in self._jobs.all():
            newest.setdefault(job.sweep, job)
        return newest

    def _run(self, name: str) -> Any:
        run = self._ask(lambda board, client: board.find_sweep(client, name))
        if run is None:
            raise NotFoundError(f"sweep {name!r} has no run in MLflow")
        return run

    def _view(self, name: str, job: Job | None, run: Any) -> SweepView:
        standing = None
        if run is not None:
            standing = self._ask(lambda board, client: board.standing_of(client, run))
        return SweepView(
            name=name,
            state=_state(job, run),
            job_id=None if job is None else job.job_id,
            message="" if job is None else job.message,
            run_id=None if run is None else run.info.run_id,
            n_trials=0 if standing is None else standing.n_trials,
            trials={} if standing is None else dict(standing.counts),
            metric=None if standing is None else standing.metric,
            best=None if standing is None else standing.best,
            best_std=None if standing is None or standing.best is None else standing.best_std,
            best_trial=None if standing is None else standing.best_trial,
            best_params={}
            if standing is None
            else {key: str(value) for key, value in standing.best_params.items()},
            elapsed_s=0.0 if standing is None else standing.elapsed_s,
            remaining_s=None if standing is None else standing.remaining_s,
            resources={}
            if standing is None
            else {
                "cpu": standing.cpu * standing.running,
                "gpu": standing.gpu * standing.running,
            },
            refused=None if run is None else run.data.tags.get("rayfleet.refused"),
        )

    def _ask(self, call: Callable[[Any, Any], Answer]) -> Answer:
        """Ask MLflow; what it raises becomes one error of ours."""
        from tuning import board, runs  # noqa: PLC0415, MLflow, for whoever needs it

        try:
            if self._mlflow is None:
                self._mlflow = runs.open_runs(self._home)
            return call(board, self._mlflow)
        except Exception as error:
            self._mlflow = None
            first = (str(error).splitlines() or [""])[0][:300]
            raise DependencyError("MLflow tracking server", first) from error


def _state(job: Job | None, run: Any) -> State:
    if job is not None:
        states: Mapping[str, State] = {
            "PENDING": "PENDING",
            "RUNNING": "RUNNING",
            "STOPPED": "STOPPED",
            "SUCCEEDED": "SUCCEEDED",
            "FAILED": "FAILED",
        }
        return states.get(job.status, "UNKNOWN")
    return RUN_STATES.get(run.info.status, "UNKNOWN") if run is not None else "UNKNOWN"


def _recorded(board: Any, client: Any, name: str) -> dict[str, Any] | None:
    run = board.find_sweep(client, name)
    found: dict[str, Any] | None = None if run is None else board.spec_text(client, run)
    return found


def _needs_files(plain: Mapping[str, Any]) -> bool:
    """Whether a spec names what the cluster has only if it is sent along."""
    path = (plain.get("data") or {}).get("path")
    relative = path is not None and not Path(path).is_absolute() and "://" not in str(path)
    return ":" in str(plain.get("trainer", "")) or relative


def _verdict(found: Any, left: str, right: str) -> str:
    comparison = found.comparison
    if comparison is None:
        return f"not comparable: {_obstacle(found)}"
    if comparison.gain == 0:
        return "their best trials are equally good"
    better = right if comparison.gain > 0 else left
    ahead = f"{better} is better by {abs(comparison.gain):.4g}"
    if comparison.even:
        return f"{ahead} in every fold alike; without a spread nothing is proven"
    return f"{ahead}, p = {comparison.p_two_sided:.3g} (two-sided)"


def _obstacle(found: Any) -> str:
    if not found.same_metric:
        return "they decide by different metrics"
    if not found.same_data:
        return "they saw different data"
    if not found.same_folds:
        return "they split the data differently"
    return "one of them has no completed trial, or none that keeps to its constraints"
