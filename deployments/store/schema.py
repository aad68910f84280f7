"""Tables of the fleet store. A change here comes with a migration beside it."""

from sqlalchemy import Column, Float, Integer, LargeBinary, MetaData, String, Table, Text

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
