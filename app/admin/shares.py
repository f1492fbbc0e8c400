"""The grants of a user as staff see them: those that ended too, and what the other side is not told."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.admin import users
from app.records import listing
from app.records.models import Grant, User
from app.sharing.giving import ShareAccess


@dataclass(frozen=True)
class SharedFolder:
    grant_id: uuid.UUID
    owner_id: uuid.UUID
    grantee_id: uuid.UUID | None
    other_email: str | None
    """The address of the other side."""
    path: str
    access: ShareAccess
    quota_bytes: int | None
    created_at: datetime
    expires_at: datetime | None
    accepted_at: datetime | None
    withdrawn_at: datetime | None
    left_at: datetime | None


def list_given(
    session: Session, user_id: uuid.UUID, *, limit: int, cursor: str | None
) -> tuple[Sequence[SharedFolder], str | None]:
    """One page of what the user shares or has shared, newest first. Raises `NotFound`, `InvalidRequest`."""
    return _list(session, user_id, Grant.owner_id == user_id, limit=limit, cursor=cursor)


def list_received(
    session: Session, user_id: uuid.UUID, *, limit: int, cursor: str | None
) -> tuple[Sequence[SharedFolder], str | None]:
    """One page of what others share or have shared with the user. Raises `NotFound`, `InvalidRequest`."""
    return _list(session, user_id, Grant.grantee_id == user_id, limit=limit, cursor=cursor)


def _list(
    session: Session, user_id: uuid.UUID, which: ColumnElement[bool], *, limit: int, cursor: str | None
) -> tuple[Sequence[SharedFolder], str | None]:
    users.require(session, user_id)
    rows: Any = select(Grant, User.email).join(User, User.id == Grant.owner_id).where(which)
    page, next_cursor = listing.page_of_rows(session, rows, Grant.created_at, Grant.id, limit=limit, cursor=cursor)
    return [_folder(grant, owner_email, gives=grant.owner_id == user_id) for grant, owner_email in page], next_cursor


def _folder(grant: Grant, owner_email: str | None, *, gives: bool) -> SharedFolder:
    return SharedFolder(
        grant_id=grant.id,
        owner_id=grant.owner_id,
        grantee_id=grant.grantee_id,
        other_email=(grant.grantee_email or None) if gives else owner_email,
        path=grant.path,
        access=cast(ShareAccess, grant.access),
        quota_bytes=grant.quota_bytes,
        created_at=grant.created_at,
        expires_at=grant.expires_at,
        accepted_at=grant.accepted_at,
        withdrawn_at=grant.withdrawn_at,
        left_at=grant.left_at,
    )
