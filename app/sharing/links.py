"""Links: an owner lets whoever has the link read a folder, or fill it, without an account, and may withdraw the link.

A link's secret has 128 random bits. It is shown once, and only its digest is stored. A link counts until it is
withdrawn or expires, while its owner is active. Its credentials end with it: see `end` and `suspend`.
"""

import secrets
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.crypto.encoding import b64url
from app.crypto.hashing import sha256
from app.platform.problems import (
    FieldError,
    InvalidPath,
    InvalidRequest,
    LinkNotFound,
    NotFound,
    PolicyTooLarge,
    QuotaExceeded,
    TooManyContributors,
    TooManyLinks,
)
from app.platform.process import Platform
from app.platform.settings import Settings
from app.policy import session_policy
from app.policy.session_policy import Bucket
from app.records import audit, listing, users
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import Contribution, Link, LinkContributor, User
from app.revocation import effective, marks
from app.sharing.giving import ShareAccess, end_of, require_sharer

CONTRIBUTOR_PREFIX = "tvc_"
MOST_CONTRIBUTORS = 200
PREFIX = "tvl_"
"""Lets secret scanners and our own log redaction recognize a leaked secret."""
SECRET_BYTES = 16
CONTRIBUTORS = 50
"""Contributors of a link whose owner does not say how many there may be."""
MOST = 20
"""Lasting links of one owner. Each may take a name in the engine's policies when the owner is disabled or revoked."""
NOTED_EVERY = timedelta(minutes=1)
"""How often the opening of a link is noted and audited, however many open it."""
MOST_REPORTS = 1_000_000
ENDED = Link.withdrawn_at.is_not(None)
"""The condition that a link has ended before its time."""


@dataclass(frozen=True)
class Made:
    """A link that was just made, with its secret, which nobody can find out later."""

    link: Link
    secret: str


@dataclass(frozen=True)
class Wish:
    """What an owner wants a link to be."""

    path: str
    expires_at: datetime | None = None
    access: ShareAccess = "read"
    quota_bytes: int | None = None
    max_contributors: int | None = None
    """None: not said."""
    label: str | None = None


@dataclass(frozen=True)
class Found:
    """A link that counts, as whoever has its secret needs it."""

    id: uuid.UUID
    owner_id: uuid.UUID
    path: str
    access: str
    password_hash: str | None
    expires_at: datetime | None
    opened_at: datetime | None


@dataclass(frozen=True)
class Joined:
    """Somebody who contributes by a link."""

    id: uuid.UUID
    token: str
    """They show it when they open the link again."""


def digest(secret: str) -> bytes:
    return sha256(secret)


def lasts(now: datetime) -> ColumnElement[bool]:
    """The condition that a link is neither withdrawn nor expired. The owner sees these links."""
    return Link.withdrawn_at.is_(None) & or_(Link.expires_at.is_(None), Link.expires_at > now)


async def create(
    platform: Platform,
    bucket: Bucket,
    origin: Origin,
    actor: Actor,
    *,
    wish: Wish,
    hash_password: Callable[[], Awaitable[str]] | None,
) -> Made:
    """Makes a link. `hash_password` is called within the limits.

    Raises what it raises, and `InvalidRequest`, `InvalidPath`, `PolicyTooLarge`, `SharingNotAllowed`, `TooManyLinks`,
    `RateLimited`.
    """
    now = platform.clock.now()
    ends_at = end_of(now, wish.expires_at)
    if wish.path == "":
        raise InvalidPath("Name the folder of the link. A whole prefix cannot be shared.")
    _refuse_contradictions(wish)
    _require_room(bucket, actor, wish)
    await platform.limiter.hit("share", str(actor.user_id))
    secret = PREFIX + b64url(secrets.token_bytes(SECRET_BYTES))
    link = Link(
        id=uuid.uuid4(),
        owner_id=actor.user_id,
        secret_digest=digest(secret),
        password_hash=await hash_password() if hash_password is not None else None,
        path=wish.path,
        access=wish.access,
        quota_bytes=wish.quota_bytes,
        max_contributors=(wish.max_contributors or CONTRIBUTORS) if wish.access == "contribute" else None,
        label=wish.label,
        created_at=now,
        expires_at=ends_at,
        withdrawn_at=None,
        opened_at=None,
        reports=0,
        reported_at=None,
    )
    await platform.database.write(_create, origin, now, actor, link, verifies=platform.settings.verifies_email)
    return Made(link, secret)


def _refuse_contradictions(wish: Wish) -> None:
    """Raises `InvalidRequest`."""
    given = {"quota_bytes": wish.quota_bytes, "max_contributors": wish.max_contributors}
    errors = [
        FieldError(f"body.{name}", "not_for_read", "Nobody contributes. Send the `access` `contribute` with it.")
        for name, value in given.items()
        if value is not None and wish.access == "read"
    ]
    if errors:
        raise InvalidRequest(errors=errors)


