"""Grants: a folder of the owner's that somebody else may read. Made for an e-mail address, withdrawn at any time.

Whether an address has an account is nobody's to learn: answer, work and what is listed are the same without one. The
grant waits then, and belongs to the first who holds that address when they ask for what is shared with them. Nobody
has to take what they are given: credentials carry what their user has accepted, or named.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm import Session

from app import audit, cursors, sharing
from app.accounts import addresses, profile
from app.accounts.addresses import Address
from app.actor import Actor
from app.audit import Origin
from app.credentials import orders, policy, revocation
from app.credentials.orders import Share
from app.crypto import Vault
from app.limits import account_key
from app.mail import outbox
from app.models import Grant, User
from app.problems import (
    FieldError,
    GrantExists,
    InvalidPath,
    InvalidRequest,
    NotFound,
    PolicyTooLarge,
    SharingNotAllowed,
    TooManyGrants,
)
from app.settings import Settings

if TYPE_CHECKING:
    from app.runtime import Runtime

RECALL = Origin(request_id="", address="sharing")
RECALLED_WITHIN = timedelta(seconds=5)
"""Of a grant's end: as often the job looks where it is not woken."""
LEFT_BEFORE_BARRED = 2
"""Grants of one owner that somebody left or declined: then whatever that owner shares with them is left from the start.

A grant that its owner withdrew before it was accepted counts too, or else its owner would always be faster than a
grantee who does not want it. Not where the grantee has accepted another one of that owner's: friends make mistakes.
"""
TOLD_EVERY = timedelta(days=1)
"""Mails to one address of one owner's folders."""
MOST_TO_ONE = 100
"""Grants that count, of one owner to one address."""
MOST_IN_ALL = 1000
"""Of one owner."""
MOST_PACKED = 200
"""Grants to one user that are looked at for credentials, unless they are named: the oldest."""


@dataclass(frozen=True)
class Given:
    """A grant as its owner sees it: not whether anybody has taken it up."""

    id: uuid.UUID
    grantee_email: str
    prefix: str
    path: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class Received:
    """A grant as its grantee sees it, and all that they see of its owner."""

    id: uuid.UUID
    owner_display_name: str | None
    owner_email: str | None
    prefix: str
    path: str
    created_at: datetime
    expires_at: datetime | None
    accepted_at: datetime | None


async def create(
    runtime: "Runtime", origin: Origin, actor: Actor, *, email: str, path: str, expires_at: datetime | None
) -> Given:
    """The grant, and a mail to the address; where the folder is shared with it until then already, that grant.

    Raises `InvalidRequest`, `InvalidPath`, `PolicyTooLarge` for a folder that no policy has room for,
    `SharingNotAllowed`, `GrantExists`, `TooManyGrants`, `RateLimited`.
    """
    now = runtime.clock.now()
    address, ends_at = _address(email), _end(now, expires_at)
    if path == "":
        raise InvalidPath("Name the folder to share. A whole prefix cannot be shared.")
    prefix = policy.narrowed_prefix(actor.user_id, path)
    own = orders.of_policy(runtime, policy.user_prefix(actor.user_id), "read")
    if not policy.fits(**own, shared=(prefix,)):
        raise PolicyTooLarge("The name of this folder is too long to be shared. No session policy has room for it.")
    verifies = runtime.settings.verifies_email
    there_is = await runtime.database.read(
        _find, now, actor, address=address, path=path, ends_at=ends_at, verifies=verifies
    )
    if there_is is not None:
        return there_is
    await runtime.limiter.hit("share", str(actor.user_id))
    await runtime.limiter.hit("invitation", account_key(runtime.vault, f"{actor.user_id} {address.key}"))
    return await runtime.database.write(
        _create, runtime.vault, origin, now, actor, address=address, path=path, ends_at=ends_at, verifies=verifies
    )


async def withdraw(runtime: "Runtime", origin: Origin, actor: Actor, grant_id: uuid.UUID) -> datetime:
    """Ends a grant that the actor gave, or leaves one that they were given: when nothing of it is read any more.

    Raises `NotFound`, for one of others too.
    """
    return await runtime.database.write(
        _withdraw, origin, runtime.clock.now(), actor, settings=runtime.settings, grant_id=grant_id
    )


