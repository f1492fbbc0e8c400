"""The events for the operator's own server as staff see them, one more delivery of an event, and an event of a test."""

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.admin.acts import ADMINS, Act, record, require_role
from app.events import queue
from app.events.courier import Courier
from app.events.queue import Event
from app.platform import retries
from app.platform.db import signal_after_commit
from app.platform.problems import NotFound, WebhookOff
from app.platform.process import Platform
from app.records import listing, outgoing
from app.records.models import OutgoingEvent
from app.records.outgoing import EventType


def list_all(
    session: Session,
    *,
    kind: EventType | None,
    user_id: uuid.UUID | None,
    delivered: bool | None,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[OutgoingEvent], str | None]:
    """One page of the events, newest first. `delivered`: only these, or only the others. Raises `InvalidRequest`."""
    rows = select(OutgoingEvent)
    if kind is not None:
        rows = rows.where(OutgoingEvent.type == kind)
    if user_id is not None:
        rows = rows.where(OutgoingEvent.user_id == user_id)
    if delivered is not None:
        is_open = OutgoingEvent.delivered_at.is_(None)
        rows = rows.where(~is_open if delivered else is_open)
    return listing.page(session, rows, OutgoingEvent.created_at, OutgoingEvent.id, limit=limit, cursor=cursor)


async def redeliver(platform: Platform, courier: Courier | None, act: Act, event_id: uuid.UUID) -> OutgoingEvent:
    """Makes an event due now, with the same id and number, and for another day of tries.

    One that is being sent at this moment is left alone. Raises `NotFound`, `Forbidden`, `WebhookOff`.
    """
    if courier is None:
        raise WebhookOff
    return await platform.database.write(_redeliver, act, event_id)


async def send_test(platform: Platform, courier: Courier | None, act: Act) -> OutgoingEvent:
    """Sends an event that tells nothing, once, and returns what came of it. Raises `Forbidden`, `WebhookOff`."""
    if courier is None:
        raise WebhookOff
    event = await platform.database.write(_put_test, act)
    await courier.deliver(event, once=True)
    return await platform.database.read(_get, event.id)


def _redeliver(session: Session, act: Act, event_id: uuid.UUID) -> OutgoingEvent:
    require_role(session, act, "event.redelivered", None, among=ADMINS)
    event = session.get(OutgoingEvent, event_id, with_for_update=True)
    if event is None:
        raise NotFound
    if event.lease is None or event.next_try_at <= act.now:
        event.delivered_at = event.failed_at = event.lease = event.fault = None
        event.attempts, event.next_try_at, event.give_up_at = 0, act.now, act.now + retries.GIVE_UP_AFTER
        signal_after_commit(session, outgoing.SIGNAL)
    record(session, act, "event.redelivered", event.user_id, event_id=str(event.id), kind=event.type)
    session.flush()
    return event


def _put_test(session: Session, act: Act) -> Event:
    require_role(session, act, "webhook.tested", None, among=ADMINS)
    event_id = outgoing.put_test(session, act.now, lease=uuid.uuid4(), until=act.now + queue.LEASE)
    record(session, act, "webhook.tested", None, event_id=str(event_id))
    return queue.find(session, event_id)


def _get(session: Session, event_id: uuid.UUID) -> OutgoingEvent:
    return session.get_one(OutgoingEvent, event_id)
