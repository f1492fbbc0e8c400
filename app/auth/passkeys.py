"""Passkeys: adding, naming and removing them, and signing in with one (WebAuthn level 3; ASVS 6.3.3, 6.5, 7.5.1).

The challenge of a ceremony is a single-use token. The transaction of its answer claims it, so an answer that is sent
many times works once. A passkey counts only if the authenticator verified its user, so it is two factors in one.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts import profile
from app.auth import ceremony, mfa
from app.auth.ceremony import Assertion, Attestation, CeremonyFailed, NewPasskey, RelyingParty, Seen
from app.auth.mfa import Challenge
from app.auth.rotation import SessionTokens
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.db import insert_if_absent
from app.platform.problems import (
    FieldError,
    InvalidPasskey,
    InvalidRequest,
    InvalidSingleUseToken,
    LastSignIn,
    NotFound,
)
from app.records import audit, single_use, users
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import Passkey, User
from app.records.single_use import Claim

CHALLENGE_TTL = timedelta(minutes=5)
MOST_PASSKEYS = 20
Purpose = Literal["passkey_registration", "passkey_sign_in"]


@dataclass(frozen=True)
class Ceremony:
    """What a client begins with. `passkeys`: those to exclude at registration, or to choose from at sign-in."""

    challenge: str = field(repr=False)
    passkeys: Sequence[Passkey]


def begin_registration(session: Session, vault: Vault, now: datetime, *, actor: Actor) -> tuple[User, Ceremony]:
    """Raises `InvalidRequest` if the user has `MOST_PASSKEYS` already, and `MfaRequired`."""
    user = users.get_user(session, actor.user_id)
    profile.refuse_enrolment_past_a_factor(session, actor)
    owned = list_owned(session, user_id=user.id)
    _refuse_more(len(owned))
    challenge = single_use.issue(session, vault, now, "passkey_registration", ttl=CHALLENGE_TTL, user_id=user.id)
    return user, Ceremony(challenge, owned)


def register(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    actor: Actor,
    party: RelyingParty,
    attestation: Attestation,
    transports: Sequence[str],
    name: str | None,
) -> Passkey:
    """Adds a passkey, and tells the user by mail. A guest with a passkey can sign in again, so this upgrades them.

    Raises `InvalidPasskey`, `InvalidRequest`, `MfaRequired`, `AccountDisabled`, `InvalidToken`.
    """
    user = users.lock_user(session, actor.user_id)
    profile.refuse_enrolment_past_a_factor(session, actor)
    count = session.scalar(select(func.count()).select_from(Passkey).where(Passkey.user_id == user.id)) or 0
    _refuse_more(count)
    try:
        made = _made(session, vault, now, user=user, party=party, attestation=attestation)
        passkey = _add(session, now, user=user, made=made, transports=transports, name=name or f"Passkey {count + 1}")
    except CeremonyFailed as failure:
        _record(session, origin, "passkey.added", now, actor, reason=failure.reason)
        raise InvalidPasskey(cause=failure.reason) from None
    _record(session, origin, "passkey.added", now, actor)
    outbox.tell(session, vault, now, "passkey_added", user)
    if user.guest:
        user.guest = False
        audit.record(session, origin, "guest.upgraded", now, actor_id=user.id, subject_id=user.id, method="passkey")
    return passkey


def _made(
    session: Session, vault: Vault, now: datetime, *, user: User, party: RelyingParty, attestation: Attestation
) -> NewPasskey:
    challenge, claim = _claim(session, vault, now, "passkey_registration", attestation.client_data)
    if claim.user_id != user.id:
        raise CeremonyFailed("challenge")
    return ceremony.verify_attestation(attestation, challenge=challenge, party=party)


def _add(
    session: Session, now: datetime, *, user: User, made: NewPasskey, transports: Sequence[str], name: str
) -> Passkey:
    passkey_id = uuid.uuid4()
    values = {
        "id": passkey_id,
        "user_id": user.id,
        "credential_id": made.credential_id,
        "public_key": made.public_key,
        "sign_count": made.sign_count,
        "transports": list(transports),
        "name": name,
        "backup_eligible": made.backup_eligible,
        "backed_up": made.backed_up,
        "created_at": now,
    }
    if not insert_if_absent(session, Passkey, values):
        raise CeremonyFailed("taken")
    return session.get_one(Passkey, passkey_id)


def list_owned(session: Session, *, user_id: uuid.UUID) -> Sequence[Passkey]:
    """The user's passkeys, oldest first."""
    return session.scalars(
        select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.created_at, Passkey.id)
    ).all()


def rename(
    session: Session, origin: Origin, now: datetime, *, actor: Actor, passkey_id: uuid.UUID, name: str
) -> Passkey:
    """Raises `NotFound`."""
    passkey = _get_owned(session, actor.user_id, passkey_id)
    passkey.name = name
    _record(session, origin, "passkey.renamed", now, actor)
    return passkey


def remove(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, actor: Actor, passkey_id: uuid.UUID
) -> None:
    """Removes a passkey, and tells the user by mail. Raises `NotFound`, `LastSignIn`, `AccountDisabled`."""
    user = users.lock_user(session, actor.user_id)
    passkey = _get_owned(session, user.id, passkey_id)
    if not users.can_sign_in_without(session, user, passkey):
        _record(session, origin, "passkey.removed", now, actor, reason="last_sign_in")
        raise LastSignIn(keeps_writes=True)
    session.delete(passkey)
    _record(session, origin, "passkey.removed", now, actor)
    outbox.tell(session, vault, now, "passkey_removed", user)


