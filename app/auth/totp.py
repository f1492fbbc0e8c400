"""The authenticator app (TOTP, RFC 6238): enrolment, and codes that work once each.

The secret is encrypted, bound to its user, and shown once. An app counts as a factor from its first code on, so an
abandoned enrolment locks nobody out. Codes of one time step before or after are accepted. ASVS 6.5.5 allows only 30
seconds, but typing takes a third of a code's life, and phones' clocks differ.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, update
from sqlalchemy.orm import Session

from app.accounts import guesses, profile
from app.auth import codes, endings, recovery_codes
from app.crypto import kinds
from app.crypto.encoding import random_base32
from app.crypto.totp import match_totp, totp_uri
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.problems import AlreadyEnabled, MfaRequired, NotFound, WrongCode
from app.platform.process import Platform
from app.records import audit, single_use, users
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import DeviceSession, TotpFactor, User

SECRET_SIZE = 20
"""Bytes: the 160 bits that RFC 4226 §4 recommends."""
ENROLMENT_TTL = timedelta(minutes=15)
"""Time from the start of an enrolment, after re-authentication, to its first code."""
SEALED_AS = kinds.TOTP_SECRET


@dataclass(frozen=True)
class Enrolment:
    secret: str = field(repr=False)
    """base32."""
    otpauth_uri: str = field(repr=False)


def enrol(session: Session, vault: Vault, now: datetime, *, user_id: uuid.UUID, issuer: str) -> Enrolment:
    """A new secret, which replaces one that was never confirmed. Raises `AlreadyEnabled`."""
    user = users.lock_user(session, user_id)
    if users.mfa_enabled(session, user_id):
        raise AlreadyEnabled
    secret = random_base32(SECRET_SIZE)
    session.merge(
        TotpFactor(
            user_id=user_id,
            secret_encrypted=vault.encrypt(SEALED_AS, secret.encode(), bound_to=str(user_id)),
            created_at=now,
            confirmed_at=None,
            last_step=None,
        )
    )
    return Enrolment(secret, totp_uri(secret, issuer=issuer, account=user.email or str(user_id)))


async def confirm(platform: Platform, origin: Origin, actor: Actor, *, code: str) -> Sequence[str]:
    """Enables the enrolled app by its first code. Returns the recovery codes. Other devices are signed out.

    Each try counts as a guess by the session. A right one does not clear the counters, because the caller chose the
    app. Raises `NotFound` without an enrolment, `AlreadyEnabled`, `MfaRequired`, `WrongCode`, `RateLimited`.
    """
    await guesses.count_signed_in(platform, origin, actor)
    made = await platform.database.write(
        _confirm, platform.vault, origin, platform.clock.now(), actor=actor, code=codes.plain(code)
    )
    await guesses.take_back_signed_in(platform, actor)
    return made


def _confirm(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, actor: Actor, code: str
) -> Sequence[str]:
    # A concurrent sign-in takes this lock too. So it is either asked for the code, or its session is ended below.
    user = users.lock_user(session, actor.user_id)
    profile.refuse_enrolment_past_a_factor(session, actor)
    factor = session.get(TotpFactor, user.id)
    if factor is None or (factor.confirmed_at is None and now >= factor.created_at + ENROLMENT_TTL):
        raise NotFound
    if factor.confirmed_at is not None:
        raise AlreadyEnabled
    step = match_totp(_secret(vault, factor), code, now)
    if step is None:
        audit.record(
            session,
            origin,
            "mfa.enabled",
            now,
            outcome="refused",
            actor_id=user.id,
            subject_id=user.id,
            session_id=actor.session_id,
            reason="wrong_code",
        )
        raise WrongCode
    claimed = session.scalar(
        update(TotpFactor)
        .where(
            TotpFactor.user_id == user.id,
            TotpFactor.confirmed_at.is_(None),
            TotpFactor.created_at == factor.created_at,
        )
        .values(confirmed_at=now, last_step=step)
        .returning(TotpFactor.user_id)
        .execution_options(synchronize_session=False)
    )
    if claimed is None:
        raise AlreadyEnabled
    session.execute(update(DeviceSession).where(DeviceSession.id == actor.session_id).values(mfa_at=now))
    _tell(session, vault, origin, now, user=user, actor=actor, enabled=True)
    return recovery_codes.replace(session, vault, now, user_id=user.id)


def remove(session: Session, vault: Vault, origin: Origin, now: datetime, *, actor: Actor) -> None:
    """Removes the app and the recovery codes. Other devices are signed out.

    Raises `NotFound` without an app, and `MfaRequired` if the session has not shown a second factor.
    """
    user = users.lock_user(session, actor.user_id)
    if not users.mfa_enabled(session, user.id):
        raise NotFound
    if not actor.mfa:
        raise MfaRequired
    session.execute(delete(TotpFactor).where(TotpFactor.user_id == user.id))
    recovery_codes.remove(session, user_id=user.id)
    single_use.withdraw(session, now, "mfa", user_id=user.id)
    # The code that the session showed no longer counts. A passkey that verified its user still does.
    session.execute(
        update(DeviceSession)
        .where(DeviceSession.id == actor.session_id, DeviceSession.method != "passkey")
        .values(mfa_at=None)
    )
    _tell(session, vault, origin, now, user=user, actor=actor, enabled=False)


def use(session: Session, vault: Vault, now: datetime, *, user_id: uuid.UUID, code: str) -> bool:
    """Whether the code is right. Claims its time step, so that a code works once, also if it is sent many times."""
    factor = session.get(TotpFactor, user_id)
    step = None if factor is None else match_totp(_secret(vault, factor), code, now)
    if factor is None or step is None:
        return False
    claimed = session.scalar(
        update(TotpFactor)
        .where(
            TotpFactor.user_id == user_id,
            TotpFactor.confirmed_at.is_not(None),
            TotpFactor.created_at == factor.created_at,
            or_(TotpFactor.last_step.is_(None), TotpFactor.last_step < step),
        )
        .values(last_step=step)
        .returning(TotpFactor.user_id)
        .execution_options(synchronize_session=False)
    )
    return claimed is not None


def _secret(vault: Vault, factor: TotpFactor) -> str:
    return vault.decrypt(SEALED_AS, factor.secret_encrypted, bound_to=str(factor.user_id)).decode()


def _tell(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, user: User, actor: Actor, enabled: bool
) -> None:
    """Ends the other sessions, audits the change and tells the user by mail."""
    reason = "mfa_enabled" if enabled else "mfa_disabled"
    endings.sign_out(session, origin, now, user_id=user.id, actor_id=user.id, keeping=actor.session_id, reason=reason)
    audit.record(
        session,
        origin,
        "mfa.enabled" if enabled else "mfa.disabled",
        now,
        actor_id=user.id,
        subject_id=user.id,
        session_id=actor.session_id,
    )
    outbox.tell(session, vault, now, "mfa_enabled" if enabled else "mfa_disabled", user)
