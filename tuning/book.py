"""The driver's account of a sweep's trials: what is next, what was reported, what ended.

It alone writes the ledger and feeds the search; whoever wants to know, observes it.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import Protocol

from tuning.budget import Account
from tuning.crossvalidation import Report
from tuning.exploring import Segment
from tuning.ledger import Ledger, Trial, TrialState
from tuning.space import Params
from tuning.suggestion import Suggestions


class Observer(Protocol):
    """Hears of trials, in the order in which things happen. Must not block or raise."""

    def on_start(self, trial: Trial) -> None:
        """A trial was handed out."""
        ...

    def on_report(self, trial: Trial) -> None:
        """A running trial has one more report."""
        ...

    def on_end(self, trial: Trial) -> None:
        """A trial reached a final state."""
        ...


class Book:
    """Trials of one sweep, continued from the ledger."""

    def __init__(
        self,
        n_trials: int,
        ledger: Ledger,
        suggestions: Suggestions,
        observers: Sequence[Observer],
        clock: Callable[[], float] = time.time,
        account: Account | None = None,
    ) -> None:
        """Take up what an earlier process left.

        Args:
            n_trials: Most trials.
            ledger: Where they are written.
            suggestions: Where new ones come from.
            observers: Who hears of them.
            clock: Unix time in seconds.
            account: What may end the sweep before its last trial.
        """
        self._n_trials = n_trials
        self._ledger = ledger
        self._suggestions = suggestions
        self._observers = observers
        self._clock = clock
        self._account = account
        self._trials = {trial.number: trial for trial in ledger.trials()}
        self._unfinished: deque[int] = deque()
        # A gap is where the file of a trial was damaged.
        first_new = max(self._trials, default=-1) + 1
        gaps = [number for number in range(first_new) if number not in self._trials]
        self._numbers = chain(gaps, count(first_new))
        self._n_ended = 0
        self.enough: str | None = None
        """Why no further trial begins although there might be more; None while they do."""
        suggestions.restore(self.trials)
        for trial in self._trials.values():
            if trial.state is TrialState.RUNNING:
                self._unfinished.append(trial.number)
            else:
                self._count(trial)

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def n_to_run(self) -> int:
        """Trials that have not ended, those included that have not begun."""
        return self._n_trials - self._n_ended

    def trial(self, number: int) -> Trial:
        """Return a trial that was handed out."""
        return self._trials[number]

    def next(self) -> Trial | None:
        """Hand out the next trial: first what an earlier process left, then new ones."""
        if self._account is not None:
            self.enough = self._account.spent(self._clock())
        if self._unfinished:
            trial = self._trials[self._unfinished.popleft()]
            trial = replace(trial, started_at_s=self._clock(), reports=())
        elif len(self._trials) < self._n_trials and self.enough is None:
            number = next(self._numbers)
            params, draws = self._suggestions.draw(number)
            trial = Trial(number, params, draws, started_at_s=self._clock(), known=self._n_ended)
        else:
            return None
        self._trials[trial.number] = trial
        self._ledger.write_trial(trial)
        for observer in self._observers:
            observer.on_start(trial)
        return trial

    def begin(self, number: int) -> None:
        """Hear that a trial has a process: until now it may have waited for room, at no cost."""
        trial = self._trials[number]
        if not trial.reports:  # one that lost its process has begun before
            self._trials[number] = replace(trial, started_at_s=self._clock())

    def report(self, number: int, report: Report) -> None:
        """Add a report to a running trial."""
        trial = self._trials[number]
        # Ray restarts a trial whose process died; it then begins at its first report.
        earlier = tuple(each for each in trial.reports if each.progress < report.progress)
        trial = replace(trial, reports=(*earlier, report))
        self._trials[number] = trial
        for observer in self._observers:
            observer.on_report(trial)

    def take_over(
        self,
        number: int,
        params: Params,
        segments: tuple[Segment, ...],
        reports: tuple[Report, ...],
    ) -> None:
        """Replace what a running trial has done by what it copied and went on with."""
        trial = replace(self._trials[number], params=params, segments=segments, reports=reports)
        self._trials[number] = trial
        for observer in self._observers:
            observer.on_report(trial)

    def end(self, number: int, error: str | None = None, *, lost: bool = False) -> None:
        """Close a trial.

        Args:
            number: The trial's.
            error: Why it failed; without one its last report says whether it was stopped.
            lost: Whether its process is to blame, so that a resume runs it again.
        """
        trial = self._trials[number]
        if trial.state is not TrialState.RUNNING:
            return
        if error is not None:
            state = TrialState.FAILED
        elif trial.reports and trial.reports[-1].complete:
            state = TrialState.COMPLETE
        else:
            state = TrialState.PRUNED
        trial = replace(trial, state=state, error=error, lost=lost, ended_at_s=self._clock())
        self._trials[number] = trial
        self._ledger.write_trial(trial)
        self._suggestions.close(number, state, trial.reports)
        self._count(trial)
        for observer in self._observers:
            observer.on_end(trial)

    def _count(self, trial: Trial) -> None:
        self._n_ended += 1
        if self._account is not None:
            self._account.add(trial)
