"""Which secret key replicas write with, who knows which, and the keys of digests that outlive their secret key."""

import sqlalchemy as sa
from alembic import op

revision = "2026113015"
down_revision = "2026113002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "secret_keys",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("writes_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_secret_keys"),
    )
    op.create_table(
        "secret_key_holders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("fingerprints", sa.JSON(), nullable=False),
        sa.Column("writes_with", sa.String(64), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_secret_key_holders"),
    )
    op.create_table(
        "kept_keys",
        sa.Column("purpose", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("key_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("purpose", "fingerprint", name="pk_kept_keys"),
    )


def downgrade() -> None:
    op.drop_table("kept_keys")
    op.drop_table("secret_key_holders")
    op.drop_table("secret_keys")
