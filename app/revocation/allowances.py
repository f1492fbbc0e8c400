"""How much of the engine's room for revocations people's own acts may take.

The engine's policies hold some hundred revocations. When they are full, everybody's credentials are revoked in their
place. So whatever strangers can do has a share of the room, and only administrators have all of it. A revocation beyond
its share is withheld from the engine: it still holds in the ledger and in every cache, and the credential ends when it
expires.

A source, as a client address, may take a part of what is free. So however many sources there are, and however much one
of them takes, something is left for the next one.
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
"""In `Session.info`: characters of all policies together. Nothing is bounded where it is not there."""
OF_ALL = Fraction(3, 4)
"""Of the room, for all but administrators."""
OF_NEWCOMERS = Fraction(1, 11)
"""Of the room, for all newcomers together by what they do to themselves, and as much again by each kind of `APART`."""
OF_NEWCOMERS_REUSED = Fraction(1, 9)
"""The same, that counted in, where a refresh token of a newcomer came twice: anybody can do that to themself."""
OF_SOURCE = Fraction(1, 4)
"""Of what others leave free of `OF_ALL`, for the acts from one client address, or the withdrawals of one owner."""
OF_SOURCE_REUSED = Fraction(1, 2)
"""The same where a refresh token came twice."""
TAKES: Mapping[str, int] = {"user": 44, "session": 28}
"""Characters that the name of one takes in a policy."""
ADMINISTRATOR = "administrator"
REUSE = "reuse"
WITHDRAWN = "grant_withdrawn"
QUOTA = "quota_exceeded"
APART = (WITHDRAWN, QUOTA)
"""Reasons whose newcomers find room at the engine whatever other newcomers revoke."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is revoked."""

    reason: str
    newcomer: bool = False
    """Whether it counts towards what newcomers may take."""
    source: str | None = None
    """The client address, or the owner of a folder, whose share it takes; None for an act of this service."""

    @property
    def bounded(self) -> bool:
        return self.reason != ADMINISTRATOR


def cause_of(
    session: Session, origin: Origin, now: datetime, *, user_id: uuid.UUID, actor_id: uuid.UUID | None, reason: str
) -> Cause:
    """The cause of an act on the user's own credentials, by whoever it was."""
    if actor_id not in (None, user_id) or origin is audit.COMMAND_LINE:
        return Cause(ADMINISTRATOR)
    newcomer = _is_newcomer(session.get(User, user_id), now)
    if origin.request_id == "":  # a job of this service has no client
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


def is_spent(
    session: Session,
    now: datetime,
    cause: Cause,
    *,
    adding: int,
    of_source: int | None = None,
    of_newcomers: int | None = None,
) -> bool:
    """Whether `adding` more characters for this cause are beyond its share.

    `of_source`, `of_newcomers`: what they take already, where it is not to be counted in what was revoked.
    Transactions do not see each other's, so as many as run at once may exceed it, once.
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
    """Characters at the engine: of newcomers by the same kind of act, of the cause's source, and of all others."""
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
