"""What a user sees of their own account."""

import uuid

from sqlalchemy.orm import Session

from app.models import User


def get_user(session: Session, user_id: uuid.UUID) -> User:
    """The account of a signed-in user, which exists as long as the session does."""
    return session.get_one(User, user_id)