async def accept(runtime: "Runtime", origin: Origin, actor: Actor, grant_id: uuid.UUID) -> None:
    """From now on credentials may carry the grant. One that is accepted already stays so.

    Raises `NotFound`, for what is another's, or counts no more, too.
    """
    now = runtime.clock.now()
    await _bind_waiting(runtime, origin, now, actor)
    accepted_at = await runtime.database.read(_find_accepted, now, actor.user_id, grant_id)
    if accepted_at is None:
        await runtime.database.write(_accept_one, origin, now, actor, grant_id=grant_id)


def list_given(
    session: Session, now: datetime, actor: Actor, *, limit: int, cursor: str | None
) -> tuple[Sequence[Given], str | None]:
    """One page of what the actor shares, newest first, and the cursor of the next. Raises `InvalidRequest`."""
    rows = select(Grant).where(Grant.owner_id == actor.user_id, sharing.lasts(now))
    if cursor is not None:
        rows = rows.where(tuple_(Grant.created_at, Grant.id) < cursors.decode(cursor))
    page = session.scalars(rows.order_by(Grant.created_at.desc(), Grant.id.desc()).limit(limit + 1)).all()
    return [_given(grant) for grant in page[:limit]], _next(page, limit)


async def list_received(
    runtime: "Runtime", origin: Origin, actor: Actor, *, limit: int, cursor: str | None
) -> tuple[Sequence[Received], str | None]:
    """One page of what is shared with the actor, newest first; what waits for their address is theirs from now on.

    Raises `InvalidRequest`.
    """
    now = runtime.clock.now()
    await _bind_waiting(runtime, origin, now, actor)
    return await runtime.database.read(_list_received, now, actor, limit=limit, cursor=cursor)


async def list_shares(
    runtime: "Runtime", origin: Origin, actor: Actor, *, grant_ids: Sequence[uuid.UUID] | None = None
) -> Sequence[Share]:
    """What a credential of the actor's may carry, the oldest first; each folder once, by the grant that ends last.

    That is the oldest grants that the actor has accepted. Those of `grant_ids` that are the actor's are accepted by
    being named; others are passed over without a word.
    """
    now = runtime.clock.now()
    await _bind_waiting(runtime, origin, now, actor)
    shares, unaccepted = await runtime.database.read(_list_shares, now, actor.user_id, grant_ids)
    if unaccepted:
        await runtime.database.write(_accept, origin, now, actor, grant_ids=unaccepted)
        shares, _ = await runtime.database.read(_list_shares, now, actor.user_id, grant_ids)
    return shares


def still_count(session: Session, now: datetime, shares: Sequence[Share]) -> bool:
    """Whether all of the grants do."""
    ids = [share.grant_id for share in shares]
    found = select(func.count()).select_from(Grant)
    return session.scalar(found.where(Grant.id.in_(ids), sharing.counts(now))) == len(ids)


async def recall_next(runtime: "Runtime") -> bool:
    """Revokes what carries grants that have ended, for one grantee, and says whether there was one."""
    return await runtime.database.write(_recall_next, runtime.clock.now())


def _find(
    session: Session,
    now: datetime,
    actor: Actor,
    *,
    address: Address,
    path: str,
    ends_at: datetime | None,
    verifies: bool,
) -> Given | None:
    """The grant that is there already. Raises `SharingNotAllowed`, `InvalidRequest`, `GrantExists`."""
    owner = profile.get_user(session, actor.user_id)
    if owner.guest or (verifies and owner.email_verified_at is None):
        raise SharingNotAllowed
    if owner.email_key == address.key:
        raise InvalidRequest(errors=[FieldError("body.grantee_email", "own_address", "This is your own address.")])
    existing = session.scalar(
        select(Grant)
        .where(Grant.owner_id == owner.id, Grant.grantee_email_key == address.key, Grant.path == path)
        .where(sharing.lasts(now))
        .limit(1)
    )
    if existing is not None and existing.expires_at != ends_at:
        raise GrantExists
    return _given(existing) if existing is not None else None


