"""Routing tables, applications, load failures and gateway counters."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "routing_tables",
        sa.Column("cluster", sa.String(128), primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("written_at_s", sa.Float, nullable=False),
    )
    op.create_table(
        "applications",
        sa.Column("cluster", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(512), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
    )
    op.create_table(
        "load_failures",
        sa.Column("cluster", sa.String(128), primary_key=True),
        sa.Column("application", sa.String(512), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failed_at_s", sa.Float, nullable=False),
    )
    op.create_table(
        "gateway_counters",
        sa.Column("cluster", sa.String(128), primary_key=True),
        sa.Column("gateway", sa.String(128), primary_key=True),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("reported_at_s", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Undo."""
    for table in ("gateway_counters", "load_failures", "applications", "routing_tables"):
        op.drop_table(table)
