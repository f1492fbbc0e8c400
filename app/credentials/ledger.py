"""The ledger: every credential that leaves STS has its row, committed before anybody gets to see the credential."""

import base64
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import insert, select, tuple_
from sqlalchemy.orm import Session

from app import audit
from app.audit import Origin
from app.credentials.broker import Order, StsCredential
from app.models import DeviceSession, IssuedCredential, User
from app.problems import AccountDisabled, FieldError, InvalidRequest, InvalidToken


def record(session: Session, origin: Origin, now: datetime, *, order: Order, credential: StsCredential) -> uuid.UUID:
    """The id of the new row.

    Raises `InvalidToken`, `AccountDisabled` where the session was ended, or the user disabled, while STS was working:
    what STS issued is then dropped unseen.
    """
    status, ended_at = session.execute(
        select(User.status, DeviceSession.ended_at)
        .join(DeviceSession, DeviceSession.user_id == User.id)
        .where(DeviceSession.id == order.session_id)
        .with_for_update(read=True)  # whoever ends or disables waits for this commit, or is seen here
    ).one()
    refused = "disabled" if status != "active" else "session_ended" if ended_at is not None else None
    if refused:
        audit.record(
            session,
            origin,
            "credential.issued",
            now,
            outcome="refused",
            actor_id=order.user_id,
            subject_id=order.user_id,
            session_id=order.session_id,
            reason=refused,
        )
        raise (AccountDisabled if refused == "disabled" else InvalidToken)(keeps_writes=True)
    credential_id = uuid.uuid4()
    session.execute(
        insert(IssuedCredential).values(
            id=credential_id,
            user_id=order.user_id,
            session_id=order.session_id,
            access_key_id=credential.access_key_id,
            access=order.access,
            prefix=order.prefix,
            role_session_name=order.role_session_name,
            sts_request_id=credential.request_id,
            issued_at=now,
            expires_at=credential.expires_at,
        )
    )
    audit.record(
        session,
        origin,
        "credential.issued",
        now,
        actor_id=order.user_id,
        subject_id=order.user_id,
        session_id=order.session_id,
        credential_id=str(credential_id),
        access=order.access,
    )
    return credential_id


def list_issued(
    session: Session, *, user_id: uuid.UUID, limit: int, cursor: str | None
) -> tuple[Sequence[IssuedCredential], str | None]:
    """One page of the user's credentials, newest first, and the cursor of the next. Raises `InvalidRequest`."""
    rows = select(IssuedCredential).where(IssuedCredential.user_id == user_id)
    if cursor is not None:
        rows = rows.where(tuple_(IssuedCredential.issued_at, IssuedCredential.id) < _position(cursor))
    page = session.scalars(
        rows.order_by(IssuedCredential.issued_at.desc(), IssuedCredential.id.desc()).limit(limit + 1)
    ).all()
    more = len(page) > limit
    return page[:limit], _cursor(page[limit - 1]) if more else None


def _cursor(row: IssuedCredential) -> str:
    return base64.urlsafe_b64encode(f"{row.issued_at.isoformat()} {row.id}".encode()).decode()


def _position(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        issued_at, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        position = datetime.fromisoformat(issued_at), uuid.UUID(row_id)
    except ValueError:
        position = None
    if position is None or position[0].utcoffset() != timedelta(0):
        raise InvalidRequest(
            errors=[FieldError("query.cursor", "invalid_cursor", "Send the `next_cursor` of an earlier page.")]
        )
    return position
