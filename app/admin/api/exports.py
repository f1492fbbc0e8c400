"""`/v1/admin/user-exports`: all users, without their password hashes, which leave on the host alone."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from app.actor import Actor
from app.admin import exports
from app.admin.exports import Format
from app.runtime import Runtime
from app.web import Admin, JsonRoute, OriginDep, RuntimeDep

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
    runtime: RuntimeDep,
    origin: OriginDep,
    actor: Admin,
    format: Format = "csv",  # noqa: A002 - the name in the query
) -> StreamingResponse:
    """All users who have an address. They are sent while they are read. A response that breaks off is incomplete."""
    await runtime.limiter.hit("staff_export", str(actor.user_id))
    await runtime.database.write(exports.begin, origin, runtime.clock.now(), actor, with_hashes=False)
    name = {"Content-Disposition": f'attachment; filename="users.{format}"'}
    return StreamingResponse(_lines(runtime, actor, format), media_type=MEDIA_TYPES[format], headers=name)


async def _lines(runtime: Runtime, actor: Actor, form: Format) -> AsyncIterator[str]:
    yield exports.header(form, with_hashes=False)
    after = None
    while users := await runtime.database.read(exports.page, runtime.clock.now(), actor, after):
        yield "".join(exports.line(form, user, with_hashes=False) for user in users)
        after = exports.position(users[-1])
