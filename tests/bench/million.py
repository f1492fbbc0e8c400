"""The queries behind sign-in, refresh, vend and administration, in a database of very many users and in a small one.

Each is the service's own rule in its own transaction, by one caller; commits do not wait for the disk, which would hide
what the size of the tables costs. Both databases are on one server, and gone afterwards.
"""

import asyncio
import hashlib
import itertools
import random
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.admin import users
from app.admin.user_filters import Filters
from app.admin.users import Account
from app.auth import login, mfa, rotation
from app.auth.mfa import Challenge
from app.auth.rotation import SessionTokens
from app.aws.sts_client import StsCredential
from app.compose import Runtime, build_runtime
from app.crypto import kinds
from app.crypto.vault import Vault
from app.platform import cursors
from app.platform.clock import SystemClock
from app.platform.settings import Settings
from app.records.audit import COMMAND_LINE
from app.records.migrate import upgrade
from app.records.models import User
from app.vending.ledger import Entry
from app.vending.orders import Order, Terms
from tests.support.databases import PostgresDatabases, debian_postgresql
from tests.support.needs import NEEDS

FEW = 1_000
AIM, SEARCH_AIM = 1.2, 2.0
WARM_UP = 200
AT_ONCE = 50_000
"""Users between two words of progress."""
PAGE = 50
DEEP = 10_000
"""The page of the list of users that is compared with the first."""
SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwyz" for vowel in "aeiou"]
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
    aim: float
    """What `ratio` is to stay under."""

    def ratio(self, percent: int) -> float:
        return self.many.within(percent) / self.few.within(percent)


class Crowd:
    """Users, each with a session, a refresh token, a credential in the ledger and an audit row, all known by number."""

    def __init__(self, url: str, people: int, audit_rows: int = 1) -> None:
        self.people = people
        self._audit_rows = audit_rows
        self.url = url
        self._settings = Settings(
            _env_file=None, database_url=url, secret_key=SECRET_KEY, bucket="photos", role_arn=TERMS.role_arn
        )
        self._vault = Vault(SECRET_KEY)
        self._now = SystemClock().now()
        self._spent: dict[int, str] = {}
        """The refresh token that a user has by now, of those whose first one was used."""
        self._hours: Counter[int] = Counter()
        """How often a user has come back after an hour."""

    def load(self, say: Say) -> None:
        """By COPY, and most indexes afterwards. Foreign keys hold by construction, and are not checked."""
        with psycopg.connect(plain(self.url), autocommit=True) as connection:
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
            (
                "id, email, email_key, email_verified_at, last_seen_at, display_name, password_hash, status, role, "
                "created_at"
            ),
            lambda n: (
                *(str(_id("user", n)), _email(n), _email(n), then, then, _name(n), PASSWORD_HASH, "active", "user"),
                (self._now - timedelta(seconds=n)).isoformat(),
            ),
        )
        yield (
            "sessions",
            "id, user_id, device_name, created_at, authenticated_at, last_used_at, expires_at, session_epoch",
            lambda n: (str(_id("session", n)), str(_id("user", n)), "phone", then, then, then, later, "0"),
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
                *(self.access_key(n), "read_write", f"users/{_id('user', n)}/", str(_id("user", n)), then, later),
            ),
        )
        for hours in range(self._audit_rows):
            at = (self._now - timedelta(hours=hours)).isoformat()
            yield (
                "audit_events",
                "at, event, outcome, actor_id, subject_id, session_id, request_id, address, detail",
                lambda n, at=at, hours=hours: (
                    *(at, "session.started", "done", str(_id("user", n)), str(_id("user", n)), str(_id("session", n))),
                    *(_id(f"request {hours}", n).hex, "127.0.0.1", "{}"),
                ),
            )

    @staticmethod
    def user_id(number: int) -> uuid.UUID:
        return _id("user", number)

    @staticmethod
    def session_id(number: int) -> uuid.UUID:
        return _id("session", number)

    @staticmethod
    def email(number: int) -> str:
        return _email(number)

    @staticmethod
    def name(number: int) -> str:
        return _name(number)

    @staticmethod
    def access_key(number: int) -> str:
        return f"ASIA{number:016d}"

    def _token_hash(self, number: int) -> str:
        return self._vault.digest(kinds.REFRESH_TOKEN, _first_token(number).encode()).hex()

    @contextmanager
    def running(self) -> Iterator[Runtime]:
        runtime = build_runtime(self._settings)
        try:
            yield runtime
        finally:
            asyncio.run(runtime.close())

    def stories(self, runtime: Runtime) -> dict[str, Callable[[int], Awaitable[object]]]:
        """What each does for the user of a number."""
        database, vault = runtime.platform.database, runtime.platform.vault

        async def find(number: int) -> object:
            account = await database.read(login.find_account, _email(number))
            assert account is not None
            assert account.user_id == _id("user", number)
            return account

        async def start(number: int) -> object:
            return await database.write(_start, vault, runtime.platform.clock.now(), _id("user", number))

        async def refresh(number: int) -> object:
            """Within an hour of the last one. Once an hour the user's own row is written too."""
            token = self._spent.get(number) or _first_token(number)
            grant = await database.write(
                rotation.refresh,
                vault,
                COMMAND_LINE,
                self._now + timedelta(hours=self._hours[number]),
                refresh_token=token,
                grace=timedelta(seconds=30),
                verified_only=True,
            )
            self._spent[number] = grant.refresh_token
            return grant

        async def come_back(number: int) -> object:
            self._hours[number] += 1
            return await refresh(number)

        async def look_up(number: int) -> object:
            state = await runtime.session_states.get(_id("session", number))
            assert state is not None
            assert state.user_id == _id("user", number)
            return state

        async def record(number: int) -> object:
            problem = await runtime.vending._ledger.get(_entry(number, runtime.platform.clock.now()))
            assert problem is None
            return problem

        async def search(query: str, expected: uuid.UUID | None) -> object:
            found, _ = await database.read(_search, query=query)
            assert found
            assert expected in (None, found[0].user.id)
            return found

        return {
            "sign-in, the account": find,
            "sign-in, the session begun": start,
            "refresh": refresh,
            "refresh, the first in an hour": come_back,
            "vend, the session looked up": look_up,
            "vend, the ledger's rows": record,
            "search by a piece of one address": lambda n: search(_email(n)[1:13], _id("user", n)),
            "search by a piece of all addresses": lambda _: search("@example", None),
            "search by a name, one in 100,000": lambda n: search(_name(n), None),
            "search by a surname, one in 1,000": lambda n: search(_name(n).split()[1], None),
        }


