"""Folders that users share, and which of them a credential carries."""

import sqlalchemy as sa
from alembic import op

revision = "2026112604"
down_revision = "2026112603"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("grantee_id", sa.Uuid(), nullable=True),
        sa.Column("grantee_email", sa.String(length=254), nullable=False),
        sa.Column("grantee_email_key", sa.String(length=1024), nullable=False),
        sa.Column("path", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recall_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_grants_owner_id")),
        sa.ForeignKeyConstraint(["grantee_id"], ["users.id"], name=op.f("fk_grants_grantee_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_owner_id_created_at_id"), "grants", ["owner_id", "created_at", "id"])
    op.create_index(op.f("ix_grants_grantee_id_created_at_id"), "grants", ["grantee_id", "created_at", "id"])
    op.create_index(op.f("ix_grants_expires_at"), "grants", ["expires_at"])
    op.create_index(op.f("ix_grants_withdrawn_at"), "grants", ["withdrawn_at"])
    for name, column, condition in (
        ("ix_grants_unbound", "grantee_email_key", "grantee_id IS NULL"),
        ("ix_grants_recalled", "recall_at", "recall_at IS NOT NULL"),
    ):
        only = sa.text(condition)
        op.create_index(name, "grants", [column], postgresql_where=only, sqlite_where=only)
    op.add_column("issued_credentials", sa.Column("shared", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("issued_credentials", "shared")
    op.drop_table("grants")
