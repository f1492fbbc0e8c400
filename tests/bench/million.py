"""The queries behind sign-in, refresh and vend, in a database of very many users and in a small one, in turn.

Each is the service's own rule in its own transaction, by one caller; commits do not wait for the disk, which would hide
what the size of the tables costs. Both databases are on one server, and gone afterwards.
"""

import asyncio
import hashlib
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.audit import COMMAND_LINE
from app.auth import login, mfa, sessions
from app.auth.mfa import Challenge
from app.auth.sessions import Grant
from app.clock import SystemClock
from app.credentials.broker import StsCredential
from app.credentials.ledger import Entry
from app.credentials.orders import Order, Terms
from app.crypto import Vault
from app.models import User
from app.runtime import Runtime, build_runtime
from app.settings import Settings
from tests.support.databases import PostgresDatabases

FEW = 1_000
WARM_UP = 200
AT_ONCE = 50_000
"""Users between two words of progress."""
SECRET_KEY = "k9f3-Zq8w-1mLp-77xT-bVn2-Rh5c-Yd4s"
TERMS = Terms(mode="assume_role", role_arn="arn:aws:iam::123456789012:role/tokenvend-vending")
PASSWORD_HASH = "$argon2id$v=19$m=19456,t=2,p=1$jJFybs05J2QsJURIqfU+Zw$jWgt/t41Cjesrp5qQIvWjDbO/xTMOVhvAEQzm3savdE"

INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname LIKE 'ix_%'
    AND tablename IN ('users', 'sessions', 'refresh_tokens', 'issued_credentials', 'audit_events')
