"""Giving grants: an owner lets the holder of an e-mail address read a folder, or fill it, and may withdraw the grant at
any time.

The owner must not learn whether an address has an account: the answer, the work and the list are the same without one.
The grant then waits. It goes to the first user who holds the address when they ask for what is shared with them. Users
choose what they take: credentials carry only grants that their user has accepted or named.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.limits import account_key
from app.platform.problems import (
    FieldError,
    GrantExists,
    InvalidPath,
    InvalidRequest,
    NotFound,
    PolicyTooLarge,
    SharingNotAllowed,
    TooManyGrants,
)
from app.platform.process import Platform
from app.platform.settings import Settings
from app.policy import session_policy
from app.policy.session_policy import Bucket
from app.records import addresses, audit, listing, users
from app.records.actor import Actor
from app.records.addresses import Address
from app.records.audit import Origin
from app.records.models import Grant, User
from app.revocation import effective
from app.sharing import grants

ShareAccess = Literal["read", "contribute"]

RECALL = Origin(request_id="", address="sharing")
RECALLED_WITHIN = timedelta(seconds=5)
"""How soon the recall job notices that a grant has ended. It looks this often even if it is not woken."""
LEFT_BEFORE_BARRED = 2
"""After a grantee has left or declined this many grants of one owner, further ones are left from the start.

A grant that its owner withdrew before it was accepted counts too. Otherwise an owner could always withdraw faster than
an unwilling grantee declines. It does not count if the grantee has accepted a grant of that owner, because friends make
mistakes.
"""
TOLD_EVERY = timedelta(days=1)
"""The least time between two mails to one address about one owner's folders."""
MOST_TO_ONE = 100
"""Lasting grants of one owner to one address."""
MOST_IN_ALL = 1000
"""Lasting grants of one owner."""


@dataclass(frozen=True)
class Given:
    """A grant as its owner sees it. It does not tell whether anybody has accepted it."""

    id: uuid.UUID
    grantee_email: str
    prefix: str
    path: str
    access: ShareAccess
    quota_bytes: int | None
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class Offer:
    """What an owner wants to share."""

    path: str
    ends_at: datetime | None
    access: ShareAccess
    quota_bytes: int | None

    def is_of(self, grant: Grant) -> bool:
        """Whether the grant, which is of that folder, is the same in everything else."""
        members = (self.ends_at, self.access, self.quota_bytes)
        return members == (grant.expires_at, grant.access, grant.quota_bytes)


async def create(
    platform: Platform,
    bucket: Bucket,
    origin: Origin,
    actor: Actor,
    *,
    email: str,
    path: str,
    access: ShareAccess = "read",
    quota_bytes: int | None = None,
    expires_at: datetime | None,
) -> Given:
    """Creates a grant and mails the address. If the same grant exists already, returns it instead.

    Raises `InvalidRequest`, `InvalidPath`, `PolicyTooLarge` for a folder that no policy has room for,
    `SharingNotAllowed`, `GrantExists`, `TooManyGrants`, `RateLimited`.
    """
    now = platform.clock.now()
    address, offer = _address(email), Offer(path, end_of(now, expires_at), access, quota_bytes)
    if path == "":
        raise InvalidPath("Name the folder to share. A whole prefix cannot be shared.")
    if quota_bytes is not None and access != "contribute":
        message = "Only what others contribute has a quota. Send the `access` `contribute` with it."
        raise InvalidRequest(errors=[FieldError("body.quota_bytes", "not_for_read", message)])
    _require_room(bucket, actor, path, access)
    verifies = platform.settings.verifies_email
    there_is = await platform.database.read(_find, now, actor, address=address, offer=offer, verifies=verifies)
    if there_is is not None:
        return there_is
    await platform.limiter.hit("share", str(actor.user_id))
    await platform.limiter.hit("invitation", account_key(platform.vault, f"{actor.user_id} {address.key}"))
    return await platform.database.write(
        _create, platform.vault, origin, now, actor, address=address, offer=offer, verifies=verifies
    )


