"""What the terminal shows: where the sweep stands, live, and a line for each trial's end.

Where there is no terminal, the lines are all there is.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from tuning.console import SweepConsole
from tuning.crossvalidation import fold_scores, mean_and_std
from tuning.goals import broken, feasible
from tuning.ledger import Outcome, Trial, TrialState
from tuning.selection import select
from tuning.spec import SweepSpec
from tuning.standing import Standing, standing_lines

REFRESH_PER_S = 4


class Progress:
    """An observer of the book, and the voice of the command."""

    def __init__(
        self,
        spec: SweepSpec,
        console: SweepConsole,
        trials: Iterable[Trial] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._console = console
        self._states: dict[int, TrialState] = {}
        self._counts: Counter[TrialState] = Counter()
        self._best: Trial | None = None
        self._took_s, self._n_ended = 0.0, 0
        for trial in trials:
            self._note(trial)
        self._clock = clock
        self._began_at_s = clock()
        self._phase = ""
        self._live: Live | None = None
        self.run_id: Callable[[Trial], str | None] = lambda _: None
        """MLflow's name of a trial; None where it is not known yet."""

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._panel,
                console=self._console,
                refresh_per_second=REFRESH_PER_S,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, phase: str) -> None:
        """Announce what happens now."""
        self._phase = phase
        if self._live is None:
            self._print(f"{self._elapsed()}  {phase}")

    def on_start(self, trial: Trial) -> None:
        """Count a trial as running."""
        self._note(trial)

    def on_report(self, trial: Trial) -> None:
        """Need nothing of it: the line counts trials."""

    def on_end(self, trial: Trial) -> None:
        """Print one line about how a trial ended."""
        self._note(trial)
        level = logging.WARNING if trial.state is TrialState.FAILED else logging.INFO
        with self._console.about(level, **self._fields(trial)):
            self._print(f"{self._elapsed()}  {self._describe(trial)}  [{self._summary()}]")

    def _fields(self, trial: Trial) -> dict[str, Any]:
        run_id = self.run_id(trial)
        run = {} if run_id is None else {"run_id": run_id}
        return {"trial": trial.number, "exc_text": (trial.error or "").rstrip(), **run}

    def _note(self, trial: Trial) -> None:
        # Only the best so far and the new one are compared: there may be thousands.
        before = self._states.get(trial.number)
        self._states[trial.number] = trial.state
        self._counts[trial.state] += 1
        if before is not None:
            self._counts[before] -= 1
        if trial.ended_at_s is not None:
            self._took_s += trial.ended_at_s - trial.started_at_s
            self._n_ended += 1
        rivals = feasible([trial], self._spec.limits)
        rivals += [self._best] if self._best is not None else []
        self._best = select(rivals, metric=self._spec.metric, mode=self._spec.mode)

    def _print(self, line: str) -> None:
        # As text: square brackets in it are not markup, numbers need no colors.
        self._console.print(Text(line), soft_wrap=True)

    def _describe(self, trial: Trial) -> str:
        name = f"trial {trial.number:>3} {trial.state:<8}"
        if trial.state is TrialState.FAILED:
            lines = (trial.error or "").strip().splitlines()
            return f"{name} {lines[-1] if lines else 'without a traceback'}"
        settings = ", ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
        if trial.state is TrialState.COMPLETE:
            said = ", ".join(each.text for each in broken(trial, self._spec.limits))
            refused = f"  breaks {said}" if said else ""
            return f"{name} {self._score(trial)}  {settings}{refused}"
        mean = trial.reports[-1].mean if trial.reports else float("nan")
        return f"{name} {self._spec.metric} {mean:.4f} so far  {settings}"

    def _score(self, trial: Trial) -> str:
        mean, std = mean_and_std(fold_scores(trial.reports, self._spec.metric).values())
        return f"{self._spec.metric} {mean:.4f} ± {std:.4f}"

    def _summary(self) -> str:
        states, best = self._counts, self._best
        ended = sum(states[state] for state in states if state is not TrialState.RUNNING)
        parts = [f"{ended}/{self._spec.n_trials} done"]
        parts += [
            f"{states[state]} {state}"
            for state in (TrialState.RUNNING, TrialState.PRUNED, TrialState.FAILED)
            if states[state]
        ]
        if best is not None:
            parts.append(f"best {self._score(best)} (trial {best.number})")
        return ", ".join(parts)

    def _elapsed(self) -> str:
        return f"{self._clock() - self._began_at_s:6.1f} s"

    def standing(self) -> Standing:
        """Sum up the trials so far."""
        spec, best = self._spec, self._best
        mean, std = (
            (None, 0.0)
            if best is None
            else mean_and_std(fold_scores(best.reports, spec.metric).values())
        )
        return Standing(
            name=spec.name,
            phase=self._phase,
            n_trials=spec.n_trials,
            counts=Counter({str(state): count for state, count in self._counts.items() if count}),
            metric=spec.metric,
            elapsed_s=self._clock() - self._began_at_s,
            trial_s=self._took_s / self._n_ended if self._n_ended else 0.0,
            best=mean,
            best_std=std,
            best_trial=None if best is None else best.number,
            best_params={} if best is None else best.params,
            cpu=spec.resources.total_cpu,
            gpu=spec.resources.total_gpu,
        )

    def _panel(self) -> Text:
        lines = standing_lines(self.standing())
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def show_outcome(console: SweepConsole, spec: SweepSpec, outcome: Outcome, winner: Trial) -> None:
    """Say how a sweep ended."""
    with console.about(
        model=outcome.model,
        version=outcome.version,
        trial=winner.number,
        run_id=outcome.sweep_run_id,
    ):
        console.print(outcome_table(spec, outcome, winner))


def outcome_table(spec: SweepSpec, outcome: Outcome, winner: Trial) -> Table:
    """Lay out how a sweep ended."""
    mean, std = mean_and_std(fold_scores(winner.reports, spec.metric).values())
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("sweep", spec.name)
    table.add_row("best trial", f"{winner.number} of {spec.n_trials}")
    table.add_row("parameters", "\n".join(f"{k} = {_short(v)}" for k, v in winner.params.items()))
    table.add_row(f"{spec.metric}, cross-validated", f"{mean:.4f} ± {std:.4f}")
    table.add_row(f"{spec.metric}, hold-out", f"{outcome.holdout_score:.4f}")
    table.add_row("model version", f"{outcome.model} version {outcome.version} @{outcome.alias}")
    table.add_row("MLflow run", outcome.sweep_run_id)
    return table


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
