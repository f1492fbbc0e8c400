"""Users with a signed-in device, written by the service's own rules but without the work of a password hash each."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.accounts import registration
from app.auth import sessions
from app.auth.rotation import SessionTokens
from app.crypto.vault import Vault
from app.records import addresses, audit
from app.records.models import DeviceSession, User
from tests.support.service import Device


def add_signed_in(
    session: Session, vault: Vault, now: datetime, email: str, password_hash: str = "no password has this hash"
) -> SessionTokens:
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


def add_sessions(device: Device, number: int, **columns: Any) -> None:
    """As if the device's user had signed in so often, a moment later."""
    now = device.service.clock.now() + timedelta(seconds=1)
    times = dict.fromkeys(("created_at", "authenticated_at", "last_used_at"), now)
    values = {"user_id": UUID(device.user_id), "expires_at": now + timedelta(days=1), **times, **columns}
    rows = [values | {"id": uuid4()} for _ in range(number)]
    with device.service.runtime.platform.database.engine.begin() as connection:
        connection.execute(insert(DeviceSession), rows)
