"""The audit is append-only, and listed by time: each index ends in the order of a page.

What is older than the floor goes on PostgreSQL in a transaction that says `SET LOCAL tokenvend.prune = 'on'`, on SQLite
in one that drops `audit_events_no_delete` and makes it again.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026112404"
down_revision = "2026112403"
branch_labels = None
depends_on = None

REFUSED = sa.text("outcome = 'refused'")
LEADING = ("actor_id", "subject_id", "event")

POSTGRESQL = (
    """
    CREATE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('tokenvend.prune', true) = 'on' THEN
            IF OLD.at < now() - interval '30 days' THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION 'audit_events keeps its rows for 30 days' USING ERRCODE = 'restrict_violation';
        END IF;
        RAISE EXCEPTION 'audit_events is append-only' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_append_only()
    """,
    """
    CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_append_only()
    """,
)
SQLITE = (
    """
    CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
    """,
    """
    CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
    """,
    """
    CREATE TRIGGER audit_events_floor BEFORE DELETE ON audit_events WHEN OLD.at >= datetime('now', '-30 days')
    BEGIN SELECT RAISE(ABORT, 'audit_events keeps its rows for 30 days'); END
    """,
    # REPLACE deletes the row in its way, and no trigger sees it.
    """
    CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
    WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
    """,
)
SQLITE_TRIGGERS = ("no_update", "no_delete", "floor", "no_replace")


def upgrade() -> None:
    for leading in LEADING:
        op.drop_index(op.f(f"ix_audit_events_{leading}_id"), "audit_events")
        op.create_index(op.f(f"ix_audit_events_{leading}_at_id"), "audit_events", [leading, "at", "id"])
    op.drop_index(op.f("ix_audit_events_at"), "audit_events")
    op.create_index(op.f("ix_audit_events_at_id"), "audit_events", ["at", "id"])
    op.create_index(
        "ix_audit_events_refused",
        "audit_events",
        ["at", "id"],
        postgresql_where=REFUSED,
        sqlite_where=REFUSED,
    )
    for statement in POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER audit_events_append_only ON audit_events")
        op.execute("DROP TRIGGER audit_events_no_truncate ON audit_events")
        op.execute("DROP FUNCTION audit_events_append_only")
    else:
        for name in SQLITE_TRIGGERS:
            op.execute(f"DROP TRIGGER audit_events_{name}")
    op.drop_index("ix_audit_events_refused", "audit_events")
    op.drop_index(op.f("ix_audit_events_at_id"), "audit_events")
    op.create_index(op.f("ix_audit_events_at"), "audit_events", ["at"])
    for leading in LEADING:
        op.drop_index(op.f(f"ix_audit_events_{leading}_at_id"), "audit_events")
        op.create_index(op.f(f"ix_audit_events_{leading}_id"), "audit_events", [leading, "id"])
