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
from app.auth.cognito import UserPool
from app.platform.limits import address_key
from app.platform.process import Platform
from app.records import audit
from app.records.addresses import Address
from app.records.audit import Origin
from app.records.models import COGNITO, User


@dataclass(frozen=True)
class Newcomer:
    """What the sign-in knows of the address: whether it has an account, and how the account spells it."""

    address: Address
    has_account: bool
    awaits_password: bool
    spelling: str | None


async def bring_password(
    platform: Platform,
    hasher: Hasher,
    user_pool: UserPool | None,
    origin: Origin,
    newcomer: Newcomer,
    *,
    password: str,
) -> bool:
    """Sets the account's password if the user pool says it is right. Returns whether it is set.

    For an account that does not await a password, returns False after as long a time, so that it looks like an unknown
    address. Raises `UserPoolUnavailable`.
    """
    if user_pool is None:
        return False
    if newcomer.has_account and not newcomer.awaits_password:
        await user_pool.linger()
        return False
    verified = await user_pool.verified_address(newcomer.spelling or newcomer.address.text, password)
    if verified is None:
        return False
    password_hash = await hasher.hash_again(password, by=address_key(origin.address))
    await platform.database.write(_adopt, origin, platform.clock.now(), address=verified, password_hash=password_hash)
    return True


def _adopt(session: Session, origin: Origin, now: datetime, *, address: Address, password_hash: str) -> None:
    """Creates the account or sets its password. If many first sign-ins come at once, one does it for all.

    `address` is spelt as verified there. Mail goes to that spelling, however it was typed here or imported.
    """
    user_id: UUID | None = registration.add_account(
        session, now, address=address, password_hash=password_hash, display_name=None, verified=True
    )
    if user_id is not None:
        audit.record(session, origin, "user.registered", now, actor_id=user_id, subject_id=user_id, role="user")
    else:
        user_id = session.scalars(
            update(User)
            .where(
                User.email_key == address.key,
                User.password_hash.is_(None),
                User.password_from == COGNITO,
                User.status == "active",
            )
            .values(password_hash=password_hash, password_from=None)
            .returning(User.id)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if user_id is None:
            return
        unverified = (User.id == user_id, User.email_verified_at.is_(None))
        session.execute(update(User).where(*unverified).values(email=address.text, email_verified_at=now))
    audit.record(session, origin, "password.migrated", now, actor_id=user_id, subject_id=user_id)
