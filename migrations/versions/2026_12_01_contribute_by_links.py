"""Links by which people without an account fill a folder, and who they are."""

import sqlalchemy as sa
from alembic import op

revision = "20261201641"
down_revision = "2026120164"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("links", sa.Column("access", sa.String(length=16), server_default="read", nullable=False))
    op.add_column("links", sa.Column("quota_bytes", sa.BigInteger(), nullable=True))
    op.add_column("links", sa.Column("max_contributors", sa.Integer(), nullable=True))
    op.add_column("issued_credentials", sa.Column("contributor_id", sa.Uuid(), nullable=True))
    op.create_table(
        "link_contributors",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("link_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["link_id"], ["links.id"], name="fk_link_contributors_link_id"),
        sa.PrimaryKeyConstraint("id", name="pk_link_contributors"),
        sa.UniqueConstraint("token_digest", name="uq_link_contributors_token_digest"),
    )
    columns = ["link_id", "created_at", "id"]
    op.create_index("ix_link_contributors_link_id_created_at_id", "link_contributors", columns)


def downgrade() -> None:
    op.drop_table("link_contributors")
    op.drop_column("issued_credentials", "contributor_id")
    op.drop_column("links", "max_contributors")
    op.drop_column("links", "quota_bytes")
    op.drop_column("links", "access")
