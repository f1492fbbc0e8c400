"""When a guest is looked at next: those who can never come back are erased."""

import sqlalchemy as sa
from alembic import op

revision = "2026112907"
down_revision = "2026112906"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Everybody who is there is due at once, and so is whom a replica of the version before adds: the job sets the time.
    default = sa.text("'1970-01-01 00:00:00'")
    op.add_column(
        "users", sa.Column("guest_review_at", sa.DateTime(timezone=True), server_default=default, nullable=False)
    )
    op.create_index(
        "ix_users_guests_due",
        "users",
        ["guest_review_at"],
        postgresql_where=sa.text("guest"),
        sqlite_where=sa.text("guest = 1"),
    )


def downgrade() -> None:
    op.drop_index("ix_users_guests_due", "users")
    op.drop_column("users", "guest_review_at")
