"""What a sweep cost, and what early stopping spared."""

from dataclasses import dataclass

from tuning.ledger import TrialState
from tuning.reporting.facts import Facts


@dataclass(frozen=True, slots=True)
class Effort:
    """Counted over the trials that ended."""

    wall_s: float
    """From the first trial's start to the last one's end; pauses between resumes included."""

    busy_s: float
    """Sum over the trials."""

    cpu_s: float
    """Reserved cores times seconds."""

    gpu_s: float
    at_once: float
    """Trials at one time, on average."""

    reports_done: int
    reports_spared: int
    """Reports that stopped trials did not make."""

    stopped: int
    spared_s: float
    """What these would have taken, at the pace of the same trials."""

    @property
    def spared_share(self) -> float:
        """Of all reports that trials would have made without early stopping."""
        whole = self.reports_done + self.reports_spared
        return self.reports_spared / whole if whole else 0.0


def effort(facts: Facts) -> Effort:
    """Add up a sweep's trials."""
    ended = [each for each in facts.trials if each.ended_at_s is not None]
    spans = [(each.started_at_s, each.ended_at_s or each.started_at_s) for each in ended]
    wall_s = max(end for _, end in spans) - min(start for start, _ in spans) if spans else 0.0
    busy_s = sum(end - start for start, end in spans)
    done = spared = stopped = 0
    spared_s = 0.0
    for trial, (start, end) in zip(ended, spans, strict=True):
        made = trial.reports[-1].progress if trial.reports else 0
        done += made
        if trial.state is TrialState.PRUNED and made:
            left = facts.spec.n_reports - made
            stopped += 1
            spared += left
            spared_s += left * (end - start) / made
    resources = facts.spec.resources
    return Effort(
        wall_s=wall_s,
        busy_s=busy_s,
        cpu_s=busy_s * resources.total_cpu,
        gpu_s=busy_s * resources.total_gpu,
        at_once=busy_s / wall_s if wall_s else 0.0,
        reports_done=done,
        reports_spared=spared,
        stopped=stopped,
        spared_s=spared_s,
    )
