"""Counting what happened, five minutes at a time: once over all replicas, and never again.

Five minutes are counted a while after they are over, from audit and ledger, in one transaction whose one write only one
replica can win. Until then they are counted when somebody asks, by the same queries, so that a transaction that commits
late is missed by neither. What only a process knows, it adds every few seconds; one that is killed loses those seconds.
"""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.platform.db import Database
from app.platform.metrics import Metrics, Work
from app.platform.process import Platform
from app.records.models import Activity, AuditEvent, Erasure, IssuedCredential, User

STEP = timedelta(minutes=5)
LAG = timedelta(minutes=2)
"""After which nothing of five minutes can still be on its way: a story has seconds, and clocks differ by less."""
BACK = timedelta(days=31)
"""How far the first tally reaches back, and one after a long pause: what charts show, and what the audit always has."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PATIENCE = text("SET LOCAL statement_timeout = '30s'")
"""For PostgreSQL, where nobody waits: counting all users takes long."""

SIGN_UPS = ("user.registered", "guest.created")
COUNTED = (*SIGN_UPS, "session.started", "credential.issued", "user.erasure_requested")


class OwnWork:
    """What this process did and has not added yet."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._added = metrics.work()

    async def add(self, database: Database, now: datetime) -> None:
        """Raises `DatabaseUnavailable`: then it is for the next time."""
        done = self._metrics.work()
        if done != self._added:
            new = {name: count - getattr(self._added, name) for name, count in asdict(done).items()}
            await database.write(add, now, Work(**new))
            self._added = done


async def work(platform: Platform, own_work: OwnWork) -> bool:
    """Adds what this process did, counts one more five minutes if they are due, and says whether more may be."""
    now = platform.clock.now()
    await own_work.add(platform.database, now)
    if await platform.database.read(next_due, now) is None:
        return False
    longest = timedelta(seconds=platform.settings.longest_ttl)
    await platform.database.write_unhurried(tally_next, now, longest=longest)
    return True


def floor(moment: datetime, step: timedelta = STEP) -> datetime:
    """The last multiple of `step` since 1970, in UTC: no clock change moves it."""
    return moment - (moment - EPOCH) % step


def add(session: Session, now: datetime, done: Work) -> None:
    """Adds to the five minutes of now."""
    values = asdict(done)
    statement = _insert(session).values(started_at=floor(now), **values)
    summed = {name: getattr(Activity, name) + statement.excluded[name] for name in values}
    session.execute(statement.on_conflict_do_update(index_elements=["started_at"], set_=summed))


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
    """When the next five minutes to count began; None while they are not over for long enough."""
    start = tallied_until(session, now)
    return start if start + STEP + LAG <= now else None


def tally_next(session: Session, now: datetime, *, longest: timedelta) -> bool:
    """Counts the next five minutes that are due, and says whether it was this transaction that did.

    `longest`: what a credential lives at most.
    """
    start = next_due(session, now)
    if start is None:
        return False
    if session.get_bind().dialect.name == "postgresql":
        session.execute(PATIENCE)
    end = start + STEP
    counts = count(session, start, end, longest=longest)
    erasures, before = counts.pop("erasures"), users_at(session, start)
    # All are counted where nobody did before, and once a day, for what was written with a date of its own.
    if before is None or start == floor(start, timedelta(days=1)):
        counts["users"] = count_users(session, end)
    else:
        counts["users"] = users_after(session, before, start, end, erasures)
    statement = _insert(session).values(started_at=start, tallied=True, **counts)
    only_once = statement.on_conflict_do_update(
        index_elements=["started_at"],
        set_={name: statement.excluded[name] for name in ("tallied", *counts)},
        where=~Activity.tallied,
    )
    return session.execute(only_once.returning(Activity.started_at)).first() is not None


def count(session: Session, start: datetime, end: datetime, *, longest: timedelta) -> dict[str, int]:
    """What audit and ledger have of a time from `start` to before `end`, and what is alive at its end."""
    done, refused = AuditEvent.outcome == "done", AuditEvent.outcome == "refused"
    session_started, issued = AuditEvent.event == "session.started", AuditEvent.event == "credential.issued"
    by_code = AuditEvent.detail["reason"].as_string() == "invalid_mfa_code"
    events = {
        "sign_ups": _number(AuditEvent.event.in_(SIGN_UPS), done),
        "sign_ins": _number(session_started, done),
        "failures": _number(session_started, refused),
        "mfa_failures": _number(session_started, refused, by_code),
        # Without an actor the service issued it to itself.
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
    """How many users there were when the five minutes ended that end then; None where those were not counted."""
    return session.scalar(select(Activity.users).where(Activity.started_at == end - STEP, Activity.tallied))


def users_after(session: Session, before: int, start: datetime, end: datetime, erasures: int) -> int:
    """How many users there are at `end`: those at `start`, and who came and went since."""
    came = select(func.count()).select_from(User).where(User.created_at >= start, User.created_at < end)
    return before + (session.scalar(came) or 0) - erasures


def count_users(session: Session, end: datetime) -> int:
    """The same from the tables themselves, which takes a second or more for each ten million."""
    came = session.scalar(select(func.count()).select_from(User).where(User.created_at < end)) or 0
    went = session.scalar(select(func.count()).select_from(Erasure).where(Erasure.requested_at < end)) or 0
    return came - went


def _number(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(*conditions)


def _insert(session: Session) -> Any:
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(Activity)
