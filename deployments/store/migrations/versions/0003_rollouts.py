"""Rollouts, their events, and the lease of who judges them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("strategy", sa.String(32), nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("active_model", sa.String(256), nullable=True),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("started_at_s", sa.Float, nullable=False),
        sa.Column("ended_at_s", sa.Float, nullable=True),
        sa.UniqueConstraint("active_model", name="uq_rollouts_active_model"),
    )
    op.create_index("ix_rollouts_model", "rollouts", ["model", "started_at_s"])
    op.create_index("ix_rollouts_settled", "rollouts", ["settled"])
    op.create_table(
        "rollout_events",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("rollout", sa.String(64), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("numbers", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_rollout_events_rollout", "rollout_events", ["rollout", "number"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("holder", sa.String(256), nullable=False),
        sa.Column("renewals", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    """Undo."""
    for table in ("leases", "rollout_events", "rollouts"):
        op.drop_table(table)
