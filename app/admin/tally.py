"""Counts what happened, in steps of five minutes, once for all replicas.

A step is counted from audit and ledger a while after it is over, so that late commits are included. It is one
transaction, whose write only one replica can win. Until then the same queries count the step whenever somebody asks.
Every few seconds each process adds what only it knows. A killed process loses its last seconds.
"""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.orm import Session

from app.platform.db import Database, claim_row, upsert
from app.platform.metrics import Metrics, Work
from app.platform.process import Platform
from app.records.models import Activity, AuditEvent, Erasure, IssuedCredential, User

STEP = timedelta(minutes=5)
LAG = timedelta(minutes=2)
"""Time after which no event of a step can still arrive: a transaction lasts seconds, and clocks differ by less."""
BACK = timedelta(days=31)
"""How far the first tally, or one after a long pause, reaches back: as far as charts do."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PATIENCE = text("SET LOCAL statement_timeout = '30s'")
"""PostgreSQL's time-out for the job, for which nobody waits: counting all users takes long."""

SIGN_UPS = ("user.registered", "guest.created")
COUNTED = (*SIGN_UPS, "session.started", "credential.issued", "user.erasure_requested")


class OwnWork:
    """What this process did and has not added to the tally yet."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._added = metrics.work()

    async def add(self, database: Database, now: datetime) -> None:
        """Adds it. Raises `DatabaseUnavailable`; then the next call adds it."""
        done = self._metrics.work()
        if done != self._added:
            new = {name: count - getattr(self._added, name) for name, count in asdict(done).items()}
            await database.write(add, now, Work(**new))
            self._added = done


async def work(platform: Platform, own_work: OwnWork) -> bool:
    """Adds what this process did, and counts one step if it is due. Returns whether more may be due."""
    now = platform.clock.now()
    await own_work.add(platform.database, now)
    if await platform.database.read(next_due, now) is None:
        return False
    longest = timedelta(seconds=platform.settings.longest_ttl)
    await platform.database.write_unhurried(tally_next, now, longest=longest)
    return True


def floor(moment: datetime, step: timedelta = STEP) -> datetime:
    """The last multiple of `step` since 1970 in UTC, so that daylight saving does not move it."""
    return moment - (moment - EPOCH) % step


def add(session: Session, now: datetime, done: Work) -> None:
    """Adds the work to the current step."""
    values = asdict(done)
    step = {"started_at": floor(now), **values}
    upsert(session, Activity, step, lambda new: {name: getattr(Activity, name) + new[name] for name in values})


def tallied_until(session: Session, now: datetime) -> datetime:
    """The first moment that is not counted yet."""
    last = session.scalar(
        select(Activity.started_at).where(Activity.tallied).order_by(Activity.started_at.desc()).limit(1)
    )
    furthest = floor(now - BACK)
    if last is not None:
        return max(last + STEP, furthest)
    first = session.scalar(select(func.min(AuditEvent.at)))
    return max(floor(first or now), furthest)


def next_due(session: Session, now: datetime) -> datetime | None:
    """The start of the next step to count; None if it has not been over for `LAG`."""
    start = tallied_until(session, now)
    return start if start + STEP + LAG <= now else None


def tally_next(session: Session, now: datetime, *, longest: timedelta) -> bool:
    """Counts the next step that is due. Returns whether this transaction was the one that counted it.

    `longest`: the longest life of a credential.
    """
    start = next_due(session, now)
    if start is None:
        return False
    if session.get_bind().dialect.name == "postgresql":
        session.execute(PATIENCE)
    end = start + STEP
    counts = count(session, start, end, longest=longest)
    erasures, before = counts.pop("erasures"), users_at(session, start)
    # Count all users if the previous step has no count, and once a day, because imported users have earlier dates.
    if before is None or start == floor(start, timedelta(days=1)):
        counts["users"] = count_users(session, end)
    else:
        counts["users"] = users_after(session, before, start, end, erasures)
    found = {"tallied": True, **counts}
    return claim_row(session, Activity, {"started_at": start, **found}, found, where=~Activity.tallied)


def count(session: Session, start: datetime, end: datetime, *, longest: timedelta) -> dict[str, int]:
    """What audit and ledger have from `start` (inclusive) to `end` (exclusive), and the credentials alive at `end`."""
    done, refused = AuditEvent.outcome == "done", AuditEvent.outcome == "refused"
    session_started, issued = AuditEvent.event == "session.started", AuditEvent.event == "credential.issued"
    by_code = AuditEvent.detail["reason"].as_string() == "invalid_mfa_code"
    events = {
        "sign_ups": _number(AuditEvent.event.in_(SIGN_UPS), done),
        "sign_ins": _number(session_started, done),
        "failures": _number(session_started, refused),
        "mfa_failures": _number(session_started, refused, by_code),
        # Without an actor, the service issued it to itself.
        "vends_issued": _number(issued, done, AuditEvent.actor_id.is_not(None)),
        "vends_refused": _number(issued, refused),
        "erasures": _number(AuditEvent.event == "user.erasure_requested", done),
    }
    happened = (AuditEvent.at >= start, AuditEvent.at < end)
    counts = session.execute(select(*events.values()).where(AuditEvent.event.in_(COUNTED), *happened)).one()
    revoked_at = IssuedCredential.withdrawn_at
    alive = (IssuedCredential.issued_at < end, IssuedCredential.expires_at > end)
    revoked, live = session.execute(
        select(
            _number(revoked_at >= start, revoked_at < end),
            _number(*alive, or_(revoked_at.is_(None), revoked_at >= end)),
        ).where(IssuedCredential.expires_at > start, IssuedCredential.expires_at <= end + longest)
    ).one()
    return {**dict(zip(events, counts, strict=True)), "revocations": revoked, "live_credentials": live}


def users_at(session: Session, end: datetime) -> int | None:
    """The number of users at the end of the step that ends at `end`; None if that step was not counted."""
    return session.scalar(select(Activity.users).where(Activity.started_at == end - STEP, Activity.tallied))


def users_after(session: Session, before: int, start: datetime, end: datetime, erasures: int) -> int:
    """The number of users at `end`: the `before` at `start`, plus new users, minus erasures."""
    came = select(func.count()).select_from(User).where(User.created_at >= start, User.created_at < end)
    return before + (session.scalar(came) or 0) - erasures


def count_users(session: Session, end: datetime) -> int:
    """The same, counted from the tables. This takes a second or more for each ten million."""
    came = session.scalar(select(func.count()).select_from(User).where(User.created_at < end)) or 0
    went = session.scalar(select(func.count()).select_from(Erasure).where(Erasure.requested_at < end)) or 0
    return came - went


def _number(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(*conditions)
