"""The job that tries every hour whether the engine still keeps users apart, with two users whom nobody can be.

Each of them gets a credential like a user's app, with its row in the ledger, and tries its own prefix and the other
one's. If it reaches the other prefix, log, metric and audit say so at once. The service keeps running: see the runbook.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.platform.db import insert_if_absent
from app.platform.logs import log
from app.platform.problems import Problem
from app.platform.process import Platform
from app.policy import session_policy
from app.records import audit
from app.records.audit import Origin
from app.records.models import Canary
from app.upkeep import isolation
from app.upkeep.isolation import S3Unreachable, Tenant
from app.vending.vending import Vending

ORIGIN = Origin(request_id="", address="canary")
USERS = tuple(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:tokenvend:canary:{number}") for number in (1, 2))
"""UUIDs of version 5. Users' ids, also imported ones, are of version 4, so no user can have these."""
EVERY = timedelta(hours=1)
AGAIN = timedelta(minutes=5)
"""Time until the next try after one that did not pass, so that a repair is seen soon."""
LEASE = timedelta(minutes=5)
ROW = 1

Result = Literal["passed", "failed", "broken"]


@dataclass(frozen=True)
class Finding:
    result: Result
    reached: Sequence[str] = ()


async def watch(platform: Platform, vending: Vending) -> bool:
    """Tries if it is due. Shows in the metrics what any replica found last."""
    if platform.settings.canary == "off":
        return False
    claim = await platform.database.write(_claim, platform.clock.now())
    if claim is not None:
        finding = await _try(platform, vending)
        platform.metrics.canary_runs.labels(finding.result).inc()
        await platform.database.write(_settle, platform.clock.now(), claim, finding)
    result, passed_at = await platform.database.read(_last)
    platform.metrics.canary_broken.set(result == "broken")
    platform.metrics.canary_passed.set(passed_at.timestamp() if passed_at else 0)
    return False


async def _try(platform: Platform, vending: Vending) -> Finding:
    try:
        one, other = [await _tenant(vending, user_id) for user_id in USERS]
        outcome = await isolation.try_both(platform.settings, one, other)
    except (Problem, S3Unreachable) as error:
        cause = str(error) if isinstance(error, S3Unreachable) else error.cause or error.code
        log.error("canary_failed", cause=cause)
        return Finding("failed")
    if outcome.reached:
        reached = list(dict.fromkeys(outcome.reached))
        log.critical("isolation_broken", reached=reached)
        return Finding("broken", reached)
    if outcome.refused or outcome.unclear:
        log.error("canary_failed", cause="S3", refused=outcome.refused, unclear=outcome.unclear)
        return Finding("failed")
    log.info("canary_passed")
    return Finding("passed")


async def _tenant(vending: Vending, user_id: uuid.UUID) -> Tenant:
    credential = await vending.issue_to_job(ORIGIN, user_id, access="read_write")
    return Tenant(session_policy.user_prefix(user_id), credential)


def _claim(session: Session, now: datetime) -> int | None:
    """The number of this try, which tells it from a later one; None if no try is due or another replica has it."""
    insert_if_absent(session, Canary, {"id": ROW, "next_try_at": now, "attempts": 0})
    due = update(Canary).where(Canary.id == ROW, Canary.next_try_at <= now)
    claimed = due.values(next_try_at=now + LEASE, attempts=Canary.attempts + 1).returning(Canary.attempts)
    return session.scalar(claimed.execution_options(synchronize_session=False))


def _settle(session: Session, now: datetime, claim: int, finding: Finding) -> None:
    """Notes the finding. A broken isolation is audited even if this replica has outlived its lease."""
    passed = {"passed_at": now} if finding.result == "passed" else {}
    ours = update(Canary).where(Canary.id == ROW, Canary.attempts == claim)
    settled = ours.values(result=finding.result, next_try_at=now + (EVERY if passed else AGAIN), **passed)
    session.execute(settled.execution_options(synchronize_session=False))
    if finding.result == "broken":
        audit.record(session, ORIGIN, "isolation.broken", now, subject_id=USERS[0], reached=", ".join(finding.reached))


def _last(session: Session) -> tuple[str | None, datetime | None]:
    row = session.get(Canary, ROW)
    return (row.result, row.passed_at) if row else (None, None)
