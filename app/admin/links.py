"""Users' links as staff see them, those that ended too, and how administrators end them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.admin import acts
from app.admin.acts import Act
from app.platform.problems import NotFound
from app.platform.settings import Settings
from app.records import listing
from app.records.actor import Actor
from app.records.models import Link, User
from app.revocation import effective
from app.sharing import links


@dataclass(frozen=True)
class KnownLink:
    row: Link
    owner_email: str | None


def list_all(
    session: Session, *, owner_id: uuid.UUID | None, reported: bool, limit: int, cursor: str | None
) -> tuple[Sequence[KnownLink], str | None]:
    """One page of all links, or of one owner's, newest first. `reported`: only those. Raises `InvalidRequest`."""
    rows = select(Link, User.email).join(User, User.id == Link.owner_id)
    if owner_id is not None:
        rows = rows.where(Link.owner_id == owner_id)
    if reported:
        rows = rows.where(Link.reports > 0)
    page, next_cursor = listing.page_of_rows(session, rows, Link.created_at, Link.id, limit=limit, cursor=cursor)
    return [KnownLink(link, email) for link, email in page], next_cursor


def withdraw(session: Session, act: Act, settings: Settings, link_id: uuid.UUID) -> datetime:
    """Ends a user's link. Returns when the engine refuses the last of its credentials.

    Raises `NotFound`, also for a link that has been withdrawn, and `Forbidden`.
    """
    owner_id = session.scalar(select(Link.owner_id).where(Link.id == link_id))
    if owner_id is None:
        raise NotFound
    acts.lock(session, act, "link.withdrawn", owner_id)
    assert isinstance(act.actor, Actor)
    done = links.end(
        session, act.origin, act.now, owner_id=owner_id, link_ids=[link_id], actor=act.actor, reason=act.reason or ""
    )
    if not done:
        raise NotFound
    return effective.effective_by(session, act.now, settings, owner_id)
