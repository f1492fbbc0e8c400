"""The job that counts what users with a quota store, by listing their prefixes.

A user is counted at their first credential that may change objects, then every `QUOTA_COUNT_SECONDS` while such a
credential may be alive, once after it, and every 30 days. Each count has its own credential, which only reads that
prefix, with its row in the ledger. Progress is stored page by page, so if a replica dies, another one continues.
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
from app.aws.s3 import Page, S3Failed
from app.platform.logs import log
from app.platform.problems import Problem
from app.platform.process import Platform
from app.platform.settings import Settings
from app.policy import session_policy
from app.records.audit import Origin
from app.records.models import IssuedCredential, Usage, User
from app.revocation.marks import LONGEST_LIFE
from app.sharing import grants
from app.storage import quota
from app.vending import contributing
from app.vending.vending import Vending

ORIGIN = Origin(request_id="", address="usage")
LEASE = timedelta(minutes=5)
"""How long a replica has a count to itself. It renews the lease with every thousand objects."""
MOST_PAGES = 100
"""Pages, of a thousand objects each, after which other users get their turn."""
TOLERANCE = timedelta(minutes=15)
"""How far the engine's clock may be behind ours, and how long an upload that began in time may take to arrive."""
LEFT_ALONE_FOR = timedelta(days=30)


@dataclass(frozen=True)
class Count:
    """The progress of a count."""

    bytes: int
    objects: int
    last: str | None
    """The last key that was counted."""
    old_bytes: int = 0
    last_version: str | None = None
    """The last version of that key that was counted, if versions are counted."""

    def plus(self, page: Page) -> "Count":
        """The progress after `page`. Raises `S3Failed` if the next page would be this one again."""
        if page.more and (page.last, page.last_version) in ((None, None), (self.last, self.last_version)):
            raise S3Failed("it lists the same again")
        return Count(
            self.bytes + page.bytes,
            self.objects + page.objects,
            page.last,
            self.old_bytes + page.old_bytes,
            page.last_version,
        )


@dataclass(frozen=True)
class Claim:
    """The right to count one user. `attempts` tells this claim from a later one."""

    user_id: uuid.UUID
    attempts: int
    began_at: datetime
    so_far: Count


class ClaimLost(Exception):
    """Another replica has taken over because this one was too slow, or the user is gone."""


async def count_next(platform: Platform, vending: Vending) -> bool:
    """Counts one user, or a part of their objects. Returns whether there may be more to do."""
    claim, delay = await platform.database.write(_claim, platform.clock.now(), platform.settings)
    platform.metrics.usage_delay.set(delay.total_seconds())
    if claim is None:
        return bool(delay)
    try:
        await _count(platform, vending, claim)
    except ClaimLost:
        return True
    except (Problem, S3Failed) as error:  # the next try comes when the lease is over
        cause = error.code if isinstance(error, Problem) else str(error)
        log.error("usage_not_counted", user_id=str(claim.user_id), cause=cause)
        platform.metrics.usage_counts.labels("failed").inc()
        return False
    return True


async def _count(platform: Platform, vending: Vending, claim: Claim) -> None:
    """Raises `ClaimLost`, `S3Failed` and what `Broker.obtain` raises."""
    prefix, count = session_policy.user_prefix(claim.user_id), claim.so_far
    with closing(await _client(platform, vending, claim.user_id)) as client:
        for _ in range(MOST_PAGES):
            page = await asyncio.to_thread(_page, platform.settings, client, prefix, count)
            count = count.plus(page)
            if not page.more:
                await platform.database.write(_settle, platform.clock.now(), platform.settings, claim, count)
                platform.metrics.usage_counts.labels("ok").inc()
                return
            await platform.database.write(_note_progress, platform.clock.now() + LEASE, claim, count)
    await platform.database.write(_note_progress, platform.clock.now(), claim, count)


def _page(settings: Settings, client: Any, prefix: str, so_far: Count) -> Page:
    if settings.quota_versions_factor is None:
        return s3.list_some(client, settings.bucket, prefix, so_far.last)
    return s3.list_some_versions(client, settings.bucket, prefix, so_far.last, so_far.last_version)


async def _client(platform: Platform, vending: Vending, user_id: uuid.UUID) -> Any:
    """An S3 client with a new credential that only reads the prefix."""
    versions = platform.settings.quota_versions_factor is not None
    credential = await vending.issue_to_job(ORIGIN, user_id, access="read", versions=versions)
    return await asyncio.to_thread(s3.make_client, platform.settings, credential)


