"""Users with a signed-in device, written by the service's own rules but without the work of a password hash each."""

from datetime import datetime

from sqlalchemy.orm import Session

from app import audit
from app.accounts import addresses, registration
from app.auth import sessions
from app.auth.sessions import Grant
from app.crypto import Vault
from app.models import User


def add_signed_in(
    session: Session, vault: Vault, now: datetime, email: str, password_hash: str = "no password has this hash"
) -> Grant:
    address = addresses.parse(email)
    user_id = registration.add_user(
        session, audit.COMMAND_LINE, now, address=address, password_hash=password_hash, verified=True
    )
    return sessions.start(
        session,
        vault,
        audit.COMMAND_LINE,
        now,
        user=session.get_one(User, user_id),
        method="password",
        mfa=False,
        device_name="test",
    )
