"""What runs in the containers besides the service: the sample's engine, and the database's roles and passwords."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import psycopg
import pytest
import urllib3
from sqlalchemy.engine import make_url

from app.engine import directory
from app.records.migrate import upgrade
from deploy import prepare_database, store
from tests.deploy.reading import DEPLOY, wait_for
from tests.support.databases import debian_postgresql, wheel_postgresql
from tests.support.service import running_service

pytestmark = pytest.mark.all


class TestStore:
    def test_writes_the_brokers_keys_and_ends_on_sigterm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        port = directory._free_block()
        credentials = tmp_path / "credentials"
        process = subprocess.Popen(
            [sys.executable, DEPLOY / "store.py"],
            env={
                "PATH": os.environ["PATH"],
                "STORE_DIR": str(tmp_path / "store"),
                "STORE_CREDENTIALS": str(credentials),
                "STORE_ORIGINS": "http://127.0.0.1:8000/tokens,capacitor://localhost",
                "STORE_EXPOSED_HEADERS": "x-amz-meta-caption, x-amz-meta-place",
                "STORE_PORT": str(port),
            },
            cwd=DEPLOY.parent,
        )
        try:
            wait_for(credentials.exists, process)
            assert credentials.stat().st_mode & 0o777 == 0o600
            monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
            client = boto3.Session(region_name="us-east-1").client("sts", endpoint_url=f"http://127.0.0.1:{port}")
            role = client.assume_role(
                RoleArn="arn:aws:iam::000000000000:role/tokenvend-vending",
                RoleSessionName="tests",
                Policy='{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}',
            )
            assert role["Credentials"]["SessionToken"]
            client.close()
            for origin in ("http://127.0.0.1:8000", "capacitor://localhost"):
                headers = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
                answer = urllib3.request("OPTIONS", f"http://127.0.0.1:{port}/photos/users/", headers=headers)
                exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
                assert {"ETag", "x-amz-meta-caption", "x-amz-meta-place"} <= exposed
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert not credentials.exists()

    def test_the_proxy_names_its_port(self) -> None:
        assert f"proxy_pass http://127.0.0.1:{store.FIRST_PORT};" in (DEPLOY / "proxy.conf").read_text()


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URL of a superuser's, in a database of its own name."""
    with debian_postgresql() as url:
        yield url


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role, database="tokenvend").render_as_string(hide_password=False)


def is_rejected(role: str) -> bool:
    try:
        psycopg.connect(user=role).close()
    except psycopg.OperationalError as error:
        return "rejects connection" in str(error)
    return False


class TestDatabase:
    def test_one_role_owns_and_another_serves(self, postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
        url = make_url(postgresql)
        monkeypatch.setenv("PGHOST", str(url.query["host"]))
        monkeypatch.setenv("PGUSER", "administrator")
        monkeypatch.setenv("PGDATABASE", "tokenvend")
        with psycopg.connect(user="postgres", dbname="postgres", autocommit=True) as superuser:
            # As RDS's administrator is: no superuser.
            superuser.execute("CREATE ROLE administrator LOGIN CREATEROLE CREATEDB")
            superuser.execute("CREATE ROLE rds_iam")
            superuser.execute("GRANT rds_iam TO administrator WITH ADMIN OPTION")
            superuser.execute("CREATE DATABASE tokenvend OWNER administrator")
        with psycopg.connect(user="postgres", autocommit=True) as superuser:
            superuser.execute("ALTER SCHEMA public OWNER TO administrator")
        prepare_database.main()
        prepare_database.main()
        with psycopg.connect("") as connection:
            rows = connection.execute(
                "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member "
                "JOIN pg_roles g ON g.oid = m.roleid WHERE g.rolname = 'rds_iam' AND r.rolname LIKE 'tokenvend%'"
            )
            assert {row[0] for row in rows} == {"tokenvend", "tokenvend_owner"}
            # Else RDS would take no password of the administrator's any more.
            (member,) = connection.execute("SELECT pg_has_role('tokenvend_owner', 'MEMBER')").fetchone() or ()
            assert member is False
        upgrade(as_role(postgresql, "tokenvend_owner"))
        with running_service(as_role(postgresql, "tokenvend")) as service:
            assert service.device().vend().status_code == 200
            assert service.client.get("/readyz").status_code == 200
            for statement in (
                "DROP TRIGGER audit_events_append_only ON audit_events",
                "ALTER TABLE users ADD COLUMN x int",
                "CREATE TABLE mine (x int)",
                "TRUNCATE users",
            ):
                with (
                    psycopg.connect(user="tokenvend", autocommit=True) as serving,
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                ):
                    serving.execute(statement)
            assert service.device().vend().status_code == 200

    def test_the_administrator_keeps_their_password_where_roles_sign_in_by_iam(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """RDS's pg_hba.conf sends rds_iam's members to PAM; from PostgreSQL 16 on, who makes a role is its member."""
        with wheel_postgresql() as (url, directory):
            monkeypatch.setenv("PGHOST", str(make_url(url).query["host"]))
            monkeypatch.setenv("PGUSER", "administrator")
            monkeypatch.setenv("PGDATABASE", "tokenvend")
            with psycopg.connect(user="postgres", dbname="postgres", autocommit=True) as superuser:
                superuser.execute("CREATE ROLE administrator LOGIN CREATEROLE CREATEDB")
                superuser.execute("CREATE ROLE rds_iam")
                superuser.execute("GRANT rds_iam TO administrator WITH ADMIN OPTION")
                superuser.execute("CREATE DATABASE tokenvend OWNER administrator")
            prepare_database.main()
            prepare_database.main()
            with psycopg.connect(user="postgres", autocommit=True) as superuser:
                roles = superuser.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'tokenvend%' ORDER BY 1")
                assert [name for (name,) in roles] == ["tokenvend", "tokenvend_owner"]
                # RDS's administrator may grant rds_iam without being in it, which PostgreSQL itself has no way to say.
                superuser.execute("REVOKE rds_iam FROM administrator CASCADE")
                superuser.execute("GRANT rds_iam TO tokenvend, tokenvend_owner")
                hba = directory / "pg_hba.conf"
                hba.write_text("local all +rds_iam reject\n" + hba.read_text())
                superuser.execute("SELECT pg_reload_conf()")
            deadline = time.monotonic() + 10
            while not (is_rejected("tokenvend") and is_rejected("tokenvend_owner")):
                assert time.monotonic() < deadline, "the server did not read its file"
            with psycopg.connect("") as connection:
                assert connection.execute("SELECT current_user").fetchone() == ("administrator",)
