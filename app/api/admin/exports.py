"""`/v1/admin/user-exports`: all users, without their password hashes, which leave on the host alone."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from app.admin import exports
from app.admin.exports import Columns, Format
from app.admin.user_filters import Filters
from app.api.admin.users import FiltersDep
from app.api.provided import PlatformDep
from app.http.guards import Admin, OriginDep
from app.http.routes import JsonRoute
from app.platform.problems import FieldError, InvalidRequest
from app.platform.process import Platform
from app.records.actor import Actor

router = APIRouter(prefix="/v1/admin/user-exports", tags=["admin"], route_class=JsonRoute)

MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv", "ndjson": "application/x-ndjson"}


@router.get(
    "",
    response_class=Response,
    responses={
        200: {
            "description": "One user on each line.",
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES.values()
            },
        }
    },
)
async def export_users(
    platform: PlatformDep,
    origin: OriginDep,
    actor: Admin,
    filters: FiltersDep,
    *,
    format: Annotated[  # noqa: A002 - the name in the query
        Format, Query(description="`csv`, or `ndjson`: one JSON object on each line.")
    ] = "csv",
    columns: Annotated[
        Columns,
        Query(description="`import`: what an import reads. `list`: what a list shows. Filters need `list`."),
    ] = "import",
) -> StreamingResponse:
    """All users who have an address, or with `columns=list` the users that match the filters, guests too. Oldest first.

    They are sent while they are read. A response that breaks off is incomplete.
    """
    filters.check()
    if columns == "import" and filters != Filters():
        message = "Filters go with `columns=list`."
        raise InvalidRequest(errors=[FieldError("query.columns", "contradiction", message)])
    await platform.limiter.hit("staff_export", str(actor.user_id))
    begun = (origin, platform.clock.now(), actor)
    await platform.database.write(exports.begin, *begun, with_hashes=False, filters=filters)
    name = {"Content-Disposition": f'attachment; filename="users.{format}"'}
    lines = _lines(platform, actor, format) if columns == "import" else _listed(platform, actor, format, filters)
    return StreamingResponse(lines, media_type=MEDIA_TYPES[format], headers=name)


async def _lines(platform: Platform, actor: Actor, form: Format) -> AsyncIterator[str]:
    yield exports.header(form, with_hashes=False)
    after = None
    while users := await platform.database.read(exports.page, platform.clock.now(), actor, after):
        yield "".join(exports.line(form, user, with_hashes=False) for user in users)
        after = exports.position(users[-1])


async def _listed(platform: Platform, actor: Actor, form: Format, filters: Filters) -> AsyncIterator[str]:
    yield exports.list_header(form)
    after = None
    while some := await platform.database.read(exports.list_page, platform.clock.now(), actor, filters, after):
        yield "".join(exports.list_line(form, listed) for listed in some)
        after = exports.position(some[-1].user)
