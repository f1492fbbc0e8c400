"""The second factor: a user who has one must show it before a session begins, whatever the first factor was."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts import guesses
from app.auth import codes, recovery_codes, sessions, totp
from app.auth.rotation import SessionTokens
from app.auth.sessions import Method
from app.crypto import kinds
from app.crypto.vault import Vault
from app.platform.problems import EmailNotVerified, InvalidMfaCode, InvalidMfaToken, InvalidSingleUseToken
from app.platform.process import Platform
from app.records import audit, single_use, users
from app.records.audit import Origin
from app.records.models import Passkey, User

CHALLENGE_TTL = timedelta(minutes=5)
MOST_TRIES = 5
CodeMethod = Literal["totp", "recovery_code"]
Factor = Literal["totp", "recovery_code", "passkey"]


@dataclass(frozen=True)
class Challenge:
    """A sign-in that waits for a second factor."""

    mfa_token: str = field(repr=False)
    methods: tuple[Factor, ...]


def admit(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    user: User,
    method: Method,
    verified: bool,
    verified_only: bool,
    device_name: str | None,
) -> SessionTokens | Challenge:
    """Continues after the first factor: starts a session, or asks for the second factor if the user has one.

    `user` is locked by this transaction. `verified`: a passkey verified the user, which is two factors in one.
    `verified_only`: refuses a user whose address is unverified. Raises `EmailNotVerified`, `AccountDisabled`,
    `InvalidLogin`.
    """
    if verified_only and user.email is not None and user.email_verified_at is None:
        audit.record(
            session, origin, "session.started", now, outcome="refused", subject_id=user.id, reason="email_not_verified"
        )
        raise EmailNotVerified
    if verified or user.status != "active" or not users.mfa_enabled(session, user.id):
        return sessions.start(
            session, vault, origin, now, user=user, method=method, mfa=verified, device_name=device_name
        )
    methods: list[Factor] = ["totp", "recovery_code"]
    if session.scalar(select(Passkey.id).where(Passkey.user_id == user.id).limit(1)) is not None:
        methods.append("passkey")
    mark = vault.digest(kinds.CHALLENGE_PASSWORD, _password(user)).hex()
    data = {"method": method, "device_name": device_name, "password_mark": mark}
    token = single_use.issue(session, vault, now, "mfa", ttl=CHALLENGE_TTL, user_id=user.id, data=data)
    audit.record(session, origin, "mfa.challenged", now, subject_id=user.id, method=method)
    return Challenge(token, tuple(methods))


async def answer(platform: Platform, origin: Origin, *, mfa_token: str, method: CodeMethod, code: str) -> SessionTokens:
    """Starts the session that waited for the code.

    A challenge takes five tries. Each counts as a guess at the user's codes, which a new challenge does not reset.
    Raises `InvalidMfaToken`, `InvalidMfaCode`, `AccountDisabled`, `RateLimited`.
    """
    user_id = await platform.database.read(challenged, platform.vault, platform.clock.now(), mfa_token=mfa_token)
    await guesses.count_code(platform, origin, user_id)
    grant = await platform.database.write(
        _answer, platform.vault, origin, platform.clock.now(), mfa_token=mfa_token, method=method, code=code
    )
    await guesses.forget_at_sign_in(platform, user_id)
    return grant


def _answer(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, mfa_token: str, method: CodeMethod, code: str
) -> SessionTokens:
    user_id = challenged(session, vault, now, mfa_token=mfa_token)
    user = session.get_one(User, user_id, with_for_update=True)
    try:
        single_use.attempt(session, vault, now, "mfa", mfa_token, most=MOST_TRIES)
    except InvalidSingleUseToken:
        raise InvalidMfaToken from None
    # A user who was disabled meanwhile keeps their recovery code: `complete` refuses them.
    if user.status == "active" and not is_right(session, vault, now, user=user, method=method, code=code):
        audit.record(
            session,
            origin,
            "session.started",
            now,
            outcome="refused",
            subject_id=user_id,
            reason="invalid_mfa_code",
            method=method,
        )
        raise InvalidMfaCode
    return complete(session, vault, origin, now, user_id=user_id, mfa_token=mfa_token)


def is_right(session: Session, vault: Vault, now: datetime, *, user: User, method: CodeMethod, code: str) -> bool:
    """Whether it is a code of the user's, however it was typed. A right code is used up."""
    plain = codes.plain(code)
    if method == "totp":
        return totp.use(session, vault, now, user_id=user.id, code=plain)
    return recovery_codes.use(session, vault, now, user=user, code=plain)


def challenged(session: Session, vault: Vault, now: datetime, *, mfa_token: str) -> uuid.UUID:
    """The user whose sign-in waits for a second factor. Raises `InvalidMfaToken`."""
    try:
        claim = single_use.find(session, vault, now, "mfa", mfa_token)
    except InvalidSingleUseToken:
        raise InvalidMfaToken from None
    assert claim.user_id is not None
    return claim.user_id


def complete(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, user_id: uuid.UUID, mfa_token: str
) -> SessionTokens:
    """Starts the session that waits for the challenge. This transaction has seen the user's second factor.

    If many try at once, one gets the session. The user is locked before the challenge, as when it is withdrawn. Raises
    `InvalidMfaToken`, also if the challenge is another user's or from before a change of password, and
    `AccountDisabled`.
    """
    user = session.get_one(User, user_id, with_for_update=True)
    try:
        claim = single_use.claim(session, vault, now, "mfa", mfa_token)
    except InvalidSingleUseToken:
        raise InvalidMfaToken from None
    mark = bytes.fromhex(claim.data["password_mark"])
    if claim.user_id != user_id or not vault.matches(kinds.CHALLENGE_PASSWORD, mark, _password(user)):
        raise InvalidMfaToken
    return sessions.start(
        session,
        vault,
        origin,
        now,
        user=user,
        method=claim.data["method"],
        mfa=True,
        device_name=claim.data["device_name"],
    )


def _password(user: User) -> bytes:
    """Identifies the password at the time of the first factor. A change of password ends waiting sign-ins too."""
    return (user.password_hash or "").encode()
