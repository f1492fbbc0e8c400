"""Which users a list, a count or an export has."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, NoReturn
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Uuid, and_, column, exists, literal, or_, select, table
from sqlalchemy.orm import InstrumentedAttribute

from app.platform.problems import FieldError, InvalidRequest
from app.records import addresses
from app.records.models import TotpFactor, User

Status = Literal["active", "disabled", "erased"]
Role = Literal["user", "support", "admin"]
Sort = Literal["created_at", "last_seen_at", "email"]
KEYS: dict[Sort, InstrumentedAttribute[Any]] = {
    "created_at": User.created_at,
    "last_seen_at": User.last_seen_at,
    "email": User.email_key,
}
TRIGRAM = 3
"""Characters in an entry of the text indexes. A shorter query matches the beginning of an address."""
LAST_CHARACTER = "\U0010ffff"
MFA_ENABLED = exists().where(TotpFactor.user_id == User.id, TotpFactor.confirmed_at.is_not(None))
# SQLite's text index, see the migration 2026112403.
_TEXT = table("users_text", column("rowid"), column("users_text"))
_TEXT_ROWS = table("users_text_rows", column("number"), column("user_id", Uuid()))


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which users a list has. None leaves them all."""

    query: str | None = None
    """A part of the address or the name."""
    status: Status | None = None
    role: Role | None = None
    guest: bool | None = None
    email_verified: bool | None = None
    """Only users who have an address: verified, or not."""
    mfa_enabled: bool | None = None
    import_id: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    last_seen_after: datetime | None = None
    last_seen_before: datetime | None = None
    """Users who were never seen too."""

    def given(self) -> dict[str, Any]:
        """By name, but for `query`."""
        return {name: value for name, value in asdict(self).items() if value is not None and name != "query"}

    def check(self, sort: Sort = "created_at") -> None:
        """Raises `InvalidRequest` if no user can fit."""
        for after, before in (("created_after", "created_before"), ("last_seen_after", "last_seen_before")):
            first, last = getattr(self, after), getattr(self, before)
            if first is not None and last is not None and first >= last:
                _refuse(before, "empty_range", f"`{before}` must be later than `{after}`.")
        if self.guest or self.status == "erased":
            who = "Guests" if self.guest else "Erased users"
            if self.email_verified is not None:
                _refuse("email_verified", "contradiction", f"{who} have no address that could be verified.")
            if sort == "email":
                _refuse("sort", "contradiction", f"{who} have no address to sort by.")

    def conditions(self, *, on_sqlite: bool) -> list[ColumnElement[bool]]:
        """All of them but that of `last_seen_before`: see `users.search`."""
        found: list[ColumnElement[bool]] = []
        if self.query and (query := addresses.trimmed(self.query)):
            found.append(_matches(query, on_sqlite=on_sqlite))
        found += self._kinds()
        if self.import_id is not None:
            found.append(User.import_id == self.import_id)
        if self.created_after is not None:
            found.append(User.created_at > self.created_after)
        if self.created_before is not None:
            found.append(User.created_at < self.created_before)
        if self.last_seen_after is not None:
            found.append(User.last_seen_at > self.last_seen_after)
        return found

    def _kinds(self) -> Iterator[ColumnElement[bool]]:
        """Literals, because only with them SQLite uses a partial index."""
        if self.status is not None:
            yield User.status == literal(self.status, literal_execute=True)
            if self.status != "active":
                yield User.status != literal("active", literal_execute=True)
        if self.role is not None:
            yield User.role == literal(self.role, literal_execute=True)
            if self.role != "user":
                yield User.role != literal("user", literal_execute=True)
        if self.guest is not None:
            yield User.guest == literal(self.guest, literal_execute=True)
        if self.email_verified is not None:
            verified = User.email_verified_at.is_not(None)
            yield verified if self.email_verified else and_(~verified, User.email_key.is_not(None))
        if self.mfa_enabled is not None:
            yield MFA_ENABLED if self.mfa_enabled else ~MFA_ENABLED

    def all_conditions(self, *, on_sqlite: bool) -> list[ColumnElement[bool]]:
        found = self.conditions(on_sqlite=on_sqlite)
        if self.last_seen_before is not None:
            found.append(or_(User.last_seen_at.is_(None), User.last_seen_at < self.last_seen_before))
        return found


def _refuse(parameter: str, code: str, message: str) -> NoReturn:
    raise InvalidRequest(errors=[FieldError(f"query.{parameter}", code, message)])


def _matches(query: str, *, on_sqlite: bool) -> ColumnElement[bool]:
    """Whether address or name contain the query, in any case. `%`, `_` and `"` in it have no special meaning."""
    if len(query) < TRIGRAM:
        start = addresses.fold(query)
        if on_sqlite:  # its LIKE with an escape character uses no index
            return and_(User.email_key >= start, User.email_key < start + LAST_CHARACTER)
        return User.email_key.startswith(start, autoescape=True)
    if on_sqlite:
        return User.id.in_(_with_text(query))
    pattern = "%" + "".join(f"/{c}" if c in "/%_" else c for c in query) + "%"
    return or_(*(text.ilike(pattern, escape="/") for text in (User.email, User.display_name)))


def _with_text(query: str) -> Select[tuple[UUID]]:
    phrase = '"' + query.replace('"', '""') + '"'
    text = _TEXT.join(_TEXT_ROWS, _TEXT_ROWS.c.number == _TEXT.c.rowid)
    return select(_TEXT_ROWS.c.user_id).select_from(text).where(_TEXT.c.users_text.op("MATCH")(phrase))
