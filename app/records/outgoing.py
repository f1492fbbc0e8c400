"""What the operator's own server is told of the audit: events, written in the transaction of the act itself.

A payload has ids, the time and a few members of the audit's detail that are named here. So it holds no address, no
secret and nothing that anybody typed. Each event of a user has the next number of that user's.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import insert
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
    "webhook.test",
]
ON = "outgoing events"
"""The key in `Session.info` that is true where there is a server to tell."""
SIGNAL = "outgoing events"
_NOTED = "noted for outgoing events"


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
    told = [row for row in rows if row["outcome"] == "done" and row["event"] in TOLD]
    if told:
        session.info.setdefault(_NOTED, []).extend(told)
        do_before_commit(session, _write)


def put_test(session: Session, now: datetime, *, lease: uuid.UUID, until: datetime) -> uuid.UUID:
    """Adds an event that tells nothing, for whoever tries the server. It is taken until then. Returns its id."""
    values = _values("webhook.test", None, {}, now)
    taken = {"sequence": None, "lease": lease, "next_try_at": until, "attempts": 1}
    session.execute(insert(OutgoingEvent).values(values | taken))
    event_id: uuid.UUID = values["id"]
    return event_id


def _write(session: Session) -> None:
    events = [_of_row(row) for row in session.info.pop(_NOTED)]
    _number(session, events)
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
        "data": data,
        "created_at": at,
        "next_try_at": at,
        "attempts": 0,
        "give_up_at": at + retries.GIVE_UP_AFTER,
    }


def _number(session: Session, events: Sequence[dict[str, Any]]) -> None:
    """Numbers the events of each user. The order of the ids keeps two transactions from waiting for each other."""
    of_each: dict[uuid.UUID, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        event["sequence"] = None
        if event["user_id"] is not None:
            of_each[event["user_id"]].append(event)
    for user_id in sorted(of_each):
        theirs = of_each[user_id]
        last = count_up(session, EventSequence.last, {"user_id": user_id}, by=len(theirs))
        for number, event in enumerate(theirs, last - len(theirs) + 1):
            event["sequence"] = number