"""
"""Those that are no constraint."""
LOADING = ("full_page_writes = off", "max_wal_size = '8GB'", "checkpoint_timeout = '1h'")
"""The server's settings meanwhile: a crash would cost nothing but a new start."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Times:
    """Of one story in one database, in ms, sorted."""

    taken: list[float]

    def within(self, percent: int) -> float:
        return self.taken[min(len(self.taken) * percent // 100, len(self.taken) - 1)]


@dataclass(frozen=True)
class Comparison:
    story: str
    few: Times
    many: Times

    def ratio(self, percent: int) -> float:
        return self.many.within(percent) / self.few.within(percent)


class Crowd:
    """Users, each with a session, a refresh token, a credential in the ledger and an audit row, all known by number."""

    def __init__(self, url: str, people: int) -> None:
        self.people = people
        self.url = url
        self._settings = Settings(
            _env_file=None, database_url=url, secret_key=SECRET_KEY, bucket="photos", role_arn=TERMS.role_arn
        )
        self._vault = Vault(SECRET_KEY)
        self._now = SystemClock().now()
        self._spent: dict[int, str] = {}
        """The refresh token that a user has by now, of those whose first one was used."""

    def load(self, say: Say) -> None:
        """By COPY, and most indexes afterwards. Foreign keys hold by construction, and are not checked."""
        with psycopg.connect(_plain(self.url), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("SET maintenance_work_mem = '256MB'")
            indexes = connection.execute(INDEXES).fetchall()
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}")
            for first in range(0, self.people, AT_ONCE):
                numbers = range(first, min(first + AT_ONCE, self.people))
                for table, columns, row in self._tables():
                    with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                        copy.write("".join(["\t".join(row(number)) + "\n" for number in numbers]))
                say(f"PostgreSQL, {numbers.stop:,} of {self.people:,} users loaded")
            for _, definition in indexes:
                connection.execute(definition)
            connection.execute("VACUUM (ANALYZE)")

    def _tables(self) -> Iterator[tuple[str, str, Callable[[int], tuple[str, ...]]]]:
        then, later = self._now.isoformat(), (self._now + timedelta(days=30)).isoformat()
        yield (
            "users",
            "id, email, email_key, email_verified_at, password_hash, status, role, created_at",
            lambda n: (str(_id("user", n)), _email(n), _email(n), then, PASSWORD_HASH, "active", "user", then),
        )
        yield (
            "sessions",
            "id, user_id, device_name, created_at, authenticated_at, last_used_at, expires_at",
            lambda n: (str(_id("session", n)), str(_id("user", n)), "phone", then, then, then, later),
        )
        yield (
            "refresh_tokens",
            "token_hash, session_id, generation, issued_at, expires_at",
            lambda n: (rf"\\x{self._token_hash(n)}", str(_id("session", n)), "0", then, later),
        )
        yield (
            "issued_credentials",
            "id, user_id, session_id, access_key_id, access, prefix, role_session_name, issued_at, expires_at",
            lambda n: (
                *(str(_id(kind, n)) for kind in ("credential", "user", "session")),
                *(f"ASIA{n:016d}", "read_write", f"users/{_id('user', n)}/", str(_id("user", n)), then, later),
            ),
        )
        yield (
            "audit_events",
            "at, event, outcome, actor_id, subject_id, session_id, request_id, address, detail",
            lambda n: (
                *(then, "session.started", "done", str(_id("user", n)), str(_id("user", n)), str(_id("session", n))),
                *("-", "127.0.0.1", "{}"),
            ),
        )

    def _token_hash(self, number: int) -> str:
        return self._vault.digest("refresh token hash", _first_token(number).encode()).hex()

    @contextmanager
    def running(self) -> Iterator[Runtime]:
        runtime = build_runtime(self._settings)
        try:
            yield runtime
        finally:
            asyncio.run(runtime.close())

    def stories(self, runtime: Runtime) -> dict[str, Callable[[int], Awaitable[object]]]:
        """What each does for the user of a number."""
        database, vault = runtime.database, runtime.vault

        async def find(number: int) -> object:
            account = await database.read(login.find_account, _email(number))
            assert account is not None
            assert account.user_id == _id("user", number)
            return account

        async def start(number: int) -> object:
            return await database.write(_start, vault, runtime.clock.now(), _id("user", number))

        async def refresh(number: int) -> object:
            token = self._spent.get(number) or _first_token(number)
            grant = await database.write(
                sessions.refresh, vault, COMMAND_LINE, runtime.clock.now(), refresh_token=token, verified_only=True
            )
            self._spent[number] = grant.refresh_token
            return grant

        async def look_up(number: int) -> object:
            state = await runtime.session_states.get(_id("session", number))
            assert state is not None
            assert state.user_id == _id("user", number)
            return state

        async def record(number: int) -> object:
            problem = await runtime.ledger.get(_entry(number, runtime.clock.now()))
            assert problem is None
            return problem

        return {
            "sign-in, the account": find,
            "sign-in, the session begun": start,
            "refresh": refresh,
            "vend, the session looked up": look_up,
            "vend, the ledger's rows": record,
        }


def compare(people: int, samples: int, say: Say) -> list[Comparison]:
    """Each story so many times in both databases."""
    # Not where the other figures are: the socket's path must stay short, and the server's user must reach it.
    directory = Path(tempfile.mkdtemp(prefix="tv-pg-"))
    databases = PostgresDatabases(directory)
    try:
        crowds = [Crowd(databases.create(), number) for number in (FEW, people)]
        with psycopg.connect(_plain(crowds[0].url), autocommit=True) as connection:
            for setting in LOADING:
                connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("SELECT pg_reload_conf()")
            for crowd in crowds:
                crowd.load(say)
            connection.execute("ALTER SYSTEM RESET ALL")
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CHECKPOINT")
        with crowds[0].running() as few, crowds[1].running() as many:
            return asyncio.run(_compare(list(zip(crowds, (few, many), strict=True)), samples, say))
    finally:
        databases.close()
        shutil.rmtree(directory, ignore_errors=True)


async def _compare(pairs: list[tuple[Crowd, Runtime]], samples: int, say: Say) -> list[Comparison]:
    compared = []
    stories = [crowd.stories(runtime) for crowd, runtime in pairs]
    for name in stories[0]:
        say(f"PostgreSQL, {pairs[1][0].people:,} users, {name}")
        taken: list[list[float]] = [[], []]
        for sample in range(WARM_UP + samples):
            for which in (0, 1) if sample % 2 else (1, 0):
                number = random.randrange(pairs[which][0].people)
                started_at = time.perf_counter()
                await stories[which][name](number)
                if sample >= WARM_UP:
                    taken[which].append((time.perf_counter() - started_at) * 1000)
        compared.append(Comparison(name, *(Times(sorted(times)) for times in taken)))
    return compared


def _start(session: Session, vault: Vault, now: datetime, user_id: uuid.UUID) -> Grant | Challenge:
    """What follows a right password."""
    user = session.get_one(User, user_id, with_for_update=True)
    return mfa.admit(
        session,
        vault,
        COMMAND_LINE,
        now,
        user=user,
        method="password",
        verified=False,
        verified_only=False,
        device_name="phone",
    )


def _entry(number: int, now: datetime) -> Entry:
    order = Order(
        _id("user", number),
        _id("session", number),
        "read_write",
        f"users/{_id('user', number)}/",
        3600,
        "{}",
        TERMS,
    )
    credential = StsCredential(
        f"ASIA{uuid.uuid4().hex[:16].upper()}", "secret", "token", now + timedelta(hours=1), None
    )
    return Entry(uuid.uuid4(), COMMAND_LINE, order, credential, now)


def _id(kind: str, number: int) -> uuid.UUID:
    """Random as the service's own, so that neighbours in time are none in an index; but known."""
    return uuid.UUID(bytes=hashlib.blake2b(f"{kind} {number}".encode(), digest_size=16).digest(), version=4)


def _email(number: int) -> str:
    return f"{_id('address', number).hex[:12]}.{number}@example.org"


def _first_token(number: int) -> str:
    return f"{sessions.PREFIX}bench_{number}"


def _plain(url: str) -> str:
    """The address as psycopg itself reads it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
