"""`/v1/storage-events`: where SNS delivers what the bucket tells."""

from fastapi import APIRouter, Request, Response

from app.api.provided import PlatformDep, StorageEventsDep
from app.http.guards import OriginDep
from app.http.routes import JsonRoute, strict_json
from app.platform.problems import Problem, StorageEventsOff, UnsupportedMediaType
from app.storage import events

router = APIRouter(prefix="/v1", tags=["credentials"], route_class=JsonRoute)

MEDIA_TYPES = ("text/plain", "application/json", "application/octet-stream")
"""SNS calls its JSON the first. The OpenAPI document has the last: generators of clients know no text/plain."""


@router.post(
    "/storage-events",
    status_code=204,
    response_class=Response,
    openapi_extra={
        "requestBody": {
            "description": "A message that SNS signed. SNS sends it as text/plain.",
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def add_storage_event(
    request: Request, platform: PlatformDep, storage_events: StorageEventsDep, origin: OriginDep
) -> None:
    """For SNS only. Takes S3's notifications and EventBridge's events of the bucket, and confirms a subscription."""
    topic, metrics = storage_events, platform.metrics.storage_events
    if topic is None:
        raise StorageEventsOff
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in MEDIA_TYPES:
            raise UnsupportedMediaType("SNS sends `Content-Type: text/plain`.")
        message = await topic.receive(strict_json(await request.body()), platform.limiter, origin.address)
        is_news = message.kind == "Notification" and topic.is_new(message)
        changes = events.read(message.text, platform.settings.bucket) if is_news else {}
    except Problem:
        metrics.labels("refused").inc()
        raise
    now = platform.clock.now()
    if message.kind == "SubscriptionConfirmation":
        await platform.database.write(events.note_subscription, origin, now)
    noted = await platform.database.write(events.note, now, platform.settings, changes) if changes else 0
    topic.remember(message)
    metrics.labels("noted" if noted else "ignored").inc()
