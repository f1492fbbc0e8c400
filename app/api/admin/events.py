"""`/v1/admin/events` and `/v1/admin/webhooks`: what the operator's own server is told, and whether it takes it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.admin import events
from app.api.admin.users import ReasonRequest, act_of
from app.api.provided import CourierDep, PlatformDep
from app.events import queue
from app.http.guards import Admin, OriginDep, Support
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, ResponseModel, Timestamp
from app.records.models import OutgoingEvent
from app.records.outgoing import EventType

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=JsonRoute)


class OutgoingEventView(ResponseModel):
    event_id: UUID
    type: str
    """What happened, such as `user.registered`. Later versions may add types."""
    user_id: UUID | None
    """The id of the user that the event is about. Null if it is about none, or about all."""
    sequence: int | None
    """The number of the event among those of its user, from 1. Null if it is about no user."""
    body: str
    """What is sent: JSON, the same at each delivery."""
    created_at: Timestamp
    """When it happened."""
    attempts: int
    next_try_at: Timestamp | None
    """When it is tried next. Null if it was delivered or given up."""
    delivered_at: Timestamp | None
    """When the server took it. Null if it has not."""
    failed_at: Timestamp | None
    """When it was given up. Null if it was not."""
    fault: str | None
    """Why the last try failed, such as `status 500`. Null if none failed, or after a delivery."""


class OutgoingEventPage(ResponseModel):
    items: list[OutgoingEventView]
    next_cursor: str | None


@router.get("/events")
async def list_outgoing_events(
    platform: PlatformDep,
    _actor: Support,
    *,
    kind: Annotated[EventType | None, Query(alias="type", description="Only events of this type.")] = None,
    user: Annotated[UUID | None, Query(description="Only events about the user with this id.")] = None,
    delivered: Annotated[
        bool | None,
        Query(description="`true`: only what the server took; `false`: only what waits, or was given up."),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> OutgoingEventPage:
    """The events for the operator's own server of the last 30 days, newest first."""
    found, next_cursor = await platform.database.read(
        events.list_all, kind=kind, user_id=user, delivered=delivered, limit=limit, cursor=cursor
    )
    return OutgoingEventPage(items=[_view(event) for event in found], next_cursor=next_cursor)


@router.post("/events/{event_id}/redeliver")
async def redeliver_event(
    event_id: UUID,
    platform: PlatformDep,
    courier: CourierDep,
    origin: OriginDep,
    actor: Admin,
    *,
    body: ReasonRequest | None = None,
) -> OutgoingEventView:
    """Sends an event again, with the same id and number, for a day if it has to. Without a body no reason is kept."""
    act = act_of(platform, origin, actor, body.reason if body else None)
    return _view(await events.redeliver(platform, courier, act, event_id))


@router.post("/webhooks/test")
async def send_test_event(
    platform: PlatformDep, courier: CourierDep, origin: OriginDep, actor: Admin, body: ReasonRequest | None = None
) -> OutgoingEventView:
    """Sends an event of the type `webhook.test` to the operator's server, once, and says what came of it."""
    act = act_of(platform, origin, actor, body.reason if body else None)
    return _view(await events.send_test(platform, courier, act))


def _view(event: OutgoingEvent) -> OutgoingEventView:
    body = queue.payload(
        event.id, event.type, event.created_at, user_id=event.user_id, sequence=event.sequence, data=event.data
    )
    waits = event.delivered_at is None and event.failed_at is None
    return OutgoingEventView(
        event_id=event.id,
        type=event.type,
        user_id=event.user_id,
        sequence=event.sequence,
        body=body.decode(),
        created_at=event.created_at,
        attempts=event.attempts,
        next_try_at=event.next_try_at if waits else None,
        delivered_at=event.delivered_at,
        failed_at=event.failed_at,
        fault=event.fault,
    )
