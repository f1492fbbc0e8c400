"""Outside identities: signing in with one, linking and unlinking.

Only issuer and subject identify the person. An address leads to an account only if both sides have verified it.
Otherwise somebody who registers another person's address would receive that person's sign-in.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.accounts import registration
from app.auth import authorizations, mfa, oidc
from app.auth.mfa import Challenge
from app.auth.oidc import OutsideIdentity
from app.auth.providers import Providers
from app.auth.rotation import SessionTokens
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.db import insert_if_absent
from app.platform.problems import (
    DatabaseUnavailable,
    IdentityNotLinked,
    IdentityTaken,
    InvalidIdentityToken,
    LastSignIn,
    NotFound,
)
from app.platform.process import Platform
from app.records import audit, users
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import Identity, User

ATTEMPTS = 3
"""Attempts when others link, register or remove the same identity meanwhile."""


async def sign_in(
    platform: Platform,
    providers: Providers,
    origin: Origin,
    *,
    provider: str,
    id_token: str,
    device_name: str | None,
    authorization_code: str | None = None,
) -> SessionTokens | Challenge:
    """Starts a session of the identity's user, or asks for a second factor. Without a user, creates one.

    `authorization_code`: of the same sign-in at the provider, which can revoke it when the account ends.

    Raises `NotFound`, `InvalidIdentityToken`, `IdentityProviderUnavailable`, `IdentityNotLinked`, `EmailNotVerified`,
    `AccountDisabled`.
    """
    try:
        identity = await oidc.verify(platform, providers, provider=provider, id_token=id_token)
        outcome = await platform.database.write(
            _sign_in,
            platform.vault,
            origin,
            platform.clock.now(),
            identity=identity,
            verified_only=platform.settings.verifies_email,
            device_name=device_name,
        )
    except InvalidIdentityToken:
        await platform.database.write(_record_refusal, origin, "session.started", platform.clock.now(), None)
        raise
    if authorization_code is not None:
        issuer = providers.get(provider, id_token)
        await authorizations.keep(platform, origin, issuer, identity, code=authorization_code)
    return outcome


async def link(
    platform: Platform,
    providers: Providers,
    origin: Origin,
    actor: Actor,
    *,
    provider: str,
    id_token: str,
    authorization_code: str | None = None,
) -> Identity:
    """Links the identity to the actor, and upgrades a guest. Linking an identity again changes nothing.

    Raises `NotFound`, `InvalidIdentityToken`, `IdentityProviderUnavailable`, `IdentityTaken`.
    """
    try:
        identity = await oidc.verify(platform, providers, provider=provider, id_token=id_token)
        linked = await platform.database.write(
            _link, platform.vault, origin, platform.clock.now(), actor=actor, identity=identity
        )
    except InvalidIdentityToken:
        await platform.database.write(_record_refusal, origin, "identity.linked", platform.clock.now(), actor)
        raise
    if authorization_code is not None:
        issuer = providers.get(provider, id_token)
        await authorizations.keep(platform, origin, issuer, identity, code=authorization_code)
    return linked


def list_linked(session: Session, *, user_id: uuid.UUID) -> Sequence[Identity]:
    """The user's identities, oldest first."""
    return session.scalars(
        select(Identity).where(Identity.user_id == user_id).order_by(Identity.created_at, Identity.id)
    ).all()


def unlink(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, actor: Actor, identity_id: uuid.UUID
) -> None:
    """Removes one of the actor's identities. Raises `NotFound`, `LastSignIn`."""
    user = users.lock_user(session, actor.user_id)
    row = session.scalar(select(Identity).where(Identity.id == identity_id, Identity.user_id == user.id))
    if row is None:
        raise NotFound
    if not users.can_sign_in_without(session, user, row):
        _record(session, origin, "identity.unlinked", now, actor=actor, provider=row.provider, reason="last_sign_in")
        raise LastSignIn(keeps_writes=True)
    authorizations.release(session, now, user_id=user.id, identity=row)
    session.delete(row)
    _record(session, origin, "identity.unlinked", now, actor=actor, provider=row.provider)
    outbox.tell(session, vault, now, "identity_unlinked", user)


def _sign_in(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    identity: OutsideIdentity,
    verified_only: bool,
    device_name: str | None,
) -> SessionTokens | Challenge:
    oidc.use_nonce(session, vault, now, identity)
    for _ in range(ATTEMPTS):
        user = (
            _owner(session, now, identity)
            or _link_by_address(session, vault, origin, now, identity)
            or _register(session, origin, now, identity)
        )
        if user is not None:
            return mfa.admit(
                session,
                vault,
                origin,
                now,
                user=user,
                method="oidc",
                verified=False,
                verified_only=verified_only,
                device_name=device_name,
            )
    raise DatabaseUnavailable(cause="an identity changes hands all the time")


