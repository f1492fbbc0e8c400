"""Passwords for RDS: what its own client makes, and one of its own for each connection."""

import asyncio
from collections.abc import Iterator

import boto3
import botocore.session
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.aws import rds_password
from app.aws.rds_password import database_password
from app.platform.db import Database
from app.platform.problems import DatabaseUnavailable
from app.platform.settings import Settings
from app.records.migrate import upgrade
from tests.support.databases import PostgresDatabases

HOST = "tokenvend.c9akciq32.eu-central-1.rds.amazonaws.com"
URL = f"postgresql+psycopg://token%20vend@{HOST}/tokenvend?sslmode=verify-full"
SESSION = boto3.Session("ASIABASEBASEBASE0001", "secret", "session-token", region_name="us-east-1")
PASSWORD_USED = "SELECT pg_backend_pid()"


def settings(url: str = URL) -> Settings:
    return Settings(_env_file=None, database_url=url, database_iam_auth=True, AWS_REGION="eu-central-1")


@pytest.fixture
def url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    url = postgres_databases.create()
    yield url
    postgres_databases.drop(url)


class Passwords:
    """A new one each time, as with IAM; this server takes whatever it gets."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self) -> str:
        self.made.append(f"password-{len(self.made)}")
        return self.made[-1]


def _password_used(session: Session) -> str:
    return str(session.connection().connection.driver_connection.info.password)  # type: ignore[union-attr]


class TestTokens:
    @pytest.mark.parametrize("port", [None, 6432])
    def test_are_those_of_the_sdk(self, port: int | None) -> None:
        url = make_url(URL).set(port=port).render_as_string(hide_password=False)
        make = database_password(settings(url), SESSION._session)
        assert make is not None
        client = SESSION.client("rds")
        theirs = [_dated(client.generate_db_auth_token(HOST, port or 5432, "token vend", "eu-central-1"))]
        while len(theirs) < 2:  # until one of ours is of the same second
            ours = make()
            theirs.append(_dated(client.generate_db_auth_token(HOST, port or 5432, "token vend", "eu-central-1")))
            if _dated(ours)[0] not in dict(theirs):
                theirs.pop()
        assert ours == dict(theirs)[_dated(ours)[0]]

    def test_there_are_none_where_the_url_has_a_password(self) -> None:
        assert database_password(Settings(_env_file=None, database_url=URL)) is None

    def test_without_credentials_there_is_no_database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rds_password, "default_session", lambda _region: boto3.Session()._session)
        monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda _session: None)
        make = database_password(settings())
        assert make is not None
        with pytest.raises(DatabaseUnavailable):
            make()


class TestConnections:
    def test_each_has_one_of_its_own(self, url: str) -> None:
        passwords = Passwords()
        database = Database(url, pool_size=2, password=passwords)
        assert database.run("read", _password_used) == "password-0"
        assert database.run("write", _password_used) == "password-0"
        database.engine.dispose()
        assert database.run("read", _password_used) == "password-1"
        database.close()

    def test_a_line_has_one_too(self, url: str) -> None:
        passwords = Passwords()
        database = Database(url, pool_size=1, password=passwords)
        rows = asyncio.run(database.on_line(text("SELECT 1"), {}))
        assert rows == [(1,)]
        assert passwords.made == ["password-0"]
        database.close()

    def test_a_migration_has_one_too(self, url: str) -> None:
        passwords = Passwords()
        upgrade(url, passwords)
        assert passwords.made == ["password-0"]


def _dated(token: str) -> tuple[str, str]:
    return token.partition("X-Amz-Date=")[2].partition("&")[0], token
