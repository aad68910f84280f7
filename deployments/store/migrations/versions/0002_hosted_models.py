"""Models that were added through the control API."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "hosted_models",
        sa.Column("name", sa.String(256), primary_key=True),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("written_at_s", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("hosted_models")
