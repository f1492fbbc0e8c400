"""Changing an account's e-mail address: the new address is verified, and the old one is notified.

The user confirms the link at the new address in a session of the account, or with its password.
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts import links, registration
from app.accounts.links import Guard, Link
from app.accounts.passwords import Hasher
from app.accounts.reauthentication import verify_owner
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.limits import account_key
from app.platform.problems import EmailTaken, FieldError, InvalidRequest
from app.platform.process import Platform
from app.records import addresses, audit, single_use, users
from app.records.actor import Actor
from app.records.addresses import Address
from app.records.audit import Origin
from app.records.models import User
from app.records.single_use import Claim
from app.sharing import grants

TTL = timedelta(hours=24)


async def request(
    platform: Platform, hasher: Hasher, origin: Origin, actor: Actor, *, new_email: str, password: str | None
) -> None:
    """Sends a link to the new address and a notice to the old one. If the address is taken, its owner gets a notice
    instead of the link. The answer is the same.

    Raises `InvalidRequest`, `WrongPassword`, `StepUpRequired`, `RateLimited`, `Overloaded`.
    """
    address = addresses.find(new_email)
    if address is None:
        raise InvalidRequest(errors=[FieldError("body.new_email", "invalid_email", "This is not an e-mail address.")])
    if actor.guest:
        raise InvalidRequest(
            errors=[
                FieldError("body.new_email", "guest", "A guest has no address to change. Upgrade the account instead.")
            ]
        )
    await verify_owner(platform, hasher, origin, actor, password)
    user = await platform.database.read(users.get_user, actor.user_id)
    for account in (user.email_key or str(user.id), address.key):
        await platform.limiter.hit("letter", account_key(platform.vault, account))
    await platform.database.write(_request, platform.vault, origin, platform.clock.now(), actor=actor, address=address)


async def confirm(
    platform: Platform, hasher: Hasher, origin: Origin, actor: Actor | None, *, token: str, password: str | None
) -> None:
    """Gives the account the address that the token was sent to, or does nothing if this very token has done so.

    Raises `EmailTaken` and what `links.verify_opener` raises.
    """
    if await links.has_verified(platform, token):
        return
    link = Link("email_change", token, "email.changed")
    elsewhere = await links.verify_opener(
        platform, hasher, origin, actor, link, password=password, find_guard=_own_password
    )
    await platform.database.write(
        _confirm,
        platform.vault,
        origin,
        platform.clock.now(),
        link=link,
        elsewhere=elsewhere,
        verifies=platform.settings.verifies_email,
    )


def _own_password(session: Session, claim: Claim) -> Guard:
    user = session.get_one(User, claim.user_id)
    return Guard(user.password_hash, account=user)


def _request(session: Session, vault: Vault, origin: Origin, now: datetime, *, actor: Actor, address: Address) -> None:
    user = users.lock_user(session, actor.user_id)
    single_use.withdraw(session, now, "email_change", user_id=user.id)
    owner = session.scalars(select(User).where(User.email_key == address.key, User.id != user.id)).one_or_none()
    if owner is None:
        data = {"email": address.text, "email_key": address.key}
        token = single_use.issue(session, vault, now, "email_change", ttl=TTL, user_id=user.id, data=data)
        outbox.put(session, vault, now, "change_email", about=user.id, recipient=address.text, token=token)
    else:
        registration.notify_owner(session, vault, now, owner)
    outbox.tell(session, vault, now, "email_change_requested", user)
    audit.record(
        session,
        origin,
        "email.change_requested",
        now,
        outcome="done" if owner is None else "refused",
        actor_id=user.id,
        subject_id=user.id,
        session_id=actor.session_id,
        reason=None if owner is None else "email_taken",
    )


def _confirm(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, link: Link, elsewhere: bool, verifies: bool
) -> None:
    user, claimed = links.claim(session, vault, origin, now, link)
    old_email = user.email
    # Grants that wait for the old address go to the user now. A later holder of that address gets none of them.
    grants.bind(session, origin, now, user_id=user.id, session_id=None, verifies=verifies)
    address = Address(claimed.data["email"], claimed.data["email_key"])
    if not registration.give_address(session, user, address, verified_at=now):  # the address was registered meanwhile
        audit.record(session, origin, "email.changed", now, outcome="refused", subject_id=user.id, reason="email_taken")
        raise EmailTaken
    links.remember(session, vault, now, link.token, user)
    user.confirmed_elsewhere = elsewhere
    # Links sent to the old address must not work any more.
    single_use.withdraw(session, now, "email_change", "password_reset", "email_verification", user_id=user.id)
    if old_email is not None:
        outbox.put(session, vault, now, "email_changed", about=user.id, recipient=old_email)
    audit.record(session, origin, "email.changed", now, actor_id=user.id, subject_id=user.id)
