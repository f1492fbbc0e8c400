"""Which secret key all replicas write with, and how another one takes its place while they run.

A replica that knows a new key beside the previous one goes on writing with the previous one: others do not know the new
one yet. `tokenvend keys reencrypt` switches all of them by one row, which every replica reads again and again. Then it
encrypts every encrypted column anew. All of it can be killed anywhere and run again: each value is accepted under both
keys until the previous one is taken away.
"""

import asyncio
import contextlib
import socket
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Column, Table, bindparam, delete, func, literal, select, tuple_, update
from sqlalchemy.orm import Session

from app.crypto import kinds
from app.crypto.kinds import Keyed
from app.crypto.vault import DecryptionFailed, Vault, digest_by
from app.platform.clock import Clock
from app.platform.db import Database, insert_if_absent, upsert
from app.platform.logs import log
from app.platform.metrics import Metrics
from app.platform.problems import DatabaseUnavailable
from app.records import audit
from app.records.models import Digested, Encrypted, KeptKey, Model, SecretKey, SecretKeyHolder, SigningKey

LOOK_EVERY = 10.0
"""Seconds between a replica's looks at the row. A switch is complete after so long."""
SEEN_EVERY = timedelta(minutes=1)
GONE_AFTER = timedelta(minutes=3)
"""A replica that was not seen for so long is taken for dead."""
BATCH = 200
"""Rows that are encrypted anew in one transaction."""

State = Literal["settled", "waiting", "unfinished", "lacking", "unknown"]
"""`waiting`: replicas write with a previous key. `unfinished`: the switch was made, and data are left under a previous
key. `lacking`: that key was not given to this process. `unknown`: nor was the one that replicas write with."""

STATES: dict[State, str] = {
    "settled": "replicas write with TOKENVEND_SECRET_KEY, and nothing encrypted is left under another",
    "waiting": "replicas still write with a previous key",
    "unfinished": "data are left under a previous key",
    "lacking": "data are left under a previous key that is not in TOKENVEND_SECRET_KEY_PREVIOUS",
    "unknown": "replicas write with a key that is neither TOKENVEND_SECRET_KEY nor in TOKENVEND_SECRET_KEY_PREVIOUS",
}
MENDS: dict[State, str] = {
    "waiting": "when each replica has TOKENVEND_SECRET_KEY, run `tokenvend keys reencrypt`",
    "unfinished": "keep TOKENVEND_SECRET_KEY_PREVIOUS, and run `tokenvend keys reencrypt` again",
    "lacking": "set that key again, exactly as it was, and run `tokenvend keys reencrypt`",
    "unknown": "set both as the other replicas have them, each exactly as it was",
}


def current(session: Session) -> SecretKey | None:
    """The key that all replicas write with. None before the first one has started."""
    return session.scalars(select(SecretKey).order_by(SecretKey.sequence.desc()).limit(1)).first()


def follow(session: Session, vault: Vault) -> State | None:
    """Has the vault write as all replicas do. None if no replica has started yet."""
    needed = []
    for row in session.scalars(select(SecretKey).order_by(SecretKey.sequence.desc())):
        needed.append(row.fingerprint)
        if row.moved_at is not None:  # nothing is left under earlier ones
            break
    if not needed:
        return None
    if needed[0] not in vault.fingerprints:
        return "unknown"
    vault.write_with(needed[0])
    if not set(needed) <= set(vault.fingerprints):
        return "lacking"
    if needed[0] != vault.fingerprints[0]:
        return "waiting"
    return "settled" if len(needed) == 1 else "unfinished"


def begin(session: Session, vault: Vault, now: datetime) -> State:
    """Like `follow`. The first replica ever notes the key that the signing keys were made with, or its own."""
    if (state := follow(session, vault)) is not None:
        return state
    newest = session.scalars(select(SigningKey).order_by(SigningKey.created_at.desc()).limit(1)).first()
    try:
        fingerprint = vault.fingerprints[0] if newest is None else _opener(vault, newest)
    except DecryptionFailed:
        return "unknown"
    first = {"fingerprint": fingerprint, "sequence": 1, "writes_from": now, "moved_at": now}
    insert_if_absent(session, SecretKey, first)
    return follow(session, vault) or "unknown"


def _opener(vault: Vault, row: SigningKey) -> str:
    return vault.opener(kinds.SIGNING_KEY, row.private_key_encrypted, bound_to=row.kid)


