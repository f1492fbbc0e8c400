"""How much a user may store. A user who has reached the quota gets no credential that writes, but can read and delete.

A job counts what users store (`upkeep/usage_count.py`), and the bucket's events report changes if it sends them
(`events.py`). Both come late, so a user can store somewhat more than the quota. The count that finds the quota reached
revokes the user's credentials, once.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, case
from sqlalchemy.orm import Session

from app.platform.db import signal_after_commit, upsert
from app.platform.problems import QuotaExceeded
from app.platform.process import Platform
from app.platform.settings import Settings
from app.policy.session_policy import WRITES, Access
from app.records import audit
from app.records.audit import Origin
from app.records.models import Usage, User
from app.revocation import marks

SIGNAL = "usage"
RECOUNT_AFTER = timedelta(minutes=1)
"""How soon a user is counted again after a refusal or a deletion, because they may have made room."""
OLD_VERSIONS = (
    "Old versions of replaced and deleted objects are kept for some days and fill the quota. "
    "Nothing more can be stored until they are gone."
)


def effective(settings: Settings, own: int | None) -> int | None:
    """The quota in bytes: the user's own, else that of the settings. None is no quota."""
    return settings.quota_bytes if own is None else own


def find(session: Session, user_id: UUID) -> Usage | None:
    return session.get(Usage, user_id)


def old_bytes(settings: Settings, usage: Usage | None) -> int | None:
    """The size of replaced and deleted versions in bytes; None if they are not counted."""
    if settings.quota_versions_factor is None:
        return None
    return usage.old_bytes if usage else 0


def is_reached(settings: Settings, quota: int, usage: Usage | None, *, adding: int = 0) -> bool:
    """Whether the quota is reached, or `adding` bytes would exceed it. Old versions count if they have a factor."""
    stored, old = (usage.bytes, usage.old_bytes) if usage else (0, 0)
    bounds = [(stored, quota)]
    if settings.quota_versions_factor is not None:
        bounds.append((stored + old, quota * settings.quota_versions_factor))
    return any(taken >= most or taken + adding > most for taken, most in bounds)


async def admit(
    platform: Platform,
    origin: Origin,
    *,
    user_id: UUID,
    session_id: UUID,
    access: Access,
    quota: int,
    adding: int = 0,
) -> None:
    """Admits a credential that may change what its user stores, and schedules a count.

    `adding`: bytes that the credential will write. Raises `QuotaExceeded`.
    """
    now = platform.clock.now()
    usage = await platform.database.read(find, user_id)
    if access in WRITES and is_reached(platform.settings, quota, usage, adding=adding):
        await platform.database.write(_refuse, origin, now, quota, user_id=user_id, session_id=session_id)
    due_at = now + timedelta(seconds=platform.settings.quota_count_seconds) if usage else now
    if usage is None or usage.next_count_at > due_at:
        await platform.database.write(expect_count, user_id, due_at)


def _refuse(session: Session, origin: Origin, now: datetime, quota: int, *, user_id: UUID, session_id: UUID) -> None:
    usage = session.get(Usage, user_id)
    counted_at = usage.counted_at if usage else None
    expect_count(session, user_id, max(now, counted_at + RECOUNT_AFTER) if counted_at else now)
    refusal = audit.Refusal(
        event="credential.issued",
        reason=QuotaExceeded.code,
        actor_id=user_id,
        subject_id=user_id,
        session_id=session_id,
    )
    audit.record_refusal(session, origin, now, refusal)
    if usage is not None and usage.bytes < quota <= usage.bytes + usage.old_bytes:
        raise QuotaExceeded(OLD_VERSIONS)
    raise QuotaExceeded


def expect_count(session: Session, user_id: UUID, at: datetime) -> None:
    """Schedules the user's next count for `at`, unless an earlier one is scheduled or one is running.

    A running count schedules the next one when it ends.
    """
    values = {
        "user_id": user_id,
        "bytes": 0,
        "objects": 0,
        "exceeded": False,
        "next_count_at": at,
        "attempts": 0,
        "bytes_so_far": 0,
        "objects_so_far": 0,
    }
    sooner = and_(Usage.began_at.is_(None), Usage.next_count_at > at)
    upsert(
        session,
        Usage,
        values,
        lambda new: {"next_count_at": case((sooner, new.next_count_at), else_=Usage.next_count_at)},
    )
    signal_after_commit(session, SIGNAL)


def judge(session: Session, origin: Origin, now: datetime, settings: Settings, *, user: User, usage: Usage) -> bool:
    """Revokes the user's credentials if they have just reached the quota. This transaction has locked both rows.

    Returns whether they have. Then recall the grants by which others fill the user's folders.
    """
    quota = effective(settings, user.quota_bytes)
    full = quota is not None and is_reached(settings, quota, usage)
    just_reached = full and not usage.exceeded
    if just_reached:
        audit.record(
            session, origin, "quota.exceeded", now, subject_id=user.id, stored_bytes=usage.bytes, quota_bytes=quota
        )
        marks.revoke_user(
            session,
            origin,
            now,
            user_id=user.id,
            actor_id=None,
            session_id=None,
            reason=QuotaExceeded.code,
        )
    usage.exceeded = full
    return just_reached
