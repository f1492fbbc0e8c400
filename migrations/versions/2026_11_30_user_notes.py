"""What staff wrote about a user."""

import sqlalchemy as sa
from alembic import op

revision = "2026113020"
down_revision = "2026113019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "user_notes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.String(1000), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_user_notes_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_user_notes"),
    )
    op.create_index("ix_user_notes_user_id_created_at_id", "user_notes", ["user_id", "created_at", "id"])


def downgrade() -> None:
    op.drop_table("user_notes")
