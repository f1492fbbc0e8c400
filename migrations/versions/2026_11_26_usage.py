"""What users store, and how much of it they may."""

import sqlalchemy as sa
from alembic import op

revision = "2026112605"
down_revision = "2026112604"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("users", sa.Column("quota_bytes", sa.BigInteger(), nullable=True))
    op.create_table(
        "usage",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", MOMENT, nullable=True),
        sa.Column("exceeded", sa.Boolean(), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=True),
        sa.Column("next_count_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("began_at", MOMENT, nullable=True),
        sa.Column("counted_to", sa.String(3072), nullable=True),
        sa.Column("bytes_so_far", sa.BigInteger(), nullable=False),
        sa.Column("objects_so_far", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_usage")),
    )
    op.create_index(op.f("ix_usage_next_count_at"), "usage", ["next_count_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_usage_next_count_at"), table_name="usage")
    op.drop_table("usage")
    op.drop_column("users", "quota_bytes")