def _require_room(bucket: Bucket, actor: Actor, wish: Wish) -> None:
    """Raises `InvalidPath`, `PolicyTooLarge`."""
    if wish.access == "read":
        fits = bucket.fits(session_policy.narrowed_prefix(actor.user_id, wish.path), "read")
    else:
        folder = session_policy.filled_prefix(actor.user_id, wish.path)
        fits = bucket.fits(folder, "read", contributor_id=actor.user_id)  # as long as a contributor's
    if not fits:
        raise PolicyTooLarge("The name of this folder is too long to be shared. No session policy has room for it.")


def _create(session: Session, origin: Origin, now: datetime, actor: Actor, link: Link, *, verifies: bool) -> None:
    users.lock_user(session, actor.user_id)
    require_sharer(session, actor, verifies=verifies)
    lasting = select(func.count()).select_from(Link).where(Link.owner_id == actor.user_id, lasts(now))
    if (session.scalar(lasting) or 0) >= MOST:
        raise TooManyLinks
    session.add(link)
    session.flush()
    session.expunge(link)
    audit.record(
        session,
        origin,
        "link.created",
        now,
        actor_id=actor.user_id,
        subject_id=actor.user_id,
        session_id=actor.session_id,
        link_id=str(link.id),
        path=link.path,
        access=link.access,
    )


def list_own(
    session: Session, now: datetime, actor: Actor, *, limit: int, cursor: str | None
) -> tuple[Sequence[Link], str | None]:
    """One page of the actor's lasting links, newest first, and the cursor of the next. Raises `InvalidRequest`."""
    rows = select(Link).where(Link.owner_id == actor.user_id, lasts(now))
    return listing.page(session, rows, Link.created_at, Link.id, limit=limit, cursor=cursor)


def find(session: Session, now: datetime, secret: str) -> Found | None:
    """The link of that secret, if it counts."""
    row = session.execute(
        select(Link.id, Link.owner_id, Link.path, Link.access, Link.password_hash, Link.expires_at, Link.opened_at)
        .join(User, User.id == Link.owner_id)
        .where(Link.secret_digest == digest(secret), lasts(now), User.status == "active")
    ).one_or_none()
    return None if row is None else Found(*row)


def find_contributor(session: Session, found: Found, token: str) -> uuid.UUID | None:
    """Who contributes by the link and has that token."""
    return session.scalar(
        select(LinkContributor.id).where(
            LinkContributor.link_id == found.id, LinkContributor.token_digest == digest(token)
        )
    )


def add_contributor(session: Session, origin: Origin, now: datetime, found: Found, *, name: str) -> Joined:
    """Makes somebody a contributor of the link, with a token that is shown once.

    Raises `LinkNotFound` if the link has ended, and `TooManyContributors`.
    """
    link = session.get_one(Link, found.id, with_for_update=True)
    if link.withdrawn_at is not None or link.max_contributors is None:
        raise LinkNotFound
    joined = select(func.count()).select_from(LinkContributor).where(LinkContributor.link_id == link.id)
    if (session.scalar(joined) or 0) >= link.max_contributors:
        raise TooManyContributors
    token = CONTRIBUTOR_PREFIX + b64url(secrets.token_bytes(SECRET_BYTES))
    contributor = LinkContributor(
        id=uuid.uuid4(), link_id=link.id, name=name, token_digest=digest(token), created_at=now
    )
    session.add(contributor)
    session.flush()
    audit.record(
        session,
        origin,
        "link.joined",
        now,
        subject_id=link.owner_id,
        link_id=str(link.id),
        contributor_id=str(contributor.id),
    )
    return Joined(contributor.id, token)


def take_back_contributor(session: Session, contributor_id: uuid.UUID) -> None:
    """Deletes somebody who has just joined and got no credential: nobody has their token, so others have their room."""
    session.execute(delete(LinkContributor).where(LinkContributor.id == contributor_id))
    session.execute(delete(Contribution).where(Contribution.contributor_id == contributor_id))


def list_contributors(session: Session, link_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, list[LinkContributor]]:
    """Who contributes by each of the links, oldest first."""
    rows = select(LinkContributor).where(LinkContributor.link_id.in_(link_ids))
    found: dict[uuid.UUID, list[LinkContributor]] = {link_id: [] for link_id in link_ids}
    for contributor in session.scalars(rows.order_by(LinkContributor.created_at, LinkContributor.id)):
        found[contributor.link_id].append(contributor)
    return found


def recall(session: Session, origin: Origin, now: datetime, link: Link) -> None:
    """Revokes the credentials of a link whose quota was just reached. The link goes on, and is read."""
    session.execute(select(User.id).where(User.id == link.owner_id).with_for_update())
    marks.revoke_sessions(
        session,
        origin,
        now,
        user_id=link.owner_id,
        session_ids=[link.id],
        actor_id=None,
        reason=QuotaExceeded.code,
        go_on=True,
    )


