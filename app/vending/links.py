"""Opening links: whoever has a link's secret gets a credential that reads its folder. All of them share one.

Where the link lets people contribute, whoever gives a name becomes a contributor, and gets a credential of their own.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from app.accounts.passwords import Hasher
from app.auth.sessions import SessionState
from app.platform.db import Batch, Database
from app.platform.limits import Counter, address_key
from app.platform.problems import ContributorNotFound, LinkNotFound, LinkPasswordRequired, Problem
from app.platform.process import Platform
from app.records.audit import Origin
from app.records.models import EVERYONE, Link, Revocation, User
from app.sharing import links
from app.sharing.links import Found, Joined
from app.vending.vending import Vended, Vending

NEVER = datetime.max.replace(tzinfo=UTC)

_NOT_BEFORE = (
    select(func.max(Revocation.not_before))
    .where(Revocation.subject_id.in_((Link.id, User.id, EVERYONE)))
    .correlate(Link, User)
    .scalar_subquery()
)
_STATES = (
    select(Link.id, User.id, User.status, Link.created_at, Link.expires_at, links.ENDED, User.created_at, _NOT_BEFORE)
    .join(User, User.id == Link.owner_id)
    .where(Link.id.in_(bindparam("link_ids", expanding=True)))
)


@dataclass(frozen=True)
class Opened:
    link: Found
    vended: Vended
    contributor: Joined | None

    @property
    def write_prefix(self) -> str | None:
        """None if the link is only read: nobody gave a name, or there is no room."""
        return next(iter(self.vended.issued.order.write_prefixes), None)

    @property
    def path_name(self) -> str:
        """The folder's own name, without those above it."""
        return self.link.path.removesuffix("/").rpartition("/")[2]


class LinkStates(Batch[uuid.UUID, SessionState]):
    """Looks up the states of many links at once: each as if it were a session of its owner that never authenticated."""

    def __init__(self, database: Database) -> None:
        super().__init__(lambda ids: database.read(_states, ids))


def _states(session: Session, link_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, SessionState]:
    rows = session.connection().execute(_STATES, {"link_ids": link_ids})
    return {
        link_id: SessionState(
            user_id,
            status,
            "user",
            created_at,
            expires_at or NEVER,
            bool(ended),
            mfa=False,
            guest=False,
            created_at=owner_since,
            quota_bytes=None,
            not_before=not_before.astimezone(UTC) if not_before is not None else None,
        )
        for link_id, user_id, status, created_at, expires_at, ended, owner_since, not_before in rows
    }


async def open_link(
    platform: Platform,
    hasher: Hasher,
    vending: Vending,
    origin: Origin,
    *,
    secret: str,
    password: str | None,
    contributor_name: str | None = None,
    contributor_token: str | None = None,
) -> Opened:
    """Vends the link's credential to somebody who has its secret and, if it has one, its password.

    With a name they become a contributor, and with the token of one they are that one. If the link is only read, both
    are ignored. Raises `LinkNotFound`, `LinkPasswordRequired`, `ContributorNotFound`, `TooManyContributors`,
    `RateLimited`, `Overloaded` and what `Vending.issue_for_link` raises.
    """
    found = await find(platform, hasher, origin, secret=secret, password=password)
    contributor = None
    if found.access == "contribute":
        contributor = await _contributor(platform, origin, found, name=contributor_name, token=contributor_token)
    contributor_id = contributor.id if contributor else None
    try:
        issued = await vending.issue_for_link(origin, found.id, path=found.path, contributor_id=contributor_id)
    except Problem:
        if contributor_id is not None and contributor_token is None:
            await platform.database.write(links.take_back_contributor, contributor_id)
        raise
    now = platform.clock.now()
    if not links.is_noted(now, found):
        await platform.database.write(links.note_opened, origin, now, found)
    return Opened(found, Vended(issued, part=1, parts=1), contributor)


async def _contributor(
    platform: Platform, origin: Origin, found: Found, *, name: str | None, token: str | None
) -> Joined | None:
    """None if they only look. Raises `ContributorNotFound`, `LinkNotFound`, `TooManyContributors`."""
    if token is not None:
        contributor_id = await platform.database.read(links.find_contributor, found, token)
        if contributor_id is None:
            raise ContributorNotFound
        return Joined(contributor_id, token)
    if name is None:
        return None
    return await platform.database.write(links.add_contributor, origin, platform.clock.now(), found, name=name)


async def report(platform: Platform, hasher: Hasher, origin: Origin, *, secret: str, password: str | None) -> None:
    """Tells staff that somebody who can open the link minds what it shows. Raises what `find` raises."""
    await platform.limiter.hit("report_link", address_key(origin.address))
    found = await find(platform, hasher, origin, secret=secret, password=password)
    await platform.database.write(links.report, origin, platform.clock.now(), found)


async def find(platform: Platform, hasher: Hasher, origin: Origin, *, secret: str, password: str | None) -> Found:
    """The link, if the caller may open it. An unknown, expired or withdrawn one is the same `LinkNotFound`.

    Guesses at a password are counted by link. Raises `LinkPasswordRequired`, `RateLimited`, `Overloaded`.
    """
    await platform.limiter.hit("open_link", address_key(origin.address))
    found = await platform.database.read(links.find, platform.clock.now(), secret)
    if found is None:
        raise LinkNotFound
    if found.password_hash is not None:
        await _verify(platform, hasher, origin, found, password)
    return found


async def _verify(platform: Platform, hasher: Hasher, origin: Origin, found: Found, password: str | None) -> None:
    if password is None:
        raise LinkPasswordRequired
    by = address_key(origin.address)
    # Nobody locks out everybody: one address has few guesses, and it takes thirty to use up all.
    counters: Sequence[Counter] = (("address_link_guess", f"{found.id} {by}"), ("link_guess", str(found.id)))
    for counter in counters:
        await platform.limiter.hit(*counter)
    right, _ = await hasher.verify(password, found.password_hash, by=by)
    if not right:
        await platform.database.write(links.record_wrong_password, origin, platform.clock.now(), found)
        raise LinkPasswordRequired
    for counter in counters:
        await platform.limiter.take_back(*counter)
