"""Limits how much of the engine's room for revocations users' own acts may take.

The engine's policies hold about a hundred revocations. When they are full, everybody's credentials are revoked instead.
So acts that strangers can do get a share of the room, and only administrators get all of it. A revocation beyond its
share is withheld from the engine. It still holds in the ledger and in every cache, and the credential ends when it
expires.

A source, such as a client address, may take a fraction of what is free. So something is always left for the next
source.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session

from app.platform.limits import address_key
from app.records import audit, newcomers
from app.records.audit import Origin
from app.records.models import Revocation, User

ROOM = "room for revocations"
"""Key in `Session.info` of the characters of all policies together. Without it nothing is bounded."""
OF_ALL = Fraction(3, 4)
"""Share of the room for everybody but administrators."""
OF_NEWCOMERS = Fraction(1, 11)
"""Share of the room for all newcomers' acts on themselves together. Each reason in `APART` gets as much again."""
OF_NEWCOMERS_REUSED = Fraction(1, 9)
"""The same share, `OF_NEWCOMERS` included, if a newcomer's refresh token was reused. Anybody can reuse their own."""
OF_SOURCE = Fraction(1, 4)
"""Share of what others leave free of `OF_ALL`, for acts from one client address or withdrawals by one owner."""
OF_SOURCE_REUSED = Fraction(1, 2)
"""The same share if a refresh token was reused."""
TAKES: Mapping[str, int] = {"user": 44, "session": 28, "link": 47}
"""Characters that the name of a user, a session or a link takes in a policy."""
ADMINISTRATOR = "administrator"
REUSE = "reuse"
WITHDRAWN = "grant_withdrawn"
QUOTA = "quota_exceeded"
APART = (WITHDRAWN, QUOTA)
"""Reasons for which newcomers have a separate share, so that their other revocations do not use it up."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is revoked."""

    reason: str
    newcomer: bool = False
    """Whether it counts towards what newcomers may take."""
    source: str | None = None
    """The client address or folder owner that it counts for; None for an act of this service."""

    @property
    def bounded(self) -> bool:
        return self.reason != ADMINISTRATOR


def cause_of(
    session: Session, origin: Origin, now: datetime, *, user_id: uuid.UUID, actor_id: uuid.UUID | None, reason: str
) -> Cause:
    """The cause of an act on a user's credentials, by the user, an administrator or this service."""
    if actor_id not in (None, user_id) or origin is audit.COMMAND_LINE:
        return Cause(ADMINISTRATOR)
    newcomer = _is_newcomer(session.get(User, user_id), now)
    if origin.request_id == "":  # a job of this service has no client
        return Cause(reason, newcomer)
    return Cause(reason, newcomer, address_key(origin.address))


def cause_of_owner(session: Session, now: datetime, owner_id: uuid.UUID) -> Cause:
    """The cause of revoking credentials that carry a folder whose owner withdrew it or was disabled."""
    owner = session.get(User, owner_id)
    if owner is not None and owner.status == "disabled":
        return Cause(ADMINISTRATOR)
    return Cause(WITHDRAWN, _is_newcomer(owner, now), str(owner_id))


def _is_newcomer(user: User | None, now: datetime) -> bool:
    """A user who no longer exists counts as a newcomer, as nobody can tell."""
    return user is None or newcomers.is_newcomer(user, now)


def is_spent(
    session: Session,
    now: datetime,
    cause: Cause,
    *,
    adding: int,
    of_source: int | None = None,
    of_newcomers: int | None = None,
) -> bool:
    """Whether `adding` more characters exceed the share of this cause.

    `of_source`, `of_newcomers`: characters that they take already, if not to be counted from the revocations.
    Transactions do not see each other's revocations, so transactions that run at once may exceed the share, once.
    """
    room: int | None = session.info.get(ROOM)
    if room is None or not cause.bounded or not adding:
        return False
    found = session.execute(_taken(now, cause)).one()
    by_newcomers: int = (found.newcomers if of_newcomers is None else of_newcomers) + adding
    by_source: int = (found.source if of_source is None else of_source) + adding
    reused = cause.reason == REUSE
    if cause.newcomer and by_newcomers > room * (OF_NEWCOMERS_REUSED if reused else OF_NEWCOMERS):
        return True
    free = room * OF_ALL - int(found.others) - by_source
    if cause.source is None:
        return free < 0
    return by_source > free * (OF_SOURCE_REUSED if reused else OF_SOURCE)


def _taken(now: datetime, cause: Cause) -> Select[Any]:
    """Sums the characters at the engine: of newcomers' acts of the same kind, of the cause's source, and of others."""
    same_kind = Revocation.reason == cause.reason if cause.reason in APART else Revocation.reason.not_in(APART)
    characters = case(TAKES, value=Revocation.scope, else_=0)
    bounded = Revocation.reason.is_distinct_from(ADMINISTRATOR)
    conditions = {
        "newcomers": Revocation.newcomer & same_kind,
        "source": Revocation.source == cause.source,
        "others": Revocation.source.is_distinct_from(cause.source),
    }
    sums = (
        func.coalesce(func.sum(characters).filter(condition), 0).label(name) for name, condition in conditions.items()
    )
    return select(*sums).where(bounded, ~Revocation.withheld, Revocation.expires_at > now)
