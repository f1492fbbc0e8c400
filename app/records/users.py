"""Questions about a user's row that several features have."""

import uuid

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session

from app.platform.problems import (
    AccountDisabled,
    InvalidToken,
)
from app.records.models import (
    Identity,
    Passkey,
    TotpFactor,
    User,
)

CAN_SIGN_IN = or_(
    and_(User.password_hash.is_not(None), User.email_key.is_not(None)),
    *(exists().where(way.user_id == User.id) for way in (Passkey, Identity)),
)
"""Condition on `User`: the user has a password, a passkey or an outside identity to sign in with."""


def get_user(session: Session, user_id: uuid.UUID) -> User:
    """The account of a signed-in user. It exists as long as the session does."""
    return session.get_one(User, user_id)


def lock_user(session: Session, user_id: uuid.UUID) -> User:
    """The account of a signed-in user, locked for this transaction.

    Raises `InvalidToken` or `AccountDisabled` if it was erased or disabled since the request began.
    """
    user = session.get_one(User, user_id, with_for_update=True)
    if user.status == "erased":
        raise InvalidToken
    if user.status != "active":
        raise AccountDisabled
    return user


def mfa_enabled(session: Session, user_id: uuid.UUID) -> bool:
    """Whether the user has an authenticator app whose first code was confirmed."""
    confirmed = select(TotpFactor.user_id).where(TotpFactor.user_id == user_id, TotpFactor.confirmed_at.is_not(None))
    return session.scalar(confirmed) is not None


def can_sign_in_without(session: Session, user: User, way: Passkey | Identity) -> bool:
    """Whether the user, whose row this transaction has locked, has another way to sign in."""
    if user.password_hash is not None and user.email_key is not None:
        return True
    others = (select(model.id).where(model.user_id == user.id, model.id != way.id) for model in (Passkey, Identity))
    return any(session.scalar(other.limit(1)) is not None for other in others)


def is_last_admin(session: Session, user_id: uuid.UUID) -> bool:
    """Whether the user is an administrator and no other administrator can sign in.

    An administrator who never followed their invitation cannot sign in, and does not count. The rows of all
    administrators and of the user are locked, so that of two who leave at the same time one stays. One statement locks
    them in the order of their ids. A second statement for the user's own row could deadlock: a user who was erased a
    moment ago is no administrator any more, and would lock the others first.
    """
    administers = and_(User.role == "admin", User.status == "active")
    rows = select(User.id, User.role, User.status).where(or_(administers, User.id == user_id))
    locked = session.execute(rows.order_by(User.id).with_for_update()).all()
    admins = {row.id for row in locked if (row.role, row.status) == ("admin", "active")}
    if user_id not in admins:
        return False
    others = select(User.id).where(User.id.in_(admins - {user_id}), CAN_SIGN_IN)
    return session.scalar(others.limit(1)) is None