def _require_room(bucket: Bucket, actor: Actor, path: str, access: ShareAccess) -> None:
    """Raises `InvalidPath`, `PolicyTooLarge`."""
    own = session_policy.user_prefix(actor.user_id)  # as long as the grantee's
    if access == "read":
        fits = bucket.fits(own, "read", shared=(session_policy.narrowed_prefix(actor.user_id, path),))
    else:
        folder = session_policy.filled_prefix(actor.user_id, path)
        fits = bucket.fits(own, "read_write", shared=(folder,), filled=(folder,))
    if not fits:
        raise PolicyTooLarge("The name of this folder is too long to be shared. No session policy has room for it.")


async def withdraw(platform: Platform, origin: Origin, actor: Actor, grant_id: uuid.UUID) -> datetime:
    """Withdraws a grant of the actor's, or leaves one that they received. Returns when no credential reads it any more.

    Raises `NotFound`, also for a grant between others.
    """
    return await platform.database.write(
        _withdraw, origin, platform.clock.now(), actor, settings=platform.settings, grant_id=grant_id
    )


def list_given(
    session: Session, now: datetime, actor: Actor, *, limit: int, cursor: str | None
) -> tuple[Sequence[Given], str | None]:
    """One page of what the actor shares, newest first, and the cursor of the next. Raises `InvalidRequest`."""
    rows = select(Grant).where(Grant.owner_id == actor.user_id, grants.lasts(now))
    page, next_cursor = listing.page(session, rows, Grant.created_at, Grant.id, limit=limit, cursor=cursor)
    return [_given(grant) for grant in page], next_cursor


async def recall_next(platform: Platform) -> bool:
    """Revokes one grantee's credentials that carry ended grants. Returns whether there was such a grantee."""
    return await platform.database.write(_recall_next, platform.clock.now())


def _find(
    session: Session,
    now: datetime,
    actor: Actor,
    *,
    address: Address,
    offer: Offer,
    verifies: bool,
) -> Given | None:
    """The grant that exists already, if any. Raises `SharingNotAllowed`, `InvalidRequest`, `GrantExists`."""
    owner = require_sharer(session, actor, verifies=verifies)
    if owner.email_key == address.key:
        raise InvalidRequest(errors=[FieldError("body.grantee_email", "own_address", "This is your own address.")])
    existing = session.scalar(
        select(Grant)
        .where(Grant.owner_id == owner.id, Grant.grantee_email_key == address.key, Grant.path == offer.path)
        .where(grants.lasts(now))
        .limit(1)
    )
    if existing is not None and not offer.is_of(existing):
        raise GrantExists
    return _given(existing) if existing is not None else None


def require_sharer(session: Session, actor: Actor, *, verifies: bool) -> User:
    """The actor's account. Raises `SharingNotAllowed` for a guest and, if `verifies`, without a verified address."""
    owner = users.get_user(session, actor.user_id)
    if owner.guest or (verifies and owner.email_verified_at is None):
        raise SharingNotAllowed
    return owner