def _create(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    actor: Actor,
    *,
    address: Address,
    path: str,
    ends_at: datetime | None,
    verifies: bool,
) -> Given:
    # Both by one statement, in the order in which everybody locks users, whether there is another or not.
    both = select(User).where(or_(User.id == actor.user_id, User.email_key == address.key))
    users = session.scalars(both.order_by(User.id).with_for_update()).all()
    owner = profile.lock_user(session, actor.user_id)
    there_is = _find(session, now, actor, address=address, path=path, ends_at=ends_at, verifies=verifies)
    if there_is is not None:
        return there_is
    holder = next((user for user in users if user.id != owner.id), None)
    known = holder is not None and holder.status == "active" and not (verifies and holder.email_verified_at is None)
    with_them = Grant.grantee_email_key == address.key
    if holder is not None and known:
        with_them = or_(with_them, Grant.grantee_id == holder.id)
    lasting = sharing.lasts(now)
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
        path=path,
        created_at=now,
        expires_at=ends_at,
        left_at=now if barred else None,
    )
    session.add(grant)
    session.flush()
    # To the address as its holder has it: another spelling may be another mailbox. A disabled one is told nothing.
    recipient = address.text if holder is None else holder.email if holder.status == "active" else None
    outbox.put(
        session,
        vault,
        now,
        "folder_shared" if known else "folder_waiting",
        about=holder.id if holder and known else None,
        recipient=None if told or barred else recipient,
    )
    _record(session, origin, now, actor, event="grant.created", grant=grant, path=path)
    return _given(grant)


def _withdraw(
    session: Session, origin: Origin, now: datetime, actor: Actor, *, settings: Settings, grant_id: uuid.UUID
) -> datetime:
    if (grant := sharing.end(session, now, grant_id, actor.user_id)) is not None:
        _record(session, origin, now, actor, event="grant.withdrawn", grant=grant)
        told = sharing.is_surely_told(session, now, actor.user_id, timedelta(seconds=settings.longest_ttl))
        return revocation.effective_by_of_any(session, now, settings, told=told) + RECALLED_WITHIN
    if (grant := sharing.leave(session, now, grant_id, actor.user_id)) is not None:
        _record(session, origin, now, actor, event="grant.left", grant=grant)
        return now + timedelta(seconds=settings.longest_ttl)
    raise NotFound


def _recall_next(session: Session, now: datetime) -> bool:
    found = sharing.next_recall(session)
    if found is None:
        return False
    grantee_id, grant_ids = found
    sharing.revoke_carriers(session, RECALL, now, grantee_id=grantee_id, grant_ids=grant_ids)
    return True


async def _bind_waiting(runtime: "Runtime", origin: Origin, now: datetime, actor: Actor) -> None:
    verifies = runtime.settings.verifies_email
    if await runtime.database.read(_is_waiting, now, actor.user_id, verifies):
        await runtime.database.write(_bind, origin, now, actor, verifies)


def _is_waiting(session: Session, now: datetime, user_id: uuid.UUID, verifies: bool) -> bool:
    return session.scalar(select(Grant.id).where(sharing.waits_for(now, user_id, verifies)).limit(1)) is not None


def _bind(session: Session, origin: Origin, now: datetime, actor: Actor, verifies: bool) -> None:
    """Raises `InvalidToken`, `AccountDisabled`."""
    profile.lock_user(session, actor.user_id)
    sharing.bind(session, origin, now, user_id=actor.user_id, session_id=actor.session_id, verifies=verifies)


def _accept(session: Session, origin: Origin, now: datetime, actor: Actor, *, grant_ids: Sequence[uuid.UUID]) -> None:
    sharing.accept(session, origin, now, user_id=actor.user_id, session_id=actor.session_id, grant_ids=grant_ids)


def _accept_one(session: Session, origin: Origin, now: datetime, actor: Actor, *, grant_id: uuid.UUID) -> None:
    """Raises `NotFound` where it ended meanwhile."""
    _accept(session, origin, now, actor, grant_ids=[grant_id])
    _find_accepted(session, now, actor.user_id, grant_id)


