"""Which guests were upgraded by another session than theirs; of those from before nobody knows, so all of them."""

import sqlalchemy as sa
from alembic import op

revision = "2026112908"
down_revision = "2026112907"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("upgraded_elsewhere", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(
        "UPDATE users SET upgraded_elsewhere = true WHERE email_verified_at IS NOT NULL AND id IN (SELECT subject_id "
        "FROM audit_events WHERE event = 'guest.upgraded' AND outcome = 'done' "
        "AND CAST(detail AS TEXT) LIKE '%password%')"
    )


def downgrade() -> None:
    op.drop_column("users", "upgraded_elsewhere")
