"""Keys that sign what a CDN verifies, and the ids by which it knows them."""

import sqlalchemy as sa
from alembic import op

revision = "2026120121"
down_revision = "2026120111"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _allow("purpose IN ('access', 'sts', 'cdn')")
    op.create_table(
        "cdn_key_pairs",
        sa.Column("key_pair_id", sa.String(64), nullable=False),
        sa.Column("kid", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_pair_id", name="pk_cdn_key_pairs"),
    )


def downgrade() -> None:
    op.drop_table("cdn_key_pairs")
    op.execute("DELETE FROM signing_keys WHERE purpose = 'cdn'")
    _allow("purpose IN ('access', 'sts')")


def _allow(condition: str) -> None:
    with op.batch_alter_table("signing_keys") as table:
        table.drop_constraint(op.f("ck_signing_keys_purpose"), type_="check")
        table.create_check_constraint(op.f("ck_signing_keys_purpose"), condition)
