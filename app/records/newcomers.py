"""Decides who is a newcomer: a guest or a young account. One person can make any number of these.

Newcomers take turns at changing something, so that a crowd of them leaves the database to everybody else.
"""

from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import ColumnElement

from app.platform.lanes import Turns
from app.records.models import User

NEWCOMER_FOR = timedelta(days=1)
"""How long an account is a newcomer. A guest always is."""
AT_A_TIME = 2
"""How many newcomers' changes run at the same time in one process. A change takes some milliseconds."""
MOST_WAITING = 500
PATIENCE = 5.0
"""Seconds."""
CREDENTIALS_AT_A_TIME = 4
"""How many new credentials one process obtains for newcomers at the same time. That is about 60 a second."""


def make_turns(places: int = AT_A_TIME) -> Turns:
    return Turns("newcomers", places=places, most_waiting=MOST_WAITING, patience=PATIENCE)


class Account(Protocol):
    """A user, or the actor of one of their sessions. A user who still has to verify an address has no session."""

    @property
    def guest(self) -> bool: ...

    @property
    def created_at(self) -> datetime: ...


def is_newcomer(account: Account, now: datetime) -> bool:
    return account.guest or account.created_at > now - NEWCOMER_FOR


def are_newcomers(now: datetime) -> ColumnElement[bool]:
    """`is_newcomer` as a condition on `User` in a statement."""
    return User.guest | (User.created_at > now - NEWCOMER_FOR)
