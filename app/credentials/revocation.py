"""Revocation at the engine: one inline policy on the vending role, which denies what was revoked and is still alive.

The database says what the policy is, so a burst of revocations is one write, whoever dies loses nothing, and a policy
that somebody took away comes back within the hour. One replica writes at a time, once a second at most.
"""

import asyncio
import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from app import revocations
from app.accounts import profile
from app.actor import Actor
from app.audit import Origin
from app.credentials import denials, floor
from app.credentials.denials import Denial
from app.credentials.floor import Floor
from app.credentials.role_denials import IamFailed
from app.db import insert_if_absent
from app.models import IssuedCredential, Revocation, RolePolicy
from app.settings import Settings

if TYPE_CHECKING:
    from app.runtime import Runtime

log = structlog.get_logger("tokenvend.revocation")

LEASE = timedelta(seconds=20)
"""For how long a replica has the policy to itself: more than one call takes with its time-outs."""
GAP = timedelta(seconds=1)
"""Between two writes: IAM takes few in a second, and what was revoked meanwhile goes with the next one."""
LONGEST_WAIT = timedelta(minutes=1)
RENEWED_EVERY = timedelta(hours=1)
"""A policy that is as it should be is written again, in case somebody changed it by hand."""


@dataclass(frozen=True)
class State:
    """What is to be told and what was, as the database has it."""

    document: str
    pending: int
    oldest: datetime | None
    """Of those that the engine was not told of."""
    due: bool
    next_try_at: datetime


@dataclass(frozen=True)
class Claim:
    """The policy, which is ours to write; `attempts` tells a claim from a later one."""

    attempts: int
    document: str
    told: Sequence[tuple[Any, datetime]]
    """Subject and floor of every revocation in it."""
    raised: Floor | None
    """The floor for all users, where there was no room for each of the revocations."""


async def apply_next(runtime: "Runtime") -> bool:
    """Writes the policy if it is not what it should be, and says whether there may be more."""
    role = runtime.role_denials
    if role is None:
        return False
    now = runtime.clock.now()
    state = await runtime.database.read(look, now, role.role_arn)
    runtime.metrics.revocations_pending.set(state.pending)
    runtime.metrics.revocation_age.set((now - state.oldest).total_seconds() if state.oldest else 0)
    if not state.due:
        return False
    if state.next_try_at > now:
        await asyncio.sleep(min((state.next_try_at - now).total_seconds(), 1))
        return True
    claim = await runtime.database.write(_claim, now, role.role_arn, runtime.settings)
    if claim is None:
        return True
    _tell_of_floor(runtime, claim.raised)
    try:
        await role.write(claim.document)
    except IamFailed as failure:
        log.error("revocation_delayed", kind=failure.kind, cause=str(failure), pending=state.pending)
        runtime.metrics.revocation_writes.labels(failure.kind).inc()
        too_large = failure.kind == "too_large"
        raised = await runtime.database.write(_postpone, runtime.clock.now(), role.role_arn, claim, too_large=too_large)
        _tell_of_floor(runtime, raised)
        return True
    runtime.metrics.revocation_writes.labels("ok").inc()
    await runtime.database.write(_settle, runtime.clock.now(), role.role_arn, claim)
    return True


def _tell_of_floor(runtime: "Runtime", raised: Floor | None) -> None:
    if raised is not None:
        runtime.metrics.revocation_floors.labels(raised.cause).inc()
        told = {"revocations": raised.revocations, "reasons": raised.reasons, "sources": raised.sources}
        log.warning("all_credentials_revoked", before=raised.before.isoformat(), **told)


def look(session: Session, now: datetime, role_arn: str) -> State:
    rows = floor.told(session, now)
    document = denials.build(_denials(rows))
    pending = [row.revoked_at for row in rows if row.applied_at is None]
    told = session.get(RolePolicy, role_arn)
    if told is None:
        return State(document, len(pending), min(pending, default=None), document != "", now)
    stale = document != "" and (told.written_at is None or now - told.written_at > RENEWED_EVERY)
    due = bool(pending) or told.digest != _digest(document) or stale
    return State(document, len(pending), min(pending, default=None), due, told.next_try_at)


def effective_by(session: Session, now: datetime, settings: Settings, user_id: UUID) -> datetime:
    """When, at the latest, the engine refuses all that was revoked of a user's, now or before.

    All expire, and an engine that is told stops before. While it cannot be told, and where it is not, their expiry is
    all that is promised.
    """
    ledger = IssuedCredential
    of_told, of_withheld = ledger.withheld.is_(False), ledger.withheld.is_(True)
    revoked_at, last_told, last_withheld = session.execute(
        select(
            func.max(ledger.revoked_at).filter(of_told),
            func.max(ledger.expires_at).filter(of_told),
            func.max(ledger.expires_at).filter(of_withheld),
        ).where(
            ledger.user_id == user_id,
            ledger.issued_at > now - revocations.LONGEST_LIFE,
            ledger.revoked_at.is_not(None),
            ledger.expires_at > now,
        )
    ).one()
    if last_told is not None and revoked_at is not None and _tells(session, settings):
        last_told = min(last_told, revoked_at + timedelta(seconds=settings.revocation_delay))
    return max(moment for moment in (now, last_told, last_withheld) if moment is not None)


