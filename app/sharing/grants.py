"""The life of grants as accounts come, change and go, and of the credentials that carry them.

A grant counts until it is withdrawn, left or expired, while its owner is active. Credentials carry it only once its
grantee has accepted it, so that a stranger cannot shorten, fill or revoke somebody else's credentials. When a grant
ends, new vends leave it out from the commit on, and a job at once revokes the credentials that carry it (`recall_at`).
So ending a grant takes the same time whether anybody read the folder or not, and locks none of the readers.
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
from app.records.models import Contribution, Grant, IssuedCredential, User
from app.revocation import allowances, marks

SIGNAL = "grants"
WAITS = timedelta(days=30)
"""How long a grant waits for somebody to hold the address. After that nobody gets it, but its owner still sees it."""


def lasts(now: datetime) -> ColumnElement[bool]:
    """The condition that a grant is neither withdrawn nor expired. The owner sees these grants."""
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
    """Gives the grants that wait for a locked user's address to that user for good, even if the address changes."""
    condition = waits_for(now, user_id, verifies)
    for grant in _lock(session, condition):
        grant.grantee_id = user_id
        grant.accepted_at = None  # a grant older than acceptance counts as accepted, though nobody had received it
        audit.record(
            session,
            origin,
            "grant.bound",
            now,
            actor_id=user_id,
            subject_id=user_id,  # not the owner, who may read the events about them
            session_id=session_id,
            **detail(grant),
        )


def holds_address(user: User, *, verifies: bool) -> bool:
    """Whether the user has an address and, where verification is required, has verified it."""
    return user.email_key is not None and not (verifies and user.email_verified_at is None)


def waits_for(now: datetime, user_id: uuid.UUID, verifies: bool) -> ColumnElement[bool]:
    """The condition that a grant waits for the user's address, which must be verified if `verifies`."""
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
    """The condition that a grant can be accepted and used: it lasts, nobody has left it, and its owner is active."""
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
    """Accepts those of the grants that are the user's, count and are not accepted yet."""
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
            subject_id=user_id,  # not the owner, who may read the events about them
            session_id=session_id,
            **detail(grant),
        )


def suspend(session: Session, now: datetime, owner_id: uuid.UUID) -> None:
    """Recalls the grants of an owner whom this transaction has locked and made inactive.

    The grants count again once the owner is active.
    """
    _recall(session, now, (Grant.owner_id == owner_id) & Grant.grantee_id.is_not(None) & lasts(now))


def recall_filled(session: Session, now: datetime, owner_id: uuid.UUID) -> None:
    """Recalls the grants by which others fill folders of a locked owner, who has reached the quota.

    They still count. New credentials only read the folders until there is room.
    """
    filled = (Grant.owner_id == owner_id) & (Grant.access == "contribute") & Grant.grantee_id.is_not(None)
    _recall(session, now, filled & lasts(now))


def recall_full(session: Session, now: datetime, place: Contribution, *, counted: int) -> None:
    """Recalls the grants of a place whose quota the contributor has just reached: with `counted` bytes, not before."""
    reached = Grant.quota_bytes.is_not(None) & (Grant.quota_bytes <= counted) & (Grant.quota_bytes > place.bytes)
    _recall(session, now, of_place(place) & reached & lasts(now))


def of_place(place: Contribution) -> ColumnElement[bool]:
    """The condition that a grant lets the contributor write in this place."""
    return (
        (Grant.grantee_id == place.contributor_id)
        & (Grant.owner_id == place.owner_id)
        & (Grant.path == place.path)
        & (Grant.access == "contribute")
    )


def _recall(session: Session, now: datetime, which: ColumnElement[bool]) -> None:
    for grant in _lock(session, which):
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
    """Ends the grants that a locked user, who is being erased, gave or received. Deletes the addresses in them.

    `email_key`: the key of the user's address. Grants that wait for it end too, so that a later holder gets none.
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
    """Withdraws a grant for its owner. Returns None if there is none to withdraw."""
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
    """Leaves a grant for its grantee. Returns None if there is none to leave. Its owner still sees it.

    Nothing is revoked: the credentials that the grantee has already do not harm them. To decline a grant is to leave it
    before accepting it.
    """
    still = (Grant.withdrawn_at.is_(None), Grant.left_at.is_(None))
    return session.scalar(
        update(Grant)
        .where(Grant.id == grant_id, Grant.grantee_id == grantee_id, *still)
        .values(left_at=now)
        .returning(Grant)
    )


def next_recall(session: Session) -> tuple[uuid.UUID, Sequence[uuid.UUID]] | None:
    """A grantee, locked, and their grants that have ended since the last look. Each grant is returned once."""
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
    """Revokes the credentials of a locked user's sessions that carry one of the grants. The grants' end is committed.

    The sessions go on, and the credentials of the user's other sessions stay. No credential vended meanwhile is missed.
    A vend reads the grants before and after it writes its ledger row. The statement that writes the row locks the user
    for share. If it had the lock before us, we see its row. If it gets the lock after us, the vend sees that the grant
    has ended.
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
    """Whether the engine will surely be told to refuse the credentials that carry a folder withdrawn now.

    The answer tells nothing of the grantee. It counts the recent withdrawals of the owner, or of all newcomers, as if
    somebody had read each of those folders. `longest`: the life of a credential.
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
    """The detail of an audit event."""
    return {
        "grant_id": str(grant.id),
        "owner_id": str(grant.owner_id),
        "grantee_id": str(grant.grantee_id) if grant.grantee_id else None,
    }


def _lock(session: Session, condition: ColumnElement[bool]) -> Sequence[Grant]:
    """Locks grants in the order of their ids, so that two transactions with common grants do not deadlock."""
    rows = select(Grant).where(condition).order_by(Grant.id).with_for_update()
    return session.scalars(rows.execution_options(populate_existing=True)).all()
