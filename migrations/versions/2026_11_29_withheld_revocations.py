"""What the engine is told of revocations, and whose share of its room each takes."""

import sqlalchemy as sa
from alembic import op

revision = "2026112902"
down_revision = "2026112901"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A replica of the version before tells the engine of all rows that it writes: so by default nothing is withheld.
    for name in ("withheld", "goes_on", "newcomer"):
        op.add_column("revocations", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("revocations", sa.Column("reason", sa.String(length=32), nullable=True))
    op.add_column("revocations", sa.Column("source", sa.String(length=64), nullable=True))
    op.create_index(
        "ix_revocations_told",
        "revocations",
        ["expires_at"],
        postgresql_where=sa.text("NOT withheld"),
        sqlite_where=sa.text("withheld = 0"),
    )
    op.add_column("issued_credentials", sa.Column("withheld", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("issued_credentials", "withheld")
    op.drop_index("ix_revocations_told", table_name="revocations")
    op.execute("DELETE FROM revocations WHERE withheld")
    for name in ("source", "reason", "newcomer", "goes_on", "withheld"):
        op.drop_column("revocations", name)
