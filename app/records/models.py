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


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite has no time zones, so there it is stored naive and read back as UTC."""

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
"""Whose users may bring their password along."""
EVERYONE = uuid.UUID(int=0)
"""The subject of a revocation of everybody's credentials."""


class User(Model):
    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("status IN ('active', 'disabled', 'erased')", name="status"),
        CheckConstraint("role IN ('user', 'support', 'admin')", name="role"),
        # What administrators list, newest first. Of a million rows few are staff, or anything but active. What finds
        # text in address and name stands in the migration alone: it is another thing on each engine.
        Index(None, "created_at", "id"),
        Index(
            "ix_users_staff",
            "created_at",
            "id",
            postgresql_where=text("role <> 'user'"),
            sqlite_where=text("role <> 'user'"),
        ),
        # SQLite uses it only where a query has the condition word for word.
        Index("ix_users_guests_due", "guest_review_at", postgresql_where=text("guest"), sqlite_where=text("guest = 1")),
        Index(
            "ix_users_inactive",
            "created_at",
            "id",
            postgresql_where=text("status <> 'active'"),
            sqlite_where=text("status <> 'active'"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(254))
    """As it was given: mail goes there and nowhere else. A guest, and an erased user, has none."""
    email_key: Mapped[str | None] = mapped_column(String(1024), unique=True)
    """What makes two spellings one account: see `accounts/addresses.py`."""
    email_verified_at: Mapped[datetime | None]
    display_name: Mapped[str | None] = mapped_column(String(100))
    password_hash: Mapped[str | None] = mapped_column(String(255))
    """None for who signs in by passkey or outside identity alone, and for a guest."""
    password_from: Mapped[str | None] = mapped_column(String(16))
    """`cognito`: who was imported from there, and has not signed in yet, may bring that password along once."""
    guest: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Bound to the one device that made it, until it gets an address, a passkey or an outside identity."""
    guest_review_at: Mapped[datetime] = mapped_column(server_default=text("'1970-01-01 00:00:00'"))
    """When the job that erases lost guests looks at a guest next."""
    confirmed_elsewhere: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """The upgrade of a guest, or the last change of address, was confirmed outside of the account's own sessions, and
    nobody has reset the password since.

    A reset then ends passkeys and outside identities too: they may be those of a stranger who was believed.
    """
    status: Mapped[str] = mapped_column(String(16))
    role: Mapped[str] = mapped_column(String(16))
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """None: the setting decides."""
    session_epoch: Mapped[int] = mapped_column(Integer, server_default="0")
    """A session lives while it has the same one: see `endings.py`."""
    unlocked_at: Mapped[datetime | None]
    """When staff last ended a lock-out: wrong passwords and codes of before count no more."""
    created_at: Mapped[datetime]

    @validates("password_hash")
    def _has_its_own(self, _name: str, value: str | None) -> str | None:
        """Whatever way a password comes or goes, from then on none is brought along from elsewhere."""
        self.password_from = None
        return value


class SessionEnding(Model):
    """Sessions of one epoch that ended together, until a job has written into each row what is written here."""

    __tablename__ = "session_endings"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    session_epoch: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """The one that is over."""
    ended_at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(String(32))
    actor_id: Mapped[uuid.UUID | None]
    request_id: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))


def _of_its_ending(column: Any, user_id: Any, session_epoch: Any) -> Any:
    """Of the row that says how the sessions of this user and epoch ended."""
    of_it = (SessionEnding.user_id == user_id, SessionEnding.session_epoch == session_epoch)
    return select(column).where(*of_it).correlate_except(SessionEnding).scalar_subquery()


class DeviceSession(Model):
    """A signed-in device: the family that its refresh tokens belong to."""

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
    """When its user was last seen to be who they are: the token's `auth_time`, which a step-up renews."""
    mfa_at: Mapped[datetime | None]
    """When a second factor was last shown, or a passkey that verified its user."""
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    session_epoch: Mapped[int | None] = mapped_column(Integer)
    """Its user's when it began. A trigger fills in what a replica of the version before leaves out."""
    ended_at: Mapped[datetime | None] = mapped_column()
    """Also None where the epoch ended it and no job has settled the row yet: `over_at` is when it ended, either way."""
    end_reason: Mapped[str | None] = mapped_column(String(32))
    over_at: Mapped[datetime | None] = column_property(
        func.coalesce(ended_at, _of_its_ending(SessionEnding.ended_at, user_id, session_epoch)),
        deferred=True,
        group="over",
    )
    """Never written. Loaded where it is asked for, with `undefer_group("over")`; so is `over_reason`."""
    over_reason: Mapped[str | None] = column_property(
        func.coalesce(end_reason, _of_its_ending(SessionEnding.reason, user_id, session_epoch)),
        deferred=True,
        group="over",
    )


class RefreshToken(Model):
    """One generation of a session's refresh token, by its keyed hash. The successor is computed, never stored."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index(
            "ix_refresh_tokens_unused",
            "session_id",
            postgresql_where=text("used_at IS NULL"),
            sqlite_where=text("used_at IS NULL"),
        ),
    )

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sessions.id"), index=True)
    generation: Mapped[int] = mapped_column(Integer)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class SingleUseToken(Model):
    """Whatever works once: a link in a mail, a sign-in that waits for its second factor, a challenge, a nonce."""

    __tablename__ = "single_use_tokens"
    __table_args__ = (Index(None, "user_id", "purpose"),)

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(32))
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class OutboxMail(Model):
    """A mail to send, written in the transaction of what it tells of. Its token is encrypted, and gone once sent."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index(
            "ix_outbox_waiting",
            "next_try_at",
            postgresql_where=text("sent_at IS NULL AND failed_at IS NULL"),
            sqlite_where=text("sent_at IS NULL AND failed_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    user_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    """Whose account it tells of; None for a mail to nobody. No foreign key: it would lock a user who is only told."""
    recipient: Mapped[str] = mapped_column(String(254))
    token_encrypted: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(index=True)
    next_try_at: Mapped[datetime]
    """For one that a worker has taken, when the others may: a worker that died loses nothing."""
    attempts: Mapped[int] = mapped_column(Integer)
    sent_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    """When the last try was given up."""


class MailCount(Model):
    """How many mails somebody got in an hour, for a bound. Who it was is a keyed digest."""

    __tablename__ = "mail_counts"

    key: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    mails: Mapped[int] = mapped_column(Integer)
    ends_at: Mapped[datetime] = mapped_column(index=True)


class Erasure(Model):
    """An account that is being erased: a job empties its prefix, and again once no credential for it can be alive."""

    __tablename__ = "erasures"
    __table_args__ = (
        Index(
            "ix_erasures_waiting",
            "next_try_at",
            postgresql_where=text("completed_at IS NULL"),
            sqlite_where=text("completed_at IS NULL"),
        ),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    requested_at: Mapped[datetime]
    next_try_at: Mapped[datetime]
    """For one that a worker has taken, when the others may."""
    attempts: Mapped[int] = mapped_column(Integer)
    deleted_objects: Mapped[int] = mapped_column(BigInteger)
    completed_at: Mapped[datetime | None]


class TotpFactor(Model):
    """A user's authenticator app (RFC 6238). It counts once its first code was seen."""

    __tablename__ = "totp_factors"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    secret_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    """The 30 seconds whose code was used last: neither it nor an earlier one works again."""


class RecoveryCode(Model):
    __tablename__ = "recovery_codes"

    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
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
    backed_up: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class Identity(Model):
    """An outside identity of a user: who an OpenID provider says they are."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    provider: Mapped[str] = mapped_column(String(32))
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    email: Mapped[str | None] = mapped_column(String(254))
    """What the provider last said, for the user to tell one from another."""
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]


class SigningKey(Model):
    """A key pair that signs tokens of one purpose. `sequence` is unique in it: two replicas cannot make two firsts."""

    __tablename__ = "signing_keys"
    __table_args__ = (CheckConstraint("purpose IN ('access', 'sts')", name="purpose"),)

    purpose: Mapped[str] = mapped_column(String(16), primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kid: Mapped[str] = mapped_column(String(64), unique=True)
    private_key_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    public_jwk: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    signs_from: Mapped[datetime]
    retires_at: Mapped[datetime | None]


class Usage(Model):
    """What a user's objects take up, as it was last counted, and how far a count that is under way has come.

    No foreign key: it would lock the user, of whom a vend reads and a count knows nothing.
    """

    __tablename__ = "usage"

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    objects: Mapped[int] = mapped_column(BigInteger)
    counted_at: Mapped[datetime | None]
    """When the last count began."""
    old_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Of versions that were replaced or deleted, where they are counted."""
    exceeded: Mapped[bool] = mapped_column(Boolean)
    """Whether it had reached the quota when it was last looked at: credentials are revoked where that becomes so."""
    changed_at: Mapped[datetime | None]
    """When an event last told of a change, which a count that began before may have missed."""
    next_count_at: Mapped[datetime] = mapped_column(index=True)
    """For one that a worker has taken, when the others may."""
    attempts: Mapped[int] = mapped_column(Integer)
    began_at: Mapped[datetime | None]
    """Of a count that is not at its end, as are those below."""
    counted_to: Mapped[str | None] = mapped_column(String(3072))
    """The last key of it, percent-encoded: PostgreSQL has no NUL."""
    counted_to_version: Mapped[str | None] = mapped_column(String(1024))
    """Of that key, where versions are counted."""
    bytes_so_far: Mapped[int] = mapped_column(BigInteger)
    objects_so_far: Mapped[int] = mapped_column(BigInteger)
    old_bytes_so_far: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Grant(Model):
    """A folder of its owner's that somebody else may read. Withdrawn, left or expired, it stays so."""

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
    """Whose it is for good, once somebody holds the address. Until then it is an invitation."""
    grantee_email: Mapped[str] = mapped_column(String(254))
    """As the owner gave it, and all that they get to see of the other. Empty once either account is erased."""
    grantee_email_key: Mapped[str] = mapped_column(String(1024))
    path: Mapped[str] = mapped_column(String(256))
    """In the owner's prefix; ends in `/`."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    """In whole seconds; never changed."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(index=True)
    """When its owner took it back, or either account was erased."""
    accepted_at: Mapped[datetime | None]
    """When its grantee accepted it, which its owner is not told. Before that no credential carries it."""
    left_at: Mapped[datetime | None]
    """When its grantee wanted it no more, which its owner is not told."""
    recall_at: Mapped[datetime | None]
    """Since when a job is to revoke what carries it: it was taken back, or its owner disabled or erased."""


class Revocation(Model):
    """Whose credentials are to open nothing any more. It goes once none of them can be alive.

    `not_before`, in whole seconds, parts those of before from those that the same user gets afterwards.
    """

    __tablename__ = "revocations"
    __table_args__ = (
        CheckConstraint("scope IN ('everyone', 'user', 'session')", name="scope"),
        # Those that take room at the engine are few, however many are withheld from it.
        Index(
            "ix_revocations_told",
            "expires_at",
            postgresql_where=text("NOT withheld"),
            sqlite_where=text("withheld = 0"),
        ),
    )

    subject_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """A session's id, a user's, or for all users the nil UUID."""
    user_id: Mapped[uuid.UUID | None]
    """The session's, or the user's own id again. It outlives both, so it has no foreign key."""
    scope: Mapped[str] = mapped_column(String(16))
    revoked_at: Mapped[datetime]
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    applied_at: Mapped[datetime | None]
    """When the engine was told. None while it has not been, and for ever where `REVOCATION=off`."""
    withheld: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether the engine is never told: nothing of it is alive, or its cause has no room left there."""
    goes_on: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Of a session: whether it is given new credentials, so that those of before are told apart by `not_before`."""
    reason: Mapped[str | None] = mapped_column(String(32))
    """What revoked it; None where nothing was alive."""
    newcomer: Mapped[bool] = mapped_column(Boolean, server_default=false())
    source: Mapped[str | None] = mapped_column(String(64))
    """Whose share of the engine's room it takes: see `allowances.py`."""


def _of_everyone(column: Any) -> Any:
    """Of the one row that revokes everybody's, which the database reads once a statement."""
    return select(column).where(Revocation.subject_id == EVERYONE).correlate(None).scalar_subquery()


_REVOKED_ALL = _of_everyone(Revocation.revoked_at)


class IssuedCredential(Model):
    """The ledger: one row for each credential that left STS. It outlives its user, so it has no foreign key."""

    __tablename__ = "issued_credentials"
    __table_args__ = (Index(None, "user_id", "issued_at"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID]
    session_id: Mapped[uuid.UUID]
    access_key_id: Mapped[str] = mapped_column(String(128), index=True)
    access: Mapped[str] = mapped_column(String(16))
    prefix: Mapped[str] = mapped_column(String(512))
    role_session_name: Mapped[str] = mapped_column(String(64))
    sts_request_id: Mapped[str | None] = mapped_column(String(128))
    issued_at: Mapped[datetime] = mapped_column()
    expires_at: Mapped[datetime] = mapped_column(index=True)
    shared: Mapped[list[dict[str, str]] | None] = mapped_column(JSON(none_as_null=True))
    """What it reaches of others': `{grant_id, prefix}` of each folder. None where it carries no share."""
    revoked_at: Mapped[datetime | None] = mapped_column()
    """By itself."""
    withheld: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether the engine was not told of that, and takes it until it expires."""
    withdrawn_at: Mapped[datetime | None] = column_property(
        func.coalesce(
            revoked_at,
            case((and_(issued_at < _of_everyone(Revocation.not_before), expires_at > _REVOKED_ALL), _REVOKED_ALL)),
        )
    )
    """When it was revoked, by itself or with everybody's of before. Never written."""


class RolePolicy(Model):
    """What a role was last told of the revocations, and who of the replicas is telling it."""

    __tablename__ = "role_policies"

    role_arn: Mapped[str] = mapped_column(String(255), primary_key=True)
    digest: Mapped[str | None] = mapped_column(String(64))
    """Of the policy as it was last written; None before, and where two replicas may have written at once."""
    written_at: Mapped[datetime | None]
    next_try_at: Mapped[datetime]
    """For one that a replica is writing, when the others may."""
    attempts: Mapped[int] = mapped_column(Integer)
    failures: Mapped[int] = mapped_column(Integer)
    """In a row."""


class RoleDocument(Model):
    """One of the policies by which a role denies what was revoked, as the engine has it or may have it."""

    __tablename__ = "role_documents"

    role_arn: Mapped[str] = mapped_column(String(255), primary_key=True)
    policy: Mapped[str] = mapped_column(String(255), primary_key=True)
    """The name of the inline one, or the ARN of a managed one."""
    names: Mapped[dict[str, str | None]] = mapped_column(JSON)
    """What it denies: see `denials.py`. Where a write is not settled, what it may deny."""
    settled: Mapped[bool]
    """Whether the last write that began is known to have arrived."""
    digest: Mapped[str | None] = mapped_column(String(64))
    """`RolePolicy.digest` as this replica's version left it: a version that knows no documents changes that alone."""
    written_at: Mapped[datetime | None]
    refused_at: Mapped[datetime | None]
    """When the engine last refused to write it. For a while others are written in its place."""
    room: Mapped[int | None] = mapped_column(Integer)
    """Characters that it has room for, where the engine has found it too long."""


class Canary(Model):
    """The last try of the isolation canary, in one row, and who of the replicas is at the next one."""

    __tablename__ = "canary"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    next_try_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(Integer)
    result: Mapped[str | None] = mapped_column(String(16))
    """`passed`, `failed` or `broken`; None before the first one is over."""
    passed_at: Mapped[datetime | None]


class AuditEvent(Model):
    """Who did what to whom, when, from where. Written in the transaction of the act itself.

    Triggers, which a migration that makes the table anew has to make again, keep it append-only.
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


class UserImport(Model):
    """An import of users: how far it has come, committed with the users themselves."""

    __tablename__ = "user_imports"
    __table_args__ = (CheckConstraint("status IN ('running', 'completed', 'interrupted', 'failed')", name="status"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(16))
    dry_run: Mapped[bool] = mapped_column(Boolean)
    status: Mapped[str] = mapped_column(String(16))
    lease: Mapped[uuid.UUID]
    """Of the one who runs it now: a batch of anybody else is rolled back."""
    rows: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[int] = mapped_column(BigInteger)
    existing: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of those rows: what goes on has to begin with them."""
    started_by: Mapped[uuid.UUID | None]
    """None: the command line."""
    started_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class UserImportProblem(Model):
    """What is wrong with a row of an imported file. It holds nothing of what the row says."""

    __tablename__ = "user_import_problems"

    import_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("user_imports.id"), primary_key=True)
    row: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 1, without a header."""
    code: Mapped[str] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(String(200))


class Activity(Model):
    """What happened in five minutes of UTC. It outlives the audit events that it was counted from."""

    __tablename__ = "activity"

    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    tallied: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether audit and ledger were counted: once, and not before the five minutes were over."""
    sign_ups: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sign_ins: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failures: Mapped[int] = mapped_column(BigInteger, server_default="0")
    mfa_failures: Mapped[int] = mapped_column(BigInteger, server_default="0")
    vends_issued: Mapped[int] = mapped_column(BigInteger, server_default="0")
    vends_refused: Mapped[int] = mapped_column(BigInteger, server_default="0")
    revocations: Mapped[int] = mapped_column(BigInteger, server_default="0")
    users: Mapped[int | None] = mapped_column(BigInteger)
    """At the end, as is the next one."""
    live_credentials: Mapped[int | None] = mapped_column(BigInteger)
    vends_cached: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """This one and those below are known to each process alone, which adds them."""
    sts_calls: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sts_errors: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sts_slow: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sts_milliseconds: Mapped[int] = mapped_column(BigInteger, server_default="0")


class WriteProbe(Model):
    """There for a moment, while a replica finds out whether a database that was full takes writes again."""

    __tablename__ = "write_probes"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
