"""The last good config of each cluster."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "fleet_configs",
        sa.Column("cluster", sa.String(128), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("written_at_s", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("fleet_configs")
