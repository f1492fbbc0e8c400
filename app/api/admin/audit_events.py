"""`/v1/admin/audit-events`: what happened, who did it, to whom."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from app.admin import audit_events
from app.admin.audit_events import Filters
from app.api.provided import PlatformDep
from app.http.guards import Admin, OriginDep, Support
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, Moment, ResponseModel, Timestamp
from app.platform.process import Platform
from app.records.actor import Actor
from app.records.audit import Event, Outcome
from app.records.models import AuditEvent

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=JsonRoute)

NDJSON = "application/x-ndjson"


class AuditDetail(ResponseModel):
    name: str
    value: str | None


class AuditEntry(ResponseModel):
    id: str
    at: Timestamp
    event: str
    outcome: Outcome
    actor_id: UUID | None
    """Who did it; null for somebody who was not, or not yet, signed in, and for the service itself."""
    subject_id: UUID | None
    """The user that it is about."""
    session_id: UUID | None
    request_id: str
    address: str
    detail: list[AuditDetail]


class AuditPage(ResponseModel):
    items: list[AuditEntry]
    next_cursor: str | None


async def _about(
    event: Event | None = None,
    outcome: Outcome | None = None,
    after: Annotated[Moment | None, Query(description="Events at this time or later.")] = None,
    before: Annotated[Moment | None, Query(description="Events before this time.")] = None,
) -> Filters:
    return Filters(event=event, outcome=outcome, after=after, before=before)


async def _filters(
    about: Annotated[Filters, Depends(_about)], actor: UUID | None = None, subject: UUID | None = None
) -> Filters:
    return replace(about, actor_id=actor, subject_id=subject)


FiltersDep = Annotated[Filters, Depends(_filters)]


@router.get("/audit-events")
async def list_audit_events(
    platform: PlatformDep, _actor: Support, filters: FiltersDep, limit: Limit = 50, cursor: Cursor = None
) -> AuditPage:
    """Audit events, newest first."""
    return _page(*await platform.database.read(audit_events.list_events, filters, limit=limit, cursor=cursor))


@router.get("/users/{user_id}/audit-events")
async def list_user_audit_events(
    platform: PlatformDep,
    _actor: Support,
    user_id: UUID,
    about: Annotated[Filters, Depends(_about)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """Audit events about one user, newest first."""
    filters = replace(about, subject_id=user_id)
    return _page(*await platform.database.read(audit_events.list_events_of_user, filters, limit=limit, cursor=cursor))


@router.get(
    "/audit-events/export",
    response_class=Response,
    responses={
        200: {
            "description": "One `AuditEntry` on each line.",
            "content": {NDJSON: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def export_audit_events(
    platform: PlatformDep, origin: OriginDep, actor: Admin, filters: FiltersDep
) -> StreamingResponse:
    """All matching audit events as lines of JSON. They are sent while they are read. A response that breaks off is
    incomplete.
    """
    await platform.limiter.hit("staff_export", str(actor.user_id))
    await platform.database.write(audit_events.begin_export, origin, platform.clock.now(), actor, filters)
    return StreamingResponse(_lines(platform, actor, filters), media_type=NDJSON)


async def _lines(platform: Platform, actor: Actor, filters: Filters) -> AsyncIterator[str]:
    cursor = None
    while True:
        rows, cursor = await platform.database.read(
            audit_events.export_page, platform.clock.now(), actor, filters, cursor=cursor
        )
        yield "".join(_line(row) for row in rows)
        if cursor is None:
            return


def _line(row: AuditEvent) -> str:
    """In printable ASCII: whoever reads it, a terminal too, sees no control character and no line end but ours."""
    return json.dumps(_entry(row).model_dump(mode="json")).replace("\x7f", "\\u007f") + "\n"


def _page(rows: Sequence[AuditEvent], next_cursor: str | None) -> AuditPage:
    return AuditPage(items=[_entry(row) for row in rows], next_cursor=next_cursor)


def _entry(row: AuditEvent) -> AuditEntry:
    return AuditEntry(
        id=str(row.id),
        at=row.at,
        event=row.event,
        outcome=row.outcome,
        actor_id=row.actor_id,
        subject_id=row.subject_id,
        session_id=row.session_id,
        request_id=row.request_id,
        address=row.address,
        detail=[
            AuditDetail(name=name, value=None if value is None else str(value)) for name, value in row.detail.items()
        ],
    )
