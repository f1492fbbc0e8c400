"""What `tokenvend serve` says of a database that it cannot use: the reason once, in one sentence, and no password."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from sqlalchemy.engine import make_url

from app.cli import readiness
from app.compose import build_runtime
from app.main import create_app
from app.platform import jobs
from app.platform.jobs import Job
from app.platform.problems import DatabaseUnavailable
from tests.support.databases import wheel_postgresql
from tests.support.logged import capture_logs
from tests.support.ports import free_port
from tests.support.service import ROLE_ARN, SECRET_KEY, test_settings

ROOT = Path(__file__).parents[2]
REFUSED = "postgresql+psycopg://u:hunter2@127.0.0.1:1/d"


def passes(url: str, times: int) -> list[dict[str, Any]]:
    """What is logged while the keys are looked for, and each job fails, so many times."""

    async def work() -> None:
        runtime = build_runtime(test_settings(database_url=url), aws=boto3.Session("AKIATEST", "secret"))
        platform = runtime.platform
        try:
            for _ in range(times):
                await runtime.keyring.try_load()
            enough, failing = asyncio.Event(), runtime.jobs[0]

            async def fail() -> bool:
                if platform.metrics.job_failures.labels(failing.name)._value.get() >= times:
                    enough.set()
                return await failing.work()

            job = Job(failing.name, fail, every=0.01)
            running = asyncio.create_task(jobs.keep_working([job, job], platform.database, platform.metrics))
            await enough.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        finally:
            await runtime.close()

    with capture_logs() as logs:
        asyncio.run(work())
    return list(logs)


class TestOutage:
    def test_is_said_once_and_not_by_each_job(self) -> None:
        (said,) = passes(REFUSED, 4)
        assert said["event"] == "database_unusable"
        assert "d at 127.0.0.1:1 cannot be reached" in said["reason"]
        assert "Connection refused" in said["reason"]
        assert "listens there" in said["repair"]
        assert "hunter2" not in json.dumps(said)

    def test_of_missing_tables_names_the_command(self, tmp_path: Path) -> None:
        (tmp_path / "empty.db").touch()
        (said,) = passes(f"sqlite:///{tmp_path / 'empty.db'}", 4)
        assert said["reason"] == "the database has not the tables of this version"
        assert said["repair"] == "run `tokenvend migrate`"

    def test_of_one_statement_is_said_by_its_job(self, database_url: str) -> None:
        """Another fault must not hide behind an outage's sentence."""
        runtime = build_runtime(test_settings(database_url=database_url))
        try:
            assert not runtime.platform.database.complain(DatabaseUnavailable(cause="no answer within 4 s"))
        finally:
            asyncio.run(runtime.close())

    def test_at_start_is_said_before_the_first_request(self, tmp_path: Path) -> None:
        (tmp_path / "empty.db").touch()
        settings = test_settings(database_url=f"sqlite:///{tmp_path / 'empty.db'}")
        app = create_app(settings, build_runtime(settings, aws=boto3.Session("AKIATEST", "secret")))

        async def start() -> None:
            async with app.router.lifespan_context(app):
                pass

        with capture_logs() as logs:
            asyncio.run(start())
        assert next(line["event"] for line in logs if line["log_level"] != "debug") == "database_unusable"


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """The URL of a PostgreSQL that asks for a password, with a wrong one."""
    with wheel_postgresql() as (url, directory):
        hba = directory / "pg_hba.conf"
        hba.write_text(f"local all stranger scram-sha-256\n{hba.read_text()}")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'right'")
            connection.execute("SELECT pg_reload_conf()")
        place = make_url(url).set(drivername="postgresql+psycopg", username="stranger", password="hunter2")
        yield place.render_as_string(hide_password=False)


def start(directory: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "AWS_ACCESS_KEY_ID": "AKIABROKERBROKER",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TOKENVEND_DATABASE_URL": url,
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "app", "serve", *arguments],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestReadiness:
    def test_is_said_when_it_is_so_and_before_once_what_is_missing(self, capsys: pytest.CaptureFixture[str]) -> None:
        left = [(503, b'{"detail": "Not ready: database (database_unavailable)."}')] * 2 + [(200, b"{}")]

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = left.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
            threading.Thread(target=server.serve_forever).start()
            readiness.follow("127.0.0.1", server.server_port, "http://photos.example:8000", every=0)
            server.shutdown()
        assert left == []
        said = ["Not ready: database (database_unavailable).", "ready http://photos.example:8000"]
        assert capsys.readouterr().out.splitlines() == said


@pytest.mark.all
class TestProcess:
    def test_says_the_drivers_reason_and_its_own_address(self, stranger: str, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("SMTP_URL=smtp://x:hunter3@mail.example.org\n")
        port = free_port()
        process = start(tmp_path, stranger, "--port", str(port))
        assert process.stdout is not None
        listening, missing = process.stdout.readline(), process.stdout.readline()
        process.terminate()
        _, logged = process.communicate(timeout=60)
        assert listening == f"listening http://127.0.0.1:{port}\n", logged
        assert missing.startswith("Not ready: database (database_unavailable), keys ("), logged
        lines = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
        (said,) = [line for line in lines if line["event"] == "database_unusable"]
        assert 'password authentication failed for user "stranger"' in said["reason"]
        assert said["repair"].startswith("check user and password in TOKENVEND_DATABASE_URL")
        assert "psycopg." not in logged
        assert "SMTP_URL in .env is ignored; write TOKENVEND_SMTP_URL" in logged
        assert "hunter" not in logged + listening + missing

    def test_makes_no_database_in_the_wrong_folder(self, tmp_path: Path) -> None:
        process = start(tmp_path, f"sqlite:///{tmp_path / 'none' / 'tokenvend.db'}")
        printed, logged = process.communicate(timeout=60)
        assert (process.returncode, printed) == (1, "")
        assert logged.startswith(
            f"There is no database at {tmp_path / 'none' / 'tokenvend.db'}: run `tokenvend migrate`"
        )
        assert list(tmp_path.iterdir()) == []