def _find_accepted(session: Session, now: datetime, user_id: uuid.UUID, grant_id: uuid.UUID) -> datetime | None:
    """When the user accepted the grant; None where they have not. Raises `NotFound`."""
    rows = select(Grant.accepted_at).where(Grant.id == grant_id, Grant.grantee_id == user_id, sharing.counts(now))
    found = session.execute(rows).one_or_none()
    if found is None:
        raise NotFound
    accepted_at: datetime | None = found.accepted_at
    return accepted_at


def _list_received(
    session: Session, now: datetime, actor: Actor, *, limit: int, cursor: str | None
) -> tuple[Sequence[Received], str | None]:
    rows = (
        select(Grant, User.display_name, User.email)
        .join(User, User.id == Grant.owner_id)
        .where(Grant.grantee_id == actor.user_id, sharing.counts(now))
    )
    if cursor is not None:
        rows = rows.where(tuple_(Grant.created_at, Grant.id) < cursors.decode(cursor))
    page = session.execute(rows.order_by(Grant.created_at.desc(), Grant.id.desc()).limit(limit + 1)).all()
    received = [
        Received(
            id=grant.id,
            owner_display_name=display_name,
            owner_email=email,
            prefix=_prefix(grant.owner_id, grant.path),
            path=grant.path,
            created_at=grant.created_at,
            expires_at=grant.expires_at,
            accepted_at=grant.accepted_at,
        )
        for grant, display_name, email in page[:limit]
    ]
    return received, _next([grant for grant, *_ in page], limit)


def _list_shares(
    session: Session, now: datetime, user_id: uuid.UUID, grant_ids: Sequence[uuid.UUID] | None
) -> tuple[Sequence[Share], Sequence[uuid.UUID]]:
    """What was accepted, and which of the named grants are not accepted yet."""
    named = Grant.accepted_at.is_not(None) if grant_ids is None else Grant.id.in_(grant_ids)
    rows = (
        select(Grant.id, Grant.owner_id, Grant.path, Grant.expires_at, Grant.accepted_at)
        .where(Grant.grantee_id == user_id, named, sharing.counts(now))
        .order_by(Grant.created_at, Grant.id)
        .limit(MOST_PACKED)
    )
    shares: dict[str, Share] = {}  # who changed their address may have one folder by two grants
    unaccepted = []
    for grant_id, owner_id, path, ends_at, accepted_at in session.execute(rows):
        if accepted_at is None:
            unaccepted.append(grant_id)
            continue
        share = Share(grant_id, _prefix(owner_id, path), ends_at)
        other = shares.get(share.prefix)
        if other is None or (other.ends_at is not None and (ends_at is None or ends_at > other.ends_at)):
            shares[share.prefix] = share
    return list(shares.values()), unaccepted


def _prefix(owner_id: uuid.UUID, path: str) -> str:
    """Checked again: what the database says becomes a policy."""
    return policy.narrowed_prefix(owner_id, path)


def _address(email: str) -> Address:
    address = addresses.find(email)
    if address is None:
        error = FieldError("body.grantee_email", "invalid_email", "This is not an e-mail address.")
        raise InvalidRequest(errors=[error])
    return address


def _end(now: datetime, expires_at: datetime | None) -> datetime | None:
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
        prefix=_prefix(grant.owner_id, grant.path),
        path=grant.path,
        created_at=grant.created_at,
        expires_at=grant.expires_at,
    )


def _next(page: Sequence[Grant], limit: int) -> str | None:
    return cursors.encode(page[limit - 1].created_at, page[limit - 1].id) if len(page) > limit else None


def _record(
    session: Session, origin: Origin, now: datetime, actor: Actor, *, event: audit.Event, grant: Grant, **more: Any
) -> None:
    """About its owner, who may read what is about them, but for whether somebody left it."""
    audit.record(
        session,
        origin,
        event,
        now,
        actor_id=actor.user_id,
        subject_id=actor.user_id,
        session_id=actor.session_id,
        **sharing.detail(grant),
        **more,
    )
