"""Requests that are remembered for feedback, and what feedback said."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "remembered_requests",
        sa.Column("model", sa.String(256), primary_key=True),
        sa.Column("request", sa.String(256), primary_key=True),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("prediction", sa.LargeBinary, nullable=False),
        sa.Column("answered_at_s", sa.Float, nullable=False),
        sa.Column("labelled", sa.Boolean, nullable=False),
        sa.Column("rewarded", sa.Boolean, nullable=False),
    )
    op.create_index("ix_remembered_requests_age", "remembered_requests", ["model", "answered_at_s"])
    op.create_table(
        "feedback_totals",
        sa.Column("model", sa.String(256), primary_key=True),
        sa.Column("version", sa.String(128), primary_key=True),
        sa.Column("labels", sa.Integer, nullable=False),
        sa.Column("mistakes", sa.Integer, nullable=False),
        sa.Column("rewards", sa.Integer, nullable=False),
        sa.Column("reward_total", sa.Float, nullable=False),
        sa.Column("reward_squares", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Undo."""
    for table in ("feedback_totals", "remembered_requests"):
        op.drop_table(table)
