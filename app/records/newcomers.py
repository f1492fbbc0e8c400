"""Who is a newcomer: an account that cost nothing to get, so somebody may have very many of them.

Newcomers take turns at changing something, so that a crowd of them leaves the database to everybody else.
"""

from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import ColumnElement

from app.platform.lanes import Turns
from app.records.models import User

NEWCOMER_FOR = timedelta(days=1)
"""For how long an account is a newcomer's. A guest stays one."""
AT_A_TIME = 2
"""Newcomers who may change something at once in one process. One of them takes some milliseconds."""
MOST_WAITING = 500
PATIENCE = 5.0
"""Seconds."""


def make_turns() -> Turns:
    return Turns("newcomers", places=AT_A_TIME, most_waiting=MOST_WAITING, patience=PATIENCE)


class Account(Protocol):
    """A user, or the actor of one of their sessions. One who has to verify an address has no session before."""

    @property
    def guest(self) -> bool: ...

    @property
    def created_at(self) -> datetime: ...


def is_newcomer(account: Account, now: datetime) -> bool:
    return account.guest or account.created_at > now - NEWCOMER_FOR


def are_newcomers(now: datetime) -> ColumnElement[bool]:
    """The same of `User` in a statement."""
    return User.guest | (User.created_at > now - NEWCOMER_FOR)
