"""Imports users in batches. Each batch is one transaction with its users, their audit rows and the progress.

So however an import ends, each row is done once or not at all, and the same file with the same id continues after the
last batch. An existing account is left as it is. Other users get a new account, with a new id and a new prefix.
"""

import contextlib
import hashlib
import secrets
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import BoundedSemaphore
from typing import Any, Literal, TypeVar

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app.admin import acts, formats
from app.admin.formats import SourceName
from app.admin.formats.rows import ImportedUser, RowProblem
from app.admin.repeats import FirstRows
from app.admin.users import require_admin
from app.crypto import hash_costs
from app.crypto.hash_costs import HashKind, Measure
from app.crypto.password_hashes import UnusableHash, marked
from app.crypto.prehashes import Prehash
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.clock import Clock
from app.platform.cursors import invalid_cursor
from app.platform.db import insert_if_absent
from app.platform.problems import (
    ContentTooLarge,
    ImportConflict,
    InvalidRequest,
    NotFound,
    UnreadableImport,
)
from app.records import audit, listing, new_users, single_use
from app.records.actor import Actor
from app.records.audit import Event, Origin
from app.records.models import COGNITO, OLD_SYSTEM, IssuedCredential, User, UserImport, UserImportProblem
from app.records.new_users import NewUser

T = TypeVar("T")
Status = Literal["running", "completed", "interrupted", "failed"]
Password = Literal["kept", "old_system", "invited", "none"]
Transact = Callable[..., T]
"""Runs a function as one transaction, and returns its result once that is committed."""

BATCH = 1_000
PATIENCE = 5.0
"""Seconds after which the next row ends a batch that is not full, so that a slow upload does not look dead."""
DEAD_AFTER = timedelta(minutes=1)
"""An import without a batch for this long counts as dead, and may be resumed."""
MOST_PROBLEMS = 10_000
"""Problems of one import that are kept. All are counted."""

ROLE_NOT_TAKEN = RowProblem(
    "role_not_taken", "The row was imported with the role `user`. Administrators give other roles."
)
NO_PASSWORD = RowProblem(
    "no_password", "The row was imported without a password: it has no hash. The user needs another way in, or a reset."
)
INVITED = RowProblem(
    "invited", "The row was imported without a password: its hash is not supported. A mail lets the user choose one."
)
SECOND_FACTOR = RowProblem(
    "second_factor_not_taken", "The user had a second factor there. It does not move: the user sets up a new one here."
)
LESSER = (ROLE_NOT_TAKEN, NO_PASSWORD, INVITED, SECOND_FACTOR)
"""What rows are told that were imported."""
DUPLICATE = RowProblem(
    "duplicate_address", "An earlier row of the file has the same address, and became the account. This row did not."
)
UNKNOWN_ID = RowProblem("invalid_id", "The id is not a random UUID (version 4) in canonical lower case.")
ID_TAKEN = RowProblem(
    "id_taken", "The id belongs, or belonged, to another user here. Its prefix may hold that user's objects."
)


PREVIEWED = 5
"""Rows that a preview has."""
CONCURRENT = 2
"""Imports over HTTP at once, in one process."""


