"""Where a session was last used from, and indexes for the console's lists and counts."""

import sqlalchemy as sa
from alembic import op

revision = "2026113019"
down_revision = "2026113015"
branch_labels = None
depends_on = None


FAILED = sa.text("failed_at IS NOT NULL AND recipient <> ''")
WAITING = sa.text("sent_at IS NULL AND failed_at IS NULL")
UNDER_WAY = sa.text("completed_at IS NULL")
INDEXES = (
    ("ix_outbox_failed", "outbox", ["failed_at", "id"], FAILED),
    ("ix_outbox_waiting_since", "outbox", ["created_at", "id"], WAITING),
    ("ix_erasures_under_way", "erasures", ["requested_at", "user_id"], UNDER_WAY),
    ("ix_user_imports_started_at_id", "user_imports", ["started_at", "id"], None),
)


def upgrade() -> None:
    op.add_column("sessions", sa.Column("last_address", sa.String(64), nullable=True))
    op.create_index(
        "ix_revocations_untold",
        "revocations",
        ["revoked_at"],
        postgresql_where=sa.text("applied_at IS NULL AND NOT withheld"),
        sqlite_where=sa.text("applied_at IS NULL AND withheld = 0"),
    )
    for name, table, columns, rows in INDEXES:
        op.create_index(name, table, columns, postgresql_where=rows, sqlite_where=rows)


def downgrade() -> None:
    for name, table, _columns, _rows in INDEXES:
        op.drop_index(name, table)
    op.drop_index("ix_revocations_untold", "revocations")
    op.drop_column("sessions", "last_address")
