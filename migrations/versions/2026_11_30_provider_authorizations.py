"""What revokes a user's authorization at a provider once the account ended."""

import sqlalchemy as sa
from alembic import op

revision = "2026113002"
down_revision = "2026113001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_authorizations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("identity_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("token_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_provider_authorizations_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_provider_authorizations"),
    )
    op.create_index("ix_provider_authorizations_user_id", "provider_authorizations", ["user_id"])
    op.create_index("ix_provider_authorizations_identity_id", "provider_authorizations", ["identity_id"])
    waiting = sa.text("next_try_at IS NOT NULL")
    op.create_index(
        "ix_provider_authorizations_waiting",
        "provider_authorizations",
        ["next_try_at"],
        postgresql_where=waiting,
        sqlite_where=waiting,
    )


def downgrade() -> None:
    op.drop_table("provider_authorizations")
