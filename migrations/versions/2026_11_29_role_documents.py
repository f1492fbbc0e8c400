"""The policies of the vending role that deny what was revoked, each with what it holds."""

import sqlalchemy as sa
from alembic import op

revision = "2026112910"
down_revision = "2026112908"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "role_documents",
        sa.Column("role_arn", sa.String(length=255), nullable=False),
        sa.Column("policy", sa.String(length=255), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("room", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("role_arn", "policy", name=op.f("pk_role_documents")),
    )


def downgrade() -> None:
    op.drop_table("role_documents")