def warn(people: int, say: Say) -> None:
    """Says before it begins how long it takes and how much of the disk: some 2.3 KB and 0.15 ms a user."""
    gigabytes, minutes, where = people * 2.3e-6, people * 0.15e-3 / 60, tempfile.gettempdir()
    say(f"PostgreSQL, {people:,} users: some {gigabytes:.0f} GB under {where}, {minutes:.0f} minutes to load")


def compare(people: int, samples: int, say: Say) -> list[Comparison]:
    """Each story so many times in both databases."""
    with server() as create:
        crowds = [Crowd(create(), number) for number in (FEW, people)]
        with loading(crowds[0].url):
            for crowd in crowds:
                crowd.load(say)
        with crowds[0].running() as few, crowds[1].running() as many:
            compared = asyncio.run(_compare(list(zip(crowds, (few, many), strict=True)), samples, say))
            return [*compared, asyncio.run(_compare_pages(many, people, samples, say))]


@contextmanager
def loading(url: str) -> Iterator[None]:
    """The server's settings meanwhile are for loading much at once."""
    with psycopg.connect(plain(url), autocommit=True) as connection:
        for setting in LOADING:
            connection.execute(f"ALTER SYSTEM SET {setting}")
        connection.execute("SELECT pg_reload_conf()")
        yield
        connection.execute("ALTER SYSTEM RESET ALL")
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CHECKPOINT")


@contextmanager
def server() -> Iterator[Callable[[], str]]:
    """What makes a migrated database: on Debian's server, where there is one, which alone has pg_trgm."""
    if NEEDS["postgresql"].missing():
        # Not where the other figures are: the socket's path must stay short, and the server's user must reach it.
        directory = Path(tempfile.mkdtemp(prefix="tv-pg-"))
        databases = PostgresDatabases(directory)
        try:
            yield databases.create
        finally:
            databases.close()
            shutil.rmtree(directory, ignore_errors=True)
        return
    with debian_postgresql() as empty:
        serial = itertools.count()

        def create() -> str:
            url = make_url(empty).set(database=f"bench_{next(serial)}").render_as_string(hide_password=False)
            with psycopg.connect(plain(empty), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {make_url(url).database}")
            upgrade(url)
            return url

        yield create


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
        aim = SEARCH_AIM if name.startswith("search") else AIM
        compared.append(Comparison(name, *(Times(sorted(times)) for times in taken), aim))
    return compared


async def _compare_pages(runtime: Runtime, people: int, samples: int, say: Say) -> Comparison:
    """One page far down the list of users, and the first, in one database."""
    deep = min(DEEP, people // PAGE - 1)
    name = f"the list of users, page {deep:,} (÷ page 1)"
    say(f"PostgreSQL, {people:,} users, {name}")
    after = await runtime.platform.database.read(_cursor_after, (deep - 1) * PAGE)
    taken: list[list[float]] = [[], []]
    for sample in range(WARM_UP + samples):
        for which in (0, 1) if sample % 2 else (1, 0):
            started_at = time.perf_counter()
            page, _ = await runtime.platform.database.read(_search, cursor=after if which else None)
            if sample >= WARM_UP:
                taken[which].append((time.perf_counter() - started_at) * 1000)
            assert len(page) == PAGE
    return Comparison(name, *(Times(sorted(times)) for times in taken), AIM)


def _search(
    session: Session, *, query: str | None = None, cursor: str | None = None
) -> tuple[Sequence[Account], str | None]:
    return users.search(session, Filters(query=query), limit=PAGE, cursor=cursor)


def _cursor_after(session: Session, number: int) -> str:
    newest_first = select(User.created_at, User.id).order_by(User.created_at.desc(), User.id.desc())
    return cursors.encode(*session.execute(newest_first.offset(number - 1).limit(1)).one())


def _start(session: Session, vault: Vault, now: datetime, user_id: uuid.UUID) -> SessionTokens | Challenge:
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


def _name(number: int) -> str:
    """One of 100 first names and one of 1,000 surnames."""
    drawn = int.from_bytes(_id("name", number).bytes[:4])
    return f"{_word('first name', drawn % 100, 2)} {_word('surname', drawn // 100 % 1_000, 3)}"


def _word(kind: str, number: int, syllables: int) -> str:
    return "".join(SYLLABLES[byte % len(SYLLABLES)] for byte in _id(kind, number).bytes[:syllables]).title()


def _first_token(number: int) -> str:
    return f"{rotation.PREFIX}bench_{number}"


def plain(url: str) -> str:
    """The address as psycopg itself reads it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
