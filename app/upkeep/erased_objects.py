"""The job that empties an erased user's prefix: at once, and again when no credential for it can be alive.

It also empties the user's own part of each folder of others that they could contribute to. Credentials vended before
the erasure may upload until they expire. The job reaches each place with a credential that is issued for this alone,
with its row in the ledger. So the service needs no permission of its own on the bucket. The database knows what is
left, so if a replica dies, another one continues.
"""

import asyncio
import uuid
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.aws import s3
from app.aws.s3 import S3Failed
from app.platform.logs import log
from app.platform.problems import Problem
from app.platform.process import Platform
from app.policy import session_policy
from app.records import audit, outgoing
from app.records.audit import Origin
from app.records.models import Contribution, DeviceSession, Erasure, IssuedCredential, RefreshToken
from app.vending import contributing
from app.vending.vending import Vending, job_session

ORIGIN = Origin(request_id="", address="erasure")
LEASE = timedelta(minutes=5)
"""How long a replica has an erasure to itself. It renews the lease with every thousand objects."""
TOLERANCE = timedelta(minutes=15)
"""How far the engine's clock may be behind ours, and how long an upload that began in time may take to arrive."""
LONGEST_WAIT = timedelta(hours=6)
LIFETIME = 3600
"""Seconds: the longest life of the job's own credential."""
RENEWED_WITH_LEFT = timedelta(minutes=5)
EVENTS_AT_ONCE = 1000
"""Events deleted in one transaction."""
SESSIONS_AT_ONCE = 100
"""Sessions deleted in one transaction. Each has a refresh token for every quarter of an hour of its use."""


@dataclass(frozen=True)
class Claim:
    """The right to work on an erasure. `attempts` tells this claim from a later one."""

    user_id: uuid.UUID
    attempts: int
    claimed_at: datetime


class ClaimLost(Exception):
    """Another replica has taken over because this one was too slow."""


async def erase_next(platform: Platform, vending: Vending) -> bool:
    """Empties the prefix of one erased user. Returns whether there was one."""
    claim = await platform.database.write(_claim, platform.clock.now())
    if claim is None:
        return False
    try:
        await _empty(platform, vending, claim, None)
        while (place := await platform.database.read(_next_place, claim)) is not None:
            began_at = platform.clock.now()
            await _empty(platform, vending, claim, contributing.prefix_of(place))
            await platform.database.write(_note_emptied, place.id, began_at)
    except ClaimLost:
        return True
    except (Problem, S3Failed) as error:
        cause = error.code if isinstance(error, Problem) else str(error)
        log.error("erasure_delayed", user_id=str(claim.user_id), attempts=claim.attempts, cause=cause)
        await platform.database.write(_postpone, platform.clock.now(), claim)
        return True
    while await platform.database.write(_settle, platform.clock.now(), claim):
        pass
    return True


async def _empty(platform: Platform, vending: Vending, claim: Claim, place: str | None) -> None:
    """Empties the user's prefix, or their place in a folder of somebody else. Deletes the first page of what is left.

    Raises `ClaimLost`, `S3Failed` and what `Broker.obtain` raises.
    """
    bucket, prefix = platform.settings.bucket, place or session_policy.user_prefix(claim.user_id)
    last: list[str] = []
    while True:
        client, expires_at = await _client(platform, vending, claim, place)
        with closing(client):
            while True:
                keys = await asyncio.to_thread(s3.delete_some, client, bucket, prefix)
                if not keys:
                    return
                if keys == last:
                    raise S3Failed("it still lists what it said it had deleted")
                last, now = keys, platform.clock.now()
                await platform.database.write(_note_progress, now, claim, len(keys))
                if expires_at - now < RENEWED_WITH_LEFT:
                    break


async def _client(platform: Platform, vending: Vending, claim: Claim, place: str | None) -> tuple[Any, datetime]:
    """An S3 client with a new credential for the prefix or place, and when the credential expires."""
    duration = min(LIFETIME, platform.settings.credential_max_ttl)
    credential = await vending.issue_to_job(ORIGIN, claim.user_id, access="read_write", duration=duration, place=place)
    return await asyncio.to_thread(s3.make_client, platform.settings, credential), credential.expires_at


