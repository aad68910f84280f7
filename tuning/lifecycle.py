"""A sweep from its first line to its registered version, resumable after every step."""

import traceback
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import ray
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from msgspec import structs

from tuning.abandoning import abandon_run
from tuning.background import Background
from tuning.book import Book, Observer
from tuning.budget import Account
from tuning.cluster import Cluster, ray_cluster, require_room
from tuning.console import SweepConsole
from tuning.crossvalidation import fold_scores, mean_and_std
from tuning.errors import (
    ConfigError,
    NotBetterError,
    SweepError,
    TrackingError,
    TuningError,
)
from tuning.flavors import require_flavor
from tuning.gauges import SweepGauges, repeated
from tuning.goals import feasible, pareto_set
from tuning.home import Home
from tuning.ledger import Ledger, Manifest, Outcome, Trial, TrialState, locked
from tuning.mlflowfaults import MLFLOW_ERRORS, reachable
from tuning.probes import without_password
from tuning.progress import Progress, show_outcome
from tuning.quiet import muted_stderr
from tuning.refit import Fit, remote_fit
from tuning.registry import (
    HOLDOUT_SCORE,
    Winner,
    find_version,
    get_version,
    give_alias,
    open_registry,
    register,
)
from tuning.reporting.facts import Ending, write_ending
from tuning.reporting.making import REPORT_FILE, new_ending, note_fitted, write_report
from tuning.runs import SPEC_FILE, plain_spec
from tuning.selecting.champion import Contender, judge_contender
from tuning.selection import select
from tuning.spec import SweepSpec, Task
from tuning.suggestion import make_suggestions
from tuning.sweep import make_workload, run_trials
from tuning.tracing import traced_sweep
from tuning.tracking import Tracker
from tuning.trainers.factory import in_one_line
from tuning.warmstart import load_priors
from tuning.workload import fit_winner

if TYPE_CHECKING:
    from tuning.sweeptraces import SweepTraces

REFUSED = "rayfleet.refused"
"""Tag of a sweep's run: why nothing was registered."""


def run_sweep(
    task: Task,
    *,
    home: Home,
    console: SweepConsole,
    where: str,
    restart: bool,
    force: bool = False,
) -> Outcome:
    """Run a sweep, or what is left of it, and register its winner.

    Args:
        task: The checked sweep.
        home: Where runs, versions and the sweep's state live.
        console: Where progress is shown.
        where: The spec's file, for faults.
        restart: Whether to forget an earlier sweep of this name.
        force: Whether to register a winner that is no better than the champion.

    Raises:
        ConfigError: It runs already, began with another spec or other data, or no trial fits.
        NotBetterError: The spec wants better than the champion, and the winner is not.
        SweepError: No trial completed.
        TrackingError: MLflow was away for too long.
        KeyboardInterrupt: By SIGINT or SIGTERM; the same call resumes.
    """
    spec = task.spec
    folder = home.sweeps / spec.name
    try:
        require_room(spec.resources)
        with locked(folder, name=spec.name):
            ledger = Ledger(folder)
            manifest = _begin(task, ledger, home, restart=restart)
            if manifest.outcome is not None:
                return _already_finished(task, ledger, manifest.outcome, home, console)
            try:
                outcome = _Run(task, ledger, manifest, home, console, where, force).to_the_end()
            except ConfigError:
                # Refused before its first trial, it must not tie the next spec of its name.
                if not ledger.trials():
                    ledger.clear()
                raise
            ledger.write_manifest(replace(manifest, outcome=outcome))
            return outcome
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _begin(task: Task, ledger: Ledger, home: Home, *, restart: bool) -> Manifest:
    if restart:
        _forget(ledger, home)
    manifest = ledger.manifest()
    if manifest is None:
        ledger.clear()
        # Read once: what a resume begins with must not have changed since.
        ledger.write_priors(load_priors(task.spec, home))
        manifest = Manifest(uuid.uuid4().hex, task.spec.tied(), task.table.sha256)
        ledger.write_manifest(manifest)
    _require_unchanged(task, manifest)
    return manifest


