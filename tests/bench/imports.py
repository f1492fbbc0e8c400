"""Importing users of all kinds, against PostgreSQL's own COPY of as many rows into the same table and its indexes.

The command is a process of its own; its peak memory with many rows is compared with that of few.
"""

import base64
import csv
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.bench.deployment import SECRET_KEY, environment
from tests.support.databases import PostgresDatabases

BCRYPT = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
COLUMNS = "id, email, email_key, email_verified_at, display_name, password_hash, status, role, created_at"

MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:]);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)
"""Runs a command and prints its peak memory in KiB. A process begins with the peak of whoever starts it, so this one is
small."""

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
            for number in range(rows):
                email, name = _person(number)
                row = (uuid.uuid4(), email, email, now, name, _hash(number) or "\\N", "active", "user", now)
                copy.write("\t".join(map(str, row)) + "\n")
        connection.commit()
    return rows / (time.perf_counter() - started_at)


def _import(directory: Path, url: str, rows: int) -> Imported:
    """Raises RuntimeError with what the command said if not every row became what it should."""
    file = directory / f"{rows}.csv"
    counts = {"imported": 0, "existing": 0, "refused": 0}
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["email", "email_verified", "display_name", "status", "password_hash"])
        for number in range(rows):
            email, name = _person(number)
            outcome = {9: "refused", 19: "existing"}.get(number % 100, "imported")
            counts[outcome] += 1
            address = {"refused": "nobody", "existing": _person(number - 19)[0].upper()}.get(outcome, email)
            writer.writerow([address, "true", name, "disabled" if number % 10 == 8 else "active", _hash(number)])
    settings = {"TOKENVEND_DATABASE_URL": url, "TOKENVEND_SECRET_KEY": SECRET_KEY}
    log = directory / "import.log"
    started_at = time.perf_counter()
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, sys.executable, "-m", "app", "users", "import", str(file)],
            cwd=directory,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            check=False,
        )
    seconds = time.perf_counter() - started_at
    said = done.stdout + log.read_text()
    if ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) not in said:
        raise RuntimeError(said)
    return Imported(rows, seconds, int(done.stdout.split()[-1]) / 1000)


def _person(number: int) -> tuple[str, str]:
    return f"user{number:07}.{number * 7919 % 1_000_003}@example.org", f"Person {number}"


def _hash(number: int) -> str | None:
    """Six of ten have bcrypt, as most exports, three have others, each with a salt of its own, and one has none."""
    kind = number % 10
    if kind == 8:
        return None
    if kind not in (5, 6, 7):
        return BCRYPT
    digest = hashlib.sha256(number.to_bytes(8, "big")).digest()
    salt, key = (base64.b64encode(part).decode() for part in (digest[:16], digest))
    return {
        5: f"$argon2id$v=19$m=65536,t=3,p=4${salt.rstrip('=')}${key.rstrip('=')}",
        6: f"pbkdf2_sha256$1000000${digest[:11].hex()}${key}",
        7: f"scrypt:32768:8:1${digest[:8].hex()}${digest.hex()}{digest.hex()}",
    }[kind]


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
