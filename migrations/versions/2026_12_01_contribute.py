"""Folders that others fill: what a grant allows, and the places where contributors write."""

import sqlalchemy as sa
from alembic import op

revision = "20261201631"
down_revision = "2026120163"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("grants", sa.Column("access", sa.String(length=16), server_default="read", nullable=False))
    op.add_column("grants", sa.Column("quota_bytes", sa.BigInteger(), nullable=True))
    op.create_table(
        "contributions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("contributor_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_count_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counted_to", sa.String(length=3072), nullable=True),
        sa.Column("bytes_so_far", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("emptied_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_contributions"),
    )
    op.create_index("ix_contributions_contributor_id_id", "contributions", ["contributor_id", "id"])
    op.create_index("ix_contributions_owner_id", "contributions", ["owner_id"])
    due = sa.text("next_count_at IS NOT NULL")
    op.create_index("ix_contributions_due", "contributions", ["next_count_at"], postgresql_where=due, sqlite_where=due)


def downgrade() -> None:
    op.drop_table("contributions")
    op.drop_column("grants", "quota_bytes")
    op.drop_column("grants", "access")
