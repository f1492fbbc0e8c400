"""Events for the operator's own server, and their numbers."""

import sqlalchemy as sa
from alembic import op

revision = "2026120163"
down_revision = "2026120161"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outgoing_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("give_up_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fault", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outgoing_events"),
    )
    for columns in (["created_at", "id"], ["user_id", "created_at", "id"], ["type", "created_at", "id"]):
        op.create_index(f"ix_outgoing_events_{'_'.join(columns)}", "outgoing_events", columns)
    open_ = sa.text("delivered_at IS NULL AND failed_at IS NULL")
    for name, columns, which in (
        ("due", ["next_try_at"], open_),
        ("waiting", ["give_up_at"], open_),
        ("undelivered", ["created_at", "id"], sa.text("delivered_at IS NULL")),
    ):
        op.create_index(
            f"ix_outgoing_events_{name}", "outgoing_events", columns, postgresql_where=which, sqlite_where=which
        )
    op.create_table(
        "event_sequences",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_event_sequences"),
    )


def downgrade() -> None:
    op.drop_table("event_sequences")
    op.drop_table("outgoing_events")
