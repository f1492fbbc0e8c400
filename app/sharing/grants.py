"""What becomes of shared folders as accounts come, change and go, and of the credentials that carry them.

A grant counts as long as nobody has ended or left it and its owner is active. Credentials carry it once its grantee has
accepted it, so that no stranger shortens, fills or revokes what somebody else has. Its end is two things: from the
commit on no vend carries it any more, and a job revokes what carries it already (`recall_at`), at once. So ending one
takes as long whether anybody looked at it or not, and needs no lock on those who did, who may be very many.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, select, update
from sqlalchemy.orm import Session

from app.platform.db import signal_after_commit
from app.records import audit, newcomers
from app.records.audit import Origin
from app.records.models import Grant, IssuedCredential, User
from app.revocation import allowances, marks

SIGNAL = "grants"
WAITS = timedelta(days=30)
"""For whoever comes to hold the address. Later it is nobody's, though its owner goes on seeing it."""


def lasts(now: datetime) -> ColumnElement[bool]:
    """Of grants that neither their owner nor time has ended: what the owner sees."""
    return Grant.withdrawn_at.is_(None) & or_(Grant.expires_at.is_(None), Grant.expires_at > now)


def bind(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    user_id: uuid.UUID,
    session_id: uuid.UUID | None,
    verifies: bool,
) -> None:
    """Makes what waits for the address of a locked user theirs for good, whatever becomes of the address."""
    condition = waits_for(now, user_id, verifies)
    for grant in _lock(session, condition):
        grant.grantee_id = user_id
        grant.accepted_at = None  # one from before grants were accepted counts as that, though nobody had received it
        audit.record(
            session,
            origin,
            "grant.bound",
            now,
            actor_id=user_id,
            subject_id=user_id,  # not its owner, who may read what is about them
            session_id=session_id,
            **detail(grant),
        )


def holds_address(user: User, *, verifies: bool) -> bool:
    """Whether what waits for the user's address is for them: they have verified it where that is asked for."""
    return user.email_key is not None and not (verifies and user.email_verified_at is None)


def waits_for(now: datetime, user_id: uuid.UUID, verifies: bool) -> ColumnElement[bool]:
    """Of grants for the address that the user holds, and has verified where that is asked for."""
    key = select(User.email_key).where(User.id == user_id, User.status == "active")
    if verifies:
        key = key.where(User.email_verified_at.is_not(None))
    return (
        Grant.grantee_id.is_(None)
        & (Grant.grantee_email_key == key.scalar_subquery())
        & (Grant.owner_id != user_id)
        & (Grant.created_at > now - WAITS)
        & lasts(now)
    )


def counts(now: datetime) -> ColumnElement[bool]:
    """Of grants that somebody may accept, or has accepted: they last, nobody has left them, their owner is active."""
    owner = select(User.id).where(User.id == Grant.owner_id, User.status == "active").correlate(Grant)
    return lasts(now) & Grant.left_at.is_(None) & owner.exists()


def accept(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    user_id: uuid.UUID,
    session_id: uuid.UUID | None,
    grant_ids: Collection[uuid.UUID],
) -> None:
    """Accepts those of the grants that are the user's and count, and are not accepted yet: each is accepted once."""
    accepted = session.scalars(
        update(Grant)
        .where(Grant.id.in_(grant_ids), Grant.grantee_id == user_id, Grant.accepted_at.is_(None), counts(now))
        .values(accepted_at=now)
        .returning(Grant)
        .execution_options(synchronize_session=False)
    ).all()
    for grant in accepted:
        audit.record(
            session,
            origin,
            "grant.accepted",
            now,
            actor_id=user_id,
            subject_id=user_id,  # not its owner, who may read what is about them
            session_id=session_id,
            **detail(grant),
        )


def suspend(session: Session, now: datetime, owner_id: uuid.UUID) -> None:
    """What an owner shares, whom this transaction has locked and made inactive, until they are active again."""
    for grant in _lock(session, (Grant.owner_id == owner_id) & Grant.grantee_id.is_not(None) & lasts(now)):
        grant.recall_at = now
    signal_after_commit(session, SIGNAL)


def end_with_account(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    user_id: uuid.UUID,
    email_key: str | None,
    actor_id: uuid.UUID | None,
) -> None:
    """What a user shared, and what was shared with them: they are locked, and being erased. No address is kept.

    `email_key`: of the address that was theirs. What waits for it is for nobody who comes to hold it after them.
    """
    waiting = Grant.grantee_id.is_(None) & (Grant.grantee_email_key == email_key)
    concerned = _lock(session, or_(Grant.owner_id == user_id, Grant.grantee_id == user_id, waiting))
    given = 0
    for grant in concerned:
        if grant.owner_id == user_id and grant.withdrawn_at is None:
            grant.recall_at = now if grant.grantee_id else None
            given += 1
        grant.withdrawn_at = grant.withdrawn_at or now
        grant.grantee_email = grant.grantee_email_key = ""
    if given:
        signal_after_commit(session, SIGNAL)
        audit.record(
            session,
            origin,
            "grant.withdrawn",
            now,
            actor_id=actor_id,
            subject_id=user_id,
            reason="erased",
            count=given,
        )