class ImportRoom:
    """Threads for imports over HTTP, and a place for each. An import that finds no place is refused, not queued."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="import")
        self.places = BoundedSemaphore(CONCURRENT)

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Order:
    """What to import, and for whom. `actor` is None on the command line. Only the command line may keep ids."""

    import_id: uuid.UUID
    source: SourceName
    media_type: str | None
    """None where the beginning of the file is to tell."""
    dry_run: bool
    origin: Origin
    actor: Actor | None = None
    keep_ids: bool = False
    most_unpacked: int = 2**30
    """Bytes to which a packed file may unpack."""
    has_old_system: bool = False
    """Whether users without a hash may bring the password that they have in the old system."""
    inviting: Vault | None = None
    """Given where users whose hash is not supported are invited. It seals the links in their mails."""
    measured: Measure | None = None
    """Given where a dry run is to say what sign-ins will cost."""
    prehash: Prehash | None = None
    """What the file's system hashed in a password's place. Only the command line can say."""

    @property
    def marks(self) -> bytes:
        """What makes another import of the same file."""
        return (
            b"ids kept" * self.keep_ids + b"inviting" * (self.inviting is not None) + str(self.prehash or "").encode()
        )

    def taken(self, row: ImportedUser | RowProblem) -> ImportedUser | RowProblem:
        """The row, whose hash has the mark that a sign-in needs, or the user whom it invites."""
        if isinstance(row, ImportedUser) and row.password_hash is not None:
            row = self._marked(row, row.password_hash)
        if isinstance(row, RowProblem) and row.instead is not None and self.inviting is not None:
            return row.instead
        return row

    def _marked(self, row: ImportedUser, password_hash: str) -> ImportedUser | RowProblem:
        try:
            stored = marked(password_hash, self.prehash, is_own_export=self.keep_ids)
            return row if stored == password_hash else row._replace(password_hash=stored)
        except UnusableHash as unusable:
            invited = row._replace(password_hash=None, lost_hash=True)
            return RowProblem("unsupported_hash", str(unusable), invited)

    def password_of(self, row: ImportedUser) -> Password:
        """Where the user of a row gets the password from."""
        if row.password_hash is not None:
            return "kept"
        if self.invites(row):
            return "invited"
        return "none" if self.password_from(row) is None else "old_system"

    def invites(self, row: ImportedUser) -> bool:
        """Nobody is invited to an account that is disabled."""
        return row.lost_hash and not row.disabled

    def password_from(self, row: ImportedUser) -> str | None:
        """Where the password of a row is still to come from."""
        if row.password_hash is not None:
            return None
        if self.source == "cognito":  # some of its users came by another provider, and have no password there
            return COGNITO if row.awaits_password else None
        return OLD_SYSTEM if self.has_old_system and not self.keep_ids else None  # ours had other ways in here


Row = tuple[int, ImportedUser | RowProblem]


@dataclass(frozen=True)
class _Batch:
    rows: Sequence[Row]
    last: int
    """The number of its last row."""
    digest: str
    """Of all rows of the file up to there."""


def carry_out(
    order: Order,
    chunks: Iterable[bytes],
    clock: Clock,
    transact: "Transact[Any]",
    preview: list[Row] | None = None,
) -> UserImport:
    """Runs the import and returns it when it is finished. It blocks, so it needs a thread of its own.

    `preview` gets the first rows as they are imported.
    Raises `ImportConflict`, `UnreadableImport`, `InvalidRequest`, `Forbidden`, `InvalidToken`, `DatabaseUnavailable`
    and what reading `chunks` raises. Batches committed before that stay, and the next try skips them.
    """
    lease = uuid.uuid4()
    begun: UserImport = transact(_claim, clock.now(), order, lease)
    try:
        with (
            contextlib.closing(FirstRows()) as first_rows,
            ThreadPoolExecutor(1, thread_name_prefix="import-storing") as storing,
        ):
            stored: Future[None] | None = None
            for batch in _batches(order, chunks, clock, begun):
                if preview is not None:
                    preview += batch.rows[: PREVIEWED - len(preview)]
                if stored is not None:
                    stored.result()  # the next batch has been read meanwhile
                stored = storing.submit(transact, _store, clock.now(), order, lease, batch, first_rows=first_rows)
            if stored is not None:
                stored.result()
    except BaseException as error:
        status = "failed" if isinstance(error, UnreadableImport | InvalidRequest | ContentTooLarge) else "interrupted"
        with contextlib.suppress(Exception):  # without the database, the import is found dead later
            transact(_end, clock.now(), order, lease, status)
        raise
    ended: UserImport = transact(_end, clock.now(), order, lease, "completed")
    return ended


def list_all(session: Session, *, limit: int, cursor: str | None) -> tuple[Sequence[UserImport], str | None]:
    """One page of all imports, newest first. Raises `InvalidRequest`."""
    return listing.page(session, select(UserImport), UserImport.started_at, UserImport.id, limit=limit, cursor=cursor)


def find(
    session: Session, import_id: uuid.UUID, *, limit: int, cursor: str | None
) -> tuple[UserImport, Sequence[UserImportProblem], str | None]:
    """An import, one page of the problems of its rows, in the order of the rows, and the next cursor.

    Raises `NotFound`, `InvalidRequest`.
    """
    found = session.get(UserImport, import_id)
    if found is None:
        raise NotFound
    after = 0
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
            raise invalid_cursor()
        after = int(cursor)
    rows = select(UserImportProblem).where(UserImportProblem.import_id == import_id, UserImportProblem.row > after)
    page = session.scalars(rows.order_by(UserImportProblem.row).limit(limit + 1)).all()
    return found, page[:limit], str(page[limit - 1].row) if len(page) > limit else None


def _claim(session: Session, now: datetime, order: Order, lease: uuid.UUID) -> UserImport:
    """The import, new or resumed, for this lease alone. If two claim it at once, one gets it."""
    if order.actor is not None:
        require_admin(session, now, order.actor)
    first = {
        "id": order.import_id,
        "source": order.source,
        "dry_run": order.dry_run,
        "status": "interrupted",
        "lease": lease,
        "rows": 0,
        "created": 0,
        "existing": 0,
        "refused": 0,
        "invited": 0,
        "digest": hashlib.sha256().hexdigest(),
        "started_by": order.actor.user_id if order.actor else None,
        "started_at": now,
        "updated_at": now,
    }
    insert_if_absent(session, UserImport, first)
    found = session.get_one(UserImport, order.import_id, with_for_update=True)
    alive = found.status == "running" and now - found.updated_at < DEAD_AFTER
    if alive or (found.source, found.dry_run) != (order.source, order.dry_run):
        raise ImportConflict
    found.status, found.lease, found.updated_at, found.finished_at = "running", lease, now, None
    _record(session, now, order, "users.import_started")
    return found


def _batches(order: Order, chunks: Iterable[bytes], clock: Clock, begun: UserImport) -> Iterable[_Batch]:
    """The batches of rows that are not done yet."""
    source = formats.SOURCES[order.source]
    digest, done = hashlib.sha256(order.marks), begun.rows
    rows: list[Row] = []
    number, stored_at = 0, clock.monotonic()
    records = formats.records_of(order.source, order.media_type, chunks, order.most_unpacked)
    for number, record in enumerate(records, 1):
        digest.update(repr(record).encode("utf-8", "surrogatepass"))
        if number <= done:
            if number == done and digest.hexdigest() != begun.digest:
                raise ImportConflict
            continue
        rows.append((number, _settled(order.taken(formats.user_of(source, record)), clock.now())))
        if len(rows) >= BATCH or clock.monotonic() - stored_at > PATIENCE:
            yield _Batch(rows, number, digest.hexdigest())
            rows, stored_at = [], clock.monotonic()
    if number < done:
        raise ImportConflict
    if rows:
        yield _Batch(rows, number, digest.hexdigest())


def _settled(row: ImportedUser | RowProblem, now: datetime) -> ImportedUser | RowProblem:
    """The row, disabled if a ban is not over."""
    if isinstance(row, RowProblem) or row.banned_until is None:
        return row
    return row._replace(disabled=row.disabled or row.banned_until > now, banned_until=None)


def _store(
    session: Session, now: datetime, order: Order, lease: uuid.UUID, batch: _Batch, *, first_rows: FirstRows
) -> None:
    under_way = _held(session, order, lease)
    if order.actor is not None:
        require_admin(session, now, order.actor)
    users = [(number, row) for number, row in batch.rows if isinstance(row, ImportedUser)]
    wrong = [(number, row) for number, row in batch.rows if isinstance(row, RowProblem)]
    if order.keep_ids:
        taken = _with_foreign_ids(session, users)
        wrong += taken.items()
        users = [(number, row) for number, row in users if number not in taken]
    earlier = first_rows.before([(number, row.address.key) for number, row in users])
    added = {} if order.dry_run else _add(session, now, order, users)
    created: Collection[int] = _would_be_new(session, users, earlier) if order.dry_run else added
    new = [(number, row) for number, row in users if number in created]
    invited = [(number, row) for number, row in new if order.invites(row)]
    if order.inviting is not None and not order.dry_run:
        _invite(session, order.inviting, now, {added[number]: row for number, row in invited})
    under_way.rows, under_way.digest, under_way.updated_at = batch.last, batch.digest, now
    under_way.created += len(created)
    under_way.existing += len(users) - len(created)
    under_way.refused += len(wrong)
    under_way.invited += len(invited)
    if order.dry_run and order.measured is not None:
        found = (row.password_hash for _, row in new if row.password_hash is not None)
        under_way.hashes = _kept(hash_costs.add_up(found, order.measured, hash_kinds(under_way)))
    lesser = [(number, problem) for number, row in new if (problem := _taken_in_part(order, row))]
    again = [(number, row) for number, row in users if number not in created]
    told = [*wrong, *lesser, *_duplicates(session, order, again, earlier)]
    if told:
        _tell(session, order, sorted(told, key=lambda one: one[0]))


def hash_kinds(found: UserImport) -> list[HashKind]:
    """The hashes that a dry run found, the kind with the most work first."""
    kinds = [HashKind(kind, *counted) for kind, counted in found.hashes.items()]
    return sorted(kinds, key=lambda one: -one.work)


def _kept(kinds: Iterable[HashKind]) -> dict[str, Any]:
    return {one.kind: [one.rows, one.work, one.dearest] for one in kinds}


def _invite(session: Session, vault: Vault, now: datetime, users: Mapping[uuid.UUID, ImportedUser]) -> None:
    """Mails each a link to choose a password. The outbox bounds how many mails one recipient gets."""
    for user_id, row in users.items():
        token = single_use.issue(session, vault, now, "password_reset", ttl=acts.INVITATION_TTL, user_id=user_id)
        outbox.put(session, vault, now, "invitation", about=user_id, recipient=row.address.text, token=token)


def _taken_in_part(order: Order, row: ImportedUser) -> RowProblem | None:
    """What an imported row had and its account has not."""
    if order.invites(row):
        return INVITED
    if row.role != "user":
        return ROLE_NOT_TAKEN
    if row.password_hash is None and order.password_from(row) is None:
        return NO_PASSWORD
    return SECOND_FACTOR if row.second_factor else None


def _duplicates(
    session: Session, order: Order, users: Sequence[tuple[int, ImportedUser]], earlier: Mapping[int, int]
) -> Iterable[tuple[int, RowProblem]]:
    """Those of the rows that were not added whose account is of an earlier row, and not one that was here before."""
    if not users:
        return []
    # By the address alone: with the import's id in the condition, PostgreSQL may read all that the import has added.
    accounts = select(User.email_key, User.import_id).where(User.email_key.in_({row.address.key for _, row in users}))
    by = {key: import_id for key, import_id in session.execute(accounts)}  # noqa: C416 - a result is no mapping
    if order.dry_run:  # nobody was added, so those here were here before
        again = [number for number, row in users if row.address.key not in by]
    else:
        again = [number for number, row in users if by.get(row.address.key) == order.import_id]
    return [(number, _duplicate(earlier.get(number))) for number in again]


def _duplicate(first: int | None) -> RowProblem:
    """`first`: the row that became the account; None if it was stored before an interruption."""
    if first is None:
        return DUPLICATE
    return RowProblem(DUPLICATE.code, DUPLICATE.message.replace("An earlier row", f"Row {first}", 1))


def _tell(session: Session, order: Order, told: Sequence[tuple[int, RowProblem]]) -> None:
    """Keeps the problems of rows, up to `MOST_PROBLEMS`. Rows that were imported leave half of it to the others."""
    kept = session.scalar(select(func.count()).where(UserImportProblem.import_id == order.import_id)) or 0
    rows: list[dict[str, object]] = []
    for number, problem in told:
        most = MOST_PROBLEMS // 2 if problem in LESSER else MOST_PROBLEMS
        if kept + len(rows) < most:
            rows.append({"import_id": order.import_id, "row": number, "code": problem.code, "message": problem.message})
    if rows:
        session.execute(insert(UserImportProblem), rows)


def _add(
    session: Session, now: datetime, order: Order, users: Sequence[tuple[int, ImportedUser]]
) -> dict[int, uuid.UUID]:
    """The ids of the rows that were added, by number.

    A row whose address has an account, or was in an earlier row, adds nothing.
    """
    numbers: dict[uuid.UUID, int] = {}
    new = []
    random = secrets.token_bytes(16 * len(users))
    for at, (number, row) in enumerate(users):
        user = _new_user(now, order, row, random[16 * at : 16 * at + 16])
        numbers[user.id] = number
        new.append(user)
    return {numbers[user_id]: user_id for user_id in new_users.add(session, order.import_id, new)}


def _new_user(now: datetime, order: Order, row: ImportedUser, random: bytes) -> NewUser:
    """`random`: 16 bytes for a new id."""
    return NewUser(
        id=uuid.UUID(row.former_id) if order.keep_ids and row.former_id else uuid.UUID(bytes=random, version=4),
        email=row.address.text,
        email_key=row.address.key,
        email_verified_at=now if row.email_verified else None,
        display_name=row.display_name,
        password_hash=row.password_hash,
        password_from=order.password_from(row),
        status="disabled" if row.disabled else "active",
        created_at=min(row.created_at or now, now),
    )


def _would_be_new(session: Session, users: Sequence[tuple[int, ImportedUser]], earlier: Mapping[int, int]) -> set[int]:
    first = {row.address.key: number for number, row in users if number not in earlier}
    known = set(session.scalars(select(User.email_key).where(User.email_key.in_(first))))
    return {number for key, number in first.items() if key not in known}


def _with_foreign_ids(session: Session, users: Sequence[tuple[int, ImportedUser]]) -> dict[int, RowProblem]:
    """The rows that must not get their id, because an id stands for a prefix and the objects in it."""
    wrong: dict[int, RowProblem] = {}
    ids: dict[uuid.UUID, int] = {}
    for number, row in users:
        user_id = _random_id(row.former_id)
        if user_id is None:
            wrong[number] = UNKNOWN_ID
        elif user_id in ids:
            wrong[number] = ID_TAKEN
        else:
            ids[user_id] = number
    keys = {number: row.address.key for number, row in users}
    known = dict(session.execute(select(User.id, User.email_key).where(User.id.in_(ids))).tuples().all())
    vended = set(session.scalars(select(IssuedCredential.user_id).where(IssuedCredential.user_id.in_(ids)).distinct()))
    for user_id, number in ids.items():
        same_user = known.get(user_id) == keys[number]  # the user was imported before, so the row changes nothing
        if (user_id in known or user_id in vended) and not same_user:
            wrong[number] = ID_TAKEN
    return wrong


def _random_id(text: str | None) -> uuid.UUID | None:
    try:
        user_id = uuid.UUID(text or "")
    except ValueError:
        return None
    return user_id if str(user_id) == text and user_id.version == 4 else None


def _end(session: Session, now: datetime, order: Order, lease: uuid.UUID, status: str) -> UserImport:
    ended = _held(session, order, lease)
    ended.status, ended.updated_at = status, now
    ended.finished_at = now if status == "completed" else None
    counts = {name: getattr(ended, name) for name in ("rows", "created", "existing", "refused", "invited")}
    _record(session, now, order, "users.imported", detail=counts | {"status": status})
    return ended


def _record(
    session: Session, now: datetime, order: Order, event: Event, detail: Mapping[str, Any] | None = None
) -> None:
    """One row for the whole import. Each user's row has the id of the import, and so leads here."""
    audit.record(
        session,
        order.origin,
        event,
        now,
        actor_id=order.actor.user_id if order.actor else None,
        session_id=order.actor.session_id if order.actor else None,
        import_id=str(order.import_id),
        source=order.source,
        dry_run=str(order.dry_run).lower(),
        **(detail or {}),
    )


def _held(session: Session, order: Order, lease: uuid.UUID) -> UserImport:
    """The import, locked. Raises `ImportConflict` if somebody else has resumed it."""
    held = session.get_one(UserImport, order.import_id, with_for_update=True)
    if held.lease != lease:
        raise ImportConflict
    return held
