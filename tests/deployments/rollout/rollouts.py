"""What tests about rollouts observe."""

from collections.abc import Iterable

from deployments.rollout.evidence import Evidence, begin, observe
from deployments.rollout.signals import Counts, Kind, Signal

ERRORS = Signal("error rate", Kind.ERRORS, allowed=0.005)

Batch = tuple[int, int, int, int]
"""Canary's requests and errors, stable's requests and errors."""


def observed(batches: Iterable[Batch | tuple[int, Batch]], *signals: Signal) -> Evidence:
    """Look after each batch; a batch may come with its step, which is else 0."""
    asked = signals or (ERRORS,)
    totals = [0, 0, 0, 0]
    evidence = begin(asked, canary=Counts(), stable=Counts())
    for item in batches:
        step, batch = item if len(item) == 2 else (0, item)
        totals = [total + new for total, new in zip(totals, batch, strict=True)]
        evidence = observe(
            evidence,
            asked,
            canary=Counts(requests=totals[0], errors=totals[1]),
            stable=Counts(requests=totals[2], errors=totals[3]),
            step=step,
        )
    return evidence
