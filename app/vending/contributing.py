"""Contributing: in which of the shared folders a credential may write now.

Whatever lies in a folder counts for its owner, so the quotas of the owner and of the grant decide. If one of them is
reached, the credential only reads the folder. The place of each contributor is noted before the first credential that
writes there: it is counted, and the erasure of the contributor empties it.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.orm import Session

from app.platform.db import signal_after_commit, upsert
from app.platform.problems import NotFound, QuotaExceeded
from app.platform.process import Platform
from app.platform.settings import Settings
from app.policy import session_policy
from app.policy.session_policy import Access, Share
from app.records.models import Contribution, Grant, IssuedCredential, Link, LinkContributor, Usage, User
from app.revocation import marks
from app.sharing import grants
from app.storage import quota
from app.vending import ledger
from app.vending.orders import Order

SIGNAL = "contributions"
ALIVE_AFTER = timedelta(minutes=15)
"""How far the engine's clock may be behind ours, and how long an upload that began in time may take to arrive."""
FULL = "The owner's storage is full, or your part of this folder. Its owner can delete something in it."


@dataclass(frozen=True)
class Place:
    """A grant or link that lets somebody contribute, and what is stored."""

    id: uuid.UUID
    """Of the grant or link."""
    owner_id: uuid.UUID
    path: str
    quota_bytes: int | None
    """Of the grant or link."""
    stored: int
    """Bytes that count for that quota. Of a link: what all its contributors have stored."""
    allowance: int | None
    """The owner's quota."""
    usage: Usage | None
    """The owner's."""
    contribution: Contribution | None

    def is_full(self, settings: Settings, *, adding: int = 0) -> bool:
        """Whether a quota is reached, or `adding` bytes would exceed it."""
        if self.allowance is not None and quota.is_reached(settings, self.allowance, self.usage, adding=adding):
            return True
        if self.quota_bytes is None:
            return False
        return self.stored >= self.quota_bytes or self.stored + adding > self.quota_bytes

    def owner_is_due(self, now: datetime, settings: Settings) -> datetime | None:
        """When the owner has to be counted; None if that is scheduled."""
        if self.allowance is None:
            return None
        at = _due(now, settings, self.usage.counted_at if self.usage else None, full=self.is_full(settings))
        return at if self.usage is None or self.usage.next_count_at > at else None

    def place_is_due(self, now: datetime, settings: Settings) -> datetime | None:
        """When the place has to be counted; None if that is scheduled, or the grant has no quota."""
        if self.quota_bytes is None:
            return None
        known = self.contribution
        at = _due(now, settings, known.counted_at if known else None, full=self.is_full(settings))
        return at if known is None or known.next_count_at is None or known.next_count_at > at else None


def _due(now: datetime, settings: Settings, counted_at: datetime | None, *, full: bool) -> datetime:
    """While something is full it is counted soon, because its owner may have made room."""
    if counted_at is None:
        return now
    return max(now, counted_at + quota.RECOUNT_AFTER) if full else now + timedelta(seconds=settings.quota_count_seconds)


async def admit(platform: Platform, shares: Sequence[Share], *, user_id: uuid.UUID, access: Access) -> list[Share]:
    """The shares of a user. Each contributes only if the access and both quotas let it.

    Notes the places of those that do, and schedules their counts.
    """
    wanted = [share.grant_id for share in shares if share.contributes and access == "read_write"]
    open_ids: set[uuid.UUID] = set()
    if wanted:
        now, settings = platform.clock.now(), platform.settings
        places = await platform.database.read(_find, now, settings, user_id, wanted)
        open_ids = {place.id for place in places if not place.is_full(settings)}
        if any(_needs_note(place, now, settings) for place in places):
            await platform.database.write(_note, now, settings, user_id, places)
    return [
        share if share.contributes == (share.grant_id in open_ids) else replace(share, contributes=False)
        for share in shares
    ]


