"""Which versions could not be loaded, and when each is tried again: pure."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deployments.schema import ModelSpec

BACKOFF_S = 20.0
"""Wait before a version that failed to load is tried again; doubles with each failure."""

MAX_BACKOFF_S = 600.0

DEPLOYED = {
    "runtime", "num_replicas", "autoscaling_config", "ray_actor_options", "gpu_memory_mib", "torch",
}  # fmt: skip
"""Settings of a model that only a new deployment can change."""

MAX_DOUBLINGS = 16
"""Enough to reach the longest wait; after a week of failures the power would overflow."""


@dataclass(frozen=True, slots=True)
class ApplicationState:
    """What Serve says about a version's application."""

    status: str
    """Serve's word: DEPLOYING, RUNNING, UNHEALTHY, DEPLOY_FAILED, DELETING, NOT_STARTED."""

    running_replicas: int
    message: str = ""

    fingerprint: str | None = None
    """Settings that it was deployed with; None when nobody remembers, which is no difference."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A version that could not be loaded with these settings."""

    fingerprint: str
    reason: str
    attempts: int
    failed_at_s: float


def fingerprint(spec: ModelSpec) -> str:
    """Name the settings that only a new deployment can change."""
    settings = spec.model_dump_json(include=DEPLOYED)
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def carry_on(
    known: Mapping[str, Failure],
    applications: Mapping[str, ApplicationState],
    mark_of: Callable[[str], str | None],
    now_s: float,
) -> dict[str, Failure]:
    """Carry on the known failures of what has not loaded since; add those that Serve reports.

    Args:
        known: Failures on record, by application, as what is returned.
        applications: What Serve says.
        mark_of: The settings that an application should have; None if nobody wants it.
        now_s: Unix time.
    """
    failures = {
        name: failure
        for name, failure in known.items()
        if not _loaded(applications.get(name), failure)
    }
    for name, state in applications.items():
        wanted = mark_of(name)
        if wanted is None or state.status != "DEPLOY_FAILED" or state.running_replicas:
            continue
        mark = state.fingerprint or wanted
        before = failures.get(name)
        attempts = 1
        if before is not None and before.fingerprint == mark:
            if now_s < retry_at_s(before):
                continue  # nothing was tried since: Serve still shows the failure on record
            attempts += before.attempts
        failures[name] = Failure(mark, state.message, attempts, failed_at_s=now_s)
    return failures


def tried_anew(
    failures: Mapping[str, Failure],
    applications: Mapping[str, ApplicationState],
    since_s: Mapping[str, float],
) -> dict[str, Failure]:
    """Forget failures from before somebody asked for another try.

    Args:
        failures: On record, by application, as what is returned.
        applications: What Serve says. What it still shows as failed was not tried since.
        since_s: When somebody asked, Unix time, by application.
    """
    return {
        name: failure
        for name, failure in failures.items()
        if failure.failed_at_s >= since_s.get(name, 0.0)
        or ((state := applications.get(name)) is not None and state.status == "DEPLOY_FAILED")
    }


def needs_deploying(
    state: ApplicationState | None, failure: Failure | None, mark: str, now_s: float
) -> bool:
    """Tell whether an application is to be deployed now, with these settings."""
    if failure is not None and failure.fingerprint == mark and now_s < retry_at_s(failure):
        return False
    if state is None:
        return True
    if state.status == "DELETING":
        return False
    return state.fingerprint is not None and state.fingerprint != mark


def retry_at_s(failure: Failure) -> float:
    """Unix time from which the version is tried again."""
    doublings = min(failure.attempts - 1, MAX_DOUBLINGS)
    return failure.failed_at_s + min(BACKOFF_S * 2.0**doublings, MAX_BACKOFF_S)


def _loaded(state: ApplicationState | None, failure: Failure) -> bool:
    """Tell whether the application runs with the settings with which it failed."""
    if state is None or state.status != "RUNNING":
        return False
    return state.running_replicas > 0 and state.fingerprint in {None, failure.fingerprint}