def _claim(session: Session, now: datetime) -> Claim | None:
    waiting = (
        select(Erasure.user_id)
        .where(Erasure.completed_at.is_(None), Erasure.next_try_at <= now)
        .order_by(Erasure.next_try_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    row = session.execute(
        update(Erasure)
        .where(Erasure.user_id == waiting)
        .values(next_try_at=now + LEASE, attempts=Erasure.attempts + 1)
        .returning(Erasure.user_id, Erasure.attempts)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return Claim(row.user_id, row.attempts, now) if row else None


def _next_place(session: Session, claim: Claim) -> Contribution | None:
    """A place that was not emptied yet: at all, or since no credential of the user's can be alive.

    So a replica that takes over goes on where the last one was.
    """
    due: list[ColumnElement[bool]] = [Contribution.emptied_at.is_(None)]
    last = _last_credential(session, claim)
    if last is not None and claim.claimed_at > last + TOLERANCE:
        due.append(Contribution.emptied_at <= last + TOLERANCE)
    rows = select(Contribution).where(Contribution.contributor_id == claim.user_id, or_(*due))
    return session.scalar(rows.order_by(Contribution.id).limit(1))


def _note_emptied(session: Session, place_id: uuid.UUID, began_at: datetime) -> None:
    session.execute(update(Contribution).where(Contribution.id == place_id).values(emptied_at=began_at))


def _note_progress(session: Session, now: datetime, claim: Claim, deleted: int) -> None:
    _update(session, claim, next_try_at=now + LEASE, deleted_objects=Erasure.deleted_objects + deleted)


def _postpone(session: Session, now: datetime, claim: Claim) -> None:
    _update(session, claim, next_try_at=now + min(timedelta(seconds=30) * 2 ** min(claim.attempts, 16), LONGEST_WAIT))


def _settle(session: Session, now: datetime, claim: Claim) -> bool:
    """Completes the erasure if the prefix was emptied after its last credential had expired. Otherwise waits for that.

    Others who contributed to the user's folders may have the last one. Returns True if it deleted some of the user's
    sessions or events and must be called again. Raises `ClaimLost`.
    """
    others = contributing.last_credential_into(session, claim.user_id, claim.claimed_at)
    last = max((one for one in (_last_credential(session, claim), others) if one is not None), default=None)
    if last is not None and claim.claimed_at <= last + TOLERANCE:
        _update(session, claim, next_try_at=last + TOLERANCE + timedelta(seconds=1))
        return False
    if _delete_sessions(session, claim.user_id) == SESSIONS_AT_ONCE:
        _update(session, claim, next_try_at=now + LEASE)
        return True
    if outgoing.forget_objects(session, claim.user_id, most=EVENTS_AT_ONCE) == EVENTS_AT_ONCE:
        _update(session, claim, next_try_at=now + LEASE)
        return True
    _update(session, claim, completed_at=now)
    theirs = or_(Contribution.contributor_id == claim.user_id, Contribution.owner_id == claim.user_id)
    session.execute(delete(Contribution).where(theirs))
    audit.record(
        session,
        ORIGIN,
        "user.erased",
        now,
        subject_id=claim.user_id,
        objects=session.scalar(select(Erasure.deleted_objects).where(Erasure.user_id == claim.user_id)),
    )
    return False


def _last_credential(session: Session, claim: Claim) -> datetime | None:
    """When the last of the user's own credentials expires."""
    return session.scalar(
        select(func.max(IssuedCredential.expires_at)).where(
            IssuedCredential.user_id == claim.user_id,
            IssuedCredential.session_id != job_session(ORIGIN, claim.user_id),
        )
    )


def _delete_sessions(session: Session, user_id: uuid.UUID) -> int:
    """Deletes up to `SESSIONS_AT_ONCE` sessions of the user, with their refresh tokens. Returns how many."""
    some = select(DeviceSession.id).where(DeviceSession.user_id == user_id).limit(SESSIONS_AT_ONCE)
    family_ids = session.scalars(some).all()
    session.execute(delete(RefreshToken).where(RefreshToken.session_id.in_(family_ids)))
    session.execute(delete(DeviceSession).where(DeviceSession.id.in_(family_ids)))
    return len(family_ids)


def _update(session: Session, claim: Claim, **values: Any) -> None:
    """Raises `ClaimLost`."""
    ours = (Erasure.user_id == claim.user_id, Erasure.attempts == claim.attempts, Erasure.completed_at.is_(None))
    statement = update(Erasure).where(*ours).values(**values).returning(Erasure.user_id)
    if session.execute(statement.execution_options(synchronize_session=False)).first() is None:
        raise ClaimLost
