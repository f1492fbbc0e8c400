"""Grants: a folder of the owner's that somebody else may read. Made for an e-mail address, withdrawn at any time.

Whether an address has an account is nobody's to learn: answer, work and what is listed are the same without one. The
grant waits then, and belongs to the first who holds that address when they ask for what is shared with them.
"""

import functools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, func, or_, select, tuple_, update
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
MOST_TO_ONE = 100
"""Grants that count, of one owner to one address."""
MOST_IN_ALL = 1000
"""Of one owner; and of those with whom one user is shared, what is looked at: the oldest."""


class BoundMeanwhile(Exception):
    """The grant has become somebody's, whom this transaction has not locked."""


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
        raise InvalidPath("Name the folder to share: all that you have is not one.")
    prefix = policy.narrowed_prefix(actor.user_id, path)
    own = orders.of_policy(runtime, policy.user_prefix(actor.user_id), "read")
    if not policy.fits(**own, shared=(prefix,)):
        raise PolicyTooLarge("The name of this folder is too long to be shared: no session policy has room for it.")
    await runtime.limiter.hit("share", str(actor.user_id))
    await runtime.limiter.hit("invitation", account_key(runtime.vault, address.key))
    verifies = runtime.settings.verifies_email
    return await runtime.database.write(
        _create, runtime.vault, origin, now, actor, address=address, path=path, ends_at=ends_at, verifies=verifies
    )


async def withdraw(runtime: "Runtime", origin: Origin, actor: Actor, grant_id: uuid.UUID) -> datetime:
    """Ends a grant that the actor gave, or was given. When, at the latest, nothing of it is read any more.

    Raises `NotFound`, for one of others too.
    """
    story = functools.partial(_withdraw, settings=runtime.settings, grant_id=grant_id)
    try:
        return await runtime.database.write(story, origin, runtime.clock.now(), actor)
    except BoundMeanwhile:  # for good, so it cannot be again
        return await runtime.database.write(story, origin, runtime.clock.now(), actor)


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


async def list_shares(runtime: "Runtime", origin: Origin, actor: Actor) -> Sequence[Share]:
    """What a credential of the actor's may carry, the oldest first; each folder once."""
    now = runtime.clock.now()
    await _bind_waiting(runtime, origin, now, actor)
    return await runtime.database.read(_list_shares, now, actor.user_id)


def still_count(session: Session, now: datetime, shares: Sequence[Share]) -> bool:
    """Whether all of the grants do."""
    ids = [share.grant_id for share in shares]
    found = select(func.count()).select_from(Grant).join(User, User.id == Grant.owner_id)
    return session.scalar(found.where(Grant.id.in_(ids), *_counts(now))) == len(ids)


async def recall_next(runtime: "Runtime") -> bool:
    """Revokes what carries grants of who was disabled or erased, for one grantee, and says whether there was one."""
    longest = timedelta(seconds=runtime.settings.credential_max_ttl)
    return await runtime.database.write(_recall_next, runtime.clock.now(), longest=longest)


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
    if owner.guest or (verifies and owner.email_verified_at is None):
        raise SharingNotAllowed
    if owner.email_key == address.key:
        raise InvalidRequest(errors=[FieldError("body.grantee_email", "own_address", "This is your own address.")])
    theirs = (Grant.owner_id == owner.id, sharing.lasts(now))
    existing = session.scalar(
        select(Grant).where(*theirs, Grant.grantee_email_key == address.key, Grant.path == path).limit(1)
    )
    if existing is not None:
        if existing.expires_at != ends_at:
            raise GrantExists
        return _given(existing)
    in_all, to_one = session.execute(
        select(func.count(), func.count().filter(Grant.grantee_email_key == address.key)).where(*theirs)
    ).one()
    if in_all >= MOST_IN_ALL or to_one >= MOST_TO_ONE:
        raise TooManyGrants
    holder = next((user for user in users if user.id != owner.id), None)
    known = holder is not None and holder.status == "active" and not (verifies and holder.email_verified_at is None)
    grant = Grant(
        id=uuid.uuid4(),
        owner_id=owner.id,
        grantee_id=holder.id if holder is not None and known else None,
        grantee_email=address.text,
        grantee_email_key=address.key,
        path=path,
        created_at=now,
        expires_at=ends_at,
    )
    session.add(grant)
    session.flush()
    # To the address as its holder has it: another spelling may be another mailbox. A disabled one is told nothing.
    recipient = address.text if holder is None else holder.email if holder.status == "active" else None
    kind: outbox.Kind = "folder_shared" if known else "folder_waiting"
    outbox.put(session, vault, now, kind, about=holder.id if holder and known else None, recipient=recipient)
    _record(session, origin, now, actor, event="grant.created", grant=grant)
    return _given(grant)


