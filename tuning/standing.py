"""Where a sweep stands: how many trials in which state, the best so far, the time left."""

from collections.abc import Mapping
from dataclasses import dataclass, field

BAR_LENGTH = 28
"""Characters of the progress bar."""

ENDED = ("complete", "pruned", "failed")
"""States that are final."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A sweep at one moment, whether seen from inside or through MLflow."""

    name: str
    phase: str
    """What happens now."""

    n_trials: int
    counts: Mapping[str, int]
    """Trials by state."""

    metric: str
    elapsed_s: float
    trial_s: float
    """Mean duration of the trials that ended; 0.0 while none has."""

    best: float | None = None
    best_std: float = 0.0
    best_trial: int | None = None
    best_params: Mapping[str, object] = field(default_factory=dict)
    cpu: float = 1.0
    """Cores that each running trial reserves."""

    gpu: float = 0.0

    @property
    def ended(self) -> int:
        """Trials that are done, however they ended."""
        return sum(self.counts.get(state, 0) for state in ENDED)

    @property
    def running(self) -> int:
        """Trials that run now."""
        return self.counts.get("running", 0)

    @property
    def remaining_s(self) -> float | None:
        """What is left at the pace so far; None where nothing can be said.

        Assumes:
            Trials to come take as long as those that ended, as many at one time as now.
        """
        left = self.n_trials - self.ended
        if left <= 0:
            return 0.0
        if not self.ended or not self.running:
            return None
        return left * self.trial_s / min(self.running, left)


def standing_lines(standing: Standing) -> list[str]:
    """Say it in three lines, the first with a bar."""
    done = min(standing.ended / standing.n_trials, 1.0) if standing.n_trials else 0.0
    filled = round(done * BAR_LENGTH)
    bar = "█" * filled + "░" * (BAR_LENGTH - filled)
    counts = ", ".join(
        f"{standing.counts[state]} {state}"
        for state in ("running", *ENDED, "interrupted")
        if standing.counts.get(state)
    )
    left = standing.remaining_s
    times = f"{spell(standing.elapsed_s)} elapsed"
    if left:
        times += f", about {spell(left)} left"
    lines = [
        f"{standing.name}  {bar} {standing.ended}/{standing.n_trials}  {standing.phase}",
        "  ".join(part for part in (counts, times, _resources(standing)) if part),
    ]
    if standing.best is not None:
        params = ", ".join(f"{key}={_short(value)}" for key, value in standing.best_params.items())
        lines.append(
            f"best {standing.metric} {standing.best:.4f} ± {standing.best_std:.4f}  "
            f"trial {standing.best_trial}  {params}".rstrip()
        )
    return lines


def spell(seconds: float) -> str:
    """Spell a duration for people."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _resources(standing: Standing) -> str:
    if not standing.running:
        return ""
    parts = [f"{standing.running * standing.cpu:g} CPU"]
    if standing.gpu:
        parts.append(f"{standing.running * standing.gpu:g} GPU")
    return f"using {' and '.join(parts)}"


def _short(value: object) -> str:
    try:
        return f"{float(str(value)):.4g}"
    except ValueError:
        return str(value)
