"""The second factor: who has one shows it before a session begins, whatever the first was."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit, single_use
from app.audit import Origin
from app.auth import sessions
from app.auth.sessions import Grant, Method
from app.crypto import Vault
from app.models import Passkey, TotpFactor, User
from app.problems import InvalidMfaToken, InvalidSingleUseToken

CHALLENGE_TTL = timedelta(minutes=5)
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
    device_name: str | None,
) -> Grant | Challenge:
    """What follows a first factor: a session, or the question for a second one where the user has set one up.

    `user` is locked by this transaction. `verified`: by a passkey that verified them, which is two factors in one.
    Raises `AccountDisabled`, `InvalidLogin`.
    """
    if verified or user.status != "active" or not is_enabled(session, user.id):
        return sessions.start(
            session, vault, origin, now, user=user, method=method, mfa=verified, device_name=device_name
        )
    methods: list[Factor] = ["totp", "recovery_code"]
    if session.scalar(select(Passkey.id).where(Passkey.user_id == user.id).limit(1)) is not None:
        methods.append("passkey")
    data = {"method": method, "device_name": device_name}
    token = single_use.issue(session, vault, now, "mfa", ttl=CHALLENGE_TTL, user_id=user.id, data=data)
    audit.record(session, origin, "mfa.challenged", now, subject_id=user.id, method=method)
    return Challenge(token, tuple(methods))


def challenged(session: Session, vault: Vault, now: datetime, *, mfa_token: str) -> uuid.UUID:
    """Whose sign-in waits for a second factor. Raises `InvalidMfaToken`."""
    try:
        claim = single_use.find(session, vault, now, "mfa", mfa_token)
    except InvalidSingleUseToken:
        raise InvalidMfaToken from None
    assert claim.user_id is not None
    return claim.user_id


def complete(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, user_id: uuid.UUID, mfa_token: str
) -> Grant:
    """The session that the challenge held back, for the user whose second factor was seen in this transaction.

    Of many at once one gets it. The user is locked before the challenge is: whoever withdraws it holds the user too.
    Raises `InvalidMfaToken`, also where the challenge is another user's, and `AccountDisabled`.
    """
    user = session.get_one(User, user_id, with_for_update=True)
    try:
        claim = single_use.claim(session, vault, now, "mfa", mfa_token)
    except InvalidSingleUseToken:
        raise InvalidMfaToken from None
    if claim.user_id != user_id:
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


def is_enabled(session: Session, user_id: uuid.UUID) -> bool:
    """Whether the user has an authenticator app whose first code was seen."""
    confirmed = select(TotpFactor.user_id).where(TotpFactor.user_id == user_id, TotpFactor.confirmed_at.is_not(None))
    return session.scalar(confirmed) is not None
