"""The job that counts what somebody contributes to a folder of somebody else, where the grant or link has a quota.

A place is counted while a credential may write in it, and once after it. The count that finds the quota reached takes
back the credentials that write: then contributors only read the folder, until there is room again. Each count has a
credential of its own, which only reads that place, with its row in the ledger. Progress is stored, so another replica
continues.
"""

import asyncio
import uuid
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.aws import s3
from app.aws.s3 import S3Failed
from app.platform.logs import log
from app.platform.problems import Problem
from app.platform.process import Platform
from app.platform.settings import Settings
from app.records.audit import Origin
from app.records.models import Contribution, Grant, Link, LinkContributor, User
from app.sharing import grants, links
from app.upkeep.usage_count import LEASE, MOST_PAGES, TOLERANCE, ClaimLost, Count
from app.vending import contributing
from app.vending.vending import Vending

ORIGIN = Origin(request_id="", address="contributions")


@dataclass(frozen=True)
class Claim:
    """The right to count one place. `attempts` tells this claim from a later one."""

    id: uuid.UUID
    owner_id: uuid.UUID
    """Of the folder. The credential is issued in this name: somebody who contributes by a link has no account."""
    prefix: str
    attempts: int
    began_at: datetime
    so_far: Count


async def count_next(platform: Platform, vending: Vending) -> bool:
    """Counts one place, or a part of its objects. Returns whether there may be more to do."""
    claim = await platform.database.write(_claim, platform.clock.now())
    if claim is None:
        return False
    try:
        await _count(platform, vending, claim)
    except ClaimLost:
        return True
    except (Problem, S3Failed) as error:  # the next try comes when the lease is over
        cause = error.code if isinstance(error, Problem) else str(error)
        log.error("contributions_not_counted", user_id=str(claim.owner_id), cause=cause)
        return False
    return True


async def _count(platform: Platform, vending: Vending, claim: Claim) -> None:
    """Raises `ClaimLost`, `S3Failed` and what `Broker.obtain` raises."""
    settings, count = platform.settings, claim.so_far
    credential = await vending.issue_to_job(ORIGIN, claim.owner_id, access="read", place=claim.prefix)
    with closing(await asyncio.to_thread(s3.make_client, settings, credential)) as client:
        for _ in range(MOST_PAGES):
            page = await asyncio.to_thread(s3.list_some, client, settings.bucket, claim.prefix, count.last)
            count = count.plus(page)
            if not page.more:
                await platform.database.write(_settle, platform.clock.now(), settings, claim, count)
                return
            await platform.database.write(_note_progress, platform.clock.now() + LEASE, claim, count)
    await platform.database.write(_note_progress, platform.clock.now(), claim, count)


def _claim(session: Session, now: datetime) -> Claim | None:
    waiting = (
        select(Contribution.id)
        .where(Contribution.next_count_at <= now)
        .order_by(Contribution.next_count_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    place = session.scalar(
        update(Contribution)
        .where(Contribution.id == waiting)
        .values(
            next_count_at=now + LEASE,
            attempts=Contribution.attempts + 1,
            began_at=func.coalesce(Contribution.began_at, now),
        )
        .returning(Contribution)
        .execution_options(synchronize_session=False)
    )
    if place is None:
        return None
    last = unquote(place.counted_to) if place.counted_to else None
    return Claim(
        place.id,
        place.owner_id,
        contributing.prefix_of(place),
        place.attempts,
        place.began_at or now,
        Count(place.bytes_so_far, 0, last),
    )


def _note_progress(session: Session, next_count_at: datetime, claim: Claim, count: Count) -> None:
    progress: dict[str, Any] = {"counted_to": quote(count.last or ""), "bytes_so_far": count.bytes}
    ours = update(Contribution).where(Contribution.id == claim.id, Contribution.attempts == claim.attempts)
    statement = ours.values(next_count_at=next_count_at, **progress).returning(Contribution.id)
    if session.execute(statement.execution_options(synchronize_session=False)).first() is None:
        raise ClaimLost


def _settle(session: Session, now: datetime, settings: Settings, claim: Claim, count: Count) -> None:
    place = session.get(Contribution, claim.id, with_for_update=True)
    if place is None or place.attempts != claim.attempts:
        raise ClaimLost
    grants.recall_full(session, now, place, counted=count.bytes)
    link = session.scalar(
        select(Link)
        .join(LinkContributor, LinkContributor.link_id == Link.id)
        .where(LinkContributor.id == place.contributor_id)
    )
    if link and link.quota_bytes is not None:
        # Two counts at once would each miss that both together reach the quota. The second one waits for the first.
        session.execute(select(User.id).where(User.id == link.owner_id).with_for_update())
    before = contributing.stored_by_link(session, link.id) if link else 0
    added = count.bytes - place.bytes
    place.bytes, place.counted_at = count.bytes, claim.began_at
    place.began_at = place.counted_to = None
    place.bytes_so_far = 0
    if link and link.quota_bytes is not None and before < link.quota_bytes <= before + added:
        links.recall(session, ORIGIN, now, link)
    last = contributing.last_credential_of(session, place, claim.began_at)
    bounded = select(Grant.id).where(grants.of_place(place), Grant.quota_bytes.is_not(None), grants.counts(now))
    is_bounded = link.quota_bytes is not None if link else session.scalar(bounded.limit(1)) is not None
    if last is None or claim.began_at > last + TOLERANCE or not is_bounded:
        place.next_count_at = None
    else:
        place.next_count_at = now + timedelta(seconds=settings.quota_count_seconds)
