"""Folders that others share with a user: listing them, accepting them, and what a credential carries of them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.platform.problems import (
    NotFound,
)
from app.platform.process import Platform
from app.policy.session_policy import Share
from app.records import listing, users
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import Grant, User
from app.sharing import grants
from app.sharing.giving import ShareAccess, prefix_of

NEVER = datetime.max.replace(tzinfo=UTC)
MOST_PACKED = 200
"""How many grants to one user are considered for a credential, oldest first."""


@dataclass(frozen=True)
class Received:
    """A grant as its grantee sees it, with all that they see of its owner."""

    id: uuid.UUID
    owner_display_name: str | None
    owner_email: str | None
    prefix: str
    path: str
    access: ShareAccess
    quota_bytes: int | None
    created_at: datetime
    expires_at: datetime | None
    accepted_at: datetime | None


async def accept(platform: Platform, origin: Origin, actor: Actor, grant_id: uuid.UUID) -> None:
    """Accepts a grant, so that credentials may carry it. Accepting it again changes nothing.

    Raises `NotFound`, also if the grant is another user's or no longer counts.
    """
    now = platform.clock.now()
    await _bind_waiting(platform, origin, now, actor)
    accepted_at = await platform.database.read(_find_accepted, now, actor.user_id, grant_id)
    if accepted_at is None:
        await platform.database.write(_accept_one, origin, now, actor, grant_id=grant_id)


async def list_received(
    platform: Platform, origin: Origin, actor: Actor, *, limit: int, cursor: str | None
) -> tuple[Sequence[Received], str | None]:
    """One page of what is shared with the actor, newest first, and the cursor of the next.

    Grants that wait for the actor's address become theirs. Raises `InvalidRequest`.
    """
    now = platform.clock.now()
    await _bind_waiting(platform, origin, now, actor)
    return await platform.database.read(_list_received, now, actor, limit=limit, cursor=cursor)


async def list_shares(
    platform: Platform, origin: Origin, actor: Actor, *, grant_ids: Sequence[uuid.UUID] | None = None
) -> Sequence[Share]:
    """The shares that a credential of the actor's may carry, oldest first.

    Each folder has one grant: one that lets the actor contribute if there is one, and of those the one that ends last.
    Without `grant_ids` these are the oldest grants that the actor has accepted. Naming a grant of the actor's in
    `grant_ids` accepts it. Other ids are ignored.
    """
    now = platform.clock.now()
    await _bind_waiting(platform, origin, now, actor)
    shares, unaccepted = await platform.database.read(_list_shares, now, actor.user_id, grant_ids)
    if unaccepted:
        await platform.database.write(_accept, origin, now, actor, grant_ids=unaccepted)
        shares, _ = await platform.database.read(_list_shares, now, actor.user_id, grant_ids)
    return shares


def still_count(session: Session, now: datetime, shares: Sequence[Share]) -> bool:
    """Whether all grants of the shares still count."""
    ids = [share.grant_id for share in shares]
    found = select(func.count()).select_from(Grant)
    return session.scalar(found.where(Grant.id.in_(ids), grants.counts(now))) == len(ids)


async def _bind_waiting(platform: Platform, origin: Origin, now: datetime, actor: Actor) -> None:
    verifies = platform.settings.verifies_email
    if await platform.database.read(_is_waiting, now, actor.user_id, verifies):
        await platform.database.write(_bind, origin, now, actor, verifies)


def _is_waiting(session: Session, now: datetime, user_id: uuid.UUID, verifies: bool) -> bool:
    return session.scalar(select(Grant.id).where(grants.waits_for(now, user_id, verifies)).limit(1)) is not None


def _bind(session: Session, origin: Origin, now: datetime, actor: Actor, verifies: bool) -> None:
    """Raises `InvalidToken`, `AccountDisabled`."""
    users.lock_user(session, actor.user_id)
    grants.bind(session, origin, now, user_id=actor.user_id, session_id=actor.session_id, verifies=verifies)


def _accept(session: Session, origin: Origin, now: datetime, actor: Actor, *, grant_ids: Sequence[uuid.UUID]) -> None:
    grants.accept(session, origin, now, user_id=actor.user_id, session_id=actor.session_id, grant_ids=grant_ids)


def _accept_one(session: Session, origin: Origin, now: datetime, actor: Actor, *, grant_id: uuid.UUID) -> None:
    """Raises `NotFound` if the grant ended meanwhile."""
    _accept(session, origin, now, actor, grant_ids=[grant_id])
    _find_accepted(session, now, actor.user_id, grant_id)


def _find_accepted(session: Session, now: datetime, user_id: uuid.UUID, grant_id: uuid.UUID) -> datetime | None:
    """When the user accepted the grant; None if they have not. Raises `NotFound`."""
    rows = select(Grant.accepted_at).where(Grant.id == grant_id, Grant.grantee_id == user_id, grants.counts(now))
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
        .where(Grant.grantee_id == actor.user_id, grants.counts(now))
    )
    page, next_cursor = listing.page_of_rows(session, rows, Grant.created_at, Grant.id, limit=limit, cursor=cursor)
    received = [
        Received(
            id=grant.id,
            owner_display_name=display_name,
            owner_email=email,
            prefix=prefix_of(grant.owner_id, grant.path),
            path=grant.path,
            access=cast(ShareAccess, grant.access),
            quota_bytes=grant.quota_bytes,
            created_at=grant.created_at,
            expires_at=grant.expires_at,
            accepted_at=grant.accepted_at,
        )
        for grant, display_name, email in page
    ]
    return received, next_cursor


def _list_shares(
    session: Session, now: datetime, user_id: uuid.UUID, grant_ids: Sequence[uuid.UUID] | None
) -> tuple[Sequence[Share], Sequence[uuid.UUID]]:
    """The accepted grants as shares, and the ids of named grants that are not accepted yet."""
    named = Grant.accepted_at.is_not(None) if grant_ids is None else Grant.id.in_(grant_ids)
    rows = (
        select(Grant.id, Grant.owner_id, Grant.path, Grant.access, Grant.expires_at, Grant.accepted_at)
        .where(Grant.grantee_id == user_id, named, grants.counts(now))
        .order_by(Grant.created_at, Grant.id)
        .limit(MOST_PACKED)
    )
    shares: dict[str, Share] = {}  # a user who changed their address may have two grants of one folder
    unaccepted = []
    for grant_id, owner_id, path, access, ends_at, accepted_at in session.execute(rows):
        if accepted_at is None:
            unaccepted.append(grant_id)
            continue
        share = Share(grant_id, prefix_of(owner_id, path), ends_at, contributes=access == "contribute")
        shares[share.prefix] = max(shares.get(share.prefix, share), share, key=_worth)
    return list(shares.values()), unaccepted


def _worth(share: Share) -> tuple[bool, datetime]:
    """Orders the grants of one folder."""
    return share.contributes, share.ends_at or NEVER
