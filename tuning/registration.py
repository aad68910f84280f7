"""From trials that have ended to a registered version: who wins, its fit, what is said of both.

A call that was cut off is taken up by the next one, which finds the version if there is one.
"""

import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from msgspec import structs

from tuning.console import SweepConsole
from tuning.crossvalidation import fold_scores, mean_and_std
from tuning.data import Labels, Rows
from tuning.errors import NotBetterError, SweepError, TrackingError, TuningError
from tuning.fitted import Fit, Fitted
from tuning.goals import feasible, pareto_set
from tuning.home import Home
from tuning.ledger import Ledger, Manifest, Outcome, Trial, TrialState
from tuning.mlflowfaults import MLFLOW_ERRORS
from tuning.probes import without_password
from tuning.progress import Progress
from tuning.quiet import muted_stderr
from tuning.registry import HOLDOUT_SCORE, Winner, find_version, give_alias, open_registry, register
from tuning.reporting.facts import Ending, write_ending
from tuning.reporting.making import REPORT_FILE, new_ending, note_fitted, write_report
from tuning.selecting.champion import Contender, judge_contender
from tuning.selection import select
from tuning.spec import Task
from tuning.tracking import REFUSED, TRIAL_ID, Tracker
from tuning.trainers.factory import in_one_line
from tuning.trainers.trainer import Metrics