def _create(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    actor: Actor,
    *,
    address: Address,
    offer: Offer,
    verifies: bool,
) -> Given:
    # One statement locks both, in the order in which every transaction locks users, and works without a second user.
    both = select(User).where(or_(User.id == actor.user_id, User.email_key == address.key))
    both_users = session.scalars(both.order_by(User.id).with_for_update()).all()
    owner = users.lock_user(session, actor.user_id)
    there_is = _find(session, now, actor, address=address, offer=offer, verifies=verifies)
    if there_is is not None:
        return there_is
    holder = next((user for user in both_users if user.id != owner.id), None)
    known = holder is not None and holder.status == "active" and not (verifies and holder.email_verified_at is None)
    with_them = Grant.grantee_email_key == address.key
    if holder is not None and known:
        with_them = or_(with_them, Grant.grantee_id == holder.id)
    lasting = grants.lasts(now)
    withdrawn_at_once = Grant.withdrawn_at.is_not(None) & Grant.accepted_at.is_(None) & Grant.left_at.is_(None)
    in_all, to_one, left, refusable, accepted, told = session.execute(
        select(
            func.count().filter(lasting),
            func.count().filter(lasting, with_them),
            func.count().filter(Grant.left_at.is_not(None), with_them),
            func.count().filter(withdrawn_at_once, with_them),
            func.count().filter(Grant.accepted_at.is_not(None), with_them),
            func.count().filter(Grant.created_at > now - TOLD_EVERY, with_them),
        ).where(Grant.owner_id == owner.id)
    ).one()
    if in_all >= MOST_IN_ALL or to_one >= MOST_TO_ONE:
        raise TooManyGrants
    barred = left + (0 if accepted else refusable) >= LEFT_BEFORE_BARRED
    grant = Grant(
        id=uuid.uuid4(),
        owner_id=owner.id,
        grantee_id=holder.id if holder is not None and known else None,
        grantee_email=address.text,
        grantee_email_key=address.key,
        path=offer.path,
        access=offer.access,
        quota_bytes=offer.quota_bytes,
        created_at=now,
        expires_at=offer.ends_at,
        left_at=now if barred else None,
    )
    session.add(grant)
    session.flush()
    # The mail goes to the address as its holder spells it: another spelling may be another mailbox. A disabled account
    # gets no mail.
    recipient = address.text if holder is None else holder.email if holder.status == "active" else None
    outbox.put(
        session,
        vault,
        now,
        "folder_shared" if known else "folder_waiting",
        about=holder.id if holder and known else None,
        recipient=None if told or barred else recipient,
    )
    _record(session, origin, now, actor, event="grant.created", grant=grant, path=grant.path, access=grant.access)
    return _given(grant)


def _withdraw(
    session: Session, origin: Origin, now: datetime, actor: Actor, *, settings: Settings, grant_id: uuid.UUID
) -> datetime:
    if (grant := grants.end(session, now, grant_id, actor.user_id)) is not None:
        _record(session, origin, now, actor, event="grant.withdrawn", grant=grant)
        told = grants.is_surely_told(session, now, actor.user_id, timedelta(seconds=settings.longest_ttl))
        return effective.effective_by_of_any(session, now, settings, told=told) + RECALLED_WITHIN
    if (grant := grants.leave(session, now, grant_id, actor.user_id)) is not None:
        _record(session, origin, now, actor, event="grant.left", grant=grant)
        return now + timedelta(seconds=settings.longest_ttl)
    raise NotFound


def _recall_next(session: Session, now: datetime) -> bool:
    found = grants.next_recall(session)
    if found is None:
        return False
    grantee_id, grant_ids = found
    grants.revoke_carriers(session, RECALL, now, grantee_id=grantee_id, grant_ids=grant_ids)
    return True


def prefix_of(owner_id: uuid.UUID, path: str) -> str:
    """The prefix of a grant. Checks the path again, because what the database says becomes a policy."""
    return session_policy.narrowed_prefix(owner_id, path)


def _address(email: str) -> Address:
    address = addresses.find(email)
    if address is None:
        error = FieldError("body.grantee_email", "invalid_email", "This is not an e-mail address.")
        raise InvalidRequest(errors=[error])
    return address


def end_of(now: datetime, expires_at: datetime | None) -> datetime | None:
    """The moment in whole seconds, as it is stored. Raises `InvalidRequest` if it is past."""
    if expires_at is None:
        return None
    ends_at = expires_at.replace(microsecond=0)
    if ends_at <= now:
        raise InvalidRequest(errors=[FieldError("body.expires_at", "in_the_past", "This is not in the future.")])
    return ends_at


def _given(grant: Grant) -> Given:
    return Given(
        id=grant.id,
        grantee_email=grant.grantee_email,
        prefix=prefix_of(grant.owner_id, grant.path),
        path=grant.path,
        access=cast(ShareAccess, grant.access),
        quota_bytes=grant.quota_bytes,
        created_at=grant.created_at,
        expires_at=grant.expires_at,
    )


def _record(
    session: Session, origin: Origin, now: datetime, actor: Actor, *, event: audit.Event, grant: Grant, **more: Any
) -> None:
    """Records the event with the actor as its subject. So an owner cannot read that a grantee left."""
    audit.record(
        session,
        origin,
        event,
        now,
        actor_id=actor.user_id,
        subject_id=actor.user_id,
        session_id=actor.session_id,
        **grants.detail(grant),
        **more,
    )
