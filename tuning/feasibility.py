"""Whether trials keep to the bounds of their sweep, as MLflow shows both."""

import json
from collections.abc import Iterable, Mapping

from mlflow import MlflowClient
from mlflow.entities import Run

from tuning.goals import Constraint, parse_constraint
from tuning.runs import recorded_spec
from tuning.values import MEASURED

CONSTRAINTS = "constraints"
"""Parameter of a sweep's run: its bounds, as JSON."""


def recorded_limits(client: MlflowClient, sweep: Run) -> tuple[Constraint, ...]:
    """Read the bounds that a winner of a sweep keeps; empty where it has none.

    Raises:
        ConfigError: They are too long for a parameter, and the spec was not recorded.
    """
    try:
        texts = json.loads(sweep.data.params.get(CONSTRAINTS, "[]"))
    except ValueError:  # cut off: MLflow has a bound on parameters, too
        return recorded_spec(client, sweep).limits
    return tuple(map(parse_constraint, texts))


def recorded_value(metrics: Mapping[str, float], name: str) -> float | None:
    """Return what a completed trial is worth in a metric, from the metrics of its run.

    Args:
        metrics: Of the run.
        name: A metric of the trainer's, whose mean over the folds counts, or one of `MEASURED`.
    """
    return metrics.get(name if name in MEASURED else f"{name}_mean")


def broken_limits(
    metrics: Mapping[str, float], limits: Iterable[Constraint]
) -> list[tuple[Constraint, float | None]]:
    """Return the bounds that a completed trial does not keep, each with its value.

    A trial without a value does not keep the bound, as in its sweep.
    """
    values = ((limit, recorded_value(metrics, limit.metric)) for limit in limits)
    return [each for each in values if each[1] is None or each[0].violation(each[1]) > 0]
