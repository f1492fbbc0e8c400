"""Signing keys get a purpose, so that access tokens and the identity tokens for STS never share one."""

import sqlalchemy as sa
from alembic import op

revision = "20261124"
down_revision = "20261123"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("signing_keys") as table:
        # The default is for replicas of the version before, which know one purpose.
        purpose = sa.Column("purpose", sa.String(length=16), nullable=False, server_default="access")
        table.add_column(purpose)
        table.drop_constraint("pk_signing_keys", type_="primary")
        table.create_primary_key(op.f("pk_signing_keys"), ["purpose", "sequence"])
        table.create_check_constraint(op.f("ck_signing_keys_purpose"), "purpose IN ('access', 'sts')")


def downgrade() -> None:
    op.execute("DELETE FROM signing_keys WHERE purpose <> 'access'")
    with op.batch_alter_table("signing_keys") as table:
        table.drop_constraint(op.f("ck_signing_keys_purpose"), type_="check")
        table.drop_constraint("pk_signing_keys", type_="primary")
        table.drop_column("purpose")
        table.create_primary_key(op.f("pk_signing_keys"), ["sequence"])
