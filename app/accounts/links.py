"""What a link in a mail stands for, when it is opened: always one user, and once."""

from datetime import datetime

from sqlalchemy.orm import Session

from app import audit, single_use
from app.audit import Event, Origin
from app.crypto import Vault
from app.models import User
from app.problems import InvalidSingleUseToken
from app.single_use import Claim, Purpose


def claim(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, purpose: Purpose, token: str, event: Event
) -> tuple[User, Claim]:
    """Uses the token up. Its active user, locked by this transaction, and what the token carries.

    The user is locked first, as everywhere: who changes an account withdraws its tokens. Raises
    `InvalidSingleUseToken`, which is recorded as a refused `event`.
    """
    try:
        found = single_use.find(session, vault, now, purpose, token)
        user = session.get(User, found.user_id, with_for_update=True) if found.user_id else None
        claimed = single_use.claim(session, vault, now, purpose, token)
    except InvalidSingleUseToken:
        audit.record(session, origin, event, now, outcome="refused", reason="invalid_token")
        raise InvalidSingleUseToken(keeps_writes=True) from None
    if user is None or user.status != "active":
        audit.record(session, origin, event, now, outcome="refused", subject_id=found.user_id, reason="disabled")
        raise InvalidSingleUseToken(keeps_writes=True)
    return user, claimed
