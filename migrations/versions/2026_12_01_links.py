"""Links: folders that whoever has the link may read."""

import sqlalchemy as sa
from alembic import op

revision = "2026120161"
down_revision = "2026120151"
branch_labels = None
depends_on = None

SCOPES = "'everyone', 'user', 'session'"


def upgrade() -> None:
    op.create_table(
        "links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("path", sa.String(length=256), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reports", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_links_owner_id"),
        sa.PrimaryKeyConstraint("id", name="pk_links"),
        sa.UniqueConstraint("secret_digest", name="uq_links_secret_digest"),
    )
    op.create_index("ix_links_owner_id_created_at_id", "links", ["owner_id", "created_at", "id"])
    op.create_index("ix_links_created_at_id", "links", ["created_at", "id"])
    reported = sa.text("reports > 0")
    op.create_index(
        "ix_links_reported", "links", ["created_at", "id"], postgresql_where=reported, sqlite_where=reported
    )
    op.create_index("ix_links_expires_at", "links", ["expires_at"])
    op.create_index("ix_links_withdrawn_at", "links", ["withdrawn_at"])
    op.add_column("issued_credentials", sa.Column("link_id", sa.Uuid(), nullable=True))
    _allow(f"{SCOPES}, 'link'")


def downgrade() -> None:
    op.execute("DELETE FROM revocations WHERE scope = 'link'")
    _allow(SCOPES)
    op.drop_column("issued_credentials", "link_id")
    op.drop_table("links")


def _allow(scopes: str) -> None:
    with op.batch_alter_table("revocations") as table:
        table.drop_constraint(op.f("ck_revocations_scope"), type_="check")
        table.create_check_constraint(op.f("ck_revocations_scope"), f"scope IN ({scopes})")
