"""Whether a sweep makes spans. OpenTelemetry's part is not imported where it makes none."""

import os
import random
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuning.spec import SweepSpec
from tuning.tracecontext import parse_parent
from tuning.tracespec import TracesSpec, sampling_of

if TYPE_CHECKING:
    from tuning.sweeptraces import SweepTraces, TrialTraces

PARENT = "TRACEPARENT"
"""Variable in which whoever starts a sweep may say what that belongs to, as for a request."""

SERVICE = "rayfleet-tuning"


@contextmanager
def traced_sweep(
    spec: SweepSpec, run_id: str, environment: Mapping[str, str] = os.environ
) -> "Iterator[SweepTraces | None]":
    """Have a span while a sweep runs; gives None where there is none to make.

    Args:
        spec: The sweep.
        run_id: Of its MLflow run.
        environment: The process's.

    Raises:
        ConfigError: One of OpenTelemetry's variables means nothing to us.
    """
    sampling = sampling_of(spec.traces, environment) if spec.traces is not None else None
    parent = parse_parent(environment.get(PARENT))
    decided = parent.is_sampled if parent is not None else None
    if spec.traces is None or sampling is None or not sampling.takes(decided, random.random):
        yield None
        return
    from tuning.spans import make_provider  # noqa: PLC0415, as above
    from tuning.sweeptraces import SweepTraces  # noqa: PLC0415, as above

    provider = make_provider(spec.traces, SERVICE, _instance())
    traces = SweepTraces(provider, parent, spec.name, run_id)
    try:
        yield traces
    except BaseException as error:
        traces.close(error)
        raise
    traces.close(None)


def open_trial_traces(spec: TracesSpec | None) -> "TrialTraces | None":
    """Make what traces the folds in this process; None where nothing does.

    Args:
        spec: Where spans go; which are made, the driver decides.
    """
    if spec is None:
        return None
    from tuning.spans import make_provider  # noqa: PLC0415, as above
    from tuning.sweeptraces import TrialTraces  # noqa: PLC0415, as above

    return TrialTraces(make_provider(spec, SERVICE, _instance()))


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