def _forget(ledger: Ledger, home: Home) -> None:
    manifest = None
    with suppress(ConfigError):  # damaged: it does not say what to abandon
        manifest = ledger.manifest()
    if manifest is not None and manifest.outcome is None:
        abandon_run(home, manifest.spec["experiment"], manifest.sweep_id)
    ledger.clear()


def _require_unchanged(task: Task, manifest: Manifest) -> None:
    remedy = "undo the change, give the sweep another name, or say --restart"
    now = task.spec.tied()
    changed = sorted(key for key in now if now[key] != manifest.spec.get(key))
    if changed:
        key = changed[0]
        raise ConfigError(
            f"{key}: {now[key]!r}, but the sweep {task.spec.name!r} began with "
            f"{manifest.spec.get(key)!r}: {remedy}"
        )
    if task.table.sha256 != manifest.data_sha256:
        raise ConfigError(
            f"data: hash {task.table.sha256[:12]}, but the sweep {task.spec.name!r} began with "
            f"{manifest.data_sha256[:12]}: {remedy}"
        )


def _already_finished(
    task: Task, ledger: Ledger, outcome: Outcome, home: Home, console: SweepConsole
) -> Outcome:
    with reachable(home):
        version = get_version(open_registry(home), outcome.model, outcome.version)
    if version is None:
        raise ConfigError(
            f"name: {task.spec.name!r}: finished as version {outcome.version} of "
            f"{outcome.model!r}, which is no longer in the registry; say --restart to run anew"
        )
    winner = next(trial for trial in ledger.trials() if trial.number == outcome.trial)
    console.print(f"sweep {task.spec.name} has finished before; --restart runs it anew")
    show_outcome(console, task.spec, outcome, winner)
    return outcome