async def still_writable(platform: Platform, shares: Sequence[Share], *, user_id: uuid.UUID) -> bool:
    """Whether each of the shares that contribute still may."""
    wanted = {share.grant_id for share in shares if share.contributes}
    if not wanted:
        return True
    now, settings = platform.clock.now(), platform.settings
    places = await platform.database.read(_find, now, settings, user_id, wanted)
    return wanted == {place.id for place in places if not place.is_full(settings)}


async def admit_by_link(platform: Platform, link_id: uuid.UUID, contributor_id: uuid.UUID) -> bool:
    """Whether somebody may contribute by the link now. Notes their place, and schedules its count."""
    now, settings = platform.clock.now(), platform.settings
    place = await platform.database.read(_find_by_link, settings, link_id, contributor_id)
    if place is None:
        return False
    if _needs_note(place, now, settings):
        await platform.database.write(_note, now, settings, contributor_id, [place])
    return not place.is_full(settings)


async def is_open(platform: Platform, order: Order) -> bool:
    """Whether whom the order is for may still contribute by its link."""
    settings = platform.settings
    assert order.link_id is not None
    place = await platform.database.read(_find_by_link, settings, order.link_id, order.contributor_id)
    return place is not None and not place.is_full(settings)


async def require_room(platform: Platform, *, user_id: uuid.UUID, grant_id: uuid.UUID, adding: int) -> None:
    """Raises `NotFound` if the user contributes by no such grant, and `QuotaExceeded` if so many bytes have no room."""
    now, settings = platform.clock.now(), platform.settings
    places = await platform.database.read(_find, now, settings, user_id, [grant_id])
    if not places:
        raise NotFound
    if places[0].is_full(settings, adding=adding):
        raise QuotaExceeded(FULL)


def prefix_of(place: Contribution) -> str:
    """Where the contributor writes. Checks the path again, because what the database says becomes a policy."""
    folder = session_policy.filled_prefix(place.owner_id, place.path)
    return session_policy.contribution_prefix(folder, place.contributor_id)


def last_credential_of(session: Session, place: Contribution, since: datetime) -> datetime | None:
    """When the last credential expires that may write in the place, of those that are alive after `since`."""
    by_link = (IssuedCredential.user_id == place.owner_id) & (IssuedCredential.contributor_id == place.contributor_id)
    whose = or_(IssuedCredential.user_id == place.contributor_id, by_link)
    return _last_credential(session, since, whose, prefix_of(place))


def last_credential_into(session: Session, owner_id: uuid.UUID, since: datetime) -> datetime | None:
    """The same for all who contribute to folders of one owner."""
    theirs = select(Contribution.contributor_id).where(Contribution.owner_id == owner_id)
    whose = or_(IssuedCredential.user_id == owner_id, IssuedCredential.user_id.in_(theirs))
    return _last_credential(session, since, whose, session_policy.user_prefix(owner_id))


def _last_credential(session: Session, since: datetime, whose: ColumnElement[bool], prefix: str) -> datetime | None:
    alive = select(IssuedCredential).where(
        whose,
        IssuedCredential.issued_at > since - marks.LONGEST_LIFE - ALIVE_AFTER,  # for the index
        IssuedCredential.expires_at > since - ALIVE_AFTER,
        or_(IssuedCredential.shared.is_not(None), IssuedCredential.contributor_id.is_not(None)),
    )
    found = session.scalars(alive)
    ends = [row.expires_at for row in found if any(at.startswith(prefix) for at in ledger.write_prefixes(row))]
    return max(ends, default=None)


def place_id(contributor_id: uuid.UUID, owner_id: uuid.UUID, path: str) -> uuid.UUID:
    return uuid.uuid5(contributor_id, f"{owner_id}/{path}")


