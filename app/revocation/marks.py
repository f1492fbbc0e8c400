"""Revokes credentials in the transaction that takes them away: a sign-out, an erasure, a user's wish.

The ledger says what was revoked. The mark, a row in `revocations`, tells it to the caches and to the job that writes to
the engine, as long as one of the credentials may be alive. AWS knows an STS session's name and the second of its issue
(`aws:TokenIssueTime`). So a user or session that goes on is revoked up to the second `not_before`: credentials issued
in an earlier second are revoked, and none of them is handed out any more.
"""

import itertools
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import and_, case, false, func, or_, select, update
from sqlalchemy.orm import Session

from app.platform.db import signal_after_commit, upsert
from app.records import audit
from app.records.audit import Origin
from app.records.models import EVERYONE, DeviceSession, IssuedCredential, Revocation
from app.revocation import allowances
from app.revocation.allowances import Cause

SIGNAL = "revocations"
LONGEST_LIFE = timedelta(hours=36)
"""The longest life of a credential: GetFederationToken's."""
TOLERANCE = timedelta(minutes=5)
"""How far the engine's clock may be behind ours. AWS refuses signatures whose time is further off."""
MARKED_FOR = timedelta(minutes=10)
"""How long a revocation is remembered if nothing was alive. A vend that was under way ends sooner."""
MOST_NAMED = 4
"""Sessions that one act revokes one by one. If more hold credentials, all of the user's credentials are revoked."""
Scope = Literal["everyone", "user", "session", "link"]


class _Live(NamedTuple):
    """A credential that has not expired and that the engine was not told to refuse."""

    id: uuid.UUID
    session_id: uuid.UUID
    """Or the link's id."""
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    """Set if it is already revoked, but the engine was not told."""
    link_id: uuid.UUID | None

    @property
    def scope(self) -> Scope:
        return "session" if self.link_id is None else "link"


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is revoked: a session, a link, a user, or everybody."""

    id: uuid.UUID
    scope: Scope
    user_id: uuid.UUID | None
    goes_on: bool = False
    """For a session or link: whether it gets new credentials."""


ALL = Subject(EVERYONE, "everyone", None)


@dataclass(frozen=True, slots=True)
class _Act:
    """What one transaction revokes of a user, and why."""

    origin: Origin
    now: datetime
    user_id: uuid.UUID
    actor_id: uuid.UUID | None
    reason: str
    """The reason in the audit log. An administrator's is in their own words."""
    cause: Cause


def revoke_sessions(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    user_id: uuid.UUID,
    session_ids: Collection[uuid.UUID] | None = None,
    keeping: uuid.UUID | None = None,
    actor_id: uuid.UUID | None,
    reason: str,
    go_on: bool = False,
) -> None:
    """Revokes the credentials of sessions or links that this transaction has ended. It has locked the user's row.

    `go_on`: they have not ended, and may get new ones.

    Without `session_ids`: those of all sessions of the user except `keeping`, and of no link. A session that holds none
    gets no mark, because the ledger refuses vends of ended sessions. If more than `MOST_NAMED` sessions hold
    credentials, all credentials of the user are revoked. Those of `keeping` are revoked too, and that session gets new
    ones.
    """
    live = _alive(session, now, user_id)
    held = {row.session_id for row in live}
    if session_ids is None:
        # The credentials of jobs and links have a session id that is no device's. A sign-out does not end them.
        held &= set(session.scalars(select(DeviceSession.id).where(DeviceSession.id.in_(held))))
        held -= {keeping}
    else:
        held &= set(session_ids)
    if not held:
        return
    cause = allowances.cause_of(session, origin, now, user_id=user_id, actor_id=actor_id, reason=reason)
    act = _Act(origin, now, user_id, actor_id, reason, cause)
    _revoke_of_sessions(session, act, live, held, go_on=go_on)


def revoke_devices(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    user_id: uuid.UUID,
    session_ids: Collection[uuid.UUID],
    cause: Cause,
) -> None:
    """Revokes the credentials of these sessions of a locked user. The sessions go on and get new ones."""
    live = _alive(session, now, user_id)
    held = {row.session_id for row in live}.intersection(session_ids)
    if held:
        _revoke_of_sessions(session, _Act(origin, now, user_id, None, cause.reason, cause), live, held, go_on=True)


