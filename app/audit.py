"""The only place that writes audit rows. A row is part of the transaction of the act, or refusal, that it tells of."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import Insert, Select, Table, insert
from sqlalchemy.orm import Session

from app.models import AuditEvent

Event = Literal[
    "user.registered",
    "user.created",
    "user.invited",
    "user.profile_changed",
    "user.role_changed",
    "user.quota_changed",
    "user.disabled",
    "user.enabled",
    "user.signed_out",
    "user.exported",
    "user.imported",
    "users.import_started",
    "users.exported",
    "user.erasure_requested",
    "user.erased",
    "guest.created",
    "guest.upgraded",
    "email.verification_requested",
    "email.verified",
    "email.change_requested",
    "email.changed",
    "password.reset_requested",
    "password.reset",
    "password.changed",
    "password.asked",
    "password.migrated",
    "mfa.challenged",
    "mfa.enabled",
    "mfa.disabled",
    "mfa.reset",
    "mfa.recovery_codes_made",
    "passkey.added",
    "passkey.renamed",
    "passkey.removed",
    "identity.linked",
    "identity.unlinked",
    "session.stepped_up",
    "session.started",
    "session.refreshed",
    "session.ended",
    "session.reuse_detected",
    "credential.issued",
    "credential.revoked",
    "credential.all_revoked",
    "storage_events.subscribed",
    "grant.created",
    "grant.bound",
    "grant.accepted",
    "grant.withdrawn",
    "grant.left",
    "access.refused",
    "isolation.broken",
    "signing_key.created",
    "audit.exported",
    "audit.pruned",
]


TABLE = cast(Table, AuditEvent.__table__)

Outcome = Literal["done", "refused"]


@dataclass(frozen=True)
class Origin:
    """Where a request came from: its id and the address of the client."""

    request_id: str
    address: str


COMMAND_LINE = Origin(request_id="", address="command line")


def record(
    session: Session,
    origin: Origin,
    event: Event,
    at: datetime,
    *,
    outcome: Outcome = "done",
    actor_id: uuid.UUID | None = None,
    subject_id: uuid.UUID | None = None,
    session_id: uuid.UUID | None = None,
    **detail: str | int | None,
) -> None:
    """Adds one row to `session`'s transaction. `detail` holds no secret and nothing that a caller typed,
    but for the reason that an administrator gives for an act."""
    event_row = row(
        origin,
        event,
        at,
        outcome=outcome,
        actor_id=actor_id,
        subject_id=subject_id,
        session_id=session_id,
        **detail,
    )
    record_all(session, [event_row])


def row(
    origin: Origin,
    event: Event,
    at: datetime,
    *,
    outcome: Outcome = "done",
    actor_id: uuid.UUID | None = None,
    subject_id: uuid.UUID | None = None,
    session_id: uuid.UUID | None = None,
    **detail: str | int | None,
) -> dict[str, Any]:
    """A row for `record_all`."""
    return {
        "at": at,
        "event": event,
        "outcome": outcome,
        "actor_id": actor_id,
        "subject_id": subject_id,
        "session_id": session_id,
        "request_id": origin.request_id,
        "address": origin.address,
        "detail": detail,
    }


def record_all(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Adds many rows, of `row`, by one statement."""
    session.connection().execute(insert(TABLE), rows)


def insert_from(columns: Sequence[str], rows: Select[Any]) -> Insert:
    """A statement that adds `rows`, made of `row`'s, as a part of one that writes what they tell of."""
    return insert(TABLE).from_select(columns, rows)
