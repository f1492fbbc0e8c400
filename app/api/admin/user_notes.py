"""`/v1/admin/users/{user_id}/notes`: what staff write about a user, for each other."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field

from app.admin import notes
from app.admin.notes import Note
from app.api.admin.users import ReasonRequest, act_of
from app.api.provided import PlatformDep
from app.http.guards import Admin, OriginDep, Support
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, RequestModel, ResponseModel, Timestamp
from app.platform.printable import is_printable

router = APIRouter(prefix="/v1/admin/users/{user_id}/notes", tags=["admin"], route_class=JsonRoute)


def _lines(text: str) -> str:
    if not all(is_printable(line) for line in text.split("\n")):
        raise ValueError("control characters other than line breaks are not allowed")
    return text


NoteText = Annotated[str, AfterValidator(_lines), Field(min_length=1, max_length=1000, pattern=r"\S")]


class AddNoteRequest(RequestModel):
    text: NoteText


class UserNote(ResponseModel):
    note_id: UUID
    text: str
    author_id: UUID
    """The id of the member of staff who wrote it."""
    author_email: str | None
    """The author's address. Null if their account was erased."""
    created_at: Timestamp


class UserNotePage(ResponseModel):
    items: list[UserNote]
    next_cursor: str | None


@router.get("")
async def list_user_notes(
    user_id: UUID, platform: PlatformDep, _actor: Support, limit: Limit = 50, cursor: Cursor = None
) -> UserNotePage:
    """The notes about the user, newest first."""
    found, next_cursor = await platform.database.read(notes.list_about, user_id, limit=limit, cursor=cursor)
    return UserNotePage(items=[_note(note) for note in found], next_cursor=next_cursor)


@router.post("", status_code=201)
async def add_user_note(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Support, body: AddNoteRequest
) -> UserNote:
    """Adds a note about the user, who can read its text in the export of their account. It is erased with the user."""
    act = act_of(platform, origin, actor, None)
    return _note(await platform.database.write(notes.add, act, user_id, text=body.text))


@router.post("/{note_id}/remove", status_code=204, response_class=Response)
async def remove_user_note(
    user_id: UUID, note_id: UUID, platform: PlatformDep, origin: OriginDep, *, actor: Admin, body: ReasonRequest
) -> None:
    """Removes a note for good."""
    await platform.database.write(notes.remove, act_of(platform, origin, actor, body.reason), user_id, note_id)


def _note(note: Note) -> UserNote:
    row = note.row
    return UserNote(
        note_id=note.id,
        text=row.text,
        author_id=row.author_id,
        author_email=note.author_email,
        created_at=row.created_at,
    )
