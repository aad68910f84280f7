"""MLflow as a projection of the book: one parent run, exactly one child run per trial.

Tune's own MLflow callback gives a restored trial a second run, knows no parents and logs
Tune's internals (Ray 2.60), so it is not used. Runs are written by the driver alone, on
a thread of its own: a slow or absent MLflow delays no trial, and what it missed is
written when it is back, or by the next resume, from the ledger.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from types import MappingProxyType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_USER

from tuning.errors import ConfigError, TrackingError
from tuning.exploring import spelled
from tuning.home import Home
from tuning.ledger import Manifest, Trial, TrialState
from tuning.mlflowfaults import is_final, reachable
from tuning.newest import Newest, Told
from tuning.outbox import Outbox
from tuning.points import metric_points
from tuning.probes import require_database
from tuning.provenance import git_commit, user_name
from tuning.spec import SweepSpec
from tuning.values import value_of

SWEEP = "rayfleet.sweep"
SWEEP_ID = "rayfleet.sweep_id"
TRIAL_ID = "rayfleet.trial_id"
TRIAL_STATE = "rayfleet.trial_state"
TRACEBACK = "rayfleet.traceback"
PARETO = "rayfleet.pareto"
SCHEDULE = "rayfleet.schedule"
PARAMS = "rayfleet.params"
REFUSED = "rayfleet.refused"
"""Of a sweep's run: why nothing was registered."""

DATA_HASH = "rayfleet.data_hash"
GIT_COMMIT = "rayfleet.git_commit"

STATUS = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAILED: "FAILED",
}
"""MLflow knows no stopped-early; KILLED with the tag `rayfleet.trial_state` says it best."""

INTERRUPTED = "interrupted"
"""Value of `rayfleet.trial_state` for a trial that the next resume runs again."""

TAG_LENGTH = 5000
"""Most characters of a traceback in a tag; MLflow allows 8,000, older servers 5,000."""

PARAM_LENGTH = 6000
"""Most characters of a parameter; MLflow's limit."""


