"""A selection from its rules to a registered version, safe to repeat after every step."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache, partial
from statistics import fmean

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from rich.console import Console
from rich.table import Table

from tuning.authentication import ADDRESS_VARIABLE, LOCAL
from tuning.crossvalidation import Report
from tuning.errors import ConfigError, NotBetterError, SweepError
from tuning.fitted import Fitted, Say, local_fit
from tuning.home import Home
from tuning.ledger import Trial, TrialState
from tuning.mlflowfaults import reachable
from tuning.quiet import muted_stderr
from tuning.registry import (
    CHAMPION,
    HOLDOUT_SCORE,
    SELECTION,
    Winner,
    find_trial_version,
    give_alias,
    open_registry,
    register,
)
from tuning.runs import open_runs, recorded_spec
from tuning.selecting.appointing import Appointment, appoint, champion_of
from tuning.selecting.champion import (
    Contender,
    Verdict,
    judge_contender,
    recorded_params,
    recorded_segments,
)
from tuning.selecting.ranking import Candidate, Placed, rank
from tuning.selecting.reading import read_candidates
from tuning.selecting.rules import SelectionSpec
from tuning.selecting.showing import show_ranking
from tuning.spec import Task, check_sweep
from tuning.workload import make_workload


def run_selection(
    spec: SelectionSpec, *, home: Home, console: Console, dry_run: bool, force: bool
) -> None:
    """Pick the winner across sweeps and register it.

    Args:
        spec: The rules.
        home: Where MLflow is.
        console: Where the ranking is shown.
        dry_run: Whether to leave the registry alone.
        force: Whether to register a winner that is no better than the champion, and to give a
            version back an alias that was taken from it.

    Raises:
        ConfigError: MLflow cannot be used, a rule asks for what no trial has, or the data
            changed since the winner was tried.
        SweepError: No trial is in the running.
        NotBetterError: The rules want better than the champion, and the winner is not.
    """
    client = open_runs(home)
    # The champion is loaded by MLflow's own functions, which look where they were told to.
    registry = open_registry(home)
    with reachable(home), ExitStack() as stack:
        ranked = rank(read_candidates(client, spec), spec)
        show_ranking(console, ranked, spec.metric)
        winner = _winner(ranked, spec)
        version = find_trial_version(client, spec.model, winner.run_id)
        champion = champion_of(client, version) if version is not None else None
        if champion is not None:
            _say(console, f"{_already(winner, champion)}, @{CHAMPION}")
            return
        elected = _Elected(client, spec, winner, stack)
        with muted_stderr():
            if version is None:
                elected.require_data()
            verdict = elected.verdict()
        if verdict is not None:
            _say(console, f"{winner.name}: {verdict.reason}")
            if not (verdict.better or force or dry_run):
                raise NotBetterError(_refusal(spec, winner, version, verdict))
        if dry_run:
            known = "" if version is None else f"{_already(winner, version)}; "
            _say(console, f"{known}nothing was registered: --dry-run")
            return
        if version is not None:
            _say(console, _outcome_of(winner, version, appoint(client, version, force=force)))
            return
        with muted_stderr():
            version = elected.register(registry, partial(_say, console))
            alias = give_alias(client, version)
    console.print(_outcome(spec, winner, version, alias))


def _winner(ranked: Sequence[Placed], spec: SelectionSpec) -> Candidate:
    if ranked and ranked[0].place == 1:
        return ranked[0].candidate
    if not ranked:
        raise SweepError(f"{spec.name}: the sweeps have no trials yet, nothing was registered")
    reasons = Counter(placed.reason.partition(": is ")[0] for placed in ranked)
    ((reason, count),) = reasons.most_common(1)
    raise SweepError(
        f"{spec.name}: none of {len(ranked)} trials is in the running, nothing was registered; "
        f"{count} of them: {reason}"
    )


def _refusal(
    spec: SelectionSpec, winner: Candidate, version: ModelVersion | None, verdict: Verdict
) -> str:
    """Say that the winner did not pass, and what was left undone."""
    undone, forced = (
        ("nothing was registered", "registers it")
        if version is None
        else (f"its version {version.version} stays as it is", "gives it an alias")
    )
    return (
        f"{spec.name}: {winner.name} won, but {undone}: {verdict.reason}; "
        f"--force {forced} nevertheless"
    )


def _already(winner: Candidate, version: ModelVersion) -> str:
    return f"{winner.name} is version {version.version} of {version.name} already"


def _outcome_of(winner: Candidate, version: ModelVersion, appointed: Appointment) -> str:
    """Say what became of a version that was there before."""
    if appointed.lost is None:
        return f"{_already(winner, version)}, @{appointed.alias}"
    return (
        f"{_already(winner, version)}, and gets no alias, since {appointed.lost}; --force makes it "
        f"@{appointed.alias} again"
    )


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


class _Elected:
    """The winner, from its runs back to what was run."""

    def __init__(
        self, client: MlflowClient, spec: SelectionSpec, winner: Candidate, stack: ExitStack
    ) -> None:
        """Begin.

        Args:
            client: Of the runs.
            spec: The rules.
            winner: By the rules.
            stack: Holds its model, and the cluster that it is on.
        """
        self._stack = stack
        self._client = client
        self._spec = spec
        self._winner = winner
        # Loaded where it is needed: a version that is there already needs no data.
        self._task = cache(partial(_task, client, spec, winner))
        self._params = cache(partial(recorded_params, client, winner.run_id))
        self._segments = cache(partial(recorded_segments, client, winner.run_id))
        self._fitted = cache(self._fit)

    def require_data(self) -> None:
        """Refuse what cannot be fitted any more, also where nothing will be.

        Raises:
            ConfigError: The data changed since the winner was tried, or it left no parameters.
        """
        self._task()
        self._params()
        self._segments()

    def verdict(self) -> Verdict | None:
        """Compare with the champion; None if the rules do not ask for it."""
        rule = self._spec.require_better
        if rule is None:
            return None
        contender = Contender(
            task=self._task(),
            trial_run_id=self._winner.run_id,
            scores=self._winner.scores,
            metric=self._spec.metric,
            sign=self._spec.sign,
            score=lambda *rows: self._fitted().score(*rows),
        )
        return judge_contender(self._client, self._spec.model, contender, rule)

    def register(self, client: MlflowClient, say: Say) -> ModelVersion:
        """Fit on all training rows, and make it a version."""
        holdout = self._fitted().score(*self._task().holdout_rows)
        winner = self._winner
        trial = Trial(
            winner.trial,
            self._params(),
            draws={},
            started_at_s=0.0,
            state=TrialState.COMPLETE,
            reports=_reports(winner.scores, self._spec.metric),
        )
        tags = {SELECTION: self._spec.name}
        made = Winner(trial, winner.run_id, winner.sweep_run_id, self._fitted(), holdout, tags)
        return register(client, self._task(), made, say)

    def _fit(self) -> Fitted:
        task = self._task()
        fit = local_fit(make_workload(task))
        if (os.environ.get(ADDRESS_VARIABLE) or LOCAL) != LOCAL:
            import ray  # noqa: PLC0415, seconds, which a fit in this process need not pay

            from tuning.cluster import ray_cluster  # noqa: PLC0415, as above
            from tuning.refit import remote_fit  # noqa: PLC0415, as above

            resources = task.spec.resources
            self._stack.enter_context(ray_cluster(resources))
            fit = remote_fit(ray.put(make_workload(task)), resources)
        return self._stack.enter_context(fit(self._params(), self._segments()))


def _task(client: MlflowClient, spec: SelectionSpec, winner: Candidate) -> Task:
    """Load what the winner's sweep ran on, to be registered by this selection's words."""
    ran = recorded_spec(client, client.get_run(winner.sweep_run_id))
    task = check_sweep(
        ran.model_copy(update={"given_model": spec.model, "metric": spec.metric}),
        where=f"sweep {winner.sweep}",
    )
    if task.table.sha256 != winner.data_hash:
        raise ConfigError(
            f"sweep {winner.sweep}: data: hash {task.table.sha256[:12]}, but the sweep saw "
            f"{winner.data_hash[:12]}: bring the data back, or run the sweep anew"
        )
    return task


def _reports(scores: Sequence[float], metric: str) -> tuple[Report, ...]:
    return tuple(
        Report(
            fold=fold,
            epoch=0,
            progress=fold + 1,
            metrics={metric: score},
            mean=fmean(scores[: fold + 1]),
            fold_complete=True,
            complete=fold + 1 == len(scores),
        )
        for fold, score in enumerate(scores)
    )


def _outcome(spec: SelectionSpec, winner: Candidate, version: ModelVersion, alias: str) -> Table:
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("selection", spec.name)
    table.add_row("winner", winner.name)
    table.add_row("parameters", "\n".join(f"{k} = {v}" for k, v in winner.params.items()))
    table.add_row(f"{spec.metric}, cross-validated", f"{winner.mean:.4f}")
    table.add_row(f"{spec.metric}, hold-out", f"{float(version.tags[HOLDOUT_SCORE]):.4f}")
    table.add_row("model version", f"{version.name} version {version.version} @{alias}")
    table.add_row("MLflow run", winner.run_id)
    return table