@dataclass(frozen=True, slots=True)
class _Run:
    """The parts that one process needs between the first trial and the version."""

    task: Task
    ledger: Ledger
    manifest: Manifest
    home: Home
    console: SweepConsole
    where: str
    force: bool

    def to_the_end(self) -> Outcome:
        spec = self.task.spec
        earlier = self.ledger.trials()
        with Progress(spec, self.console, earlier) as progress:
            progress.say(_opening(spec, earlier))
            tracker = Tracker(self.home, spec, self.manifest)
            # MLflow's first start creates its tables while Ray starts its processes.
            opening = Background(lambda: tracker.open(earlier))
            try:
                with ray_cluster(spec.resources) as cluster:
                    opening.join()
                    self.console.name(run_id=tracker.parent_id, job_id=cluster.job_id)
                    progress.run_id = tracker.known_run_id
                    tracker.attach(SPEC_FILE, plain_spec(spec))
                    outcome, winner = self._run(tracker, progress, cluster)
                tracker.close()
            except BaseException as error:
                status = {KeyboardInterrupt: "KILLED", NotBetterError: "FINISHED"}.get(
                    type(error), "FAILED"
                )
                opening.wait()
                if isinstance(error, SweepError) and not isinstance(error, NotBetterError):
                    tracker.summarize({}, {REFUSED: str(error)})
                trials = self.ledger.trials()
                tracker.abort(trials, status, keep=bool(trials) or status == "KILLED")
                raise
        show_outcome(self.console, spec, outcome, winner)
        return outcome

    def _run(self, tracker: Tracker, progress: Progress, cluster: Cluster) -> tuple[Outcome, Trial]:
        spec = self.task.spec
        gauges = SweepGauges(spec.name, spec.n_trials, self.ledger.trials())
        with repeated(gauges.again), traced_sweep(spec, tracker.parent_id) as traces:
            return self._try_and_register(tracker, progress, cluster, gauges, traces)

    def _try_and_register(
        self,
        tracker: Tracker,
        progress: Progress,
        cluster: Cluster,
        gauges: SweepGauges,
        traces: "SweepTraces | None",
    ) -> tuple[Outcome, Trial]:
        spec = self.task.spec
        limit = cluster.side_by_side(spec.max_concurrent)
        observers: list[Observer] = [tracker, progress, gauges]
        if traces is not None:
            traces.run_id = tracker.run_id
            observers.append(traces)
        book = Book(
            spec.n_trials,
            self.ledger,
            make_suggestions(spec, self.ledger.priors()),
            observers,
            account=Account(
                spec.budget,
                metric=spec.metric,
                mode=spec.mode,
                cpu=spec.resources.total_cpu,
                limits=spec.limits,
            ),
        )
        workload = make_workload(self.task, self.ledger.folder)
        shared = ray.put(workload)
        progress.say(f"{book.n_to_run} trials to run, {limit} at a time")
        if cluster.lacks is not None:
            progress.say(cluster.lacks)
        folder = self.ledger.folder
        told = {"traced": traces.told} if traces is not None else {}
        run_trials(self.task, shared, book, folder=folder, max_concurrent=limit, **told)
        if book.enough is not None:
            progress.say(f"budget: {book.enough}")

        # A trial's resources may be elsewhere. On a machine of our own, though, a second
        # process would only import the framework that this one needs anyway, to log.
        here = cluster.own and not spec.resources.gang
        fit = partial(fit_winner, workload) if here else remote_fit(shared, spec.resources)
        return self._register(tracker, progress, book.trials, fit)

    def _report(self, tracker: Tracker, outcome: Outcome | None) -> None:
        """Write the page about the sweep, here and into MLflow; it is no reason to fail."""
        try:
            manifest = replace(self.manifest, outcome=outcome)
            report = write_report(self.ledger, manifest)
        except Exception as error:  # noqa: BLE001, as above
            self.console.print(f"no report: {in_one_line(error)}", markup=False)
            return
        tracker.attach(REPORT_FILE, report.html)
        self.console.print(f"report: {report.path}", markup=False, soft_wrap=True)

    def _register(
        self, tracker: Tracker, progress: Progress, trials: list[Trial], fit: Fit
    ) -> tuple[Outcome, Trial]:
        spec = self.task.spec
        winner = self._winner(tracker, progress, trials)
        tracker.flush()
        try:
            version, alias = self._version(tracker, progress, winner, fit)
        except MLFLOW_ERRORS as error:
            reason = str(error).partition("\n")[0][:200]
            shown = without_password(self.home.registry_uri)
            raise TrackingError(
                f"MLflow at {shown} failed while {spec.model!r} was registered: "
                f"{reason}; the same command goes on from there"
            ) from None
        except (TuningError, KeyboardInterrupt):
            raise
        except Exception as error:  # noqa: BLE001, a user's own code, or a model of no flavor
            tracker.attach("traceback.txt", traceback.format_exc())
            cause = getattr(error, "cause", None) or error  # Ray's error wraps the trainer's
            raise SweepError(
                f"{spec.name}: trial {winner.number} won, but its refit on all training rows "
                f"could not be registered: {in_one_line(cause)}; the traceback is in MLflow, "
                f"under run {tracker.parent_id}"
            ) from None
        holdout_score = float(version.tags[HOLDOUT_SCORE])
        outcome = Outcome(
            model=version.name,
            version=str(version.version),
            alias=alias,
            trial=winner.number,
            holdout_score=holdout_score,
            sweep_run_id=tracker.parent_id,
        )
        self._report(tracker, outcome)
        self._summarize(tracker, winner, holdout_score)
        return outcome, winner

    def _winner(self, tracker: Tracker, progress: Progress, trials: list[Trial]) -> Trial:
        spec = self.task.spec
        kept = feasible(trials, spec.limits)
        if spec.objectives:
            kept = pareto_set(kept, spec.goals)
            tracker.note_pareto(kept)
            progress.say(f"Pareto set: trials {', '.join(str(each.number) for each in kept)}")
        winner = select(kept, metric=spec.metric, mode=spec.mode)
        if winner is not None:
            return winner
        complete = sum(trial.state is TrialState.COMPLETE for trial in trials)
        if complete:
            raise SweepError(
                f"{spec.name}: none of {complete} completed trials keeps to "
                f"{', '.join(spec.constraints)}, nothing was registered; what they measured is "
                f"in MLflow, under run {tracker.parent_id}"
            )
        raise SweepError(
            f"{spec.name}: none of {len(trials)} trials completed, nothing was registered; "
            f"their tracebacks are in MLflow, under run {tracker.parent_id}; --restart runs anew"
        )

    def _version(
        self, tracker: Tracker, progress: Progress, winner: Trial, fit: Fit
    ) -> tuple[ModelVersion, str]:
        """Find or make the sweep's version, and give it its alias."""
        spec = self.task.spec
        client = open_registry(self.home)
        version = find_version(client, spec.model, tracker.parent_id)
        if version is None:
            progress.say(f"fitting trial {winner.number} on all training rows")
            fitted = cache(partial(fit, winner.params, *self.task.holdout_rows, winner.segments))
            with muted_stderr():
                require_flavor(self.task.trainer.flavor).prepare()
                self._require_better(client, tracker, winner, lambda: fitted()[0])
                model, holdout = fitted()
            if spec.metric not in holdout:
                raise KeyError(f"score() reports no {spec.metric!r}")
            run_ids = tracker.run_id(winner), tracker.parent_id
            progress.say("registering")
            with muted_stderr():
                note_fitted(self.ledger, self._ending(tracker, winner), self.task, model, holdout)
                version = register(client, self.task, Winner(winner, *run_ids, model, holdout))
        return version, give_alias(client, version)

    def _ending(self, tracker: Tracker, winner: Trial) -> Ending:
        return new_ending(self.task, self.where, tracker.parent_id, tracker.run_id(winner))

    def _require_better(
        self, client: MlflowClient, tracker: Tracker, winner: Trial, model: Callable[[], Any]
    ) -> None:
        spec = self.task.spec
        if spec.require_better is None or self.force:
            return
        contender = Contender(
            task=self.task,
            trial_run_id=tracker.run_id(winner),
            scores=list(fold_scores(winner.reports, spec.metric).values()),
            metric=spec.metric,
            sign=1.0 if spec.mode == "max" else -1.0,
            model=model,
        )
        verdict = judge_contender(client, spec.model, contender, spec.require_better)
        if not verdict.better:
            tracker.summarize({}, {REFUSED: verdict.reason})
            ending = self._ending(tracker, winner)
            write_ending(self.ledger.folder, structs.replace(ending, refused=verdict.reason))
            self._report(tracker, None)
            raise NotBetterError(
                f"{spec.name}: trial {winner.number} won, but nothing was registered: "
                f"{verdict.reason}; --force registers it nevertheless"
            )

    def _summarize(self, tracker: Tracker, winner: Trial, holdout_score: float) -> None:
        metric = self.task.spec.metric
        mean, std = mean_and_std(fold_scores(winner.reports, metric).values())
        metrics = {f"{metric}_mean": mean, f"{metric}_std": std, f"{metric}_holdout": holdout_score}
        tracker.summarize(metrics, {"rayfleet.trial_id": str(winner.number)})
        tracker.finish("FINISHED")


def _opening(spec: SweepSpec, earlier: list[Trial]) -> str:
    if not earlier:
        return f"sweep {spec.name}: starting Ray and MLflow"
    ended = sum(trial.ended_at_s is not None for trial in earlier)
    return f"sweep {spec.name}: resuming after {ended} of {spec.n_trials} trials"
