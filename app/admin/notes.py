"""Notes that staff write about a user, for each other.

The audit records who wrote or removed a note and when, never its text: the audit cannot be erased with the user. The
user finds the text in the export of their account, because it is about them (GDPR, article 15).
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.admin import users
from app.admin.acts import STAFF, Act, lock, record
from app.platform.problems import FieldError, InvalidRequest, NotFound
from app.records import listing
from app.records.models import User, UserNote

MOST = 100
"""Notes about one user."""


@dataclass(frozen=True)
class Note:
    id: uuid.UUID
    row: UserNote
    author_email: str | None
    """None if the author's account was erased."""


def list_about(
    session: Session, user_id: uuid.UUID, *, limit: int, cursor: str | None
) -> tuple[Sequence[Note], str | None]:
    """One page of the notes about a user, newest first. Raises `NotFound`, `InvalidRequest`."""
    users.require(session, user_id)
    rows = select(UserNote, User.email).outerjoin(User, User.id == UserNote.author_id)
    rows = rows.where(UserNote.user_id == user_id)
    page, next_cursor = listing.page_of_rows(
        session, rows, UserNote.created_at, UserNote.id, limit=limit, cursor=cursor
    )
    return [Note(row.id, row, email) for row, email in page], next_cursor


def add(session: Session, act: Act, user_id: uuid.UUID, *, text: str) -> Note:
    """Raises `NotFound`, `Forbidden`, and `InvalidRequest` if there are `MOST` already."""
    lock(session, act, "user.note_added", user_id, by=STAFF)
    if (session.scalar(select(func.count()).where(UserNote.user_id == user_id)) or 0) >= MOST:
        raise InvalidRequest(errors=[FieldError("path.user_id", "too_many_notes", "Remove a note first.")])
    row = UserNote(id=uuid.uuid4(), user_id=user_id, author_id=act.actor.user_id, text=text, created_at=act.now)
    session.add(row)
    session.flush()
    record(session, act, "user.note_added", user_id, note=str(row.id))
    return Note(row.id, row, session.scalar(select(User.email).where(User.id == act.actor.user_id)))


def remove(session: Session, act: Act, user_id: uuid.UUID, note_id: uuid.UUID) -> None:
    """Raises `NotFound`, `Forbidden`."""
    lock(session, act, "user.note_removed", user_id)
    row = session.scalar(select(UserNote).where(UserNote.id == note_id, UserNote.user_id == user_id))
    if row is None:
        raise NotFound
    session.delete(row)
    record(session, act, "user.note_removed", user_id, note=str(note_id))