def _revoke_of_sessions(
    session: Session, act: _Act, live: Sequence[_Live], held: Collection[uuid.UUID], *, go_on: bool
) -> None:
    if len(held) > MOST_NAMED:
        _revoke_of_user(session, act, live, session_id=None)
        return
    of_each: dict[uuid.UUID, list[_Live]] = defaultdict(list)
    for row in live:
        if row.session_id in held:
            of_each[row.session_id].append(row)
    withheld = _is_withheld(session, act, {one: rows[0].scope for one, rows in of_each.items()})
    _mark(session, act.now, itertools.chain(*of_each.values()), withheld=withheld)
    for holder_id, rows in of_each.items():
        _put_holder(session, act, holder_id, rows, go_on=go_on, withheld=withheld)
        _record(session, act, holder_id, rows, withheld=withheld)


def _put_holder(
    session: Session, act: _Act, holder_id: uuid.UUID, rows: Sequence[_Live], *, go_on: bool, withheld: bool
) -> None:
    """Marks a session or a link. `rows`: its credentials."""
    put(
        session,
        act.now,
        Subject(holder_id, rows[0].scope, act.user_id, goes_on=go_on),
        not_before=_second_after(act.now, rows),
        expires_at=_last(rows) + TOLERANCE,
        cause=act.cause,
        withheld=withheld,
    )


def revoke_user(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    user_id: uuid.UUID,
    actor_id: uuid.UUID | None,
    session_id: uuid.UUID | None,
    reason: str,
) -> int:
    """Revokes the credentials of a user whose row this transaction has locked. Returns how many.

    The user's sessions and links go on. `session_id` is the actor's. A vend that is under way has no row in the ledger
    yet, and its credential is never handed out. If nothing else is alive, the engine is told nothing, and the mark
    stays for `MARKED_FOR`.
    """
    live = _alive(session, now, user_id)
    cause = allowances.cause_of(session, origin, now, user_id=user_id, actor_id=actor_id, reason=reason)
    return _revoke_of_user(session, _Act(origin, now, user_id, actor_id, reason, cause), live, session_id=session_id)


def _revoke_of_user(session: Session, act: _Act, live: Sequence[_Live], *, session_id: uuid.UUID | None) -> int:
    of_links: dict[uuid.UUID, list[_Live]] = defaultdict(list)  # the engine does not know them by the user
    for row in live:
        if row.link_id is not None:
            of_links[row.link_id].append(row)
    withheld = not live or _is_withheld(session, act, {act.user_id: "user"})
    # Links come after the user: however many there are, the user's own credentials are revoked.
    links_withheld = withheld or _is_withheld(session, act, {act.user_id: "user", **dict.fromkeys(of_links, "link")})
    _mark(session, act.now, [row for row in live if row.link_id is None], withheld=withheld)
    _mark(session, act.now, itertools.chain(*of_links.values()), withheld=links_withheld)
    for link_id, rows in of_links.items():
        _put_holder(session, act, link_id, rows, go_on=True, withheld=links_withheld)
    put(
        session,
        act.now,
        Subject(act.user_id, "user", act.user_id),
        not_before=_second_after(act.now, live),
        expires_at=_last(live) + TOLERANCE if live else act.now + MARKED_FOR,
        cause=act.cause if live else None,
        withheld=withheld,
    )
    return _record(session, act, session_id, live, withheld=withheld)


def _is_withheld(session: Session, act: _Act, subjects: Mapping[uuid.UUID, Scope]) -> bool:
    """Whether the cause's share has no room for the subjects that have no place at the engine yet."""
    if not act.cause.bounded:
        return False
    there = select(Revocation.subject_id).where(Revocation.subject_id.in_(subjects), _told(act.now))
    adding = subjects.keys() - set(session.scalars(there))
    return allowances.is_spent(
        session, act.now, act.cause, adding=sum(allowances.TAKES[subjects[one]] for one in adding)
    )


