"""What happened, by five minutes, for the console's charts; and the ledger by expiry, to count what is alive."""

import sqlalchemy as sa
from alembic import op

revision = "2026112602"
down_revision = "2026112601"
branch_labels = None
depends_on = None

COUNTS = (
    *("sign_ups", "sign_ins", "failures", "mfa_failures", "vends_issued", "vends_refused", "revocations"),
    *("vends_cached", "sts_calls", "sts_errors", "sts_slow", "sts_milliseconds"),
)


def upgrade() -> None:
    op.create_table(
        "activity",
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tallied", sa.Boolean(), server_default=sa.false(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in COUNTS),
        sa.Column("users", sa.BigInteger(), nullable=True),
        sa.Column("live_credentials", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("started_at", name=op.f("pk_activity")),
    )
    op.create_index(op.f("ix_issued_credentials_expires_at"), "issued_credentials", ["expires_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_issued_credentials_expires_at"), "issued_credentials")
    op.drop_table("activity")
