"""How many users an import invites, and what the sign-ins of those with hashes of other systems will cost."""

import sqlalchemy as sa
from alembic import op

revision = "2026120111"
down_revision = "2026113021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user_imports", sa.Column("invited", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("user_imports", sa.Column("hashes", sa.JSON(), server_default=sa.text("'{}'"), nullable=False))


def downgrade() -> None:
    op.drop_column("user_imports", "hashes")
    op.drop_column("user_imports", "invited")
