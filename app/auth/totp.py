"""The authenticator app (TOTP, RFC 6238): enrolling it, and each of its codes once.

The secret is encrypted, bound to its user, and shown once. An app counts as a factor from its first code on, so an
enrolment that was given up locks nobody out. A code of one time step either way is taken, which ASVS 6.5.5's 30 seconds
do not allow: a third of a code's life goes by while it is typed, and phones' clocks differ.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, update
from sqlalchemy.orm import Session

from app.accounts import guesses, profile
from app.auth import codes, endings, recovery_codes
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
"""From the re-authenticated start of an enrolment to its first code."""
SEALED_AS = "TOTP secret"


@dataclass(frozen=True)
class Enrolment:
    secret: str = field(repr=False)
    """base32."""
    otpauth_uri: str = field(repr=False)


def enrol(session: Session, vault: Vault, now: datetime, *, user_id: uuid.UUID, issuer: str) -> Enrolment:
    """A new secret in the place of one that was never confirmed. Raises `AlreadyEnabled`."""
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
    """Makes the enrolled app count, by its first code; the recovery codes. Other devices are signed out.

    Each try counts as a guess by the session. A right one makes no others forgotten, for the app is the caller's own.
    Raises `NotFound` without an enrolment, `AlreadyEnabled`, `MfaRequired`, `WrongCode`,
    `RateLimited`.
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
    # Who signs in at this moment holds this lock too: such a session is either asked for the code or ended below.
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
            TotpFactor.secret_encrypted == factor.secret_encrypted,
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
    """Takes the app, and the recovery codes, away. Other devices are signed out.

    Raises `NotFound` where there is none, `MfaRequired` for a session that has not shown it.
    """
    user = users.lock_user(session, actor.user_id)
    if not users.mfa_enabled(session, user.id):
        raise NotFound
    if not actor.mfa:
        raise MfaRequired
    session.execute(delete(TotpFactor).where(TotpFactor.user_id == user.id))
    recovery_codes.remove(session, user_id=user.id)
    single_use.withdraw(session, now, "mfa", user_id=user.id)
    # What the session showed is no factor any more; a passkey that verified its user still is.
    session.execute(
        update(DeviceSession)
        .where(DeviceSession.id == actor.session_id, DeviceSession.method != "passkey")
        .values(mfa_at=None)
    )
    _tell(session, vault, origin, now, user=user, actor=actor, enabled=False)


def use(session: Session, vault: Vault, now: datetime, *, user_id: uuid.UUID, code: str) -> bool:
    """Whether the code is right. Its time step is claimed: of many at once one gets it, and none comes again."""
    factor = session.get(TotpFactor, user_id)
    step = None if factor is None else match_totp(_secret(vault, factor), code, now)
    if factor is None or step is None:
        return False
    claimed = session.scalar(
        update(TotpFactor)
        .where(
            TotpFactor.user_id == user_id,
            TotpFactor.confirmed_at.is_not(None),
            TotpFactor.secret_encrypted == factor.secret_encrypted,
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
    """Ends the other sessions, and leaves word of it."""
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
