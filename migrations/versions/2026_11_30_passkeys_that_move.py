"""Whether a passkey may move to other devices, which its counter is judged by."""

import sqlalchemy as sa
from alembic import op

revision = "2026113001"
down_revision = "2026112910"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("passkeys", sa.Column("backup_eligible", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("passkeys", "backup_eligible")