def put(
    session: Session,
    now: datetime,
    subject: Subject,
    *,
    not_before: datetime,
    expires_at: datetime,
    cause: Cause | None = None,
    withheld: bool = False,
) -> None:
    """Writes the mark and wakes the job. What the mark covered before stays revoked.

    A mark that has its place at the engine keeps it: renewing it takes no more room.
    """
    told = _told(now)
    kept = told if cause is None or cause.bounded else false()

    def renewed(new: Any) -> Mapping[str, Any]:
        later = (Revocation.not_before, Revocation.expires_at)
        of_cause = (Revocation.reason, Revocation.newcomer, Revocation.source)
        waiting = and_(told, Revocation.applied_at.is_(None))
        return {
            **{column.key: case((new[column.key] > column, new[column.key]), else_=column) for column in later},
            **{column.key: case((kept, column), else_=new[column.key]) for column in of_cause},
            "revoked_at": case((waiting, Revocation.revoked_at), else_=new.revoked_at),
            "applied_at": None,
            "withheld": and_(new.withheld, ~told),
            "goes_on": and_(new.goes_on, Revocation.goes_on),
            "scope": new.scope,
        }

    values = {
        "subject_id": subject.id,
        "user_id": subject.user_id,
        "scope": subject.scope,
        "revoked_at": now,
        "not_before": not_before,
        "expires_at": expires_at,
        "withheld": withheld,
        "goes_on": subject.goes_on,
        "reason": cause.reason[:32] if cause else None,
        "newcomer": cause.newcomer if cause else False,
        "source": cause.source if cause else None,
    }
    upsert(session, Revocation, values, renewed)
    signal_after_commit(session, SIGNAL)


def _told(now: datetime) -> Any:
    """The condition that a mark has, or is about to have, a place at the engine."""
    return and_(~Revocation.withheld, Revocation.expires_at > now)


def second_after(moment: datetime) -> datetime:
    """The first whole second after `moment`: everything issued until then has an earlier second."""
    return moment.replace(microsecond=0) + timedelta(seconds=1)


def _second_after(now: datetime, live: Iterable[_Live]) -> datetime:
    """The first second after now and after the issue of all of them, also by STS's clock: see `vending/ledger.py`."""
    return second_after(max([now, *(row.issued_at for row in live)]))


def is_pending(session: Session, user_id: uuid.UUID, session_id: uuid.UUID) -> bool:
    """Whether the engine has still to be told of a revocation that covers this session."""
    found = select(Revocation.subject_id).where(
        Revocation.subject_id.in_((user_id, session_id, EVERYONE)),
        Revocation.applied_at.is_(None),
        ~Revocation.withheld,
    )
    return session.scalar(found.limit(1)) is not None


def _alive(session: Session, now: datetime, user_id: uuid.UUID) -> list[_Live]:
    """The user's credentials that have not expired and that the engine was not told to refuse. Locks their rows."""
    ledger = IssuedCredential
    alive = (
        select(ledger.id, ledger.session_id, ledger.issued_at, ledger.expires_at, ledger.revoked_at, ledger.link_id)
        .where(
            ledger.user_id == user_id,
            ledger.issued_at > now - LONGEST_LIFE - TOLERANCE,  # for the index
            ledger.expires_at > now,
            or_(ledger.revoked_at.is_(None), ledger.withheld),
        )
        .order_by(ledger.id)  # concurrent revocations lock in the same order
        .with_for_update()
    )
    return [_Live(*row) for row in session.execute(alive)]


def _mark(session: Session, now: datetime, live: Iterable[_Live], *, withheld: bool) -> None:
    """Notes in the ledger that these are revoked, and whether that is withheld from the engine."""
    ids = [row.id for row in live if row.revoked_at is None or not withheld]
    if ids:
        revoked = update(IssuedCredential).where(IssuedCredential.id.in_(ids))
        values = {"revoked_at": func.coalesce(IssuedCredential.revoked_at, now), "withheld": withheld}
        session.execute(revoked.values(values).execution_options(synchronize_session=False))


def _record(session: Session, act: _Act, holder_id: uuid.UUID | None, live: Sequence[_Live], *, withheld: bool) -> int:
    """Writes the audit event. `holder_id`: the session or the link. Returns how many credentials this act revokes."""
    count = sum(row.revoked_at is None for row in live)
    detail: dict[str, Any] = {"withheld": 1} if withheld and live else {}
    session_id = holder_id
    if any(row.link_id == holder_id for row in live):
        session_id = None
        detail["link_id"] = str(holder_id)
    audit.record(
        session,
        act.origin,
        "credential.revoked",
        act.now,
        actor_id=act.actor_id,
        subject_id=act.user_id,
        session_id=session_id,
        reason=act.reason,
        count=count,
        **detail,
    )
    return count


def _last(live: Iterable[_Live]) -> datetime:
    return max(row.expires_at for row in live)
