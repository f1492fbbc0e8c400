"""Revocations, each noted in the transaction of what takes the credentials away: a sign-out, an erasure, a wish.

The ledger says what was revoked; the row, for as long as one of the credentials may be alive, says it to those who hand
cached ones out, and to the job that tells the engine. AWS knows the second in which it issued a session
(`aws:TokenIssueTime`) and its name, so whose sessions go on is revoked up to the second `not_before`: what was issued
in an earlier one is revoked, and nobody gets another one that was.
"""

import itertools
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from app import audit
from app.audit import Origin
from app.db import signal_after_commit, upsert
from app.models import EVERYONE, DeviceSession, IssuedCredential, Revocation

SIGNAL = "revocations"
LONGEST_LIFE = timedelta(hours=36)
"""Of a credential: GetFederationToken's."""
TOLERANCE = timedelta(minutes=5)
"""By which the engine's clock may be behind ours: AWS refuses the signatures of who is further off."""
MOST_NAMED = 8
"""Sessions that one act names one by one. Where more of a user's hold credentials, all that the user has is revoked."""
Scope = Literal["everyone", "user", "session"]


class _Live(NamedTuple):
    """A credential of the ledger's that has not expired."""

    id: uuid.UUID
    session_id: uuid.UUID
    issued_at: datetime
    expires_at: datetime


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
) -> None:
    """Revokes what sessions hold that this transaction has ended, for a user whose row it has locked.

    Without `session_ids`: what all sessions of the user hold, but for `keeping`. The ledger lets no vend of an ended
    session through, so nothing is noted for a session that holds nothing. Where more than `MOST_NAMED` sessions hold
    credentials, all credentials of the user are revoked, those of `keeping` too: that session is given new ones.
    """
    alive = _alive(session, now, user_id)
    held = {row.session_id for row in alive}
    if session_ids is None:
        # A job of this service holds credentials by a session of no device. It does not end with them.
        held &= set(session.scalars(select(DeviceSession.id).where(DeviceSession.id.in_(held))))
        held -= {keeping}
    else:
        held &= set(session_ids)
    if len(held) > MOST_NAMED:
        revoke_user(
            session,
            origin,
            now,
            user_id=user_id,
            actor_id=actor_id,
            session_id=None,
            reason=reason,
            longest=timedelta(0),
        )
        return
    live: dict[uuid.UUID, list[_Live]] = defaultdict(list)
    for row in alive:
        if row.session_id in held:
            live[row.session_id].append(row)
    _mark(session, now, list(itertools.chain(*live.values())))
    for session_id, of_it in live.items():
        put(
            session,
            now,
            session_id,
            scope="session",
            user_id=user_id,
            not_before=_second_after(now, of_it),
            expires_at=_last(of_it) + TOLERANCE,
        )
        audit.record(
            session,
            origin,
            "credential.revoked",
            now,
            actor_id=actor_id,
            subject_id=user_id,
            session_id=session_id,
            reason=reason,
            count=len(of_it),
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
    longest: timedelta,
) -> int:
    """Of a user whose row this transaction has locked and whose sessions go on; how many. `session_id`: the actor's.

    `longest`: what a vend may live that is under way now, has no row in the ledger yet, and is never handed out.
    """
    live = _alive(session, now, user_id)
    _mark(session, now, live)
    if not live and not longest:
        return 0
    put(
        session,
        now,
        user_id,
        scope="user",
        user_id=user_id,
        not_before=_second_after(now, live),
        expires_at=max(_last(live) if live else now, now + longest) + TOLERANCE,
    )
    audit.record(
        session,
        origin,
        "credential.revoked",
        now,
        actor_id=actor_id,
        subject_id=user_id,
        session_id=session_id,
        reason=reason,
        count=len(live),
    )
    return len(live)


def put(
    session: Session,
    now: datetime,
    subject_id: uuid.UUID,
    *,
    scope: Scope,
    user_id: uuid.UUID | None,
    not_before: datetime,
    expires_at: datetime,
) -> None:
    """The row, which what was revoked before stays a part of; the job is woken."""

    def renewed(new: Any) -> Mapping[str, Any]:
        later = (Revocation.not_before, Revocation.expires_at)
        return {
            **{column.key: case((new[column.key] > column, new[column.key]), else_=column) for column in later},
            "revoked_at": case((Revocation.applied_at.is_(None), Revocation.revoked_at), else_=new.revoked_at),
            "applied_at": None,
        }

    values = {
        "subject_id": subject_id,
        "user_id": user_id,
        "scope": scope,
        "revoked_at": now,
        "not_before": not_before,
        "expires_at": expires_at,
    }
    upsert(session, Revocation, values, renewed)
    signal_after_commit(session, SIGNAL)


def _second_after(now: datetime, live: Sequence[_Live]) -> datetime:
    """The first second in which none of them was issued, by STS's clock too: see `ledger.py`."""
    return max([now, *(row.issued_at for row in live)]).replace(microsecond=0) + timedelta(seconds=1)


def is_pending(session: Session, user_id: uuid.UUID, session_id: uuid.UUID) -> bool:
    """Whether the engine is still to be told of a revocation of theirs."""
    found = select(Revocation.subject_id).where(
        Revocation.subject_id.in_((user_id, session_id, EVERYONE)), Revocation.applied_at.is_(None)
    )
    return session.scalar(found.limit(1)) is not None


def _alive(session: Session, now: datetime, user_id: uuid.UUID) -> list[_Live]:
    """The user's credentials that nobody has revoked and that have not expired, locked."""
    ledger = IssuedCredential
    alive = (
        select(ledger.id, ledger.session_id, ledger.issued_at, ledger.expires_at)
        .where(
            ledger.user_id == user_id,
            ledger.issued_at > now - LONGEST_LIFE - TOLERANCE,  # for the index
            ledger.expires_at > now,
            ledger.revoked_at.is_(None),
        )
        .order_by(ledger.id)  # so that two who revoke at once wait for each other in the same order
        .with_for_update()
    )
    return [_Live(*row) for row in session.execute(alive)]


def _mark(session: Session, now: datetime, live: Collection[_Live]) -> None:
    """Notes in the ledger that these are revoked."""
    ledger = IssuedCredential
    if live:
        revoked = update(ledger).where(ledger.id.in_([row.id for row in live])).values(revoked_at=now)
        session.execute(revoked.execution_options(synchronize_session=False))


def _last(live: Sequence[_Live]) -> datetime:
    return max(row.expires_at for row in live)