def _find(
    session: Session, now: datetime, settings: Settings, user_id: uuid.UUID, grant_ids: Collection[uuid.UUID]
) -> list[Place]:
    of_the_place = and_(
        Contribution.contributor_id == user_id,
        Contribution.owner_id == Grant.owner_id,
        Contribution.path == Grant.path,
    )
    rows = (
        select(Grant, User.quota_bytes, Usage, Contribution)
        .join(User, User.id == Grant.owner_id)
        .outerjoin(Usage, Usage.user_id == Grant.owner_id)
        .outerjoin(Contribution, of_the_place)
        .where(Grant.id.in_(grant_ids), Grant.grantee_id == user_id, Grant.access == "contribute", grants.counts(now))
    )
    return [
        Place(
            id=grant.id,
            owner_id=grant.owner_id,
            path=grant.path,
            quota_bytes=grant.quota_bytes,
            stored=contribution.bytes if contribution else 0,
            allowance=quota.effective(settings, own),
            usage=usage,
            contribution=contribution,
        )
        for grant, own, usage, contribution in session.execute(rows)
    ]


def _find_by_link(
    session: Session, settings: Settings, link_id: uuid.UUID, contributor_id: uuid.UUID | None
) -> Place | None:
    """None if nobody contributes by that link, or not this contributor. Whether the link counts is asked elsewhere."""
    row = session.execute(
        select(Link, User.quota_bytes, Usage, Contribution)
        .join(LinkContributor, (LinkContributor.link_id == Link.id) & (LinkContributor.id == contributor_id))
        .join(User, User.id == Link.owner_id)
        .outerjoin(Usage, Usage.user_id == Link.owner_id)
        .outerjoin(Contribution, Contribution.contributor_id == LinkContributor.id)
        .where(Link.id == link_id, Link.access == "contribute")
    ).one_or_none()
    if row is None:
        return None
    link, own, usage, contribution = row
    return Place(
        id=link.id,
        owner_id=link.owner_id,
        path=link.path,
        quota_bytes=link.quota_bytes,
        stored=0 if link.quota_bytes is None else stored_by_link(session, link.id),
        allowance=quota.effective(settings, own),
        usage=usage,
        contribution=contribution,
    )


def stored_by_link(session: Session, link_id: uuid.UUID) -> int:
    """What all who contribute by a link have stored, as it was last counted."""
    theirs = select(LinkContributor.id).where(LinkContributor.link_id == link_id)
    return session.scalar(select(func.sum(Contribution.bytes)).where(Contribution.contributor_id.in_(theirs))) or 0


def _needs_note(place: Place, now: datetime, settings: Settings) -> bool:
    due = (place.owner_is_due(now, settings), place.place_is_due(now, settings))
    return place.contribution is None or due != (None, None)


def _note(session: Session, now: datetime, settings: Settings, user_id: uuid.UUID, places: Sequence[Place]) -> None:
    """In one order, so that two transactions do not deadlock."""
    for place in sorted(places, key=lambda place: (place.owner_id, place.path)):
        due = place.place_is_due(now, settings)
        if place.contribution is None or due is not None:
            _expect(session, now, user_id, place, due)
    owners = {place.owner_id: place.owner_is_due(now, settings) for place in places}
    for owner_id, at in sorted(owners.items()):
        if at is not None:
            quota.expect_count(session, owner_id, at)


def _expect(session: Session, now: datetime, user_id: uuid.UUID, place: Place, at: datetime | None) -> None:
    """Notes the place. Schedules its count for `at`, unless an earlier one is scheduled or one is running."""
    values = {
        "id": place_id(user_id, place.owner_id, place.path),
        "contributor_id": user_id,
        "owner_id": place.owner_id,
        "path": place.path,
        "created_at": now,
        "next_count_at": at,
    }
    known = Contribution.next_count_at
    sooner = and_(Contribution.began_at.is_(None), or_(known.is_(None), known > at)) if at is not None else None
    upsert(
        session,
        Contribution,
        values,
        lambda new: {"next_count_at": known if sooner is None else case((sooner, new.next_count_at), else_=known)},
    )
    signal_after_commit(session, SIGNAL)