def begin_sign_in(session: Session, vault: Vault, now: datetime, *, mfa_token: str | None) -> Ceremony:
    """Begins a sign-in by passkey. With `mfa_token` it is for the user whose sign-in waits for a second factor.

    Without it, the passkey itself says whose it is. Raises `InvalidMfaToken`.
    """
    user_id = mfa.challenged(session, vault, now, mfa_token=mfa_token) if mfa_token is not None else None
    owned = list_owned(session, user_id=user_id) if user_id is not None else ()
    challenge = single_use.issue(session, vault, now, "passkey_sign_in", ttl=CHALLENGE_TTL, user_id=user_id)
    return Ceremony(challenge, owned)


def sign_in(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    party: RelyingParty,
    assertion: Assertion,
    mfa_token: str | None,
    verified_only: bool,
    device_name: str | None,
) -> SessionTokens | Challenge:
    """Starts a session; with `mfa_token`, the one that waited for a second factor.

    Every fault gives the same refusal, so that it does not tell who has which passkey. Raises `InvalidPasskey`,
    `InvalidMfaToken`, `EmailNotVerified`, `AccountDisabled`.
    """
    waiting = mfa.challenged(session, vault, now, mfa_token=mfa_token) if mfa_token is not None else None
    user, passkey = _find(session, assertion)
    try:
        seen = _shown(session, vault, now, party=party, assertion=assertion, passkey=passkey, waiting=waiting)
    except CeremonyFailed as failure:
        audit.record(
            session,
            origin,
            "session.started",
            now,
            outcome="refused",
            subject_id=user.id if user else None,
            reason="invalid_passkey",
            fault=failure.reason,
        )
        raise InvalidPasskey(cause=failure.reason) from None
    assert user is not None
    assert passkey is not None
    if seen.fell_back:
        audit.record(
            session,
            origin,
            "passkey.counter_fell",
            now,
            subject_id=user.id,
            passkey_id=str(passkey.id),
            counter=seen.sign_count,
            former_counter=passkey.sign_count,
        )
    if passkey.backup_eligible is None:
        passkey.backup_eligible = seen.backup_eligible
    passkey.sign_count, passkey.backed_up, passkey.last_used_at = seen.sign_count, seen.backed_up, now
    if mfa_token is not None:
        return mfa.complete(session, vault, origin, now, user_id=user.id, mfa_token=mfa_token)
    return mfa.admit(
        session,
        vault,
        origin,
        now,
        user=user,
        method="passkey",
        verified=True,
        verified_only=verified_only,
        device_name=device_name,
    )


def _shown(
    session: Session,
    vault: Vault,
    now: datetime,
    *,
    party: RelyingParty,
    assertion: Assertion,
    passkey: Passkey | None,
    waiting: uuid.UUID | None,
) -> Seen:
    challenge, claim = _claim(session, vault, now, "passkey_sign_in", assertion.client_data)
    if passkey is None:
        raise CeremonyFailed("unknown")
    if claim.user_id not in (None, passkey.user_id) or waiting not in (None, passkey.user_id):
        raise CeremonyFailed("other_user")
    return ceremony.verify_assertion(
        assertion,
        challenge=challenge,
        party=party,
        public_key=passkey.public_key,
        sign_count=passkey.sign_count,
        # What is backed up may move. Of a passkey from an earlier version nothing else is known.
        may_move=passkey.backed_up if passkey.backup_eligible is None else passkey.backup_eligible,
        user_handle=passkey.user_id.bytes,
        named=claim.user_id is not None,
    )


def _find(session: Session, assertion: Assertion) -> tuple[User | None, Passkey | None]:
    """The passkey and its user, locked. So the passkey's counter is read after an earlier sign-in has written it."""
    try:
        credential_id = ceremony.credential_id_of(assertion)
    except CeremonyFailed:
        return None, None
    user_id = session.scalar(select(Passkey.user_id).where(Passkey.credential_id == credential_id))
    user = session.get(User, user_id, with_for_update=True) if user_id is not None else None
    if user is None or user.status == "erased":
        return None, None
    owned = select(Passkey).where(Passkey.credential_id == credential_id, Passkey.user_id == user.id)
    return user, session.scalar(owned)


def _claim(session: Session, vault: Vault, now: datetime, purpose: Purpose, client_data: str) -> tuple[str, Claim]:
    """Uses up the challenge that was answered. Returns it with its claim. Raises `CeremonyFailed`."""
    challenge = ceremony.challenge_of(client_data)
    try:
        return challenge, single_use.claim(session, vault, now, purpose, challenge)
    except InvalidSingleUseToken:
        raise CeremonyFailed("challenge") from None


def _get_owned(session: Session, user_id: uuid.UUID, passkey_id: uuid.UUID) -> Passkey:
    passkey = session.scalar(select(Passkey).where(Passkey.id == passkey_id, Passkey.user_id == user_id))
    if passkey is None:
        raise NotFound
    return passkey


def _refuse_more(count: int) -> None:
    if count >= MOST_PASSKEYS:
        message = f"An account has at most {MOST_PASSKEYS} passkeys. Remove one before you add another."
        raise InvalidRequest(message, errors=[FieldError("body", "too_many", message)])


def _record(
    session: Session, origin: Origin, event: audit.Event, now: datetime, actor: Actor, *, reason: str | None = None
) -> None:
    audit.record(
        session,
        origin,
        event,
        now,
        outcome="done" if reason is None else "refused",
        actor_id=actor.user_id,
        subject_id=actor.user_id,
        session_id=actor.session_id,
        **({} if reason is None else {"reason": reason}),
    )
