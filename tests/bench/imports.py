"""Importing users, against PostgreSQL's own COPY of the same rows into the same table, with all of its indexes.

The command is a process of its own; its peak memory with many rows is compared with that of few.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.bench.deployment import SECRET_KEY, environment
from tests.support.databases import PostgresDatabases

PASSWORD_HASH = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
COLUMNS = "id, email, email_key, email_verified_at, display_name, password_hash, status, role, created_at"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Imported:
    rows: int
    seconds: float
    peak_memory: float
    """MB."""

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


@dataclass(frozen=True)
class Imports:
    few: Imported
    many: Imported
    copied: float
    """Rows a second, by COPY."""

    @property
    def growth(self) -> float:
        """MB."""
        return self.many.peak_memory - self.few.peak_memory


def measure(few: int, many: int, say: Say) -> Imports:
    directory = Path(tempfile.mkdtemp(prefix="tv-pg-"))
    databases = PostgresDatabases(directory)
    try:
        with psycopg.connect(_plain(databases.create()), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = on")
            connection.execute("SELECT pg_reload_conf()")
        say(f"PostgreSQL, {many:,} users by COPY")
        copied = _copy(databases.create(), many)
        taken = []
        for rows in (few, many):
            say(f"PostgreSQL, {rows:,} users imported")
            taken.append(_import(directory, databases.create(), rows))
        return Imports(taken[0], taken[1], copied)
    finally:
        databases.close()
        shutil.rmtree(directory, ignore_errors=True)


def _copy(url: str, rows: int) -> float:
    now = datetime.now(UTC).isoformat()
    started_at = time.perf_counter()
    with psycopg.connect(_plain(url)) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY users ({COLUMNS}) FROM STDIN") as copy:
            for email, name in _people(rows):
                row = (uuid.uuid4(), email, email, now, name, PASSWORD_HASH, "active", "user", now)
                copy.write("\t".join(map(str, row)) + "\n")
        connection.commit()
    return rows / (time.perf_counter() - started_at)


def _import(directory: Path, url: str, rows: int) -> Imported:
    """Raises RuntimeError with what the command said if not every row was imported."""
    file = directory / f"{rows}.csv"
    with file.open("w") as stream:
        stream.write("email,email_verified,display_name,password_hash\n")
        stream.writelines(f"{email},true,{name},{PASSWORD_HASH}\n" for email, name in _people(rows))
    settings = {"TOKENVEND_DATABASE_URL": url, "TOKENVEND_SECRET_KEY": SECRET_KEY}
    log = directory / "import.log"
    started_at = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "users", "import", str(file)],
            cwd=directory,
            env=environment(**settings),
            stdout=output,
            stderr=output,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started_at
    said = log.read_text()
    if f"{rows} imported" not in said:
        raise RuntimeError(said)
    return Imported(rows, seconds, usage.ru_maxrss / 1000)


def _people(rows: int) -> Iterator[tuple[str, str]]:
    for number in range(rows):
        yield f"user{number:07}.{number * 7919 % 1_000_003}@example.org", f"Person {number}"


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
