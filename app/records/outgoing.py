"""What the operator's own server is told of audit and bucket: events, written in the transaction of the act itself.

A payload has ids, the time and a few members of the audit's detail that are named here. So it holds no address, no
secret and nothing that anybody typed, but for the keys of objects. Each event of a user has the next number of that
user's.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import delete, insert, or_, select
from sqlalchemy.orm import Session

from app.platform import retries
from app.platform.db import count_up, do_before_commit, signal_after_commit
from app.records.models import EventSequence, OutgoingEvent

EventType = Literal[
    "user.registered",
    "user.verified",
    "user.disabled",
    "user.erased",
    "session.started",
    "grant.created",
    "grant.withdrawn",
    "link.created",
    "link.withdrawn",
    "quota.exceeded",
    "credentials.revoked",
    "object.created",
    "object.removed",
    "webhook.test",
]
ON = "outgoing events"
"""The key in `Session.info` that is true where there is a server to tell."""
SIGNAL = "outgoing events"
_NOTED = "noted for outgoing events"
_OBJECTS = uuid.UUID("7d0c2f0e-4a53-4a51-9d8e-0b7a1c6f5e23")
"""Of the ids of what the bucket tells, which it may tell twice."""


@dataclass(frozen=True)
class Telling:
    """How an audit event is told."""

    type: EventType
    members: tuple[str, ...] = ()
    """The members of the audit event's detail that are told."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    with_session: bool = False


TOLD: Mapping[str, Telling] = {
    "user.registered": Telling("user.registered", ("provider",), {"how": "registered"}),
    "user.created": Telling("user.registered", (), {"how": "created"}),
    "user.invited": Telling("user.registered", (), {"how": "invited"}),
    "guest.created": Telling("user.registered", (), {"how": "guest"}),
    "guest.upgraded": Telling("user.registered", (), {"how": "upgraded"}),
    "email.verified": Telling("user.verified"),
    "user.disabled": Telling("user.disabled"),
    # The account ends with the request. A job removes its objects later.
    "user.erasure_requested": Telling("user.erased"),
    "session.started": Telling("session.started", ("method",), with_session=True),
    "grant.created": Telling("grant.created", ("grant_id", "grantee_id")),
    "grant.withdrawn": Telling("grant.withdrawn", ("grant_id", "grantee_id", "count")),
    "link.created": Telling("link.created", ("link_id",)),
    "link.withdrawn": Telling("link.withdrawn", ("link_id",)),
    "quota.exceeded": Telling("quota.exceeded", ("stored_bytes", "quota_bytes")),
    "credential.revoked": Telling("credentials.revoked", ("count", "link_id")),
    "credential.all_revoked": Telling("credentials.revoked"),
}
"""By the audit event. All other events stay here, and so do refusals."""


def note(session: Session, rows: Iterable[Mapping[str, Any]]) -> None:
    """Notes the events of audit rows that this transaction writes, where there is a server to tell."""
    if not session.info.get(ON):
        return
    told = [_of_row(row) for row in rows if row["outcome"] == "done" and row["event"] in TOLD]
    if told:
        session.info.setdefault(_NOTED, []).extend(told)
        do_before_commit(session, _write)


def note_object(
    session: Session,
    now: datetime,
    kind: Literal["object.created", "object.removed"],
    user_id: uuid.UUID,
    data: Mapping[str, Any],
    *,
    known_by: str,
) -> None:
    """Notes what happened to an object, where there is a server to tell. What has been told already adds nothing.

    `known_by` is the same each time that the bucket tells it, and so is the id.
    """
    if session.info.get(ON):
        values = _values(kind, user_id, data, now) | {"id": uuid.uuid5(_OBJECTS, known_by)}
        session.info.setdefault(_NOTED, []).append(values)
        do_before_commit(session, _write)


def forget_objects(session: Session, user_id: uuid.UUID, *, most: int) -> int:
    """Deletes up to `most` events of the user's objects that need not be sent any more, and returns how many.

    They hold the objects' keys, in which there are words of the user.
    """
    settled = or_(OutgoingEvent.delivered_at.is_not(None), OutgoingEvent.failed_at.is_not(None))
    of_objects = OutgoingEvent.type.in_(("object.created", "object.removed"))
    some = select(OutgoingEvent.id).where(OutgoingEvent.user_id == user_id, of_objects, settled).limit(most)
    ids = session.scalars(some).all()
    session.execute(delete(OutgoingEvent).where(OutgoingEvent.id.in_(ids)))
    return len(ids)


def put_test(session: Session, now: datetime, *, lease: uuid.UUID, until: datetime) -> uuid.UUID:
    """Adds an event that tells nothing, for whoever tries the server. It is taken until then. Returns its id."""
    values = _values("webhook.test", None, {}, now)
    taken = {"lease": lease, "next_try_at": until, "attempts": 1}
    session.execute(insert(OutgoingEvent).values(values | taken))
    event_id: uuid.UUID = values["id"]
    return event_id


def _write(session: Session) -> None:
    if events := _numbered(session, session.info.pop(_NOTED)):
        session.execute(insert(OutgoingEvent), events)
        signal_after_commit(session, SIGNAL)


def _of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    telling, detail = TOLD[row["event"]], row["detail"]
    data = {**telling.fixed, **{name: detail[name] for name in telling.members if name in detail}}
    if telling.with_session:
        data["session_id"] = str(row["session_id"])
    return _values(telling.type, row["subject_id"], data, row["at"])


def _values(kind: EventType, user_id: uuid.UUID | None, data: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(),
        "type": kind,
        "user_id": user_id,
        "sequence": None,
        "data": data,
        "created_at": at,
        "next_try_at": at,
        "attempts": 0,
        "give_up_at": at + retries.GIVE_UP_AFTER,
    }


def _numbered(session: Session, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events to write, with the numbers of each user's. The order of the ids keeps two transactions from waiting
    for each other.
    """
    of_each: dict[uuid.UUID, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event["user_id"] is not None:
            of_each[event["user_id"]].append(event)
    for user_id in sorted(of_each):
        key = {"user_id": user_id}
        theirs = of_each[user_id] = _untold(session, key, of_each[user_id])
        last = count_up(session, EventSequence.last, key, by=len(theirs))
        for number, event in enumerate(theirs, last - len(theirs) + 1):
            event["sequence"] = number
    return [event for event in events if event["user_id"] is None] + [one for some in of_each.values() for one in some]


def _untold(session: Session, key: Mapping[str, uuid.UUID], events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that were not told before, each once. The lock of the user's number makes a repetition at once wait."""
    repeatable = {event["id"] for event in events if event["id"].version == 5}
    if not repeatable:
        return list(events)
    count_up(session, EventSequence.last, key, by=0)
    known = set(session.scalars(select(OutgoingEvent.id).where(OutgoingEvent.id.in_(repeatable))))
    return list({event["id"]: event for event in events if event["id"] not in known}.values())
