"""All tables, in the order of the features that own them. Times are timezone-aware UTC."""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
    Uuid,
    and_,
    case,
    false,
    func,
    select,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, validates
from sqlalchemy.types import TypeDecorator

from app.crypto import kinds
from app.crypto.kinds import Keyed, Sealed


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC. SQLite has no time zones, so it stores a naive time, which is read back as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Encrypted(TypeDecorator[bytes]):
    """What a vault has encrypted, bound to another column of its row. `keys reencrypt` finds every such column."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, kind: Sealed, *, bound_to: str) -> None:
        super().__init__()
        self.kind = kind
        self.bound_to = bound_to


class Digested(TypeDecorator[bytes]):
    """A digest by a vault. `since` and `until` name the columns that say when it was made and when it expires."""

    impl = LargeBinary(32)
    cache_ok = True

    def __init__(self, kind: Keyed, *, since: str | None = None, until: str | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.since = since
        self.until = until


class Model(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime(), uuid.UUID: Uuid(), dict[str, Any]: JSON()}


COGNITO = "cognito"
"""The `password_from` of users who may bring their password from Cognito."""
OLD_SYSTEM = "old_system"
"""The `password_from` of users who may bring their password from whatever `TOKENVEND_MIGRATION_URL` asks."""
EVERYONE = uuid.UUID(int=0)
"""The subject of a revocation of everybody's credentials."""


class User(Model):
    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("status IN ('active', 'disabled', 'erased')", name="status"),
        CheckConstraint("role IN ('user', 'support', 'admin')", name="role"),
        # For the lists of administrators, newest first. Few of a million rows are staff, or not active. The index that
        # finds text in addresses and names is only in the migration, because it differs between the databases.
        Index(None, "created_at", "id"),
        Index(
            "ix_users_staff",
            "created_at",
            "id",
            postgresql_where=text("role <> 'user'"),
            sqlite_where=text("role <> 'user'"),
        ),
        # SQLite uses it only for a query with exactly this condition.
        Index("ix_users_guests_due", "guest_review_at", postgresql_where=text("guest"), sqlite_where=text("guest = 1")),
        Index(
            "ix_users_inactive",
            "created_at",
            "id",
            postgresql_where=text("status <> 'active'"),
            sqlite_where=text("status <> 'active'"),
        ),
        Index("ix_users_last_seen", "last_seen_at", "id"),
        # SQLite would prefer it to `ix_users_guests_due`, and read all guests.
        Index("ix_users_guest", "guest", "created_at", "id", sqlite_where=text("guest = 0")),
        Index(
            "ix_users_verified",
            "created_at",
            "id",
            postgresql_where=text("email_verified_at IS NOT NULL"),
            sqlite_where=text("email_verified_at IS NOT NULL"),
        ),
        Index(
            "ix_users_unverified",
            "created_at",
            "id",
            postgresql_where=text("email_verified_at IS NULL AND email_key IS NOT NULL"),
            sqlite_where=text("email_verified_at IS NULL AND email_key IS NOT NULL"),
        ),
        Index(
            "ix_users_without_address",
            "email_key",
            "id",
            postgresql_where=text("email_key IS NULL"),
            sqlite_where=text("email_key IS NULL"),
        ),
        Index(
            "ix_users_imported",
            "import_id",
            "created_at",
            "id",
            postgresql_where=text("import_id IS NOT NULL"),
            sqlite_where=text("import_id IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(254))
    """As it was given. Mail goes only there. Guests and erased users have none."""
    email_key: Mapped[str | None] = mapped_column(String(1024), unique=True)
    """Equal for all spellings of one account: see `addresses.py`."""
    email_verified_at: Mapped[datetime | None]
    display_name: Mapped[str | None] = mapped_column(String(100))
    password_hash: Mapped[str | None] = mapped_column(String(255))
    """None for users who sign in only by passkey or outside identity, and for guests."""
    password_from: Mapped[str | None] = mapped_column(String(16))
    """`cognito` or `old_system`: the user was imported without a password and has not signed in yet. They may bring the
    one that they have there, once."""
    guest: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether the account belongs to one device, until it gets an address, a passkey or an outside identity."""
    guest_review_at: Mapped[datetime] = mapped_column(server_default=text("'1970-01-01 00:00:00'"))
    """When the job that erases lost guests next looks at this guest."""
    confirmed_elsewhere: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether the guest's upgrade, or the last change of address, was confirmed outside the account's own sessions, and
    the password was not reset since then.

    A reset then removes passkeys and outside identities too, because they may belong to a stranger.
    """
    status: Mapped[str] = mapped_column(String(16))
    role: Mapped[str] = mapped_column(String(16))
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """None if the setting decides."""
    session_epoch: Mapped[int] = mapped_column(Integer, server_default="0")
    """A session is alive only while its epoch equals this one: see `auth/endings.py`."""
    unlocked_at: Mapped[datetime | None]
    """When staff last ended a lock-out. Earlier wrong passwords and codes no longer count."""
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime | None]
    """When one of the user's sessions was last used, to the hour: see `auth/last_seen.py`."""
    import_id: Mapped[uuid.UUID | None]
    """The import that added the account. It outlives the import's own row."""

    @validates("password_hash")
    def _has_its_own(self, _name: str, value: str | None) -> str | None:
        """After any change of the password, the user can no longer bring one from elsewhere."""
        self.password_from = None
        return value


class SessionEnding(Model):
    """How the sessions of one epoch ended together. A job copies this into each session's row, then deletes it."""

    __tablename__ = "session_endings"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    session_epoch: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """The epoch that is over."""
    ended_at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(String(32))
    actor_id: Mapped[uuid.UUID | None]
    request_id: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))


