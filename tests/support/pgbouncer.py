"""A real PgBouncer on a UNIX socket, in front of a database of a test and gone with it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from tests.support.engine import eventually
from tests.support.needs import need


@contextmanager
def pgbouncer(database_url: str, pool_mode: str, **settings: Any) -> Iterator[str]:
    """The URL of the database through PgBouncer. Skips the test where it is not installed."""
    need("pgbouncer")
    behind = make_url(database_url)
    # Not under pytest's own directory: the socket's path must stay short, and PgBouncer's user must reach it.
    directory = Path(tempfile.mkdtemp(prefix="tv-pgb-"))
    place = f"host={behind.query['host']} port={behind.query.get('port', behind.port or 5432)}"
    lines = [
        "[databases]",
        f"* = {place} user={behind.username or 'postgres'}",
        "[pgbouncer]",
        f"unix_socket_dir = {directory}",
        "unix_socket_mode = 0777",
        "listen_port = 6432",
        "auth_type = any",
        "admin_users = administrator",
        f"pool_mode = {pool_mode}",
        "max_client_conn = 500",
        "default_pool_size = 4",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    file = directory / "pgbouncer.ini"
    file.write_text("\n".join(lines) + "\n")
    as_user: list[str] = []
    if os.geteuid() == 0:  # as which PgBouncer refuses to run
        owner = Path(str(behind.query["host"])).stat().st_uid
        as_user = [f"--reuid={owner}", "--clear-groups"]
        os.chown(directory, owner, -1)
        directory.chmod(0o755)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", *as_user, "pgbouncer", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    through = behind.set(host=None, port=None, query={"host": str(directory), "port": "6432"})

    def answers() -> bool:
        try:
            psycopg.connect(host=str(directory), port=6432, user="administrator", dbname="pgbouncer").close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        if not eventually(answers):
            raise AssertionError((directory / "log").read_text())
        yield through.render_as_string(hide_password=False)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)
