"""What lists of users are sorted and narrowed by, which import added a user, and finding audit events by their request.

On PostgreSQL the indexes are made afterwards, without keeping anybody from writing: see `app/records/indexes.py`.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026113021"
down_revision = "2026113020"
branch_labels = None
depends_on = None

NEWEST = ["created_at", "id"]
# Conditions are SQLite's.
INDEXES = (
    ("ix_users_last_seen", "users", ["last_seen_at", "id"], None),
    ("ix_users_guest", "users", ["guest", *NEWEST], "guest = 0"),
    ("ix_users_verified", "users", NEWEST, "email_verified_at IS NOT NULL"),
    ("ix_users_unverified", "users", NEWEST, "email_verified_at IS NULL AND email_key IS NOT NULL"),
    ("ix_users_without_address", "users", ["email_key", "id"], "email_key IS NULL"),
    ("ix_users_imported", "users", ["import_id", *NEWEST], "import_id IS NOT NULL"),
    ("ix_audit_events_request", "audit_events", ["request_id"], "request_id <> ''"),
    ("ix_audit_events_refused_kinds", "audit_events", ["event", "at", "id"], "outcome = 'refused'"),
)


def upgrade() -> None:
    op.add_column("users", sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("users", sa.Column("import_id", sa.Uuid(), nullable=True))
    op.create_table(
        "backfills",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("position", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_backfills")),
    )
    op.execute("INSERT INTO backfills (name) VALUES ('last_seen')")
    if op.get_bind().dialect.name == "sqlite":
        for name, table, columns, where in INDEXES:
            op.create_index(name, table, columns, sqlite_where=sa.text(where) if where else None)


def downgrade() -> None:
    for name, table, _columns, _where in INDEXES:
        op.drop_index(name, table, if_exists=True)
    op.drop_table("backfills")
    op.drop_column("users", "import_id")
    op.drop_column("users", "last_seen_at")
