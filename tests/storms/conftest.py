from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.storms.deployment import environment, serving
from tests.support.canned_sts import CannedSts
from tests.support.databases import PostgresDatabases
from tests.support.redis import redis_server


@dataclass(frozen=True)
class Replicas:
    database_url: str
    ports: tuple[int, ...]
    sts: CannedSts


def rows(database_url: str, statement: str) -> list[Any]:
    engine = create_engine(database_url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(statement)))
    finally:
        engine.dispose()


@pytest.fixture
def sts() -> Iterator[CannedSts]:
    canned = CannedSts()
    yield canned
    canned.close()


@pytest.fixture
def replicas(sts: CannedSts, postgres_databases: PostgresDatabases, tmp_path: Path) -> Iterator[Replicas]:
    """Two, over one PostgreSQL and one Redis."""
    url = postgres_databases.create()
    with ExitStack() as stack:
        stack.callback(postgres_databases.drop, url)
        env = environment(url, sts.url, stack.enter_context(redis_server()).url)
        yield Replicas(url, stack.enter_context(serving(tmp_path, env, 2)), sts)