def _claim(session: Session, now: datetime, settings: Settings) -> tuple[Claim | None, timedelta]:
    """The count that is most overdue, and how overdue it is. Returns no claim if the user has no quota any more."""
    waiting = select(Usage.user_id).where(Usage.next_count_at <= now).order_by(Usage.next_count_at).limit(1)
    oldest = session.scalar(select(func.min(Usage.next_count_at)))
    row = session.execute(
        update(Usage)
        .where(Usage.user_id == waiting.with_for_update(skip_locked=True).scalar_subquery())
        .values(next_count_at=now + LEASE, attempts=Usage.attempts + 1, began_at=func.coalesce(Usage.began_at, now))
        .returning(
            Usage.user_id,
            Usage.attempts,
            Usage.began_at,
            Usage.counted_to,
            Usage.counted_to_version,
            Usage.bytes_so_far,
            Usage.objects_so_far,
            Usage.old_bytes_so_far,
        )
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None or oldest is None:
        return None, timedelta(0)
    user = session.get(User, row.user_id)
    delay = max(now - oldest, timedelta(microseconds=1))
    if user is None or user.status == "erased" or quota.effective(settings, user.quota_bytes) is None:
        _update(session, row.user_id, row.attempts, next_count_at=now + LEFT_ALONE_FOR, exceeded=False, **_BLANK)
        return None, delay
    last = unquote(row.counted_to) if row.counted_to else None
    so_far = Count(row.bytes_so_far, row.objects_so_far, last, row.old_bytes_so_far, row.counted_to_version)
    return Claim(row.user_id, row.attempts, row.began_at, so_far), delay


_BLANK: dict[str, Any] = {
    "began_at": None,
    "counted_to": None,
    "counted_to_version": None,
    "bytes_so_far": 0,
    "objects_so_far": 0,
    "old_bytes_so_far": 0,
}


def _note_progress(session: Session, next_count_at: datetime, claim: Claim, count: Count) -> None:
    progress = {
        "counted_to": quote(count.last or ""),
        "counted_to_version": count.last_version,
        "bytes_so_far": count.bytes,
        "objects_so_far": count.objects,
        "old_bytes_so_far": count.old_bytes,
    }
    _update(session, claim.user_id, claim.attempts, next_count_at=next_count_at, **progress)


def _settle(session: Session, now: datetime, settings: Settings, claim: Claim, count: Count) -> None:
    user = session.get_one(User, claim.user_id, with_for_update=True)
    usage = session.get(Usage, claim.user_id, with_for_update=True)
    if usage is None or usage.attempts != claim.attempts:
        raise ClaimLost
    usage.bytes, usage.objects, usage.counted_at = count.bytes, count.objects, claim.began_at
    usage.old_bytes = count.old_bytes
    for name, value in _BLANK.items():
        setattr(usage, name, value)
    if quota.judge(session, ORIGIN, now, settings, user=user, usage=usage):
        grants.recall_filled(session, now, user.id)
    if usage.changed_at is not None and usage.changed_at >= claim.began_at:
        usage.next_count_at = now + quota.RECOUNT_AFTER
    elif _may_change(session, claim):
        usage.next_count_at = now + timedelta(seconds=settings.quota_count_seconds)
    else:
        usage.next_count_at = now + LEFT_ALONE_FOR


def _may_change(session: Session, claim: Claim) -> bool:
    """Whether a credential that writes or deletes was alive when the count began, or shortly before.

    It may be that of somebody who contributes to a folder of the user's.
    """
    own = session.scalar(
        select(func.max(IssuedCredential.expires_at)).where(
            IssuedCredential.user_id == claim.user_id,
            IssuedCredential.issued_at > claim.began_at - LONGEST_LIFE - TOLERANCE,  # for the index
            IssuedCredential.access != "read",
        )
    )
    others = contributing.last_credential_into(session, claim.user_id, claim.began_at)
    return any(last is not None and claim.began_at <= last + TOLERANCE for last in (own, others))


def _update(session: Session, user_id: uuid.UUID, attempts: int, **values: Any) -> None:
    """Raises `ClaimLost`."""
    ours = update(Usage).where(Usage.user_id == user_id, Usage.attempts == attempts)
    statement = ours.values(**values).returning(Usage.user_id).execution_options(synchronize_session=False)
    if session.execute(statement).first() is None:
        raise ClaimLost
