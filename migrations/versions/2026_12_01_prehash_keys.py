"""The keys that other systems joined to each password before they hashed it."""

import sqlalchemy as sa
from alembic import op

revision = "2026120151"
down_revision = "2026120121"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prehash_keys",
        sa.Column("id", sa.String(8), nullable=False),
        sa.Column("key_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prehash_keys"),
    )


def downgrade() -> None:
    op.drop_table("prehash_keys")
