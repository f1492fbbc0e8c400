"""Keys that sign the assertions of `saml` mode."""

from alembic import op

revision = "2026120164"
down_revision = "20261201631"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _allow("purpose IN ('access', 'sts', 'saml', 'cdn')")


def downgrade() -> None:
    op.execute("DELETE FROM signing_keys WHERE purpose = 'saml'")
    _allow("purpose IN ('access', 'sts', 'cdn')")


def _allow(condition: str) -> None:
    with op.batch_alter_table("signing_keys") as table:
        table.drop_constraint(op.f("ck_signing_keys_purpose"), type_="check")
        table.create_check_constraint(op.f("ck_signing_keys_purpose"), condition)
