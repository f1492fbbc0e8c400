"""Signing in with e-mail address and password."""

import contextlib
import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts import guesses
from app.accounts.passwords import Hasher
from app.auth import mfa, migration
from app.auth.mfa import Challenge
from app.auth.migration import Newcomer
from app.auth.old_system import OldSystem
from app.auth.rotation import SessionTokens
from app.crypto.vault import Vault
from app.platform.limits import address_key
from app.platform.problems import AccountDisabled, EmailNotVerified, InvalidLogin, Problem, UserPoolUnavailable
from app.platform.process import Platform
from app.records import addresses, audit
from app.records.addresses import Address
from app.records.audit import Origin
from app.records.models import User

TRIES = 3
"""Attempts if another device's sign-in replaces or brings the hash meanwhile. Each verifies the newest hash."""


@dataclass(frozen=True)
class Account:
    user_id: uuid.UUID
    password_hash: str | None
    email: str | None
    password_from: str | None


class _HashChanged(Exception):
    """The stored hash is no longer the one that the password was verified against."""


async def log_in(
    platform: Platform,
    hasher: Hasher,
    old_system: OldSystem | None,
    origin: Origin,
    *,
    email: str,
    password: str,
    device_name: str | None,
) -> SessionTokens | Challenge:
    """Starts a session, or asks for a second factor.

    Raises `InvalidLogin`, `AccountDisabled`, `EmailNotVerified`, `RateLimited`, `Overloaded`.

    If users come from an old system, the password of a user who has none here yet is checked there. While that system
    does not answer, `UserPoolUnavailable` refuses every password that is not right here, whoever's it is. It counts as
    a guess, because it tells that the password is not the account's.

    An unknown address takes the same steps as a known one: a count, a look-up, a hash, an audit row. Each try counts as
    a guess before it is verified, so that simultaneous tries count too. A session clears the counters. A right password
    before a second factor does not clear them, because that would allow more guesses at the factor.
    """
    address = addresses.find(email)
    email_key = address.key if address else ""
    guessed = await guesses.count_at_sign_in(platform, origin, email=email, email_key=email_key)
    try:
        outcome = await _verify(
            platform, hasher, old_system, origin, address, password=password, device_name=device_name
        )
    except (EmailNotVerified, AccountDisabled):  # the password was right, and nothing else is left to guess
        await guesses.forget(platform, guessed)
        raise
    if isinstance(outcome, SessionTokens):
        await guesses.forget_at_sign_in(platform, outcome.user_id)
    return outcome


async def _verify(
    platform: Platform,
    hasher: Hasher,
    old_system: OldSystem | None,
    origin: Origin,
    address: Address | None,
    *,
    password: str,
    device_name: str | None,
) -> SessionTokens | Challenge:
    """No database connection is held while the hash is computed."""
    for tried in range(TRIES):
        account = await platform.database.read(find_account, address.key if address else "")
        correct, new_hash = await hasher.verify(
            password, account.password_hash if account else None, by=address_key(origin.address)
        )
        now = platform.clock.now()
        if account is None or not correct:
            refusal: Problem = InvalidLogin()
            if tried == 0 and address:
                try:
                    if await _brings_password(
                        platform, hasher, old_system, origin, address=address, account=account, password=password
                    ):
                        continue
                except UserPoolUnavailable as unavailable:
                    refusal = unavailable
            await platform.database.write(_record_refusal, origin, now, account.user_id if account else None)
            raise refusal
        with contextlib.suppress(_HashChanged):
            return await platform.database.write(
                _start,
                platform.vault,
                origin,
                now,
                account=account,
                new_hash=new_hash,
                verified_only=platform.settings.verifies_email,
                device_name=device_name,
            )
    raise InvalidLogin


def _start(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    account: Account,
    new_hash: str | None,
    verified_only: bool,
    device_name: str | None,
) -> SessionTokens | Challenge:
    user = session.get_one(User, account.user_id, with_for_update=True)
    if user.password_hash != account.password_hash:
        raise _HashChanged
    if new_hash is not None:
        user.password_hash = new_hash
    return mfa.admit(
        session,
        vault,
        origin,
        now,
        user=user,
        method="password",
        verified=False,
        verified_only=verified_only,
        device_name=device_name,
    )


async def _brings_password(
    platform: Platform,
    hasher: Hasher,
    old_system: OldSystem | None,
    origin: Origin,
    *,
    address: Address,
    account: Account | None,
    password: str,
) -> bool:
    newcomer = Newcomer(
        address,
        has_account=account is not None,
        awaits_from=account.password_from if account and account.password_hash is None else None,
        spelling=account.email if account else None,
    )
    return await migration.bring_password(platform, hasher, old_system, origin, newcomer, password=password)


def find_account(session: Session, email_key: str) -> Account | None:
    columns = (User.id, User.password_hash, User.email, User.password_from)
    row = session.execute(select(*columns).where(User.email_key == email_key)).one_or_none()
    return Account(*row) if row else None


def _record_refusal(session: Session, origin: Origin, now: datetime, user_id: uuid.UUID | None) -> None:
    audit.record(session, origin, "session.started", now, outcome="refused", subject_id=user_id, reason="invalid_login")