def _of_its_ending(column: Any, user_id: Any, session_epoch: Any) -> Any:
    """`column` of the row that says how the sessions of this user and epoch ended."""
    of_it = (SessionEnding.user_id == user_id, SessionEnding.session_epoch == session_epoch)
    return select(column).where(*of_it).correlate_except(SessionEnding).scalar_subquery()


class DeviceSession(Model):
    """A signed-in device. All its refresh tokens belong to it and end with it."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index(None, "user_id", "created_at"),
        Index(
            "ix_sessions_alive",
            "user_id",
            "session_epoch",
            "created_at",
            "id",
            postgresql_where=text("ended_at IS NULL"),
            sqlite_where=text("ended_at IS NULL"),
        ),
        Index(
            "ix_sessions_ended",
            "ended_at",
            postgresql_where=text("ended_at IS NOT NULL"),
            sqlite_where=text("ended_at IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    device_name: Mapped[str | None] = mapped_column(String(100))
    method: Mapped[str] = mapped_column(String(16), server_default="password")
    """How it began: password, passkey, oidc or guest."""
    created_at: Mapped[datetime]
    authenticated_at: Mapped[datetime]
    """When the user last authenticated: the access token's `auth_time`. A step-up renews it."""
    mfa_at: Mapped[datetime | None]
    """When the user last used a second factor, or a passkey that verified the user."""
    last_used_at: Mapped[datetime]
    last_address: Mapped[str | None] = mapped_column(String(64))
    """Where it was last used from, at a sign-in, refresh or step-up. None before the first of them in this version."""
    expires_at: Mapped[datetime] = mapped_column(index=True)
    session_epoch: Mapped[int | None] = mapped_column(Integer)
    """The user's epoch when the session began. If a replica of the previous version omits it, a trigger fills it in."""
    ended_at: Mapped[datetime | None] = mapped_column()
    """Also None if the epoch ended the session and no job has settled the row yet. `over_at` covers both cases."""
    end_reason: Mapped[str | None] = mapped_column(String(32))
    over_at: Mapped[datetime | None] = column_property(
        func.coalesce(ended_at, _of_its_ending(SessionEnding.ended_at, user_id, session_epoch)),
        deferred=True,
        group="over",
    )
    """When the session ended. Never written. Like `over_reason`, it is loaded only by `undefer_group("over")`."""
    over_reason: Mapped[str | None] = column_property(
        func.coalesce(end_reason, _of_its_ending(SessionEnding.reason, user_id, session_epoch)),
        deferred=True,
        group="over",
    )


