"""What a soak has seen: one scene for each fault, with its load, its bounds and its moments."""

import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.integration.hosting import Fleet
from tests.integration.load import Load, Outcome, Question, Tally

QUIET_S = (1.0, 3.0)
"""Between two faults of a scene, at random, seconds."""

HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure and what it must not be below or above."""

    what: str
    sense: str
    wanted: float
    measured: float

    @property
    def holds(self) -> bool:
        """Whether it is kept."""
        return HOLDS[self.sense](self.measured, self.wanted)

    def __str__(self) -> str:
        return f"{self.what} {self.measured:g} ({self.sense} {self.wanted:g})"


@dataclass(slots=True)
class Scene:
    """One fault under load, as often as there is time for."""

    name: str
    share_s: float
    random: Random
    tell: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)
    bounds: dict[str, Bound] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured without a bound."""

    marks: list[tuple[float, str]] = field(default_factory=list)
    """Moments of interest, seconds since the scene began."""

    error: str = ""
    """What ended it early."""

    rounds_done: int = 0
    took_s: float = 0.0
    _began_s: float = field(default_factory=time.monotonic)

    @property
    def now_s(self) -> float:
        """Seconds since the scene began."""
        return time.monotonic() - self._began_s

    def rounds(self) -> Iterator[int]:
        """Count rounds until the scene's time is over; there is one at least."""
        number = 0
        while number == 0 or self.now_s < self.share_s:
            time.sleep(self.random.uniform(*QUIET_S))
            yield number
            number = self.rounds_done = number + 1
            self.tell(
                f"{self.name}: round {number}, {self.now_s:.0f} of {self.share_s:.0f} s,"
                f" {self.tally.answered} answered, {self.tally.failed} failed"
            )

    def mark(self, what: str) -> None:
        """Note that something happens now."""
        self.marks.append((self.now_s, what))

    def require(self, what: str, measured: float, sense: str, wanted: float) -> None:
        """Bound a figure; of several rounds one that breaks the bound counts, else the worst."""
        bound = Bound(what, sense, wanted, measured)
        known = self.bounds.setdefault(what, bound)
        if known.holds and not HOLDS[sense](measured, known.measured):
            self.bounds[what] = bound

    def require_no_failures(self, *, cuts: bool = False) -> None:
        """Bound what the well-behaved clients saw.

        Args:
            cuts: Whether connections may have been cut, where the second attempt was answered.
        """
        self.require("failed requests", self.tally.failed, "<=", 0)
        cut = self.tally.count(Outcome.CUT)
        if cuts:
            self.figures["connections cut"] = cut
        else:
            self.require("connections cut", cut, "<=", 0)

    @property
    def broken(self) -> list[str]:
        """The bounds that were not kept, and what ended the scene early."""
        broken = [str(bound) for bound in self.bounds.values() if not bound.holds]
        return [*broken, self.error] if self.error else broken


@dataclass(slots=True)
class Soak:
    """All scenes of a run."""

    minutes: float
    seed: int
    n_scenes: int
    tell: Callable[[str], None]
    scenes: list[Scene] = field(default_factory=list)

    @contextmanager
    def scene(self, name: str) -> Iterator[Scene]:
        """Play a scene; what it has seen is kept however it ends."""
        share_s = self.minutes * 60 / self.n_scenes
        # Named, so that a scene's faults do not depend on which others are played.
        scene = Scene(name, share_s, Random(f"{self.seed} {name}"), self.tell)
        self.scenes.append(scene)
        self.tell(f"{name}: begins")
        try:
            yield scene
        except Exception as error:
            scene.error = f"{type(error).__name__}: {str(error)[:200]}"
            raise
        finally:
            scene.took_s = scene.now_s
        assert not scene.broken, f"{'; '.join(scene.broken)}; {scene.tally.details()}"

    @contextmanager
    def loaded(
        self, name: str, fleet: Fleet, questions: Sequence[Question], *, cuts: bool = False
    ) -> Iterator[tuple[Scene, Load]]:
        """Play a scene under constant load on both doors, of which no request may fail.

        Args:
            name: Of the fault.
            fleet: Whose doors.
            questions: Asked in turn.
            cuts: Whether connections may be cut, where the second attempt is answered.
        """
        load = Load(fleet.doors, questions)
        with self.scene(name) as scene:
            scene.tally = load.tally
            try:
                with load:
                    yield scene, load
            finally:
                scene.require_no_failures(cuts=cuts)