@dataclass(frozen=True, slots=True)
class Registration:
    """The parts that it takes to register a sweep's winner."""

    task: Task
    ledger: Ledger
    manifest: Manifest
    home: Home
    console: SweepConsole
    where: str
    """The spec's file, for the report."""

    force: bool
    """Whether a winner that is no better than the champion is registered, too."""

    tracker: Tracker
    progress: Progress

    def register(self, trials: list[Trial], fit: Fit) -> tuple[Outcome, Trial]:
        """Find the winner, fit it, and make it a version, unless it is one already.

        Args:
            trials: All of the sweep's.
            fit: Fits a configuration where trials ran.

        Returns:
            How the sweep ended, and the trial whose version it is.

        Raises:
            NotBetterError: The spec wants better than the champion, and the winner is not.
            SweepError: No trial completed, or the winner could not be fitted.
            TrackingError: MLflow was away for too long.
        """
        spec = self.task.spec
        winner = self._winner(trials)
        self.tracker.flush()
        try:
            version, alias = self._version(winner, fit)
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
            self.tracker.attach("traceback.txt", traceback.format_exc())
            cause = getattr(error, "cause", None) or error  # Ray's error wraps the trainer's
            raise SweepError(
                f"{spec.name}: trial {winner.number} won, but its refit on all training rows "
                f"could not be registered: {in_one_line(cause)}; the traceback is in MLflow, "
                f"under run {self.tracker.parent_id}"
            ) from None
        # One that an earlier process registered is its own trial's, whichever would win by now.
        made_of = version.tags[TRIAL_ID]
        winner = next((trial for trial in trials if str(trial.number) == made_of), winner)
        holdout_score = float(version.tags[HOLDOUT_SCORE])
        outcome = Outcome(
            model=version.name,
            version=str(version.version),
            alias=alias,
            trial=winner.number,
            holdout_score=holdout_score,
            sweep_run_id=self.tracker.parent_id,
        )
        self._report(outcome)
        self._summarize(winner, holdout_score)
        return outcome, winner

    def _winner(self, trials: list[Trial]) -> Trial:
        spec = self.task.spec
        kept = feasible(trials, spec.limits)
        if spec.objectives:
            kept = pareto_set(kept, spec.goals)
            self.tracker.note_pareto(kept)
            self.progress.say(f"Pareto set: trials {', '.join(str(each.number) for each in kept)}")
        winner = select(kept, metric=spec.metric, mode=spec.mode)
        if winner is not None:
            return winner
        complete = sum(trial.state is TrialState.COMPLETE for trial in trials)
        write_ending(self.ledger.folder, self._ending(None))
        self._report(None)
        if complete:
            raise SweepError(
                f"{spec.name}: none of {complete} completed trials keeps to "
                f"{', '.join(spec.constraints)}, nothing was registered; what they measured is "
                f"in MLflow, under run {self.tracker.parent_id}"
            )
        raise SweepError(
            f"{spec.name}: none of {len(trials)} trials completed, nothing was registered; their "
            f"tracebacks are in MLflow, under run {self.tracker.parent_id}; --restart runs anew"
        )

    def _version(self, winner: Trial, fit: Fit) -> tuple[ModelVersion, str]:
        """Find or make the sweep's version, and give it its alias."""
        spec = self.task.spec
        client = open_registry(self.home)
        version = find_version(client, spec.model, self.tracker.parent_id)
        if version is None:
            self.progress.say(f"fitting trial {winner.number} on all training rows")
            with ExitStack() as stack:
                fitted = cache(lambda: stack.enter_context(fit(winner.params, winner.segments)))
                version = self._made(client, winner, fitted)
        return version, give_alias(client, version)

    def _made(
        self, client: MlflowClient, winner: Trial, fitted: Callable[[], Fitted]
    ) -> ModelVersion:
        spec = self.task.spec
        with muted_stderr():
            self._require_better(client, winner, lambda *rows: fitted().score(*rows))
            holdout = fitted().score(*self.task.holdout_rows)
        if spec.metric not in holdout:
            raise KeyError(f"score() reports no {spec.metric!r}")
        run_ids = self.tracker.run_id(winner), self.tracker.parent_id
        self.progress.say("registering")
        with muted_stderr():
            note_fitted(self.ledger, self._ending(winner), self.task, fitted(), holdout)
            made = Winner(winner, *run_ids, fitted(), holdout)
            return register(client, self.task, made, self.progress.say)

    def _ending(self, winner: Trial | None) -> Ending:
        run_id = None if winner is None else self.tracker.run_id(winner)
        return new_ending(self.task, self.where, self.tracker.parent_id, run_id)

    def _require_better(
        self, client: MlflowClient, winner: Trial, score: Callable[[Rows, Labels], Metrics]
    ) -> None:
        spec = self.task.spec
        if spec.require_better is None or self.force:
            return
        contender = Contender(
            task=self.task,
            trial_run_id=self.tracker.run_id(winner),
            scores=list(fold_scores(winner.reports, spec.metric).values()),
            metric=spec.metric,
            sign=1.0 if spec.mode == "max" else -1.0,
            score=score,
        )
        verdict = judge_contender(client, spec.model, contender, spec.require_better)
        if not verdict.better:
            self.tracker.summarize({}, {REFUSED: verdict.reason})
            ending = self._ending(winner)
            write_ending(self.ledger.folder, structs.replace(ending, refused=verdict.reason))
            self._report(None)
            raise NotBetterError(
                f"{spec.name}: trial {winner.number} won, but nothing was registered: "
                f"{verdict.reason}; --force registers it nevertheless"
            )

    def _report(self, outcome: Outcome | None) -> None:
        """Write the page about the sweep, here and into MLflow; it is no reason to fail."""
        try:
            manifest = replace(self.manifest, outcome=outcome)
            report = write_report(self.ledger, manifest)
        except Exception as error:  # noqa: BLE001, as above
            self.console.print(f"no report: {in_one_line(error)}", markup=False)
            return
        self.tracker.attach(REPORT_FILE, report.html)
        self.console.print(f"report: {report.path}", markup=False, soft_wrap=True)

    def _summarize(self, winner: Trial, holdout_score: float) -> None:
        metric = self.task.spec.metric
        mean, std = mean_and_std(fold_scores(winner.reports, metric).values())
        metrics = {f"{metric}_mean": mean, f"{metric}_std": std, f"{metric}_holdout": holdout_score}
        self.tracker.summarize(metrics, {"rayfleet.trial_id": str(winner.number)})
        self.tracker.finish("FINISHED")
