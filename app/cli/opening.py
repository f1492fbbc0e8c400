"""How a command begins and how it fails: settings, the database that must be there, one sentence and status 1."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from sqlalchemy.engine import make_url

from app.compose import Runtime, build_runtime
from app.crypto.vault import DecryptionFailed, SecretMissing
from app.http.server import ServerError
from app.platform.db import sqlite_file
from app.platform.environment import SECRET_FILE, load_settings
from app.platform.logs import configure_logging
from app.platform.problems import Problem
from app.platform.settings import Settings, SettingsError
from app.records import secret_keys
from app.records.migrate import is_migrated

PORT = 8000
VAR = Path("var")
"""Where `tokenvend dev` keeps everything, in the working directory."""
ELSEWHERE = "run the command in the folder of the service; TOKENVEND_DATABASE_URL says where the database is"


@contextmanager
def failures_told() -> Iterator[None]:
    """Each failure that an operator can mend is one sentence."""
    try:
        yield
    except (SettingsError, ServerError) as error:
        fail(str(error))
    except SecretMissing:
        fail(f"TOKENVEND_SECRET_KEY is not set, and there is no {SECRET_FILE} in {Path.cwd()}: nothing was changed")
    except DecryptionFailed:
        fail("TOKENVEND_SECRET_KEY is not the one that the signing keys were made with: nothing was changed")
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except Problem as problem:
        said = [error.message for error in problem.errors] or [problem.detail]
        fail(" ".join(said) + (f" ({problem.cause})" if problem.cause else ""))


def fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(1)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def runtime_of_command() -> Runtime:
    """The runtime of a command that needs the tables, and makes none."""
    settings = load_settings()
    require_database(settings)
    runtime = unchecked_runtime()
    if not runtime.platform.database.run("read", is_migrated):
        fail("The database is not at this version's migration: run `tokenvend migrate`")
    if settings.secret_key.get_secret_value():
        runtime.platform.database.run("read", secret_keys.follow, runtime.platform.vault)
    return runtime


def require_database(settings: Settings) -> None:
    """Fails where the file of an SQLite database is missing: to connect would make an empty one."""
    file = sqlite_file(make_url(settings.database_url))
    if file is not None and not file.exists():
        fail(f"There is no database at {file.absolute()}: run `tokenvend migrate` to make it, or {ELSEWHERE}")


def unchecked_runtime() -> Runtime:
    settings = load_settings()
    configure_logging(settings.log_level)
    return build_runtime(settings)
