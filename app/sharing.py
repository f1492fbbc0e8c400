"""What becomes of shared folders as accounts come and go, and of the credentials that carry them.

A grant counts as long as nobody has ended it and its owner is active. Its end is two things: from the commit on no vend
carries it any more, and what carries it already is revoked. An account may share with very many, whom nobody can lock
in the order of their ids once that account is locked: then `recall_at` leaves the second to a job.
"""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from app import revocations
from app.audit import Origin
from app.db import signal_after_commit
from app.models import Grant, IssuedCredential

SIGNAL = "grants"


def lasts(now: datetime) -> ColumnElement[bool]:
    """Of grants that nobody has ended. Whether one counts depends on its owner too."""
    return Grant.withdrawn_at.is_(None) & or_(Grant.expires_at.is_(None), Grant.expires_at > now)


def suspend(session: Session, now: datetime, owner_id: uuid.UUID) -> None:
    """What an owner shares, whom this transaction has locked and made inactive, until they are active again."""
    _recall(session, (Grant.owner_id == owner_id) & lasts(now), recall_at=now)


def end_with_account(session: Session, now: datetime, user_id: uuid.UUID) -> None:
    """What a user shared, and what was shared with them: they are locked, and being erased. No address is kept."""
    _recall(session, (Grant.owner_id == user_id) & lasts(now), recall_at=now)
    ended = {
        "withdrawn_at": func.coalesce(Grant.withdrawn_at, now),
        "grantee_email": "",
        "grantee_email_key": "",
    }
    session.execute(_update(or_(Grant.owner_id == user_id, Grant.grantee_id == user_id), ended))


def carried(
    session: Session, now: datetime, *, grantee_id: uuid.UUID, grant_ids: Collection[uuid.UUID]
) -> tuple[bool, bool]:
    """Whether a credential of the user's that may be alive carries one of the grants, and one that is not revoked."""
    ledger, wanted = IssuedCredential, {str(grant_id) for grant_id in grant_ids}
    rows = session.execute(
        select(ledger.shared, ledger.revoked_at).where(
            ledger.user_id == grantee_id,
            ledger.issued_at > now - revocations.LONGEST_LIFE - revocations.TOLERANCE,  # for the index
            ledger.expires_at > now,
            ledger.shared.is_not(None),
        )
    )
    revoked = [row.revoked_at is not None for row in rows if wanted & {share["grant_id"] for share in row.shared}]
    return bool(revoked), not all(revoked)


def revoke_carriers(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    grantee_id: uuid.UUID,
    grant_ids: Collection[uuid.UUID],
    actor_id: uuid.UUID | None,
    session_id: uuid.UUID | None,
    longest: timedelta,
) -> bool:
    """Revokes what a locked user has, if something of it carries one of the grants, which have ended. Whether it does.

    Nothing that is vended meanwhile is missed. A vend reads the grants, and once its row is in the ledger reads them
    again; the row is written by a statement that locks the user for share. Either that had the lock before us, and we
    see the row; or it gets it after our commit, and sees that the grant has ended. Only who has such a credential is
    revoked: a stranger who shares and withdraws cuts nobody off.
    """
    carries, alive = carried(session, now, grantee_id=grantee_id, grant_ids=grant_ids)
    if alive:
        revocations.revoke_user(
            session,
            origin,
            now,
            user_id=grantee_id,
            actor_id=actor_id,
            session_id=session_id,
            reason="grant_withdrawn",
            longest=longest,
        )
    return carries


def _recall(session: Session, condition: ColumnElement[bool], **values: Any) -> None:
    """Only what somebody may carry: an invitation that nobody has taken up is just ended."""
    recalled = session.execute(_update(condition & Grant.grantee_id.is_not(None), values).returning(Grant.id))
    if recalled.first() is not None:
        signal_after_commit(session, SIGNAL)


def _update(condition: ColumnElement[bool], values: dict[str, Any]) -> Any:
    return update(Grant).where(condition).values(**values).execution_options(synchronize_session=False)