class Watch:
    """Keeps this process's vault as all replicas write, and tells `keys reencrypt` which keys this process knows."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, metrics: Metrics) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        self._id = uuid.uuid4()
        self._told: tuple[datetime, str] | None = None
        self._state: State | None = None

    async def load(self) -> None:
        """Raises `DatabaseUnavailable`."""
        now = self._clock.now()
        state = await self._look(now)
        if self._told is None or now >= self._told[0] + SEEN_EVERY or self._told[1] != self._vault.writes_with:
            await self._database.write(self._tell, now, self._vault.writes_with)
        self._metrics.secret_key_pending.set(state != "settled")
        is_news, self._state = state != self._state, state
        if is_news and state != "settled":
            tell = log.error if state in ("unknown", "lacking") else log.warning
            tell(f"secret_key_{state}", cause=STATES[state], mend=MENDS[state])

    async def _look(self, now: datetime) -> State:
        state = await self._database.read(follow, self._vault)
        if state is None:
            return await self._database.write(begin, self._vault, now)
        return state

    async def try_load(self) -> None:
        """Like `load`. A fault is told by those who look for signing keys at the same time."""
        try:
            await self.load()
        except DatabaseUnavailable as problem:
            log.debug("secret_key_not_looked_up", cause=problem.cause)

    async def keep_loaded(self) -> None:
        """Runs as long as the service."""
        while True:
            await asyncio.sleep(LOOK_EVERY if self._state is not None else 1.0)
            await self.try_load()

    async def leave(self) -> None:
        """This process ends. Raises `DatabaseUnavailable`."""
        if self._told is not None:
            await self._database.write(_forget, self._id)

    def _tell(self, session: Session, now: datetime, writes_with: str) -> None:
        seen = {
            "host": socket.gethostname()[:255],
            "fingerprints": list(self._vault.fingerprints),
            "writes_with": writes_with,
            "seen_at": now,
        }
        upsert(session, SecretKeyHolder, {"id": self._id, **seen}, lambda _: seen)
        session.execute(delete(SecretKeyHolder).where(SecretKeyHolder.seen_at < now - timedelta(hours=1)))
        self._told = now, writes_with


def _forget(session: Session, holder_id: uuid.UUID) -> None:
    session.execute(delete(SecretKeyHolder).where(SecretKeyHolder.id == holder_id))


def list_holders(session: Session, now: datetime) -> Sequence[SecretKeyHolder]:
    """The processes that run now."""
    alive = select(SecretKeyHolder).where(SecretKeyHolder.seen_at > now - GONE_AFTER)
    return session.scalars(alive.order_by(SecretKeyHolder.host, SecretKeyHolder.id)).all()


def digests(session: Session, vault: Vault, kind: Keyed, *parts: bytes) -> list[bytes]:
    """The digests of what never expires: by all keys of the vault, and by those that were kept of earlier ones."""
    found = [*vault.digests(kind, *parts)]
    for row in session.scalars(select(KeptKey).where(KeptKey.purpose == kind.purpose)):
        with contextlib.suppress(DecryptionFailed):
            key = vault.decrypt(kinds.KEPT_KEY, row.key_encrypted, bound_to=row.fingerprint)
            found.append(digest_by(key, *parts))
    return found


def switch(session: Session, vault: Vault, now: datetime) -> None:
    """From now on all replicas write with the first key of the vault. Keeps the keys of digests that never expire."""
    new, *previous = vault.fingerprints
    row = current(session)
    vault.write_with(new)
    if row is None or row.fingerprint == new:
        return
    values = {"sequence": row.sequence + 1, "writes_from": now, "moved_at": None}
    upsert(session, SecretKey, {"fingerprint": new, **values}, lambda _: values)
    for kind in kinds.KINDS:
        if isinstance(kind, Keyed) and kind.fate == "kept":
            for fingerprint in previous:
                key = vault.encrypt(kinds.KEPT_KEY, vault.own_key(kind, fingerprint), bound_to=fingerprint)
                kept = {"purpose": kind.purpose, "fingerprint": fingerprint, "key_encrypted": key, "created_at": now}
                insert_if_absent(session, KeptKey, kept)
    audit.record(session, audit.COMMAND_LINE, "secret_key.switched", now, fingerprint=new)


@dataclass(frozen=True)
class SealedColumn:
    """A column that holds what a vault has encrypted."""

    table: Table
    column: Column[Any]
    sealed_as: Encrypted

    @property
    def key(self) -> tuple[Column[Any], ...]:
        return tuple(self.table.primary_key.columns)


def sealed_columns() -> list[SealedColumn]:
    """All of them, as the models say."""
    return [
        SealedColumn(table, column, column.type)
        for table in Model.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Encrypted)
    ]


@dataclass(frozen=True)
class Moved:
    """What became of a batch of rows."""

    rows: int
    moved: int
    unreadable: int
    """Rows that none of the keys opens. They stay as they are."""
    last: tuple[Any, ...]
    """The key of the last row."""


def count(session: Session, of: SealedColumn) -> int:
    return session.scalar(select(func.count()).select_from(of.table).where(of.column.is_not(None))) or 0


def move(session: Session, vault: Vault, of: SealedColumn, after: tuple[Any, ...] | None) -> Moved | None:
    """Encrypts the next rows with the key that is written with, unless they are. None if there are no more rows.

    A row that somebody else changes meanwhile is left to them: the statement names the ciphertext that it replaces.
    """
    bound = of.table.columns[of.sealed_as.bound_to]
    rows = select(*of.key, bound.label("bound"), of.column.label("sealed")).where(of.column.is_not(None))
    if after is not None:
        position = (literal(value, column.type) for value, column in zip(after, of.key, strict=True))
        rows = rows.where(tuple_(*of.key) > tuple_(*position))
    found = session.execute(rows.order_by(*of.key).limit(BATCH)).all()
    if not found:
        return None
    changes, unreadable = [], 0
    for *key, bound_to, sealed in found:
        try:
            changed = vault.renewed(of.sealed_as.kind, sealed, bound_to=str(bound_to))
        except DecryptionFailed:
            unreadable += 1
            continue
        if changed is not None:
            changes.append({"new": changed, "old": sealed, **{f"key{at}": value for at, value in enumerate(key)}})
    if changes:
        which = [column == bindparam(f"key{at}", type_=column.type) for at, column in enumerate(of.key)]
        replaced = update(of.table).where(*which, of.column == bindparam("old", type_=of.column.type))
        session.connection().execute(replaced.values({of.column: bindparam("new", type_=of.column.type)}), changes)
    return Moved(len(found), len(changes), unreadable, tuple(found[-1][: len(of.key)]))


def finish(session: Session, vault: Vault, now: datetime, *, moved: int, unreadable: int) -> None:
    """Notes that nothing that is encrypted is left under a previous key. Drops kept keys that find nothing any more."""
    session.execute(
        update(SecretKey)
        .where(SecretKey.fingerprint == vault.writes_with, SecretKey.moved_at.is_(None))
        .values(moved_at=now)
    )
    for kept in session.scalars(select(KeptKey)).all():
        until = kept.created_at + timedelta(hours=1)
        made = [
            select(column).where(column.table.columns[digested.since] < until).exists()
            for column, digested in _digested_columns()
            if digested.kind.purpose == kept.purpose and digested.since is not None
        ]
        if not any(session.scalar(select(exists)) for exists in made):
            session.delete(kept)
    audit.record(
        session,
        audit.COMMAND_LINE,
        "secret_key.moved",
        now,
        fingerprint=vault.writes_with,
        moved=moved,
        unreadable=unreadable,
    )


@dataclass(frozen=True)
class Left:
    """Digests that were made with a previous key, and when the last of them expires."""

    what: str
    rows: int | None
    """None if they are not counted."""
    until: datetime


def list_left(session: Session, now: datetime, *, shared: bool, counted: bool = True) -> list[Left]:
    """What a previous key is needed for although everything encrypted was moved.

    `shared`: whether counts are in Redis. Nobody can tell which of those were made with which key. `counted`: whether
    rows are counted, which takes long if there are millions. Otherwise `until` is when the last can expire.
    """
    row = current(session)
    if row is None or row.moved_at is None or session.scalar(select(func.count()).select_from(SecretKey)) == 1:
        return []
    left = []
    for column, digested in _digested_columns():
        over_at = row.moved_at + digested.kind.life
        if digested.until is None or now >= over_at:
            continue
        until = column.table.columns[digested.until]
        made = until <= over_at if digested.since is None else column.table.columns[digested.since] <= row.moved_at
        rows, last = None, over_at
        if counted:
            rows, last = session.execute(select(func.count(), func.max(until)).where(made, until > now)).one()
        if rows != 0:
            left.append(Left(digested.kind.what, rows, last))
    guesses_until = row.moved_at + kinds.GUESSED_ACCOUNT.life
    if shared and now < guesses_until:
        left.append(Left(kinds.GUESSED_ACCOUNT.what, None, guesses_until))
    return left


def _digested_columns() -> Iterator[tuple[Column[Any], Digested]]:
    for table in Model.metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, Digested):
                yield column, column.type
