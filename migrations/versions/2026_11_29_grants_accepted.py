"""Which grants their grantees have accepted; those that were there before count as accepted."""

import sqlalchemy as sa
from alembic import op

revision = "2026112901"
down_revision = "2026112606"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("grants", sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE grants SET accepted_at = created_at")
    only = sa.text("accepted_at IS NOT NULL")
    columns = ["grantee_id", "created_at", "id"]
    op.create_index("ix_grants_accepted", "grants", columns, postgresql_where=only, sqlite_where=only)


def downgrade() -> None:
    op.drop_index("ix_grants_accepted", "grants")
    op.drop_column("grants", "accepted_at")
