"""How much of the engine's room for revocations people's own acts may take.

The engine's policy holds a few hundred revocations. When it is full, everybody's credentials are revoked in their
place. So what costs a stranger nothing has a small share of the room. A revocation beyond the share is withheld from
the engine: it still holds in the ledger and in every cache, and the credential ends when it expires. What an
administrator revokes, and what a stolen refresh token revokes, has no bound.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import audit, newcomers
from app.audit import Origin
from app.db import keeps_limits
from app.limits import address_key
from app.models import Revocation, User

MOST_OF_NEWCOMERS = 16
"""Revocations that all newcomers together have at the engine by what they do to themselves, and as many again by
what they take back from others: all in all a sixth of the policy, at its default size."""
MOST_OF_NEWCOMERS_REUSED = 20
"""The same, those counted in, where a refresh token of a newcomer came twice: anybody can do that to themself."""
MOST_OF_SOURCE = 32
"""Revocations that the acts from one client address, or the withdrawals of one owner, have at the engine."""
ADMINISTRATOR = "administrator"
REUSE = "reuse"
WITHDRAWN = "grant_withdrawn"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is revoked."""

    reason: str
    newcomer: bool = False
    """Whether it counts towards what newcomers may take."""
    source: str | None = None
    """The client address, or the owner of a folder, whose share it takes; None where no source bounds it."""

    @property
    def bounded(self) -> bool:
        return self.newcomer or self.source is not None


def cause_of(
    session: Session, origin: Origin, now: datetime, *, user_id: uuid.UUID, actor_id: uuid.UUID | None, reason: str
) -> Cause:
    """The cause of an act on the user's own credentials, by whoever it was."""
    if actor_id not in (None, user_id) or origin is audit.COMMAND_LINE:
        return Cause(ADMINISTRATOR)
    newcomer = _is_newcomer(session.get(User, user_id), now)
    if reason == REUSE or origin.request_id == "":  # a job of this service has no client
        return Cause(reason, newcomer)
    return Cause(reason, newcomer, address_key(origin.address))


def cause_of_owner(session: Session, now: datetime, owner_id: uuid.UUID) -> Cause:
    """The cause of revoking what carries a folder whose owner took it back, or was disabled by an administrator."""
    owner = session.get(User, owner_id)
    if owner is not None and owner.status == "disabled":
        return Cause(ADMINISTRATOR)
    return Cause(WITHDRAWN, _is_newcomer(owner, now), str(owner_id))


def _is_newcomer(user: User | None, now: datetime) -> bool:
    """Of one who is gone nobody knows it."""
    return user is None or newcomers.is_newcomer(user, now)


def is_spent(session: Session, now: datetime, cause: Cause, *, adding: int) -> bool:
    """Whether as many more revocations of this cause are beyond its share.

    Transactions do not see each other's, so as many as run at once may exceed it, once.
    """
    if not cause.bounded or not adding or not keeps_limits(session):
        return False
    same_kind = (Revocation.reason == WITHDRAWN) == (cause.reason == WITHDRAWN)
    of_newcomers, of_source = session.execute(
        select(
            func.count().filter(Revocation.newcomer.is_(True), same_kind),
            func.count().filter(Revocation.source == cause.source),
        ).where(~Revocation.withheld, Revocation.expires_at > now)
    ).one()
    most = MOST_OF_NEWCOMERS_REUSED if cause.reason == REUSE else MOST_OF_NEWCOMERS
    return (cause.newcomer and of_newcomers + adding > most) or (
        cause.source is not None and of_source + adding > MOST_OF_SOURCE
    )
