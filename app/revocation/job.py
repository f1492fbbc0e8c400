"""The job that tells the engine of revocations: it writes the vending role's policies that deny revoked credentials.

The first policy is inline, and managed ones take what it has no room for. The database knows what each should say. So a
burst of revocations needs only a few writes, a process that dies loses nothing, and a deleted policy is restored within
an hour. One replica writes at a time, at most one policy a second.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from app.platform.db import insert_if_absent
from app.platform.logs import log
from app.platform.process import Platform
from app.platform.settings import Settings
from app.records.models import Revocation, RolePolicy
from app.revocation import denials, floor, placement, role_policies
from app.revocation.denials import Denial, Names, names_of
from app.revocation.floor import Floor
from app.revocation.iam_writer import IamFailed, RoleDenials
from app.revocation.placement import Document, Plan

LEASE = timedelta(seconds=30)
"""How long a replica has the role to itself: longer than three calls with their time-outs."""
GAP = timedelta(seconds=1)
"""Time between two writes. IAM takes few in a second, and the next write includes what was revoked meanwhile."""
LONGEST_WAIT = timedelta(minutes=1)


@dataclass(frozen=True)
class State:
    """What the engine has been told and what not, by the database."""

    pending: int
    oldest: datetime | None
    """When the oldest revocation was made that the engine has not been told of."""
    due: bool
    next_try_at: datetime


@dataclass(frozen=True)
class Claim:
    """The right to write one policy. `attempts` tells this claim from a later one."""

    attempts: int
    policy: str
    """The inline policy's name, or a managed policy's ARN."""
    names: Names
    document: str
    """The text of `names`."""
    told: Sequence[tuple[Any, datetime]]
    """Subject id and `not_before` of every revocation in it."""
    raised: Floor | None
    """The floor, if it was raised because there was no room for all revocations."""


async def apply_next(platform: Platform, writer: RoleDenials | None) -> bool:
    """Writes one policy that is not as it should be. Returns whether there may be more."""
    role, settings = writer, platform.settings
    if role is None:
        return False
    now = platform.clock.now()
    state = await platform.database.read(look, now, settings)
    platform.metrics.revocations_pending.set(state.pending)
    platform.metrics.revocation_age.set((now - state.oldest).total_seconds() if state.oldest else 0)
    if not state.due:
        return False
    if state.next_try_at > now:
        await asyncio.sleep(min((state.next_try_at - now).total_seconds(), 1))
        return True
    claim = await platform.database.write(_claim, now, settings)
    if claim is None:
        return True
    _tell_of_floor(platform, claim.raised)
    try:
        await role.write(claim.document, claim.policy)
    except IamFailed as failure:
        known = {"kind": failure.kind, "cause": str(failure), "policy": claim.policy}
        log.error("revocation_delayed", **known, pending=state.pending)
        platform.metrics.revocation_writes.labels(failure.kind).inc()
        raised = await platform.database.write(_postpone, platform.clock.now(), settings, claim, kind=failure.kind)
        _tell_of_floor(platform, raised)
        return True
    platform.metrics.revocation_writes.labels("ok").inc()
    await platform.database.write(_settle, platform.clock.now(), settings, claim)
    return True


def _tell_of_floor(platform: Platform, raised: Floor | None) -> None:
    if raised is not None:
        platform.metrics.revocation_floors.labels(raised.cause).inc()
        told = {"revocations": raised.revocations, "reasons": raised.reasons, "sources": raised.sources}
        log.warning("all_credentials_revoked", before=raised.before.isoformat(), **told)


def look(session: Session, now: datetime, settings: Settings) -> State:
    rows = floor.told(session, now)
    found, _ = _plan(session, now, settings, rows)
    pending = [row.revoked_at for row in rows if row.applied_at is None]
    told = session.get(RolePolicy, settings.role_arn)
    due = bool(pending) or found is None or found.write is not None
    return State(len(pending), min(pending, default=None), due, now if told is None else told.next_try_at)


def _plan(
    session: Session, now: datetime, settings: Settings, rows: Sequence[Revocation]
) -> tuple[Plan | None, list[Document]]:
    """What to write next, or None if there is no room, and the documents as they are."""
    applied = names_of(_denials(row for row in rows if row.applied_at is not None))
    documents = role_policies.load(session, now, settings, applied)
    return placement.plan(names_of(_denials(rows)), documents), documents


def _denials(rows: Iterable[Revocation]) -> list[Denial]:
    return [
        Denial(
            row.scope,  # type: ignore[arg-type]
            row.user_id,
            row.subject_id if row.scope in ("session", "link") else None,
            row.not_before,
            goes_on=row.goes_on,
        )
        for row in rows
    ]


def _claim(session: Session, now: datetime, settings: Settings) -> Claim | None:
    first = {"role_arn": settings.role_arn, "next_try_at": now, "attempts": 0, "failures": 0}
    insert_if_absent(session, RolePolicy, first)
    attempts = session.scalar(
        update(RolePolicy)
        .where(RolePolicy.role_arn == settings.role_arn, RolePolicy.next_try_at <= now)
        .values(next_try_at=now + LEASE, attempts=RolePolicy.attempts + 1)
        .returning(RolePolicy.attempts)
        .execution_options(synchronize_session=False)
    )
    if attempts is None:
        return None
    raised: Floor | None = None
    rows = floor.told(session, now)
    found, documents = _plan(session, now, settings, rows)
    if found is None:
        raised = floor.make_room(session, now, lambda rows: _plan(session, now, settings, rows)[0] is not None)
        rows = floor.told(session, now)
        found, documents = _plan(session, now, settings, rows)
    wanted = {row.subject_id: denial for row, denial in zip(rows, _denials(rows), strict=True)}
    if found is not None:
        _mark_told(session, now, [row for row in rows if wanted[row.subject_id].pattern in found.told])
    if found is None or found.write is None:
        _update(session, settings.role_arn, attempts, next_try_at=now)
        return None
    write = found.write
    policy = role_policies.policies(settings)[write.number]
    may_hold = placement.may_hold(documents[write.number], write.names, names_of(wanted.values()))
    role_policies.begin(session, settings, policy, may_hold)
    told = [
        (row.subject_id, row.not_before)
        for row in rows
        if (one := wanted[row.subject_id]).pattern in write.names and write.names[one.pattern] == one.before
    ]
    return Claim(attempts, policy, write.names, denials.write(write.names), told, raised)


def _postpone(session: Session, now: datetime, settings: Settings, claim: Claim, *, kind: str) -> Floor | None:
    """Delays the next try, longer each time. If no policy has room for the rest, raises the floor."""
    failures = session.scalar(select(RolePolicy.failures).where(RolePolicy.role_arn == settings.role_arn)) or 0
    delay = min(GAP * 2 ** min(failures, 16), LONGEST_WAIT) * random.uniform(0.75, 1.25)  # noqa: S311 - it spreads
    if not _update(session, settings.role_arn, claim.attempts, next_try_at=now + delay, failures=failures + 1):
        return None
    if kind == "refused":
        role_policies.refuse(session, now, settings, claim.policy)
    if kind != "too_large" or role_policies.shrink(session, settings, claim.policy, claim.document):
        return None
    if len(floor.told(session, now)) <= 1 or floor.withhold_newcomers(session, now):
        return None
    return floor.raise_floor(session, now)


def _settle(session: Session, now: datetime, settings: Settings, claim: Claim) -> None:
    if not _update(session, settings.role_arn, claim.attempts, next_try_at=now + GAP, failures=0):
        # The write outlived its lease, so nobody knows whether it or another replica's came last.
        session.execute(select(RolePolicy).where(RolePolicy.role_arn == settings.role_arn).with_for_update())
        role_policies.doubt(session, settings, claim.policy, claim.names)
        return
    role_policies.settle(session, now, settings, claim.policy, claim.names)
    _mark(session, now, claim.told)


def _mark_told(session: Session, now: datetime, rows: Sequence[Revocation]) -> None:
    _mark(session, now, [(row.subject_id, row.not_before) for row in rows if row.applied_at is None])


def _mark(session: Session, now: datetime, told: Sequence[tuple[Any, datetime]]) -> None:
    """Notes that the engine was told of these, except those that were revoked again meanwhile."""
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
        session.connection().execute(marks, [{"told_id": one, "told_floor": floor} for one, floor in told])


def _update(session: Session, role_arn: str, attempts: int, **values: Any) -> bool:
    """Updates the role's row. Returns False if another replica has taken over."""
    ours = update(RolePolicy).where(RolePolicy.role_arn == role_arn, RolePolicy.attempts == attempts)
    statement = ours.values(**values).returning(RolePolicy.role_arn).execution_options(synchronize_session=False)
    return session.execute(statement).first() is not None
