"""Sessions end by an epoch of their user, whatever their number; and when an account was last unlocked.

Replicas of the version before know no epoch. A trigger gives the sessions that they begin the epoch of the user.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026112904"
down_revision = "2026112903"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
ALIVE = sa.text("ended_at IS NULL")

POSTGRESQL = (
    """
    CREATE FUNCTION sessions_take_the_epoch() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
    BEGIN
        EXECUTE format('SELECT session_epoch FROM %I.users WHERE id = $1', TG_TABLE_SCHEMA)
            INTO NEW.session_epoch USING NEW.user_id;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER sessions_take_the_epoch BEFORE INSERT ON sessions
    FOR EACH ROW WHEN (NEW.session_epoch IS NULL) EXECUTE FUNCTION sessions_take_the_epoch()
    """,
)
SQLITE = (
    """
    CREATE TRIGGER sessions_take_the_epoch AFTER INSERT ON sessions WHEN NEW.session_epoch IS NULL
    BEGIN
        UPDATE sessions SET session_epoch = (SELECT session_epoch FROM users WHERE id = NEW.user_id) WHERE id = NEW.id;
    END
    """,
)


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.add_column("users", sa.Column("session_epoch", sa.Integer(), server_default="0", nullable=False))
    op.add_column("users", sa.Column("unlocked_at", MOMENT, nullable=True))
    if postgresql:  # the sessions of before get the first epoch without a rewrite of the table
        op.add_column("sessions", sa.Column("session_epoch", sa.Integer(), server_default="0", nullable=True))
        op.alter_column("sessions", "session_epoch", server_default=None)
    else:
        op.add_column("sessions", sa.Column("session_epoch", sa.Integer(), nullable=True))
        op.execute("UPDATE sessions SET session_epoch = 0")
    op.create_index(
        "ix_sessions_alive",
        "sessions",
        ["user_id", "session_epoch", "created_at", "id"],
        postgresql_where=ALIVE,
        sqlite_where=ALIVE,
    )
    for statement in POSTGRESQL if postgresql else SQLITE:
        op.execute(statement)
    op.create_table(
        "session_endings",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("session_epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_session_endings_user_id")),
        sa.PrimaryKeyConstraint("user_id", "session_epoch", name=op.f("pk_session_endings")),
    )


def downgrade() -> None:
    op.drop_table("session_endings")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER sessions_take_the_epoch ON sessions")
        op.execute("DROP FUNCTION sessions_take_the_epoch")
    else:
        op.execute("DROP TRIGGER sessions_take_the_epoch")
    # What ended by its epoch alone would be alive again.
    op.execute(
        "UPDATE sessions SET ended_at = last_used_at, end_reason = 'epoch' WHERE ended_at IS NULL AND "
        "(session_epoch IS NULL OR session_epoch <> "
        "(SELECT users.session_epoch FROM users WHERE users.id = sessions.user_id))"
    )
    op.drop_index("ix_sessions_alive", "sessions")
    op.drop_column("sessions", "session_epoch")
    op.drop_column("users", "unlocked_at")
    op.drop_column("users", "session_epoch")