def _withdraw(
    session: Session, origin: Origin, now: datetime, actor: Actor, *, settings: Settings, grant_id: uuid.UUID
) -> datetime:
    """Raises `BoundMeanwhile`: whose grant it became was not locked, so their vends could be missed."""
    mine = or_(Grant.owner_id == actor.user_id, Grant.grantee_id == actor.user_id)
    grant = session.scalar(select(Grant).where(Grant.id == grant_id, mine, Grant.withdrawn_at.is_(None)))
    if grant is None:
        raise NotFound
    people = [person for person in (grant.owner_id, grant.grantee_id) if person is not None]
    session.execute(select(User.id).where(User.id.in_(people)).order_by(User.id).with_for_update()).all()
    ended = session.execute(
        update(Grant)
        .where(Grant.id == grant_id, Grant.withdrawn_at.is_(None))
        .values(withdrawn_at=now)
        .returning(Grant.grantee_id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if ended is None:
        raise NotFound
    if ended.grantee_id != grant.grantee_id:
        raise BoundMeanwhile
    event: audit.Event = "grant.withdrawn" if grant.owner_id == actor.user_id else "grant.left"
    _record(session, origin, now, actor, event=event, grant=grant)
    effective_by = revocation.effective_by_of_any(session, now, settings)
    if grant.grantee_id is not None and sharing.revoke_carriers(
        session,
        origin,
        now,
        grantee_id=grant.grantee_id,
        grant_ids=[grant.id],
        actor_id=actor.user_id,
        session_id=actor.session_id,
        longest=timedelta(seconds=settings.credential_max_ttl),
    ):
        effective_by = max(effective_by, revocation.effective_by(session, now, settings, grant.grantee_id))
    return effective_by


def _recall_next(session: Session, now: datetime, *, longest: timedelta) -> bool:
    waiting = select(Grant.grantee_id).where(Grant.recall_at.is_not(None), Grant.grantee_id.is_not(None))
    grantee_id = session.scalar(waiting.order_by(Grant.recall_at).limit(1))
    if grantee_id is None:
        return False
    session.execute(select(User.id).where(User.id == grantee_id).with_for_update())
    recalled = session.scalars(
        update(Grant)
        .where(Grant.grantee_id == grantee_id, Grant.recall_at.is_not(None))
        .values(recall_at=None)
        .returning(Grant.id)
        .execution_options(synchronize_session=False)
    ).all()
    if recalled:  # else another replica was faster
        sharing.revoke_carriers(
            session,
            RECALL,
            now,
            grantee_id=grantee_id,
            grant_ids=recalled,
            actor_id=None,
            session_id=None,
            longest=longest,
        )
    return True


async def _bind_waiting(runtime: "Runtime", origin: Origin, now: datetime, actor: Actor) -> None:
    verifies = runtime.settings.verifies_email
    if await runtime.database.read(_is_waiting, now, actor.user_id, verifies):
        await runtime.database.write(_bind, origin, now, actor, verifies)


def _is_waiting(session: Session, now: datetime, user_id: uuid.UUID, verifies: bool) -> bool:
    return session.scalar(select(Grant.id).where(*_waiting_for(now, user_id, verifies)).limit(1)) is not None


def _bind(session: Session, origin: Origin, now: datetime, actor: Actor, verifies: bool) -> None:
    """Raises `InvalidToken`, `AccountDisabled`."""
    profile.lock_user(session, actor.user_id)
    bound = session.scalars(
        update(Grant)
        .where(*_waiting_for(now, actor.user_id, verifies))
        .values(grantee_id=actor.user_id)
        .returning(Grant)
        .execution_options(synchronize_session=False)
    ).all()
    for grant in bound:
        _record(session, origin, now, actor, event="grant.bound", grant=grant)


def _waiting_for(now: datetime, user_id: uuid.UUID, verifies: bool) -> tuple[ColumnElement[bool], ...]:
    """Grants for the address that the user holds, and has verified where that is asked for."""
    key = select(User.email_key).where(User.id == user_id, User.status == "active")
    if verifies:
        key = key.where(User.email_verified_at.is_not(None))
    address = Grant.grantee_email_key == key.scalar_subquery()
    return Grant.grantee_id.is_(None), address, Grant.owner_id != user_id, sharing.lasts(now)


def _counts(now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Of grants, joined with their owners."""
    return sharing.lasts(now), User.status == "active"


def _list_received(
    session: Session, now: datetime, actor: Actor, *, limit: int, cursor: str | None
) -> tuple[Sequence[Received], str | None]:
    rows = (
        select(Grant, User.display_name, User.email)
        .join(User, User.id == Grant.owner_id)
        .where(Grant.grantee_id == actor.user_id, *_counts(now))
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
        )
        for grant, display_name, email in page[:limit]
    ]
    return received, _next([grant for grant, *_ in page], limit)


def _list_shares(session: Session, now: datetime, user_id: uuid.UUID) -> Sequence[Share]:
    rows = session.execute(
        select(Grant.id, Grant.owner_id, Grant.path, Grant.expires_at)
        .join(User, User.id == Grant.owner_id)
        .where(Grant.grantee_id == user_id, *_counts(now))
        .order_by(Grant.created_at, Grant.id)
        .limit(MOST_IN_ALL)
    )
    return [Share(grant_id, _prefix(owner_id, path), ends_at) for grant_id, owner_id, path, ends_at in rows]


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


def _record(session: Session, origin: Origin, now: datetime, actor: Actor, *, event: audit.Event, grant: Grant) -> None:
    """About the owner, who may read what is about them: so whose the address turned out to be is about its holder."""
    audit.record(
        session,
        origin,
        event,
        now,
        actor_id=actor.user_id,
        subject_id=actor.user_id if event == "grant.bound" else grant.owner_id,
        session_id=actor.session_id,
        grant_id=str(grant.id),
        owner_id=str(grant.owner_id),
        grantee_id=str(grant.grantee_id) if grant.grantee_id else None,
    )
