"""A sweep from its first line to its registered version, resumable after every step."""

import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ray

from tuning.abandoning import abandon_run
from tuning.background import Background
from tuning.book import Book, Observer
from tuning.budget import Account
from tuning.cluster import Cluster, ray_cluster, require_room
from tuning.console import SweepConsole
from tuning.errors import ConfigError, NotBetterError, SweepError
from tuning.fitted import local_fit
from tuning.gauges import SweepGauges, repeated
from tuning.home import Home
from tuning.ledger import Ledger, Manifest, Outcome, Trial, locked
from tuning.mlflowfaults import reachable
from tuning.progress import Progress, show_outcome
from tuning.refit import remote_fit
from tuning.registration import Registration
from tuning.registry import get_version, open_registry
from tuning.resuming import take_up
from tuning.runs import SPEC_FILE, plain_spec
from tuning.spec import SweepSpec, Task
from tuning.suggestion import make_suggestions
from tuning.sweep import run_trials
from tuning.tracing import traced_sweep
from tuning.tracking import REFUSED, Tracker
from tuning.warmstart import load_priors
from tuning.workload import make_workload

if TYPE_CHECKING:
    from tuning.sweeptraces import SweepTraces


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
    winner = ledger.trial(outcome.trial)
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
        for line in take_up(self.ledger):
            self.console.print(line, markup=False, soft_wrap=True)
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
        fit = local_fit(workload) if here else remote_fit(shared, spec.resources)
        registration = Registration(
            self.task,
            self.ledger,
            self.manifest,
            self.home,
            self.console,
            self.where,
            self.force,
            tracker,
            progress,
        )
        return registration.register(book.trials, fit)


def _opening(spec: SweepSpec, earlier: list[Trial]) -> str:
    if not earlier:
        return f"sweep {spec.name}: starting Ray and MLflow"
    ended = sum(trial.ended_at_s is not None for trial in earlier)
    return f"sweep {spec.name}: resuming after {ended} of {spec.n_trials} trials"
