"""The first sign-in of a user from another system that does not export passwords. That system is asked once.

It is asked for users who were imported from there and never had a password here, and for addresses without an account.
A user who signs in only by passkey or outside identity never gets a password this way.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.accounts import registration
from app.accounts.passwords import Hasher
from app.auth.old_system import Known, OldSystem
from app.platform.limits import address_key
from app.platform.process import Platform
from app.records import audit
from app.records.addresses import Address
from app.records.audit import Origin
from app.records.models import User


@dataclass(frozen=True)
class Newcomer:
    """What the sign-in knows of the address: whether it has an account, and how the account spells it."""

    address: Address
    has_account: bool
    awaits_from: str | None
    """`User.password_from` of an account without a password."""
    spelling: str | None


async def bring_password(
    platform: Platform,
    hasher: Hasher,
    old_system: OldSystem | None,
    origin: Origin,
    newcomer: Newcomer,
    *,
    password: str,
) -> bool:
    """Sets the account's password if the old system says it is right. Returns whether it is set.

    For an account that does not await a password from there, everything looks as for an unknown address, an outage too.
    Raises `UserPoolUnavailable`.
    """
    if old_system is None:
        return False
    if newcomer.has_account and newcomer.awaits_from not in old_system.brings:
        await old_system.linger()
        return False
    known = await old_system.find_user(newcomer.spelling or newcomer.address.text, password)
    if known is None:
        return False
    password_hash = await hasher.hash_again(password, by=address_key(origin.address))
    await platform.database.write(
        _adopt, origin, platform.clock.now(), known=known, brings=old_system.brings, password_hash=password_hash
    )
    return True


def _adopt(
    session: Session, origin: Origin, now: datetime, *, known: Known, brings: frozenset[str], password_hash: str
) -> None:
    """Creates the account or sets its password. If many first sign-ins come at once, one does it for all.

    Mail goes to the address as it was verified there, however it was typed here or imported.
    """
    user_id: UUID | None = registration.add_account(
        session,
        now,
        address=known.address,
        password_hash=password_hash,
        display_name=known.name,
        verified=known.verified,
    )
    if user_id is not None:
        audit.record(session, origin, "user.registered", now, actor_id=user_id, subject_id=user_id, role="user")
    else:
        user_id = session.scalars(
            update(User)
            .where(
                User.email_key == known.address.key,
                User.password_hash.is_(None),
                User.password_from.in_(brings),
                User.status == "active",
            )
            .values(password_hash=password_hash, password_from=None)
            .returning(User.id)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if user_id is None:
            return
        if known.verified:
            unverified = (User.id == user_id, User.email_verified_at.is_(None))
            session.execute(update(User).where(*unverified).values(email=known.address.text, email_verified_at=now))
    audit.record(session, origin, "password.migrated", now, actor_id=user_id, subject_id=user_id)
