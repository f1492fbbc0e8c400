"""`/v1/admin/audit-events`: what happened, who did it, to whom."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from app.admin import audit_events
from app.admin.audit_events import NOBODY, Filters, Name, People
from app.api.provided import PlatformDep
from app.http.guards import Admin, OriginDep, Support
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, Moment, PrintableText, ResponseModel, Timestamp
from app.platform.problems import FieldError, InvalidRequest
from app.platform.process import Platform
from app.records.actor import Actor
from app.records.audit import Event, Outcome
from app.records.models import AuditEvent

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=JsonRoute)

NDJSON = "application/x-ndjson"
NAMELESS = Name(None, None)


class AuditDetail(ResponseModel):
    name: str
    """What is told, such as `method`."""
    value: str | None
    """What it was, as text. Null if there was none."""


class ExportedAuditEntry(ResponseModel):
    id: str
    """The number of the event, as text. Later rows have higher ones."""
    at: Timestamp
    event: str
    outcome: Outcome
    actor_id: UUID | None
    """The id of who did it. Null for somebody who was not, or not yet, signed in, and for the service itself."""
    subject_id: UUID | None
    """The id of the user that it is about. Null if it is about none."""
    session_id: UUID | None
    """The id of the session that the event belongs to. Null if it belongs to none."""
    request_id: str
    """The id of the request, which its answer has as `X-Request-ID`. Empty if no request caused it."""
    address: str
    """The IP address of the client. If no request caused it: `command line`, or the name of a job."""
    detail: list[AuditDetail]
    """What else is told of this event."""


class AuditEntry(ExportedAuditEntry):
    """Names are those of now: null for guests, erased users and people without one."""

    actor_email: str | None
    """The address of who did it, as it is now."""
    actor_name: str | None
    """The name of who did it, as it is now."""
    subject_email: str | None
    """The address of the user that it is about, as it is now."""
    subject_name: str | None
    """The name of the user that it is about, as it is now."""


class AuditPage(ResponseModel):
    items: list[AuditEntry]
    next_cursor: str | None


async def _filters(
    event: Annotated[Event | None, Query(description="Only events of this name.")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only what was `done`, or only what was `refused`.")] = None,
    request_id: Annotated[
        PrintableText | None,
        Query(min_length=1, max_length=64, description="Only events of the request with this `X-Request-ID`."),
    ] = None,
    after: Annotated[Moment | None, Query(description="Only events at this time or later.")] = None,
    before: Annotated[Moment | None, Query(description="Only events before this time.")] = None,
) -> Filters:
    return Filters(event=event, outcome=outcome, request_id=request_id, after=after, before=before)


async def _people(
    *,
    actor: Annotated[UUID | None, Query(description="Only what the user with this id did.")] = None,
    subject: Annotated[UUID | None, Query(description="Only what is about the user with this id.")] = None,
    actor_email: Annotated[
        PrintableText | None,
        Query(max_length=254, description="Only what the user did who has this address now. Not with `actor`."),
    ] = None,
    subject_email: Annotated[
        PrintableText | None,
        Query(max_length=254, description="Only what is about the user who has this address now. Not with `subject`."),
    ] = None,
    person: Annotated[
        PrintableText | None,
        Query(
            max_length=254,
            description="Only what this user did, or what is about this user: an id, or the address of now. Not with "
            "the four above.",
        ),
    ] = None,
) -> People:
    for name, user_id, email in (("actor", actor, actor_email), ("subject", subject, subject_email)):
        if user_id is not None and email is not None:
            message = f"Send either `{name}` or `{name}_email`."
            raise InvalidRequest(errors=[FieldError(f"query.{name}_email", "contradiction", message)])
    return People(actor or actor_email, subject or subject_email, _id_or_address(person))


def _id_or_address(text: str | None) -> UUID | str | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return text


FiltersDep = Annotated[Filters, Depends(_filters)]
PeopleDep = Annotated[People, Depends(_people)]


@router.get("/audit-events")
async def list_audit_events(
    platform: PlatformDep,
    _actor: Support,
    filters: FiltersDep,
    people: PeopleDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """Audit events, newest first."""
    filters = await _narrowed(platform, filters, people)
    found = await platform.database.read(audit_events.list_events, filters, limit=limit, cursor=cursor)
    return await _page(platform, *found)


@router.get("/users/{user_id}/audit-events")
async def list_user_audit_events(
    platform: PlatformDep,
    _actor: Support,
    user_id: UUID,
    filters: FiltersDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """Audit events about one user, newest first."""
    filters = replace(filters, subject_id=user_id)
    found = await platform.database.read(audit_events.list_events_of_user, filters, limit=limit, cursor=cursor)
    return await _page(platform, *found)


@router.get(
    "/audit-events/export",
    response_class=Response,
    responses={
        200: {
            "description": "One event on each line, as in lists but without the names of people.",
            "content": {NDJSON: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def export_audit_events(
    platform: PlatformDep, origin: OriginDep, actor: Admin, filters: FiltersDep, people: PeopleDep
) -> StreamingResponse:
    """All matching audit events as lines of JSON. They are sent while they are read. A response that breaks off is
    incomplete.
    """
    await platform.limiter.hit("staff_export", str(actor.user_id))
    filters = await _narrowed(platform, filters, people)
    await platform.database.write(audit_events.begin_export, origin, platform.clock.now(), actor, filters)
    return StreamingResponse(_lines(platform, actor, filters), media_type=NDJSON)


async def _narrowed(platform: Platform, filters: Filters, people: People) -> Filters:
    return filters if people == NOBODY else await platform.database.read(people.narrowing, filters)


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
    entry = ExportedAuditEntry(**_members(row))
    return json.dumps(entry.model_dump(mode="json")).replace("\x7f", "\\u007f") + "\n"


async def _page(platform: Platform, rows: Sequence[AuditEvent], next_cursor: str | None) -> AuditPage:
    names = await platform.database.read(audit_events.names, rows)
    return AuditPage(items=[_entry(row, names) for row in rows], next_cursor=next_cursor)


def _entry(row: AuditEvent, names: Mapping[UUID, Name]) -> AuditEntry:
    actor, subject = (names.get(one, NAMELESS) if one else NAMELESS for one in (row.actor_id, row.subject_id))
    return AuditEntry(
        **_members(row),
        actor_email=actor.email,
        actor_name=actor.display_name,
        subject_email=subject.email,
        subject_name=subject.display_name,
    )


def _members(row: AuditEvent) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "at": row.at,
        "event": row.event,
        "outcome": row.outcome,
        "actor_id": row.actor_id,
        "subject_id": row.subject_id,
        "session_id": row.session_id,
        "request_id": row.request_id,
        "address": row.address,
        "detail": [
            AuditDetail(name=name, value=None if value is None else str(value)) for name, value in row.detail.items()
        ],
    }