def note_opened(session: Session, origin: Origin, now: datetime, found: Found) -> None:
    """Notes and audits that the link was opened, at most once in `NOTED_EVERY`. Nobody knows by whom."""
    due = or_(Link.opened_at.is_(None), Link.opened_at <= now - NOTED_EVERY)
    noted = update(Link).where(Link.id == found.id, due).values(opened_at=now).returning(Link.id)
    if session.execute(noted.execution_options(synchronize_session=False)).first() is not None:
        audit.record(session, origin, "link.opened", now, subject_id=found.owner_id, link_id=str(found.id))


def is_noted(now: datetime, found: Found) -> bool:
    """Whether `note_opened` would do nothing."""
    return found.opened_at is not None and found.opened_at > now - NOTED_EVERY


def record_wrong_password(session: Session, origin: Origin, now: datetime, found: Found) -> None:
    """Audits a wrong password of a link, once a minute at most for each client address."""
    refusal = audit.Refusal(event="link.opened", reason="wrong_password", subject_id=found.owner_id)
    audit.record_refusal(session, origin, now, refusal)


def report(session: Session, origin: Origin, now: datetime, found: Found) -> None:
    """Counts a report of what the link shows, for staff. It is audited at most once in `NOTED_EVERY`."""
    row = session.get_one(Link, found.id, with_for_update=True)
    told = row.reported_at is not None and row.reported_at > now - NOTED_EVERY
    row.reports, row.reported_at = min(row.reports + 1, MOST_REPORTS), now
    if not told:
        audit.record(session, origin, "link.reported", now, subject_id=found.owner_id, link_id=str(found.id))


def withdraw(
    session: Session, origin: Origin, now: datetime, settings: Settings, *, actor: Actor, link_id: uuid.UUID
) -> datetime:
    """Withdraws a link of the actor's. Returns when the engine refuses the last of its credentials.

    Raises `NotFound`, also for a link of somebody else.
    """
    users.lock_user(session, actor.user_id)
    if not end(session, origin, now, owner_id=actor.user_id, link_ids=[link_id], actor=actor, reason="link_withdrawn"):
        raise NotFound
    return effective.effective_by(session, now, settings, actor.user_id)


def end(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    owner_id: uuid.UUID,
    link_ids: Collection[uuid.UUID],
    actor: Actor | None,
    reason: str,
) -> bool:
    """Withdraws links of a locked owner and revokes their credentials. Returns whether there was one to withdraw.

    Those of links that had ended are revoked once more: the engine may not have been told, if the owner had no room.
    """
    theirs = session.scalars(select(Link.id).where(Link.id.in_(link_ids), Link.owner_id == owner_id)).all()
    ended = session.scalars(
        update(Link)
        .where(Link.id.in_(theirs), Link.withdrawn_at.is_(None))
        .values(withdrawn_at=now)
        .returning(Link.id)
        .execution_options(synchronize_session=False)
    ).all()
    for link_id in ended:
        audit.record(
            session,
            origin,
            "link.withdrawn",
            now,
            actor_id=actor.user_id if actor else None,
            subject_id=owner_id,
            session_id=actor.session_id if actor else None,
            link_id=str(link_id),
            reason=reason,
        )
    marks.revoke_sessions(
        session,
        origin,
        now,
        user_id=owner_id,
        session_ids=theirs,
        actor_id=actor.user_id if actor else None,
        reason=reason,
    )
    return bool(ended)


def suspend(
    session: Session, origin: Origin, now: datetime, *, owner_id: uuid.UUID, actor_id: uuid.UUID | None
) -> None:
    """Revokes the credentials of the links of an owner whom this transaction has locked and made inactive.

    The links count again once the owner is active.
    """
    marks.revoke_sessions(
        session,
        origin,
        now,
        user_id=owner_id,
        session_ids=_all_of(session, owner_id),
        actor_id=actor_id,
        reason="disabled",
        go_on=True,
    )


def end_with_account(
    session: Session, origin: Origin, now: datetime, *, owner_id: uuid.UUID, actor: Actor | None
) -> None:
    """Ends the links of a locked owner who is being erased. Forgets what the owner called them."""
    ids = _all_of(session, owner_id)
    end(session, origin, now, owner_id=owner_id, link_ids=ids, actor=actor, reason="erased")
    session.execute(delete(LinkContributor).where(LinkContributor.link_id.in_(ids)))
    forgotten = update(Link).where(Link.owner_id == owner_id).values(path="", label=None, password_hash=None)
    session.execute(forgotten.execution_options(synchronize_session=False))


def _all_of(session: Session, owner_id: uuid.UUID) -> Sequence[uuid.UUID]:
    """Those that ended too: see `end`."""
    return session.scalars(select(Link.id).where(Link.owner_id == owner_id)).all()
