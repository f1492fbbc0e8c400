"""Which accounts got their address outside of their own sessions; nobody knows that of earlier ones, so all of them."""

import sqlalchemy as sa
from alembic import op

revision = "2026112908"
down_revision = "2026112907"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("confirmed_elsewhere", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(
        "UPDATE users SET confirmed_elsewhere = true WHERE email_verified_at IS NOT NULL AND id IN (SELECT subject_id "
        "FROM audit_events WHERE outcome = 'done' AND (event = 'email.changed' "
        "OR (event = 'guest.upgraded' AND CAST(detail AS TEXT) LIKE '%password%')))"
    )


def downgrade() -> None:
    op.drop_column("users", "confirmed_elsewhere")
