"""Whether a replica makes spans. OpenTelemetry's part is not imported where it makes none."""

from typing import TYPE_CHECKING

from ray import serve

from tuning.tracespec import TracesSpec

if TYPE_CHECKING:
    from deployments.predictor.traces import ReplicaTraces

SERVICE = "rayfleet-replica"


def open_replica_traces(spec: TracesSpec | None) -> "ReplicaTraces | None":
    """Make what traces this replica's batches; None where nothing does.

    Args:
        spec: Where spans go; which are made, the gateways decide.
    """
    if spec is None:
        return None
    from deployments.predictor.traces import ReplicaTraces  # noqa: PLC0415, as above
    from tuning.spans import make_provider  # noqa: PLC0415, as above

    replica = serve.get_replica_context().replica_id.unique_id
    return ReplicaTraces(make_provider(spec, SERVICE, replica))