def end(session: Session, now: datetime, grant_id: uuid.UUID, owner_id: uuid.UUID) -> Grant | None:
    """The grant, which its owner takes back; None where there is none to."""
    grant: Grant | None = session.scalar(
        update(Grant)
        .where(Grant.id == grant_id, Grant.owner_id == owner_id, Grant.withdrawn_at.is_(None))
        .values(withdrawn_at=now, recall_at=case((Grant.grantee_id.is_not(None), now), else_=None))
        .returning(Grant)
    )
    if grant is not None:
        signal_after_commit(session, SIGNAL)
    return grant


def leave(session: Session, now: datetime, grant_id: uuid.UUID, grantee_id: uuid.UUID) -> Grant | None:
    """The grant, which its grantee wants no more; None where there is none. Its owner goes on seeing it.

    Nothing is revoked: what the grantee has already is no danger to them. Who declines a grant leaves it unaccepted.
    """
    still = (Grant.withdrawn_at.is_(None), Grant.left_at.is_(None))
    return session.scalar(
        update(Grant)
        .where(Grant.id == grant_id, Grant.grantee_id == grantee_id, *still)
        .values(left_at=now)
        .returning(Grant)
    )


def next_recall(session: Session) -> tuple[uuid.UUID, Sequence[uuid.UUID]] | None:
    """A grantee, locked, and which of their grants have ended since somebody looked: each is given out once."""
    waiting = select(Grant.grantee_id).where(Grant.recall_at.is_not(None)).order_by(Grant.recall_at).limit(1)
    grantee_id = session.scalar(waiting)
    if grantee_id is None:
        return None
    session.execute(select(User.id).where(User.id == grantee_id).with_for_update())
    ended = _lock(session, (Grant.grantee_id == grantee_id) & Grant.recall_at.is_not(None))
    for grant in ended:
        grant.recall_at = None
    return grantee_id, [grant.id for grant in ended]


def revoke_carriers(
    session: Session, origin: Origin, now: datetime, *, grantee_id: uuid.UUID, grant_ids: Collection[uuid.UUID]
) -> None:
    """Revokes what those sessions of a locked user hold that carry one of the grants, whose end has been committed.

    The sessions go on, and so does what other sessions of the user hold. Nothing that is vended meanwhile is missed. A
    vend reads the grants, and once its row is in the ledger reads them again; the row is written by a statement that
    locks the user for share. Either that had the lock before us, and we see the row; or it gets the lock after us, and
    sees that the grant has ended.
    """
    ledger = IssuedCredential
    carried = session.execute(
        select(ledger.session_id, ledger.shared).where(
            ledger.user_id == grantee_id,
            ledger.issued_at > now - marks.LONGEST_LIFE - marks.TOLERANCE,  # for the index
            ledger.expires_at > now,
            or_(ledger.revoked_at.is_(None), ledger.withheld),
            ledger.shared.is_not(None),
        )
    ).all()
    owners: dict[uuid.UUID, set[str]] = defaultdict(set)
    for grant_id, owner_id in session.execute(select(Grant.id, Grant.owner_id).where(Grant.id.in_(grant_ids))):
        owners[owner_id].add(str(grant_id))
    for owner_id, ended in owners.items():
        carriers = {
            session_id for session_id, shares in carried if any(share["grant_id"] in ended for share in shares or ())
        }
        marks.revoke_devices(
            session,
            origin,
            now,
            user_id=grantee_id,
            session_ids=carriers,
            cause=allowances.cause_of_owner(session, now, owner_id),
        )


def is_surely_told(session: Session, now: datetime, owner_id: uuid.UUID, longest: timedelta) -> bool:
    """Whether the engine is told of whatever carries a folder that the owner takes back now.

    It says nothing of the grantee: it counts what the owner, or all owners who are newcomers, took back of late, as if
    each of those folders were looked at. `longest`: the life of a credential.
    """
    cause = allowances.cause_of_owner(session, now, owner_id)
    since = now - longest - marks.TOLERANCE
    withdrawn = select(func.count()).select_from(Grant).where(Grant.withdrawn_at > since)
    owns = withdrawn.where(Grant.owner_id == owner_id)
    of_newcomers = withdrawn.join(User, User.id == Grant.owner_id).where(newcomers.are_newcomers(now))
    each = marks.MOST_NAMED * allowances.TAKES["session"]
    return not allowances.is_spent(
        session,
        now,
        cause,
        adding=each,
        of_source=((session.scalar(owns) or 0) - 1) * each,
        of_newcomers=((session.scalar(of_newcomers) or 0) - 1) * each if cause.newcomer else 0,
    )


def detail(grant: Grant) -> dict[str, Any]:
    """Of an audit event."""
    return {
        "grant_id": str(grant.id),
        "owner_id": str(grant.owner_id),
        "grantee_id": str(grant.grantee_id) if grant.grantee_id else None,
    }


def _lock(session: Session, condition: ColumnElement[bool]) -> Sequence[Grant]:
    """In the order of their ids, so that two who have some in common wait for each other."""
    rows = select(Grant).where(condition).order_by(Grant.id).with_for_update()
    return session.scalars(rows.execution_options(populate_existing=True)).all()
