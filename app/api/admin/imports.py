"""`/v1/admin/user-imports`: users of another system, in one file, as it comes."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError, wait
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request

from app.admin import formats, imports
from app.admin.formats import SourceName
from app.admin.imports import ImportRoom, Order, Status
from app.api.provided import ImportRoomDep, PlatformDep
from app.http import edge
from app.http.guards import Admin, OriginDep
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, ResponseModel, Timestamp
from app.platform.problems import FieldError, InvalidRequest, Overloaded, UnsupportedMediaType
from app.platform.process import Platform
from app.records.models import UserImport as Import
from app.records.models import UserImportProblem as ImportProblem

router = APIRouter(prefix="/v1/admin/user-imports", tags=["admin"], route_class=JsonRoute)

T = TypeVar("T")
FILE = "application/octet-stream"
"""A file as it is: in CSV, where its source writes several kinds."""
RETRY_AFTER = 30
TYPES = sorted({media_type for source in formats.SOURCES.values() for media_type in source.readers})


class UserImportProblem(ResponseModel):
    row: int
    """From 1, without a header."""
    code: str
    message: str


class UserImportSummary(ResponseModel):
    """The progress of an import."""

    import_id: uuid.UUID
    source: SourceName
    dry_run: bool
    status: Status
    """Send the same again where it was interrupted; where it failed, the file cannot be read."""
    rows: int
    created: int
    existing: int
    """Rows whose address has an account, which stays as it is."""
    refused: int
    started_by: uuid.UUID | None
    started_at: Timestamp
    updated_at: Timestamp
    finished_at: Timestamp | None


class UserImportPage(ResponseModel):
    items: list[UserImportSummary]
    next_cursor: str | None


class UserImport(UserImportSummary):
    """The progress of an import, and a page of the problems with its rows."""

    items: list[UserImportProblem]
    """Of all rows, up to the first 10,000."""
    next_cursor: str | None


@router.post(
    "",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "description": f"The file. Its media type may also be named: {', '.join(TYPES)}.",
            "required": True,
            "content": {FILE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def import_users(
    request: Request,
    platform: PlatformDep,
    import_room: ImportRoomDep,
    origin: OriginDep,
    actor: Admin,
    *,
    source: SourceName = "tokenvend",
    dry_run: Annotated[bool, Query(description="Checks every row and adds no user.")] = False,
    import_id: Annotated[
        uuid.UUID | None,
        Query(
            description="An id of your choice. The same id with the same file continues an import that was interrupted."
        ),
    ] = None,
) -> UserImport:
    """Imports the users of a file while it arrives, and answers at its end. Sending the same file again changes
    nothing.

    A replica runs two imports at a time and answers 503 to more.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    types = list(formats.SOURCES[source].readers)
    if media_type == FILE:
        media_type = types[0]
    if media_type not in types:
        raise UnsupportedMediaType(f"Send a file from {source} as {' or '.join(sorted(types))}.")
    if source == "firebase" and platform.settings.firebase_hash_config is None:
        message = "Set TOKENVEND_FIREBASE_HASH_CONFIG first. Without it no password from Firebase can be verified."
        raise InvalidRequest(errors=[FieldError("query.source", "not_configured", message)])
    if not import_room.places.acquire(blocking=False):
        raise Overloaded("Other imports are running. Send the file again later.", retry_after=RETRY_AFTER)
    edge.lift_cap(request.scope, platform.settings.import_max_bytes)
    order = Order(import_id or uuid.uuid4(), source, media_type, dry_run, origin, actor)
    await asyncio.get_running_loop().run_in_executor(
        import_room.threads, _carry_out, platform, import_room, order, request.stream(), asyncio.get_running_loop()
    )
    return await _read(platform, order.import_id, limit=50, cursor=None)


@router.get("")
async def list_user_imports(
    platform: PlatformDep, _actor: Admin, limit: Limit = 50, cursor: Cursor = None
) -> UserImportPage:
    """All imports, finished or running, newest first. The command line's are among them."""
    found, next_cursor = await platform.database.read(imports.list_all, limit=limit, cursor=cursor)
    return UserImportPage(items=[UserImportSummary(**_counts(row)) for row in found], next_cursor=next_cursor)


@router.get("/{import_id}")
async def get_user_import(
    import_id: uuid.UUID, platform: PlatformDep, _actor: Admin, limit: Limit = 50, cursor: Cursor = None
) -> UserImport:
    """An import, finished or running, and a page of the problems with its rows."""
    return await _read(platform, import_id, limit=limit, cursor=cursor)


def _carry_out(
    platform: Platform,
    import_room: ImportRoom,
    order: Order,
    body: AsyncIterator[bytes],
    loop: asyncio.AbstractEventLoop,
) -> None:
    """In a thread of its own, which parses. Whoever sends faster than rows are stored has to wait.

    It gives its place back itself: it may go on for a moment when nobody waits for it any more.
    """

    def chunks() -> Iterator[bytes]:
        while (chunk := _on(loop, _next(body))) is not None:
            yield chunk

    def transact(story: Any, *args: Any, **kwargs: Any) -> Any:
        return _on(loop, platform.database.write(story, *args, **kwargs))

    try:
        imports.carry_out(order, chunks(), platform.clock, transact)
    finally:
        import_room.places.release()


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """What the event loop makes of it. Raises `CancelledError` once the loop is closed, where nothing ever ends."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    while not loop.is_closed():
        done, _ = wait([future], timeout=1)
        if done:
            return future.result()
    work.close()
    raise CancelledError


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    return await anext(body, None)


async def _read(platform: Platform, import_id: uuid.UUID, *, limit: int, cursor: str | None) -> UserImport:
    found, problems, next_cursor = await platform.database.read(imports.find, import_id, limit=limit, cursor=cursor)
    return _shown(found, [_problem(row) for row in problems], next_cursor)


def _problem(row: ImportProblem) -> UserImportProblem:
    return UserImportProblem(row=row.row, code=row.code, message=row.message)


def _shown(found: Import, items: list[UserImportProblem], next_cursor: str | None) -> UserImport:
    return UserImport(**_counts(found), items=items, next_cursor=next_cursor)


def _counts(found: Import) -> dict[str, Any]:
    return {
        "import_id": found.id,
        "source": found.source,
        "dry_run": found.dry_run,
        "status": found.status,
        "rows": found.rows,
        "created": found.created,
        "existing": found.existing,
        "refused": found.refused,
        "started_by": found.started_by,
        "started_at": found.started_at,
        "updated_at": found.updated_at,
        "finished_at": found.finished_at,
    }
