"""How many mails each recipient had in an hour."""

import sqlalchemy as sa
from alembic import op

revision = "2026112903"
down_revision = "2026112902"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mail_counts",
        sa.Column("key", sa.LargeBinary(32), nullable=False),
        sa.Column("mails", sa.Integer(), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_mail_counts")),
    )
    op.create_index(op.f("ix_mail_counts_ends_at"), "mail_counts", ["ends_at"])


def downgrade() -> None:
    op.drop_table("mail_counts")
