"""Tables of the fleet store. A change here comes with a migration beside it."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

routing_tables = Table(
    "routing_tables",
    metadata,
    Column("cluster", String(128), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("written_at_s", Float, nullable=False),
)
"""The last routing table of each cluster, for a gateway that starts without a controller."""

fleet_configs = Table(
    "fleet_configs",
    metadata,
    Column("cluster", String(128), primary_key=True),
    Column("body", Text, nullable=False),
    Column("written_at_s", Float, nullable=False),
)
"""The last good `user_config` of each cluster, for a controller that starts with a bad one."""

applications = Table(
    "applications",
    metadata,
    Column("cluster", String(128), primary_key=True),
    Column("name", String(512), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
)
"""The settings that each version was deployed with; Serve does not say."""

load_failures = Table(
    "load_failures",
    metadata,
    Column("cluster", String(128), primary_key=True),
    Column("application", String(512), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failed_at_s", Float, nullable=False),
)
"""Versions that could not be loaded, with the replica's own error."""

hosted_models = Table(
    "hosted_models",
    metadata,
    Column("name", String(256), primary_key=True),
    Column("spec", Text, nullable=False),
    Column("written_at_s", Float, nullable=False),
)
"""Models added through the control API, for every cluster that shares the store."""

gateway_counters = Table(
    "gateway_counters",
    metadata,
    Column("cluster", String(128), primary_key=True),
    Column("gateway", String(128), primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("reported_at_s", Float, nullable=False),
)
"""What each gateway has counted, kept after it is gone so that no counter runs backwards."""

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", String(256), nullable=False),
    Column("version", String(128), nullable=False),
    Column("strategy", String(32), nullable=False),
    Column("phase", String(32), nullable=False),
    Column("active_model", String(256), nullable=True),
    Column("settled", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("started_at_s", Float, nullable=False),
    Column("ended_at_s", Float, nullable=True),
    UniqueConstraint("active_model", name="uq_rollouts_active_model"),
    Index("ix_rollouts_model", "model", "started_at_s"),
    Index("ix_rollouts_settled", "settled"),
)
"""Rollouts of every cluster. `active_model` is the model while it is active and NULL after, so
that a model has one active rollout at most."""

rollout_events = Table(
    "rollout_events",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("rollout", String(64), nullable=False),
    Column("model", String(256), nullable=False),
    Column("at_s", Float, nullable=False),
    Column("actor", String(256), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("numbers", LargeBinary, nullable=False),
    Index("ix_rollout_events_rollout", "rollout", "number"),
)
"""What happened to each rollout, by whom and why, with the numbers that were compared."""

leases = Table(
    "leases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("holder", String(256), nullable=False),
    Column("renewals", Integer, nullable=False),
)
"""Which of the controllers that share the store does what only one may do."""

remembered_requests = Table(
    "remembered_requests",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("request", String(256), primary_key=True),
    Column("version", String(128), nullable=False),
    Column("prediction", LargeBinary, nullable=False),
    Column("answered_at_s", Float, nullable=False),
    Column("labelled", Boolean, nullable=False),
    Column("rewarded", Boolean, nullable=False),
    Index("ix_remembered_requests_age", "model", "answered_at_s"),
)
"""Which version answered a request, and what, for whoever says later how good that was."""

feedback_totals = Table(
    "feedback_totals",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("version", String(128), primary_key=True),
    Column("labels", Integer, nullable=False),
    Column("mistakes", Integer, nullable=False),
    Column("rewards", Integer, nullable=False),
    Column("reward_total", Float, nullable=False),
    Column("reward_squares", Float, nullable=False),
)
"""What was said of each version's predictions, added up; it outlives the requests."""