def _owner(session: Session, now: datetime, identity: OutsideIdentity) -> User | None:
    """The user of the identity, locked; None if it is not linked."""
    row = session.scalar(
        select(Identity).where(Identity.issuer == identity.issuer, Identity.subject == identity.subject)
    )
    if row is None:
        return None
    user = session.get_one(User, row.user_id, with_for_update=True)
    kept = session.scalar(  # None if it was removed while we waited for the lock
        update(Identity)
        .where(Identity.id == row.id)
        .values(last_used_at=now, email=identity.email)
        .returning(Identity.id)
        .execution_options(synchronize_session=False)
    )
    return user if kept is not None else None


def _link_by_address(
    session: Session, vault: Vault, origin: Origin, now: datetime, identity: OutsideIdentity
) -> User | None:
    """Links the identity to the user of its verified address; None if there is none. Raises `IdentityNotLinked`."""
    if identity.address is None:
        return None
    user = session.scalar(select(User).where(User.email_key == identity.address.key).with_for_update())
    if user is None:
        return None
    if user.email_verified_at is None:
        audit.record(
            session,
            origin,
            "identity.linked",
            now,
            outcome="refused",
            subject_id=user.id,
            provider=identity.provider,
            reason="email_not_verified",
        )
        raise IdentityNotLinked
    if user.status != "active":
        return user  # `mfa.admit` refuses them
    if not _add(session, now, user.id, identity):
        return None
    audit.record(
        session, origin, "identity.linked", now, actor_id=user.id, subject_id=user.id, provider=identity.provider
    )
    outbox.tell(session, vault, now, "identity_linked", user)
    return user


def _register(session: Session, origin: Origin, now: datetime, identity: OutsideIdentity) -> User | None:
    """Creates a user; None if somebody else has taken the identity or the address meanwhile.

    The identity is written before its address, as when a guest links it. In another order the two could deadlock.
    """
    user_id = uuid.uuid4()
    with session.begin_nested() as attempt:
        registration.add_without_password(session, now, user_id=user_id, display_name=identity.name)
        user = session.get_one(User, user_id)
        if not _add(session, now, user_id, identity) or not _addressed(session, now, user, identity):
            attempt.rollback()
            return None
    audit.record(
        session,
        origin,
        "user.registered",
        now,
        actor_id=user_id,
        subject_id=user_id,
        role="user",
        provider=identity.provider,
    )
    return user


def _addressed(session: Session, now: datetime, user: User, identity: OutsideIdentity) -> bool:
    """Gives a new user the address of their identity, if it has one. False if the address is another account's."""
    return identity.address is None or registration.give_address(session, user, identity.address, verified_at=now)


def _link(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, actor: Actor, identity: OutsideIdentity
) -> Identity:
    oidc.use_nonce(session, vault, now, identity)
    user = users.lock_user(session, actor.user_id)
    added = _add(session, now, user.id, identity)
    row = session.scalar(
        select(Identity).where(
            Identity.issuer == identity.issuer, Identity.subject == identity.subject, Identity.user_id == user.id
        )
    )
    if row is None:
        _record(
            session, origin, "identity.linked", now, actor=actor, provider=identity.provider, reason="identity_taken"
        )
        raise IdentityTaken(keeps_writes=True)
    if added:
        _record(session, origin, "identity.linked", now, actor=actor, provider=identity.provider)
        outbox.tell(session, vault, now, "identity_linked", user)
        if user.guest:
            _upgrade(session, origin, now, actor=actor, user=user, identity=identity)
    return row


def _upgrade(
    session: Session, origin: Origin, now: datetime, *, actor: Actor, user: User, identity: OutsideIdentity
) -> None:
    """Upgrades a guest, who can now sign in on another device. Gives them the identity's address if it is free."""
    user.guest = False
    if identity.address is not None:
        registration.give_address(session, user, identity.address, verified_at=now)
    _record(session, origin, "guest.upgraded", now, actor=actor, provider=identity.provider)


def _add(session: Session, now: datetime, user_id: uuid.UUID, identity: OutsideIdentity) -> bool:
    return insert_if_absent(
        session,
        Identity,
        {
            "id": uuid.uuid4(),
            "user_id": user_id,
            "provider": identity.provider,
            "issuer": identity.issuer,
            "subject": identity.subject,
            "email": identity.email,
            "created_at": now,
            "last_used_at": now,
        },
    )


def _record(
    session: Session,
    origin: Origin,
    event: audit.Event,
    now: datetime,
    *,
    actor: Actor,
    provider: str,
    reason: str | None = None,
) -> None:
    detail = {"provider": provider} if reason is None else {"provider": provider, "reason": reason}
    audit.record(
        session,
        origin,
        event,
        now,
        outcome="done" if reason is None else "refused",
        actor_id=actor.user_id,
        subject_id=actor.user_id,
        session_id=actor.session_id,
        **detail,
    )


def _record_refusal(session: Session, origin: Origin, event: audit.Event, now: datetime, actor: Actor | None) -> None:
    audit.record(
        session,
        origin,
        event,
        now,
        outcome="refused",
        actor_id=actor.user_id if actor else None,
        subject_id=actor.user_id if actor else None,
        session_id=actor.session_id if actor else None,
        reason="invalid_identity_token",
    )
