"""`/v1/admin/user-exports`: all users, without their password hashes, which leave on the host alone."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from app.admin import exports
from app.admin.exports import Format
from app.api.provided import PlatformDep
from app.http.guards import Admin, OriginDep
from app.http.routes import JsonRoute
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
    format: Format = "csv",  # noqa: A002 - the name in the query
) -> StreamingResponse:
    """All users who have an address. They are sent while they are read. A response that breaks off is incomplete."""
    await platform.limiter.hit("staff_export", str(actor.user_id))
    await platform.database.write(exports.begin, origin, platform.clock.now(), actor, with_hashes=False)
    name = {"Content-Disposition": f'attachment; filename="users.{format}"'}
    return StreamingResponse(_lines(platform, actor, format), media_type=MEDIA_TYPES[format], headers=name)


async def _lines(platform: Platform, actor: Actor, form: Format) -> AsyncIterator[str]:
    yield exports.header(form, with_hashes=False)
    after = None
    while users := await platform.database.read(exports.page, platform.clock.now(), actor, after):
        yield "".join(exports.line(form, user, with_hashes=False) for user in users)
        after = exports.position(users[-1])
