"""Guests, second factors, passkeys, outside identities, single-use tokens, the outbox and erasure."""

import sqlalchemy as sa
from alembic import op

revision = "2026112402"
down_revision = "20261124"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
UNUSED, WAITING = sa.text("used_at IS NULL"), sa.text("sent_at IS NULL AND failed_at IS NULL")
ENDED, ERASING = sa.text("ended_at IS NOT NULL"), sa.text("completed_at IS NULL")
TABLES = (
    "identities",
    "passkeys",
    "recovery_codes",
    "totp_factors",
    "erasures",
    "outbox",
    "single_use_tokens",
)


def upgrade() -> None:
    with op.batch_alter_table("users") as table:
        for name, kind in (
            ("email", sa.String(254)),
            ("email_key", sa.String(1024)),
            ("password_hash", sa.String(255)),
        ):
            table.alter_column(name, existing_type=kind, nullable=True)
        table.add_column(sa.Column("guest", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.drop_constraint(op.f("ck_users_status"), type_="check")
        table.create_check_constraint(op.f("ck_users_status"), "status IN ('active', 'disabled', 'erased')")
    op.add_column("sessions", sa.Column("method", sa.String(16), nullable=False, server_default="password"))
    op.add_column("sessions", sa.Column("mfa_at", MOMENT, nullable=True))
    op.create_index("ix_sessions_ended", "sessions", ["ended_at"], postgresql_where=ENDED, sqlite_where=ENDED)
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"])
    op.create_index(op.f("ix_refresh_tokens_expires_at"), "refresh_tokens", ["expires_at"])
    op.create_index(
        "ix_refresh_tokens_unused",
        "refresh_tokens",
        ["session_id"],
        postgresql_where=UNUSED,
        sqlite_where=UNUSED,
    )

    op.create_table(
        "single_use_tokens",
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_single_use_tokens_user_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_single_use_tokens")),
    )
    op.create_index(op.f("ix_single_use_tokens_user_id_purpose"), "single_use_tokens", ["user_id", "purpose"])
    op.create_index(op.f("ix_single_use_tokens_expires_at"), "single_use_tokens", ["expires_at"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("recipient", sa.String(254), nullable=False),
        sa.Column("token_encrypted", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("next_try_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("sent_at", MOMENT, nullable=True),
        sa.Column("failed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_user_id"), "outbox", ["user_id"])
    op.create_index(op.f("ix_outbox_created_at"), "outbox", ["created_at"])
    op.create_index("ix_outbox_waiting", "outbox", ["next_try_at"], postgresql_where=WAITING, sqlite_where=WAITING)
    op.create_table(
        "erasures",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("next_try_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("deleted_objects", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_erasures_user_id")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_erasures")),
    )
    op.create_index("ix_erasures_waiting", "erasures", ["next_try_at"], postgresql_where=ERASING, sqlite_where=ERASING)

    op.create_table(
        "totp_factors",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("secret_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("confirmed_at", MOMENT, nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_totp_factors_user_id")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_totp_factors")),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("code_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_recovery_codes_user_id")),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_recovery_codes")),
    )
    op.create_index(op.f("ix_recovery_codes_user_id"), "recovery_codes", ["user_id"])
    op.create_table(
        "passkeys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(1023), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("transports", sa.JSON(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("last_used_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_passkeys_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
    )
    op.create_index(op.f("ix_passkeys_user_id"), "passkeys", ["user_id"])
    op.create_table(
        "identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("email", sa.String(254), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("last_used_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_identities_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_identities_issuer_subject")),
    )
    op.create_index(op.f("ix_identities_user_id"), "identities", ["user_id"])


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
    op.drop_index("ix_refresh_tokens_unused", "refresh_tokens")
    op.drop_index(op.f("ix_refresh_tokens_expires_at"), "refresh_tokens")
    op.drop_index(op.f("ix_sessions_expires_at"), "sessions")
    op.drop_index("ix_sessions_ended", "sessions")
    op.drop_column("sessions", "mfa_at")
    op.drop_column("sessions", "method")
    # The version before knows no account without address and password.
    keyless = "(SELECT id FROM users WHERE email_key IS NULL OR password_hash IS NULL)"
    op.execute(
        f"DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE user_id IN {keyless})"  # noqa: S608
    )
    op.execute(f"DELETE FROM sessions WHERE user_id IN {keyless}")  # noqa: S608
    op.execute("DELETE FROM users WHERE email_key IS NULL OR password_hash IS NULL")
    with op.batch_alter_table("users") as table:
        table.drop_constraint(op.f("ck_users_status"), type_="check")
        table.create_check_constraint(op.f("ck_users_status"), "status IN ('active', 'disabled')")
        table.drop_column("guest")
        for name, kind in (
            ("email", sa.String(254)),
            ("email_key", sa.String(1024)),
            ("password_hash", sa.String(255)),
        ):
            table.alter_column(name, existing_type=kind, nullable=False)