def effective_by_of_any(session: Session, now: datetime, settings: Settings, *, told: bool) -> datetime:
    """The same of a revocation of now, whoever has credentials, or none: the answer tells nobody which.

    `told`: whether the engine is, whoever it is about.
    """
    longest = timedelta(seconds=settings.longest_ttl)
    if not told or not _tells(session, settings):
        return now + longest
    return now + min(longest, timedelta(seconds=settings.revocation_delay))


def effective_by_of(session: Session, settings: Settings, credential: IssuedCredential) -> datetime | None:
    """The same of one in the ledger; None where it was not revoked."""
    if credential.withdrawn_at is None:
        return None
    if (
        settings.revocation == "off"
        or credential.withheld
        or revocations.is_pending(session, credential.user_id, credential.session_id)
    ):
        return credential.expires_at
    return min(credential.expires_at, credential.withdrawn_at + timedelta(seconds=settings.revocation_delay))


def _tells(session: Session, settings: Settings) -> bool:
    """Whether the engine is told of revocations, and was reached the last time."""
    told = session.get(RolePolicy, settings.role_arn)
    return settings.revocation != "off" and (told is None or not told.failures)


def revoke_own(
    session: Session, origin: Origin, now: datetime, settings: Settings, actor: Actor
) -> tuple[int, datetime]:
    """The live credentials of a user who goes on: how many they were, and when they stop. Raises `AccountDisabled`."""
    user = profile.lock_user(session, actor.user_id)
    count = revocations.revoke_user(
        session, origin, now, user_id=user.id, actor_id=user.id, session_id=actor.session_id, reason="own_wish"
    )
    return count, effective_by(session, now, settings, user.id)


def _denials(rows: Iterable[Revocation]) -> list[Denial]:
    return [
        Denial(
            row.scope,  # type: ignore[arg-type]
            row.user_id,
            row.subject_id if row.scope == "session" else None,
            row.not_before,
            goes_on=row.goes_on,
        )
        for row in rows
    ]


def _claim(session: Session, now: datetime, role_arn: str, settings: Settings) -> Claim | None:
    first = {"role_arn": role_arn, "next_try_at": now, "attempts": 0, "failures": 0}
    insert_if_absent(session, RolePolicy, first)
    attempts = session.scalar(
        update(RolePolicy)
        .where(RolePolicy.role_arn == role_arn, RolePolicy.next_try_at <= now)
        .values(next_try_at=now + LEASE, attempts=RolePolicy.attempts + 1)
        .returning(RolePolicy.attempts)
        .execution_options(synchronize_session=False)
    )
    if attempts is None:
        return None
    rows, raised = floor.told(session, now), None

    def fits(rows: Sequence[Revocation]) -> bool:
        return len(denials.build(_denials(rows))) <= settings.revocation_policy_size

    if not fits(rows):
        raised = floor.make_room(session, now, fits)
        rows = floor.told(session, now)
    document = denials.build(_denials(rows))
    return Claim(attempts, document, [(row.subject_id, row.not_before) for row in rows], raised)


def _postpone(session: Session, now: datetime, role_arn: str, claim: Claim, *, too_large: bool) -> Floor | None:
    """The next try comes later each time. Where the role's other policies leave too little room, all are revoked."""
    failures = session.scalar(select(RolePolicy.failures).where(RolePolicy.role_arn == role_arn)) or 0
    delay = min(GAP * 2 ** min(failures, 16), LONGEST_WAIT) * random.uniform(0.75, 1.25)  # noqa: S311 - it spreads
    ours = _update(session, role_arn, claim, next_try_at=now + delay, failures=failures + 1, digest=None)
    if not ours or not too_large or len(floor.told(session, now)) <= 1 or floor.withhold_newcomers(session, now):
        return None
    return floor.raise_floor(session, now)


def _settle(session: Session, now: datetime, role_arn: str, claim: Claim) -> None:
    values = {"next_try_at": now + GAP, "failures": 0, "digest": _digest(claim.document), "written_at": now}
    if not _update(session, role_arn, claim, **values):
        # Slower than its lease: whether ours or the other replica's is the last one, nobody knows.
        lost = update(RolePolicy).where(RolePolicy.role_arn == role_arn).values(digest=None)
        session.execute(lost.execution_options(synchronize_session=False))
        return
    told = [{"told_id": subject_id, "told_floor": floor} for subject_id, floor in claim.told]
    if told:
        table: Any = Revocation.__table__
        marks = (
            update(table)
            .where(
                table.c.subject_id == bindparam("told_id"),
                table.c.not_before == bindparam("told_floor"),
                table.c.applied_at.is_(None),
            )
            .values(applied_at=now)
        )
        session.connection().execute(marks, told)


def _update(session: Session, role_arn: str, claim: Claim, **values: Any) -> bool:
    """False where another replica has taken over."""
    ours = update(RolePolicy).where(RolePolicy.role_arn == role_arn, RolePolicy.attempts == claim.attempts)
    statement = ours.values(**values).returning(RolePolicy.role_arn).execution_options(synchronize_session=False)
    return session.execute(statement).first() is not None


def _digest(document: str) -> str:
    return hashlib.sha256(document.encode()).hexdigest()
