from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.canned_sts import CannedSts
from tests.support.databases import SqliteDatabases
from tests.support.metadata import InstanceMetadata


@pytest.fixture
def database_url(sqlite_databases: SqliteDatabases, tmp_path: Path) -> str:
    """SQLite alone: nothing here depends on the database."""
    return sqlite_databases.create(tmp_path)


@pytest.fixture
def sts() -> Iterator[CannedSts]:
    with closing(CannedSts()) as canned:
        yield canned


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[InstanceMetadata]:
    """The machine is an EC2 instance with a role."""
    with closing(InstanceMetadata()) as endpoint:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.url)
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        yield endpoint
