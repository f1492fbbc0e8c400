"""Makes room when the engine's policies cannot hold all revocations. The last resort is the floor.

First, users who got no credentials since their revocation share one moment, which costs nobody anything. Then the
revocations by newcomers' own acts are withheld. Then users who got new credentials since are revoked once more, to
share the moment too. If that is not enough, the floor is raised: everybody's earlier credentials are revoked instead.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.orm import Session

from app.records import audit
from app.records.audit import Origin
from app.records.models import IssuedCredential, Revocation, User
from app.revocation import allowances, marks

ORIGIN = Origin(request_id="", address="revocation")
GATHERED = "gathered"
CAUSES = frozenset({allowances.ADMINISTRATOR, allowances.REUSE, allowances.WITHDRAWN})
"""Causes that the metric tells apart from users' own acts."""


@dataclass(frozen=True)
class Floor:
    """The revocation of everybody's earlier credentials, and the revocations that it replaces."""

    before: datetime
    """Credentials issued earlier are revoked."""
    revocations: int
    reasons: Mapping[str, int]
    """The number of revocations for each reason, the commonest first."""
    sources: int
    """The number of client addresses and folder owners that the revocations came from."""

    @property
    def cause(self) -> str:
        """The most frequent cause: administrators, reused refresh tokens, folder owners, or users' own acts."""
        of_each = Counter[str]()
        for reason, count in self.reasons.items():
            of_each[reason if reason in CAUSES else "own_act"] += count
        return of_each.most_common(1)[0][0] if of_each else "own_act"


def told(session: Session, now: datetime) -> Sequence[Revocation]:
    """The revocations that the engine has to be told of."""
    wanted = (Revocation.expires_at > now, ~Revocation.withheld)
    return session.scalars(select(Revocation).where(*wanted).execution_options(populate_existing=True)).all()


def make_room(session: Session, now: datetime, fits: Callable[[Sequence[Revocation]], bool]) -> Floor | None:
    """Changes the revocations until they fit. Returns the floor if it had to be raised."""
    if _gather(session, now, again=False) and fits(told(session, now)):
        return None
    if withhold_newcomers(session, now) and fits(told(session, now)):
        return None
    if _gather(session, now, again=True) and fits(told(session, now)):
        return None
    return raise_floor(session, now)


def withhold_newcomers(session: Session, now: datetime) -> bool:
    """Withholds the revocations that newcomers' acts caused. Returns False if there are none."""
    withheld = session.execute(
        update(Revocation)
        .where(Revocation.newcomer, ~Revocation.withheld, Revocation.expires_at > now)
        .values(withheld=True, applied_at=None)
        .returning(Revocation.scope, Revocation.subject_id)
        .execution_options(synchronize_session=False)
    ).all()
    of: defaultdict[str, list[UUID]] = defaultdict(list)
    for scope, subject_id in withheld:
        of[scope].append(subject_id)
    ledger = IssuedCredential
    theirs = or_(ledger.user_id.in_(of["user"]), ledger.session_id.in_([*of["session"], *of["link"]]))
    revoked = update(ledger).where(ledger.expires_at > now, ledger.revoked_at.is_not(None), theirs)
    session.execute(revoked.values(withheld=True).execution_options(synchronize_session=False))
    return bool(withheld)


def _gather(session: Session, now: datetime, *, again: bool) -> bool:
    """Gives one `not_before` to the revocations of all who go on, so that they share a statement.

    Returns False if nothing changed. With `again` it includes those who got new credentials since, and revokes these
    too. Users are locked, as for every revocation: a vend that is under way sees the new moment, or we see its row.
    Users whom another transaction has locked are left as they are.
    """
    moment = marks.second_after(now)
    rows = [row for row in told(session, now) if _goes_on(row) and row.not_before <= moment]
    users = select(User.id).where(User.id.in_({row.user_id for row in rows})).order_by(User.id)
    locked = set(session.scalars(users.with_for_update(skip_locked=True)))
    since = _issued_since(session, now, locked)
    gathered = [row for row in rows if row.user_id in locked and (again or not since[row.subject_id])]
    gathered = [row for row in gathered if all(one.issued_at < moment for one in since[row.subject_id])]
    if all(row.not_before == moment for row in gathered):
        return False
    for row in gathered:
        row.not_before, row.applied_at = moment, None
        if since[row.subject_id]:
            _revoke_again(session, now, row, since[row.subject_id])
    session.flush()
    return True


def _goes_on(row: Revocation) -> bool:
    return row.scope == "user" or (row.scope in ("session", "link") and row.goes_on)


def _issued_since(session: Session, now: datetime, user_ids: set[UUID]) -> Mapping[UUID, list[IssuedCredential]]:
    """Credentials that are alive and not revoked, by user id and by the id of the session or link."""
    ledger, found = IssuedCredential, defaultdict(list)
    longest = marks.LONGEST_LIFE + marks.TOLERANCE
    alive = (ledger.issued_at > now - longest, ledger.expires_at > now, ledger.revoked_at.is_(None))
    for one in session.scalars(select(ledger).where(ledger.user_id.in_(user_ids), *alive).order_by(ledger.id)):
        if one.link_id is None:  # the name of a user does not cover links
            found[one.user_id].append(one)
        found[one.session_id].append(one)
    return found


def _revoke_again(session: Session, now: datetime, row: Revocation, since: Sequence[IssuedCredential]) -> None:
    for one in since:
        one.revoked_at = now
    row.expires_at = max(row.expires_at, *(one.expires_at + marks.TOLERANCE for one in since))
    detail: dict[str, Any] = {"link_id": str(row.subject_id)} if row.scope == "link" else {}
    audit.record(
        session,
        ORIGIN,
        "credential.revoked",
        now,
        subject_id=row.user_id,
        session_id=row.subject_id if row.scope == "session" else None,
        reason=GATHERED,
        count=len(since),
        **detail,
    )


def raise_floor(session: Session, now: datetime) -> Floor:
    """Replaces all revocations by one of everybody's credentials issued before the newest of them."""
    rows = told(session, now)
    before, expires_at = max(row.not_before for row in rows), max(row.expires_at for row in rows)
    reasons = Counter(row.reason or "unknown" for row in rows if row.scope != "everyone")
    floor = Floor(before, len(rows), dict(reasons.most_common()), len({row.source for row in rows if row.source}))
    marks.put(session, now, marks.ALL, not_before=before, expires_at=expires_at)
    covered = and_(
        Revocation.scope != "everyone",
        ~Revocation.withheld,
        Revocation.not_before <= before,
        Revocation.expires_at <= expires_at,
    )
    session.execute(delete(Revocation).where(covered).execution_options(synchronize_session=False))
    audit.record(
        session,
        ORIGIN,
        "credential.all_revoked",
        now,
        before=before.isoformat(),
        revocations=floor.revocations,
        reasons=", ".join(f"{reason}: {count}" for reason, count in floor.reasons.items()),
        sources=floor.sources,
    )
    session.expire_all()
    return floor
