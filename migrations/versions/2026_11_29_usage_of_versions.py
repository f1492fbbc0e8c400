"""Usage: what versions that were replaced or deleted take up."""

import sqlalchemy as sa
from alembic import op

revision = "2026112906"
down_revision = "2026112905"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("usage") as batch:
        batch.add_column(sa.Column("old_bytes", sa.BigInteger, nullable=False, server_default="0"))
        batch.add_column(sa.Column("counted_to_version", sa.String(1024), nullable=True))
        batch.add_column(sa.Column("old_bytes_so_far", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("usage") as batch:
        batch.drop_column("old_bytes_so_far")
        batch.drop_column("counted_to_version")
        batch.drop_column("old_bytes")
