"""The only place that writes audit rows. A row is written in the transaction of the act or refusal that it records."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from sqlalchemy import Insert, Select, Table, insert, select
from sqlalchemy.orm import Session

from app.records import outgoing
from app.records.models import AuditEvent

Event = Literal[
    "user.registered",
    "user.created",
    "user.invited",
    "user.profile_changed",
    "user.role_changed",
    "user.quota_changed",
    "user.disabled",
    "user.enabled",
    "user.unlocked",
    "user.signed_out",
    "user.note_added",
    "user.note_removed",
    "user.exported",
    "user.imported",
    "users.import_started",
    "users.imported",
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
    "passkey.counter_fell",
    "identity.linked",
    "identity.unlinked",
    "identity.authorization_kept",
    "identity.authorization_revoked",
    "session.stepped_up",
    "session.started",
    "session.refreshed",
    "session.ended",
    "session.reuse_detected",
    "credential.issued",
    "credential.revoked",
    "credential.all_revoked",
    "quota.exceeded",
    "downloads.signed",
    "storage_events.subscribed",
    "grant.created",
    "grant.bound",
    "grant.accepted",
    "grant.withdrawn",
    "grant.left",
    "link.created",
    "link.opened",
    "link.joined",
    "link.withdrawn",
    "link.reported",
    "access.refused",
    "isolation.broken",
    "signing_key.created",
    "signing_key.named",
    "secret_key.switched",
    "secret_key.moved",
    "mail.retried",
    "event.redelivered",
    "webhook.tested",
    "audit.exported",
    "audit.pruned",
]


TABLE = cast(Table, AuditEvent.__table__)

Outcome = Literal["done", "refused"]

REFUSALS_EVERY = timedelta(minutes=1)
"""How often the same refusal of one session is recorded: see `record_refusal`."""


@dataclass(frozen=True)
class Origin:
    """Where a request came from: its id and the address of the client."""

    request_id: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A refusal that a caller can cause any number of times."""

    event: Event
    reason: str
    actor_id: uuid.UUID | None = None
    subject_id: uuid.UUID | None = None
    session_id: uuid.UUID | None = None


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
    """Adds one row to the transaction of `session`.

    `detail` holds no secret and nothing that a caller typed, except an administrator's reason for an act.
    """
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


def record_refusal(session: Session, origin: Origin, at: datetime, refusal: Refusal) -> None:
    """Records a refusal, at most once a minute for the same session and reason."""
    if not is_recorded(session, origin, at, refusal):
        record(
            session,
            origin,
            refusal.event,
            at,
            outcome="refused",
            actor_id=refusal.actor_id,
            subject_id=refusal.subject_id,
            session_id=refusal.session_id,
            reason=refusal.reason,
        )


def is_recorded(session: Session, origin: Origin, at: datetime, refusal: Refusal) -> bool:
    """Whether the last minute has a row of the same refusal. A caller without a session is identified by address."""
    if refusal.session_id is not None:
        caller = AuditEvent.session_id == refusal.session_id
    else:
        caller = AuditEvent.address == origin.address
    found = select(AuditEvent.id).where(
        AuditEvent.actor_id == refusal.actor_id,  # these two columns have an index by time
        AuditEvent.subject_id == refusal.subject_id,
        caller,
        AuditEvent.at > at - REFUSALS_EVERY,
        AuditEvent.event == refusal.event,
        AuditEvent.outcome == "refused",
        AuditEvent.detail["reason"].as_string() == refusal.reason,
    )
    return session.execute(found.limit(1)).first() is not None


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
    """Adds rows made by `row`, in one statement. The operator's server is told of some of them."""
    session.connection().execute(insert(TABLE), rows)
    outgoing.note(session, rows)


def insert_from(columns: Sequence[str], rows: Select[Any]) -> Insert:
    """A statement that adds the selected `rows`. It can be a part of the statement that writes what they record.

    Nobody is told of events that are written so: see `outgoing.py`.
    """
    return insert(TABLE).from_select(columns, rows)