class RefreshToken(Model):
    """The keyed hash of one generation of a session's refresh token. The next token is computed, never stored."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index(
            "ix_refresh_tokens_unused",
            "session_id",
            postgresql_where=text("used_at IS NULL"),
            sqlite_where=text("used_at IS NULL"),
        ),
    )

    token_hash: Mapped[bytes] = mapped_column(
        Digested(kinds.REFRESH_TOKEN, since="issued_at", until="expires_at"), primary_key=True
    )
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sessions.id"), index=True)
    generation: Mapped[int] = mapped_column(Integer)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class SingleUseToken(Model):
    """A token that works once: a link in a mail, a sign-in that waits for a second factor, a challenge or a nonce."""

    __tablename__ = "single_use_tokens"
    __table_args__ = (Index(None, "user_id", "purpose"),)

    token_hash: Mapped[bytes] = mapped_column(
        Digested(kinds.SINGLE_USE_TOKEN, since="created_at", until="expires_at"), primary_key=True
    )
    purpose: Mapped[str] = mapped_column(String(32))
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class OutboxMail(Model):
    """A mail to send, written in the transaction of its cause. Its token is encrypted, and is deleted after sending."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index(
            "ix_outbox_waiting",
            "next_try_at",
            postgresql_where=text("sent_at IS NULL AND failed_at IS NULL"),
            sqlite_where=text("sent_at IS NULL AND failed_at IS NULL"),
        ),
        Index(
            "ix_outbox_waiting_since",
            "created_at",
            "id",
            postgresql_where=text("sent_at IS NULL AND failed_at IS NULL"),
            sqlite_where=text("sent_at IS NULL AND failed_at IS NULL"),
        ),
        # Mails to nobody are settled as failed too, and are none that staff could send again.
        Index(
            "ix_outbox_failed",
            "failed_at",
            "id",
            postgresql_where=text("failed_at IS NOT NULL AND recipient <> ''"),
            sqlite_where=text("failed_at IS NOT NULL AND recipient <> ''"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    user_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    """The account that the mail is about; None for a mail to nobody. A foreign key would lock the user's row."""
    recipient: Mapped[str] = mapped_column(String(254))
    token_encrypted: Mapped[bytes | None] = mapped_column(Encrypted(kinds.MAIL_TOKEN, bound_to="id"))
    created_at: Mapped[datetime] = mapped_column(index=True)
    next_try_at: Mapped[datetime]
    """If a worker has taken the mail: when others may take it. So a worker that dies loses no mail."""
    attempts: Mapped[int] = mapped_column(Integer)
    sent_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    """When sending was given up."""


class MailCount(Model):
    """How many mails a recipient got in an hour, for a bound. The key is a keyed digest of the recipient."""

    __tablename__ = "mail_counts"

    key: Mapped[bytes] = mapped_column(Digested(kinds.MAIL_RECIPIENT, until="ends_at"), primary_key=True)
    mails: Mapped[int] = mapped_column(Integer)
    ends_at: Mapped[datetime] = mapped_column(index=True)


class Erasure(Model):
    """An account that is being erased. A job empties its prefix at once, and again when none of its credentials can be
    alive."""

    __tablename__ = "erasures"
    __table_args__ = (
        Index(
            "ix_erasures_waiting",
            "next_try_at",
            postgresql_where=text("completed_at IS NULL"),
            sqlite_where=text("completed_at IS NULL"),
        ),
        Index(
            "ix_erasures_under_way",
            "requested_at",
            "user_id",
            postgresql_where=text("completed_at IS NULL"),
            sqlite_where=text("completed_at IS NULL"),
        ),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    requested_at: Mapped[datetime]
    next_try_at: Mapped[datetime]
    """If a worker has taken the row: when others may take it."""
    attempts: Mapped[int] = mapped_column(Integer)
    deleted_objects: Mapped[int] = mapped_column(BigInteger)
    completed_at: Mapped[datetime | None]


class UserNote(Model):
    """What staff wrote about a user, for other staff. It is erased with the user, who finds it in their export."""

    __tablename__ = "user_notes"
    __table_args__ = (Index(None, "user_id", "created_at", "id"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    author_id: Mapped[uuid.UUID]
    """Without a foreign key, which would lock the author's row."""
    text: Mapped[str] = mapped_column(String(1000))
    created_at: Mapped[datetime]


class TotpFactor(Model):
    """A user's authenticator app (RFC 6238). It is active when its first code has been confirmed."""

    __tablename__ = "totp_factors"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    secret_encrypted: Mapped[bytes] = mapped_column(Encrypted(kinds.TOTP_SECRET, bound_to="user_id"))
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    """The time step (30 seconds) of the last used code. This code and earlier ones do not work again."""


class RecoveryCode(Model):
    __tablename__ = "recovery_codes"

    code_hash: Mapped[bytes] = mapped_column(Digested(kinds.RECOVERY_CODE, since="created_at"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Passkey(Model):
    """A WebAuthn credential of a user."""

    __tablename__ = "passkeys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    credential_id: Mapped[bytes] = mapped_column(LargeBinary(1023), unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    """COSE (RFC 9052)."""
    sign_count: Mapped[int] = mapped_column(BigInteger)
    transports: Mapped[list[str]] = mapped_column(JSON)
    name: Mapped[str] = mapped_column(String(100))
    backup_eligible: Mapped[bool | None] = mapped_column(Boolean)
    """Whether the passkey may move to other devices (flag BE). Null: not known yet, from an earlier version."""
    backed_up: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class Identity(Model):
    """An outside identity of a user, at an OpenID provider."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    provider: Mapped[str] = mapped_column(String(32))
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    email: Mapped[str | None] = mapped_column(String(254))
    """The address that the provider last sent. It helps the user to tell their identities apart."""
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]


class ProviderAuthorization(Model):
    """What lets this service revoke a user's authorization at a provider, once the account ended.

    `asked_at`: when the account ended or the identity was unlinked. From then on a job tries to revoke it.
    """

    __tablename__ = "provider_authorizations"
    __table_args__ = (
        Index(
            "ix_provider_authorizations_waiting",
            "next_try_at",
            postgresql_where=text("next_try_at IS NOT NULL"),
            sqlite_where=text("next_try_at IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    identity_id: Mapped[uuid.UUID] = mapped_column(index=True)
    """Its identity, which is deleted before this."""
    provider: Mapped[str] = mapped_column(String(32))
    client_id: Mapped[str] = mapped_column(String(255))
    token_encrypted: Mapped[bytes] = mapped_column(Encrypted(kinds.PROVIDER_TOKEN, bound_to="id"))
    created_at: Mapped[datetime]
    asked_at: Mapped[datetime | None]
    next_try_at: Mapped[datetime | None]
    """If a worker has taken the row: when others may take it."""
    attempts: Mapped[int] = mapped_column(Integer)


class SigningKey(Model):
    """A key pair that signs tokens of one purpose, assertions for STS, or what a CDN verifies.

    `sequence` is unique within a purpose, so that two replicas cannot both make the first key.
    """

    __tablename__ = "signing_keys"
    __table_args__ = (CheckConstraint("purpose IN ('access', 'sts', 'saml', 'cdn')", name="purpose"),)

    purpose: Mapped[str] = mapped_column(String(16), primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kid: Mapped[str] = mapped_column(String(64), unique=True)
    private_key_encrypted: Mapped[bytes] = mapped_column(Encrypted(kinds.SIGNING_KEY, bound_to="kid"))
    public_jwk: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    signs_from: Mapped[datetime]
    retires_at: Mapped[datetime | None]


class CdnKeyPair(Model):
    """Which key CloudFront knows by an id: the newest one, when the service first saw that id in its settings."""

    __tablename__ = "cdn_key_pairs"

    key_pair_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kid: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class SecretKey(Model):
    """A secret key that the service writes with, or did. All replicas write with the newest: see `secret_keys.py`.

    The key itself is not here, only its fingerprint.
    """

    __tablename__ = "secret_keys"

    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer)
    """Hosts' clocks differ, so the newest is the one with the highest number."""
    writes_from: Mapped[datetime]
    moved_at: Mapped[datetime | None]
    """When everything encrypted was encrypted with this key. None while that is not so."""


class SecretKeyHolder(Model):
    """A running process, and the secret keys that it was told of. The row is renewed each minute."""

    __tablename__ = "secret_key_holders"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    fingerprints: Mapped[list[str]] = mapped_column(JSON)
    writes_with: Mapped[str] = mapped_column(String(64))
    seen_at: Mapped[datetime]


class KeptKey(Model):
    """The key of digests that never expire, of a secret key which is not accepted any more. It finds those digests."""

    __tablename__ = "kept_keys"

    purpose: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Of the secret key that it was derived from."""
    key_encrypted: Mapped[bytes] = mapped_column(Encrypted(kinds.KEPT_KEY, bound_to="fingerprint"))
    created_at: Mapped[datetime]


class PrehashKey(Model):
    """What another system joined to each password before it hashed it. See `crypto/prehashes.py`."""

    __tablename__ = "prehash_keys"

    id: Mapped[str] = mapped_column(String(8), primary_key=True)
    key_encrypted: Mapped[bytes] = mapped_column(Encrypted(kinds.PREHASH_KEY, bound_to="id"))
    created_at: Mapped[datetime]


class Usage(Model):
    """The last counted size of a user's objects, and the progress of the current count.

    There is no foreign key, because writing this row would then lock the user's row.
    """

    __tablename__ = "usage"

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    objects: Mapped[int] = mapped_column(BigInteger)
    counted_at: Mapped[datetime | None]
    """When the last count began."""
    old_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """The size of replaced and deleted versions, if they are counted."""
    exceeded: Mapped[bool] = mapped_column(Boolean)
    """Whether the last check found the quota reached. When this becomes true, the user's credentials are revoked."""
    changed_at: Mapped[datetime | None]
    """When an event last reported a change. A count that began earlier may have missed it."""
    next_count_at: Mapped[datetime] = mapped_column(index=True)
    """If a worker has taken the row: when others may take it."""
    attempts: Mapped[int] = mapped_column(Integer)
    began_at: Mapped[datetime | None]
    """When the current count began. The columns below belong to the current count too."""
    counted_to: Mapped[str | None] = mapped_column(String(3072))
    """The last counted key. It is percent-encoded, because PostgreSQL cannot store NUL."""
    counted_to_version: Mapped[str | None] = mapped_column(String(1024))
    """The last counted version of that key, if versions are counted."""
    bytes_so_far: Mapped[int] = mapped_column(BigInteger)
    objects_so_far: Mapped[int] = mapped_column(BigInteger)
    old_bytes_so_far: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Grant(Model):
    """A folder of the owner's that another user may read, or fill. A withdrawn, left or expired grant stays so."""

    __tablename__ = "grants"
    __table_args__ = (
        Index(None, "owner_id", "created_at", "id"),
        Index(None, "grantee_id", "created_at", "id"),
        Index(
            "ix_grants_accepted",
            "grantee_id",
            "created_at",
            "id",
            postgresql_where=text("accepted_at IS NOT NULL"),
            sqlite_where=text("accepted_at IS NOT NULL"),
        ),
        Index(
            "ix_grants_unbound",
            "grantee_email_key",
            postgresql_where=text("grantee_id IS NULL"),
            sqlite_where=text("grantee_id IS NULL"),
        ),
        Index(
            "ix_grants_recalled",
            "recall_at",
            postgresql_where=text("recall_at IS NOT NULL"),
            sqlite_where=text("recall_at IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    grantee_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    """The first user who held the address; this never changes. None while the grant is an invitation."""
    grantee_email: Mapped[str] = mapped_column(String(254))
    """As the owner gave it. The owner sees nothing else of the grantee. Empty when either account is erased."""
    grantee_email_key: Mapped[str] = mapped_column(String(1024))
    path: Mapped[str] = mapped_column(String(256))
    """The folder within the owner's prefix. It ends in `/`."""
    access: Mapped[str] = mapped_column(String(16), server_default="read")
    """`read`, or `contribute`: the grantee also writes in their own part of the folder. Never changed."""
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """How much the grantee may contribute. None if only the owner's quota decides. Never changed."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    """In whole seconds; never changed."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(index=True)
    """When the owner withdrew it, or either account was erased."""
    accepted_at: Mapped[datetime | None]
    """When the grantee accepted it. The owner is not told. Before that no credential carries it."""
    left_at: Mapped[datetime | None]
    """When the grantee left it. The owner is not told."""
    recall_at: Mapped[datetime | None]
    """Since when a job has to revoke credentials that carry it: it was withdrawn, or its owner disabled or erased."""


class Contribution(Model):
    """A part of another user's folder that a credential of the contributor's could ever write in.

    A contributor is a user, or a `LinkContributor`.

    The contributor's erasure deletes what lies there, so the row outlives every grant. It is counted while a grant with
    a quota lets the contributor write. There is no foreign key, because writing this row would then lock users' rows.
    """

    __tablename__ = "contributions"
    __table_args__ = (
        Index(None, "contributor_id", "id"),
        Index(None, "owner_id"),
        Index(
            "ix_contributions_due",
            "next_count_at",
            postgresql_where=text("next_count_at IS NOT NULL"),
            sqlite_where=text("next_count_at IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """Made from the other three, so that there is one row for a place."""
    contributor_id: Mapped[uuid.UUID]
    owner_id: Mapped[uuid.UUID]
    path: Mapped[str] = mapped_column(String(256))
    """The shared folder within the owner's prefix. It ends in `/`."""
    created_at: Mapped[datetime]
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """As it was last counted."""
    counted_at: Mapped[datetime | None]
    """When the last count began."""
    next_count_at: Mapped[datetime | None]
    """None if no count is due. If a worker has taken the row: when others may take it."""
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    began_at: Mapped[datetime | None]
    """When the current count began. The columns below belong to the current count too."""
    counted_to: Mapped[str | None] = mapped_column(String(3072))
    """The last counted key. It is percent-encoded, because PostgreSQL cannot store NUL."""
    bytes_so_far: Mapped[int] = mapped_column(BigInteger, server_default="0")
    emptied_at: Mapped[datetime | None]
    """When the erasure of the contributor last began to empty it, and did."""


class Link(Model):
    """A folder of the owner's that whoever has the link may read, or fill. A withdrawn or expired link stays so.

    Its credentials are in the ledger with its id, and end with it.
    """

    __tablename__ = "links"
    __table_args__ = (
        Index(None, "owner_id", "created_at", "id"),
        Index(None, "created_at", "id"),
        Index(
            "ix_links_reported",
            "created_at",
            "id",
            postgresql_where=text("reports > 0"),
            sqlite_where=text("reports > 0"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    secret_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    """SHA-256 of the secret, which has 128 random bits. So nobody finds the secret from it."""
    password_hash: Mapped[str | None] = mapped_column(String(255))
    path: Mapped[str] = mapped_column(String(256))
    """The folder within the owner's prefix. It ends in `/`. Empty when the owner's account is erased."""
    access: Mapped[str] = mapped_column(String(16), server_default="read")
    """`read`, or `contribute`: whoever has the link may also write in a part of their own. Never changed."""
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """How much all of them may contribute together. None if only the owner's quota decides."""
    max_contributors: Mapped[int | None] = mapped_column(Integer)
    """None if nobody contributes."""
    label: Mapped[str | None] = mapped_column(String(100))
    """What the owner calls the link. Nobody else sees it but staff."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    """In whole seconds; never changed."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(index=True)
    opened_at: Mapped[datetime | None]
    """When it was last opened, to within a minute."""
    reports: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """How often people who opened it reported what it shows."""
    reported_at: Mapped[datetime | None]


class LinkContributor(Model):
    """Somebody without an account who contributes by a link. They show a token, of which only the digest is stored."""

    __tablename__ = "link_contributors"
    __table_args__ = (Index(None, "link_id", "created_at", "id"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    link_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("links.id"))
    name: Mapped[str] = mapped_column(String(60))
    """As they gave it. Nobody has checked it."""
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    """SHA-256 of the token, which has 128 random bits."""
    created_at: Mapped[datetime]


class Revocation(Model):
    """A mark: the credentials of its scope that were issued before `not_before` (in whole seconds) are revoked.

    The row is deleted when none of them can be alive.
    """

    __tablename__ = "revocations"
    __table_args__ = (
        CheckConstraint("scope IN ('everyone', 'user', 'session', 'link')", name="scope"),
        # Few marks take room at the engine, however many are withheld from it.
        Index(
            "ix_revocations_told",
            "expires_at",
            postgresql_where=text("NOT withheld"),
            sqlite_where=text("withheld = 0"),
        ),
        Index(
            "ix_revocations_untold",
            "revoked_at",
            postgresql_where=text("applied_at IS NULL AND NOT withheld"),
            sqlite_where=text("applied_at IS NULL AND withheld = 0"),
        ),
    )

    subject_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """The id of a session, a link or a user, or the nil UUID for everyone."""
    user_id: Mapped[uuid.UUID | None]
    """The user of the session or link, or the user again. The row outlives both, so there is no foreign key."""
    scope: Mapped[str] = mapped_column(String(16))
    revoked_at: Mapped[datetime]
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    applied_at: Mapped[datetime | None]
    """When the engine was told. None before that, and always with `REVOCATION=off`."""
    withheld: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether the engine is never told: no such credential is alive, or the cause has no room left at the engine."""
    goes_on: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Only for a session or link: whether it still gets credentials, so that the engine compares with `not_before`."""
    reason: Mapped[str | None] = mapped_column(String(32))
    """The cause of the revocation; None if no credential was alive."""
    newcomer: Mapped[bool] = mapped_column(Boolean, server_default=false())
    source: Mapped[str | None] = mapped_column(String(64))
    """Whose share of the engine's room it takes: see `revocation/allowances.py`."""


def _of_everyone(column: Any) -> Any:
    """`column` of the one row that revokes everybody's credentials. The database reads it once in a statement."""
    return select(column).where(Revocation.subject_id == EVERYONE).correlate(None).scalar_subquery()


_REVOKED_ALL = _of_everyone(Revocation.revoked_at)


class IssuedCredential(Model):
    """The ledger: one row for each credential that STS issued. It outlives its user, so it has no foreign key."""

    __tablename__ = "issued_credentials"
    __table_args__ = (Index(None, "user_id", "issued_at"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID]
    session_id: Mapped[uuid.UUID]
    """The id of the link if there is one."""
    link_id: Mapped[uuid.UUID | None]
    """The link of the user's by which somebody without a session got it."""
    contributor_id: Mapped[uuid.UUID | None]
    """Who writes by that link. None if it only reads."""
    access_key_id: Mapped[str] = mapped_column(String(128), index=True)
    access: Mapped[str] = mapped_column(String(16))
    prefix: Mapped[str] = mapped_column(String(512))
    role_session_name: Mapped[str] = mapped_column(String(64))
    sts_request_id: Mapped[str | None] = mapped_column(String(128))
    issued_at: Mapped[datetime] = mapped_column()
    expires_at: Mapped[datetime] = mapped_column(index=True)
    shared: Mapped[list[dict[str, str]] | None] = mapped_column(JSON(none_as_null=True))
    """The folders of others that it reads: `{grant_id, prefix}` for each. None if it carries no share. A folder that
    it fills has `write_prefix` too."""
    revoked_at: Mapped[datetime | None] = mapped_column()
    """When this credential was revoked by itself."""
    withheld: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether the engine was not told of that revocation, and so accepts the credential until it expires."""
    withdrawn_at: Mapped[datetime | None] = column_property(
        func.coalesce(
            revoked_at,
            case((and_(issued_at < _of_everyone(Revocation.not_before), expires_at > _REVOKED_ALL), _REVOKED_ALL)),
        )
    )
    """When it was revoked, by itself or with everybody's earlier credentials. Never written."""


class RolePolicy(Model):
    """The revocations that were last written to a role, and the lease of the replica that writes them."""

    __tablename__ = "role_policies"

    role_arn: Mapped[str] = mapped_column(String(255), primary_key=True)
    digest: Mapped[str | None] = mapped_column(String(64))
    """The digest of the last written policy. None if there is none, or if two replicas may have written at once."""
    written_at: Mapped[datetime | None]
    next_try_at: Mapped[datetime]
    """If a replica is writing the role: when others may."""
    attempts: Mapped[int] = mapped_column(Integer)
    failures: Mapped[int] = mapped_column(Integer)
    """Failed writes in a row."""


class RoleDocument(Model):
    """One of a role's policies that deny revoked credentials, as the engine has it or may have it."""

    __tablename__ = "role_documents"

    role_arn: Mapped[str] = mapped_column(String(255), primary_key=True)
    policy: Mapped[str] = mapped_column(String(255), primary_key=True)
    """The name of the inline policy, or the ARN of a managed one."""
    names: Mapped[dict[str, str | None]] = mapped_column(JSON)
    """What it denies: see `revocation/denials.py`. If a write is not settled: all that it may deny."""
    settled: Mapped[bool]
    """Whether the last write is known to have arrived."""
    digest: Mapped[str | None] = mapped_column(String(64))
    """`RolePolicy.digest` as this version of the service left it. A version without documents changes only that."""
    written_at: Mapped[datetime | None]
    refused_at: Mapped[datetime | None]
    """When the engine last refused to write it. For a while other documents are written instead."""
    room: Mapped[int | None] = mapped_column(Integer)
    """Characters that fit into it, if the engine has once refused it as too long."""


class Canary(Model):
    """The last run of the isolation canary, and the lease for the next one. The table has one row."""

    __tablename__ = "canary"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    next_try_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(Integer)
    result: Mapped[str | None] = mapped_column(String(16))
    """`passed`, `failed` or `broken`; None before the end of the first run."""
    passed_at: Mapped[datetime | None]


class AuditEvent(Model):
    """Who did what to whom, when, from where. It is written in the transaction of the act itself.

    Triggers keep the table append-only. A migration that makes the table anew has to make them again.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index(None, "subject_id", "at", "id"),
        Index(None, "actor_id", "at", "id"),
        Index(None, "event", "at", "id"),
        Index(None, "at", "id"),
        Index(
            "ix_audit_events_refused",
            "at",
            "id",
            postgresql_where=text("outcome = 'refused'"),
            sqlite_where=text("outcome = 'refused'"),
        ),
        Index(
            "ix_audit_events_refused_kinds",
            "event",
            "at",
            "id",
            postgresql_where=text("outcome = 'refused'"),
            sqlite_where=text("outcome = 'refused'"),
        ),
        # A hash is a quarter of the size: request ids are random, and nobody asks for a range of them.
        Index(
            "ix_audit_events_request",
            "request_id",
            postgresql_using="hash",
            postgresql_where=text("request_id <> ''"),
            sqlite_where=text("request_id <> ''"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[uuid.UUID | None]
    subject_id: Mapped[uuid.UUID | None]
    session_id: Mapped[uuid.UUID | None]
    request_id: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)


class OutgoingEvent(Model):
    """An event for the operator's own server, written in the transaction of the act that it tells of."""

    __tablename__ = "outgoing_events"
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "user_id", "created_at", "id"),
        Index(None, "type", "created_at", "id"),
        Index(
            "ix_outgoing_events_due",
            "next_try_at",
            postgresql_where=text("delivered_at IS NULL AND failed_at IS NULL"),
            sqlite_where=text("delivered_at IS NULL AND failed_at IS NULL"),
        ),
        Index(
            "ix_outgoing_events_waiting",
            "give_up_at",
            postgresql_where=text("delivered_at IS NULL AND failed_at IS NULL"),
            sqlite_where=text("delivered_at IS NULL AND failed_at IS NULL"),
        ),
        Index(
            "ix_outgoing_events_undelivered",
            "created_at",
            "id",
            postgresql_where=text("delivered_at IS NULL"),
            sqlite_where=text("delivered_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """Also the id by which a receiver knows a repetition."""
    type: Mapped[str] = mapped_column(String(32))
    user_id: Mapped[uuid.UUID | None]
    """Whom it is about; None if nobody. A foreign key would lock the user's row."""
    sequence: Mapped[int | None] = mapped_column(BigInteger)
    """The number of the event among those of its user, from 1."""
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime]
    """When it happened."""
    next_try_at: Mapped[datetime]
    """If a replica has taken the event: when others may take it."""
    lease: Mapped[uuid.UUID | None]
    """The pass of a replica that has taken the event."""
    attempts: Mapped[int] = mapped_column(Integer)
    give_up_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    """When it was given up."""
    fault: Mapped[str | None] = mapped_column(String(64))
    """Why the last try failed."""


class EventSequence(Model):
    """The number of a user's last event. It stays as long as the user's row, so that no number comes twice."""

    __tablename__ = "event_sequences"

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger)


class UserImport(Model):
    """An import of users and its progress, which is committed with the imported users."""

    __tablename__ = "user_imports"
    __table_args__ = (
        CheckConstraint("status IN ('running', 'completed', 'interrupted', 'failed')", name="status"),
        Index(None, "started_at", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(16))
    dry_run: Mapped[bool] = mapped_column(Boolean)
    status: Mapped[str] = mapped_column(String(16))
    lease: Mapped[uuid.UUID]
    """Identifies the process that runs the import now. A batch of another process is rolled back."""
    rows: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[int] = mapped_column(BigInteger)
    existing: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    invited: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Of `created`: those whose hash is not supported, who get a mail with a link."""
    hashes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Of a dry run, by the kind of hash: rows, the work of all their first sign-ins, and the dearest of these."""
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the rows so far. A file that continues the import has to begin with the same rows."""
    started_by: Mapped[uuid.UUID | None]
    """The administrator; None for the command line."""
    started_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class UserImportProblem(Model):
    """What is wrong with a row of an imported file. It holds none of the row's values."""

    __tablename__ = "user_import_problems"

    import_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("user_imports.id"), primary_key=True)
    row: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """The number of the row, from 1. A header does not count."""
    code: Mapped[str] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(String(200))


class Activity(Model):
    """The counts of five minutes (UTC). They outlive the audit events that they were counted from."""

    __tablename__ = "activity"

    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    tallied: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether audit events and ledger were counted. That happens once, after the five minutes."""
    sign_ups: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sign_ins: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failures: Mapped[int] = mapped_column(BigInteger, server_default="0")
    mfa_failures: Mapped[int] = mapped_column(BigInteger, server_default="0")
    vends_issued: Mapped[int] = mapped_column(BigInteger, server_default="0")
    vends_refused: Mapped[int] = mapped_column(BigInteger, server_default="0")
    revocations: Mapped[int] = mapped_column(BigInteger, server_default="0")
    users: Mapped[int | None] = mapped_column(BigInteger)
    """At the end of the five minutes, like `live_credentials`."""
    live_credentials: Mapped[int | None] = mapped_column(BigInteger)
    vends_cached: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Each process adds its own numbers to this column and the ones below."""
    sts_calls: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sts_errors: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sts_slow: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sts_milliseconds: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Backfill(Model):
    """A column that a job fills for the rows of earlier versions. The row is deleted when it is filled."""

    __tablename__ = "backfills"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    position: Mapped[uuid.UUID | None]
    """The id of the last filled row."""


class WriteProbe(Model):
    """A short-lived row by which a replica finds out whether a full database takes writes again."""

    __tablename__ = "write_probes"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
