"""`/v1/admin/user-imports`: users of another system, in one file, as it comes."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, wait
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request

from app.admin import formats, imports
from app.admin.formats import SourceName, opening
from app.admin.formats.rows import ImportedUser, RowProblem
from app.admin.imports import ImportRoom, Order, Password, Row, Status
from app.api.provided import HasherDep, ImportRoomDep, PlatformDep
from app.crypto.hash_costs import HashKind
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
FILE, GZIP = "application/octet-stream", "application/gzip"
"""A file as it is, of which the beginning tells what it is."""
RETRY_AFTER = 30
TYPES = sorted({GZIP, *(media_type for source in formats.SOURCES.values() for media_type in source.readers)})
SOURCES = ", ".join(f"`{name}`" for name in formats.SOURCES)


class UserImportProblem(ResponseModel):
    row: int
    """The number of the row, from 1. A header does not count."""
    code: str
    """What is wrong, for programs."""
    message: str
    """What is wrong, for people. It tells nothing of what the row holds."""


class UserImportSummary(ResponseModel):
    """The progress of an import."""

    import_id: uuid.UUID
    source: SourceName
    """The system that the file comes from."""
    dry_run: bool
    """Whether every row is only checked, and no user added."""
    status: Status
    """`running`, `completed`, `interrupted` (send the same file with the same id again) or `failed` (the file cannot be
    read, or is too large)."""
    rows: int
    """How many rows are done."""
    created: int
    """How many rows added a user, or would if it were no dry run."""
    existing: int
    """How many rows have the address of an account, which stays as it is."""
    refused: int
    """How many rows could not be imported."""
    invited: int
    """How many of `created` have a hash that is not supported, and get a mail with a link to choose a password."""
    started_by: uuid.UUID | None
    """The id of the administrator who started it. Null for the command line."""
    started_at: Timestamp
    """When it was first started."""
    updated_at: Timestamp
    """When rows were last done, or when it ended."""
    finished_at: Timestamp | None
    """When it was completed. Null if it was not."""


class UserImportPage(ResponseModel):
    items: list[UserImportSummary]
    next_cursor: str | None


class UserImportHashes(ResponseModel):
    """The password hashes of one kind, and what the sign-ins of their users cost."""

    kind: str
    """The scheme, such as `bcrypt` or `argon2id`."""
    rows: int
    """How many users would be imported with one."""
    price: float
    """What one sign-in costs on average, in sign-ins with a hash of this service. After the first it costs 1."""
    dearest: float
    """What the dearest of these sign-ins costs."""


class PreviewedUser(ResponseModel):
    """What becomes of a row."""

    email: str
    email_verified: bool
    display_name: str | None
    created_at: Timestamp | None
    """When the account was made there. Null for the time of the import."""
    disabled: bool
    """Whether the account is made disabled."""
    password: Password
    """`kept`: the password of before works; `old_system`: it is brought from there at the first sign-in; `invited`: a
    mail lets the user choose one."""


class UserImportPreview(ResponseModel):
    """One of the first rows as it is imported."""

    row: int
    """The number of the row, from 1. A header does not count."""
    user: PreviewedUser | None
    """Null for a row that is refused."""
    problem: str | None
    """Why it is refused. Null if it is not."""


class UserImport(UserImportSummary):
    """The progress of an import, and a page of the problems with its rows."""

    hashes: list[UserImportHashes]
    """The hashes that a dry run found, the kind with the most work first. Empty for other imports."""
    preview: list[UserImportPreview]
    """The first rows as they would be, in the answer to a dry run alone. Nobody keeps them."""
    items: list[UserImportProblem]
    """The problems of this page, in the order of the rows. Of one import, 10,000 are kept."""
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
    hasher: HasherDep,
    source: Annotated[SourceName, Query(description=f"The system of the file: one of {SOURCES}.")] = "tokenvend",
    dry_run: Annotated[bool, Query(description="Checks every row and adds no user.")] = False,
    import_id: Annotated[
        uuid.UUID | None,
        Query(
            description="An id of your choice. The same id with the same file continues an import that was "
            "interrupted. Left out, the service chooses one."
        ),
    ] = None,
    invite_unsupported: Annotated[
        bool,
        Query(
            description="Imports users whose password hash is not supported without a password, and mails them a link "
            "to choose one."
        ),
    ] = False,
) -> UserImport:
    """Imports the users of a file while it arrives, and answers at its end. Sending the same file again changes
    nothing. A file may be packed by gzip.

    A replica runs two imports at a time and answers 503 to more.
    """
    named = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    types = formats.SOURCES[source].readers
    if named not in {*types, FILE, GZIP}:
        formats.check_source(source, formats.beginning_of([await _beginning(request.stream())]))
        raise UnsupportedMediaType(f"Send a file from {source} as {' or '.join(sorted(types))}.")
    if source == "firebase" and platform.settings.firebase_hash_config is None:
        message = "Set TOKENVEND_FIREBASE_HASH_CONFIG first. Without it no password from Firebase can be verified."
        raise InvalidRequest(errors=[FieldError("query.source", "not_configured", message)])
    if invite_unsupported and not platform.settings.sends_mail:
        message = "Set TOKENVEND_SMTP_URL and TOKENVEND_MAIL_FROM first. Without them no invitation is sent."
        raise InvalidRequest(errors=[FieldError("query.invite_unsupported", "not_configured", message)])
    if "prehash" in request.query_params:  # unread, it would let nobody in who was imported
        message = "Only the command `tokenvend users import` knows hashes of something made of the password."
        raise InvalidRequest(errors=[FieldError("query.prehash", "only_on_the_host", message)])
    if not import_room.places.acquire(blocking=False):
        raise Overloaded("Other imports are running. Send the file again later.", retry_after=RETRY_AFTER)
    edge.lift_cap(request.scope, platform.settings.import_max_bytes)
    order = Order(
        import_id or uuid.uuid4(),
        source,
        named if named in types else None,
        dry_run,
        origin,
        actor,
        most_unpacked=platform.settings.import_max_bytes,
        has_old_system=platform.settings.migration_url is not None,
        inviting=platform.vault if invite_unsupported else None,
        measured=hasher.measure,
    )
    loop, preview = asyncio.get_running_loop(), list[Row]()
    work = partial(_carry_out, platform, import_room, order, request.stream(), loop, preview=preview)
    await loop.run_in_executor(import_room.threads, work)
    shown = [_previewed(order, number, row) for number, row in preview] if dry_run else []
    return await _read(platform, order.import_id, limit=50, cursor=None, preview=shown)


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
    *,
    preview: list[Row],
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
        imports.carry_out(order, chunks(), platform.clock, transact, preview)
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


async def _beginning(body: AsyncIterator[bytes]) -> bytes:
    """As much of the file as tells what it is."""
    held = b""
    async for chunk in body:
        held += chunk
        if len(held) >= opening.BEGINNING:
            break
    return held


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    return await anext(body, None)


async def _read(
    platform: Platform,
    import_id: uuid.UUID,
    *,
    limit: int,
    cursor: str | None,
    preview: Sequence[UserImportPreview] = (),
) -> UserImport:
    found, problems, next_cursor = await platform.database.read(imports.find, import_id, limit=limit, cursor=cursor)
    return UserImport(
        **_counts(found),
        hashes=[_hashes(one) for one in imports.hash_kinds(found)],
        preview=list(preview),
        items=[_problem(row) for row in problems],
        next_cursor=next_cursor,
    )


def _hashes(found: HashKind) -> UserImportHashes:
    price, dearest = round(found.price, 2), round(found.dearest, 2)
    return UserImportHashes(kind=found.kind, rows=found.rows, price=price, dearest=dearest)


def _previewed(order: Order, number: int, row: ImportedUser | RowProblem) -> UserImportPreview:
    if isinstance(row, RowProblem):
        return UserImportPreview(row=number, user=None, problem=row.message)
    user = PreviewedUser(
        email=row.address.text,
        email_verified=row.email_verified,
        display_name=row.display_name,
        created_at=row.created_at,
        disabled=row.disabled,
        password=order.password_of(row),
    )
    return UserImportPreview(row=number, user=user, problem=None)


def _problem(row: ImportProblem) -> UserImportProblem:
    return UserImportProblem(row=row.row, code=row.code, message=row.message)


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
        "invited": found.invited,
        "started_by": found.started_by,
        "started_at": found.started_at,
        "updated_at": found.updated_at,
        "finished_at": found.finished_at,
    }