class Tracker:
    """An observer of the book that writes runs; `open` first, `close` at the end."""

    def __init__(self, home: Home, spec: SweepSpec, manifest: Manifest) -> None:
        self._home = home
        self._spec = spec
        self._manifest = manifest
        with reachable(home):
            require_database(home.tracking_uri)
            require_database(home.registry_uri)
            self._client = MlflowClient(home.tracking_uri, home.registry_uri)
        self._experiment_id = ""
        self._parent_id = ""
        self._runs: dict[str, str] = {}
        self._described: set[str] = set()  # trials whose parameters MLflow has
        self._written: dict[str, set[tuple[str, int]]] = {}
        self._newest = Newest()
        self._ended: set[str] = set()
        self._outbox = Outbox(home.tracking_uri, refuses=is_final)

    @property
    def parent_id(self) -> str:
        """Run id of the sweep."""
        return self._parent_id

    def run_id(self, trial: Trial) -> str:
        """Run id of a trial whose notes were written."""
        return self._runs[str(trial.number)]

    def known_run_id(self, trial: Trial) -> str | None:
        """The same; None where no note was written yet."""
        return self._runs.get(str(trial.number))

    def open(self, trials: Sequence[Trial]) -> None:
        """Find or create the parent run, and bring it up to date with the ledger.

        Raises:
            ConfigError: MLflow cannot be reached or used.
        """
        with reachable(self._home):
            self._experiment_id = self._experiment()
            self._parent_id = self._parent_run()
            self._outbox.in_doubt = False
            known = {str(trial.number): trial for trial in trials}
            for run in self._children():
                number = run.data.tags[TRIAL_ID]
                if number not in known:
                    # Its record was damaged, and the trial that takes its place is another one.
                    self._client.delete_run(run.info.run_id)
                    continue
                self._runs[number] = run.info.run_id
                # Without them where a driver was killed between two calls.
                self._described |= {number} if run.data.params else set()
                self._catch_up(run, known[number])
        for trial in trials:
            if trial.state is not TrialState.RUNNING and str(trial.number) not in self._runs:
                self._outbox.put(partial(self._end, trial))
        self._outbox.start()

    def on_start(self, trial: Trial) -> None:
        """Note that a trial runs."""
        self._outbox.put(partial(self._begin, trial))

    def on_report(self, trial: Trial) -> None:
        """Note a report; while MLflow is slower than the trial, only the newest counts."""
        if self._newest.put(Told(trial, _now_ms())):
            # Taken once: of an attempt whose answer was lost, MLflow knows the points again by
            # their times.
            take = cache(partial(self._newest.take, trial.number))
            self._outbox.put(lambda: self._log_told(take()))

    def on_end(self, trial: Trial) -> None:
        """Note how a trial ended; what is not written yet goes with it, in fewer calls."""
        self._ended.add(str(trial.number))
        self._newest.take(trial.number)
        self._outbox.put(partial(self._end, trial))

    def abort(self, trials: Sequence[Trial], status: str, *, keep: bool) -> None:
        """Close the runs of trials that the next resume takes up, and the parent, at once.

        Notes that an absent MLflow refuses are dropped: the next resume writes them.

        Args:
            trials: All trials so far.
            status: Of the parent run.
            keep: Whether there is anything to resume; if not, the parent run is deleted.
        """
        if not self._outbox.open:
            return
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                self._outbox.put(partial(self._interrupt, str(trial.number)))
        self.finish(status)
        if not keep:
            self._outbox.put(lambda: self._client.delete_run(self._parent_id))
        with suppress(TrackingError):
            self.close()

    def finish(self, status: str) -> None:
        """Note how the sweep ended."""
        self._outbox.put(lambda: self._client.set_terminated(self._parent_id, status))

    def summarize(self, metrics: dict[str, float], tags: dict[str, str]) -> None:
        """Note the sweep's result in the parent run."""
        now_ms = _now_ms()
        points = [Metric(key, value, now_ms, 0) for key, value in metrics.items()]
        pairs = [RunTag(key, value) for key, value in tags.items()]
        self._outbox.put(
            lambda: self._client.log_batch(self._parent_id, metrics=points, tags=pairs)
        )

    def note_pareto(self, trials: Sequence[Trial]) -> None:
        """Note the Pareto set in the parent run: numbers as a tag, all of it as a file."""
        goals = [goal.metric for goal in self._spec.goals]
        rows = [
            {
                "trial": trial.number,
                "values": {name: value_of(trial.reports, name) for name in goals},
                "params": trial.params,
            }
            for trial in trials
        ]
        numbers = json.dumps([trial.number for trial in trials])[:TAG_LENGTH]
        self._outbox.put(lambda: self._client.set_tag(self._parent_id, PARETO, numbers))
        self._outbox.put(
            lambda: self._client.log_dict(self._parent_id, {"pareto": rows}, "pareto.json")
        )

    def attach(self, name: str, text: str) -> None:
        """Add a file to the parent run, or replace it."""
        self._outbox.put(lambda: self._client.log_text(self._parent_id, text, name))

    def flush(self) -> None:
        """Wait until everything noted so far is written.

        Raises:
            TrackingError: MLflow was away for too long, or refused a note.
        """
        self._outbox.flush()

    def close(self) -> None:
        """Write what is left, and end the thread; raises like `flush`."""
        self._outbox.close()

    def _experiment(self) -> str:
        name = self._spec.experiment
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise ConfigError(f"experiment: {name!r}: is deleted in MLflow; restore it or rename")
        if found is not None:
            return str(found.experiment_id)
        root = self._home.artifacts_uri
        location = f"{root.rstrip('/')}/{name}" if root is not None else None
        try:
            return self._client.create_experiment(name, artifact_location=location)
        except MlflowException:
            # Another sweep made it between the two calls.
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _parent_run(self) -> str:
        known = {
            SWEEP: self._spec.name,
            SWEEP_ID: self._manifest.sweep_id,
            MLFLOW_RUN_NAME: self._spec.name,
            MLFLOW_USER: user_name(),
            DATA_HASH: self._manifest.data_sha256,
        }
        known |= {GIT_COMMIT: commit} if (commit := git_commit()) else {}
        run_id = self._found_or_created(f"tags.`{SWEEP_ID}` = '{self._manifest.sweep_id}'", known)
        params = [
            Param(key, value[:PARAM_LENGTH]) for key, value in _flat(self._manifest.spec).items()
        ]
        self._client.log_batch(run_id, params=params)
        # What an earlier attempt was refused for is settled by this one.
        self._drop_tag(run_id, REFUSED)
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _children(self) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._parent_id}'",
                page_token=token,
            )
            # A user's own code may nest runs below the sweep's; those are not trials.
            runs += [run for run in page if TRIAL_ID in run.data.tags]
            token = page.token
            if not token:
                return runs

    def _catch_up(self, run: Run, trial: Trial) -> None:
        shown = run.info.status, run.data.tags.get(TRIAL_STATE)
        if shown == (STATUS.get(trial.state), trial.state):
            return
        # What the earlier process wrote before it died must not be written twice.
        self._written[run.info.run_id] = {
            (key, point.step)
            for key in run.data.metrics
            for point in self._client.get_metric_history(run.info.run_id, key)
        }
        if trial.state is not TrialState.RUNNING:
            self._outbox.put(partial(self._end, trial))
        elif TRACEBACK in run.data.tags:  # it had lost its process, and runs again
            self._drop_tag(run.info.run_id, TRACEBACK)

    def _drop_tag(self, run_id: str, key: str) -> None:
        try:
            self._client.delete_tag(run_id, key)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise

    def _begin(self, trial: Trial) -> None:
        number = str(trial.number)
        if number in self._ended:
            return
        if number in self._runs:
            self._client.update_run(self._runs[number], status="RUNNING")
            self._client.set_tag(self._runs[number], TRIAL_STATE, TrialState.RUNNING)
        if number not in self._described:
            self._log(trial, int(trial.started_at_s * 1000))

    def _found_or_created(
        self, query: str, tags: dict[str, str], start_time: int | None = None
    ) -> str:
        # After an error the request may have arrived although its answer did not; before,
        # `open` has seen all runs that there are.
        if self._outbox.in_doubt:
            found = self._client.search_runs([self._experiment_id], query, max_results=1)
            if found:
                return str(found[0].info.run_id)
        created = self._client.create_run(self._experiment_id, start_time=start_time, tags=tags)
        return str(created.info.run_id)

    def _log_told(self, told: Told | None) -> None:
        if told is not None:
            self._log(told.trial, told.at_ms)

    def _log(self, trial: Trial, at_ms: int, tags: Mapping[str, str] = MappingProxyType({})) -> str:
        """Write what MLflow does not know of a trial, in as few calls as it takes."""
        number = str(trial.number)
        run_id = self._runs.get(number)
        # A run that is surely new gets its tags when it is created.
        missing = {} if run_id is None and not self._outbox.in_doubt else tags
        if run_id is None:
            run_id = self._found_or_created(
                f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._parent_id}' "
                f"and tags.`{TRIAL_ID}` = '{number}'",
                {
                    SWEEP: self._spec.name,
                    TRIAL_ID: number,
                    TRIAL_STATE: TrialState.RUNNING,
                    PARAMS: json.dumps(trial.params)[:TAG_LENGTH],
                    MLFLOW_PARENT_RUN_ID: self._parent_id,
                    MLFLOW_RUN_NAME: f"{self._spec.name}-{trial.number:03d}",
                    MLFLOW_USER: user_name(),
                    **tags,
                },
                start_time=int(trial.started_at_s * 1000),
            )
        # MLflow takes a parameter once, and a population's may change until its end.
        settled = trial.state is not TrialState.RUNNING or self._spec.scheduler.kind != "pbt"
        told = trial.params if settled and number not in self._described else {}
        params = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in told.items()]
        written = self._written.setdefault(run_id, set())
        points = metric_points(trial.reports, epochs=self._spec.epochs) if trial.reports else []
        fresh = [point for point in points if (point.key, point.step) not in written]
        metrics = [Metric(point.key, point.value, at_ms, point.step) for point in fresh]
        if metrics or params or missing:
            self._client.log_batch(
                run_id,
                metrics=metrics,
                params=params,
                tags=[RunTag(key, value) for key, value in missing.items()],
            )
            written.update((point.key, point.step) for point in fresh)
        self._runs[number] = run_id
        self._described |= {number} if settled else set()
        return run_id

    def _end(self, trial: Trial) -> None:
        tags: dict[str, str] = {TRIAL_STATE: trial.state}
        if trial.error is not None:
            tags[TRACEBACK] = trial.error[-TAG_LENGTH:]
        if trial.segments:
            tags[PARAMS] = json.dumps(trial.params)[:TAG_LENGTH]
            tags[SCHEDULE] = spelled(trial.segments)[:TAG_LENGTH]
        ended_at_ms = int((trial.ended_at_s or trial.started_at_s) * 1000)
        run_id = self._log(trial, ended_at_ms, tags)
        if trial.error is not None:
            self._client.log_text(run_id, trial.error, "traceback.txt")
        # Last, because a run with the trial's final status is never looked at again.
        self._client.set_terminated(run_id, STATUS[trial.state], ended_at_ms)
        self._written.pop(run_id, None)

    def _interrupt(self, number: str) -> None:
        if number in self._runs:
            self._client.set_tag(self._runs[number], TRIAL_STATE, INTERRUPTED)
            self._client.set_terminated(self._runs[number], "KILLED")


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Spell a spec as parameters; the space stays one, because its names are not fixed."""
    flat: dict[str, str] = {}
    for key, each in value.items():
        if isinstance(each, dict) and key != "space":
            flat |= _flat(each, f"{prefix}{key}.")
        elif each is not None:
            flat[prefix + key] = each if isinstance(each, str) else json.dumps(each)
    return flat


def _now_ms() -> int:
    return int(time.time() * 1000)
