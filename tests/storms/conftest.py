from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from sqlalchemy import create_engine, text

from app.platform.settings import VendingMode
from app.vending.saml_metadata import METADATA_PATH
from tests.storms.deployment import environment, serving
from tests.support.canned_sts import CannedSts
from tests.support.databases import PostgresDatabases
from tests.support.redis import redis_server
from tests.support.saml_sts import SamlSts
from tests.support.service import PROVIDER_ARN


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
def sts(mode: VendingMode) -> Iterator[CannedSts]:
    """In `saml` mode it believes nothing but what it has verified."""
    canned = SamlSts() if mode == "saml" else CannedSts()
    yield canned
    canned.close()


@pytest.fixture
def mode() -> VendingMode:
    """A module may have others."""
    return "assume_role"


@pytest.fixture
def replicas(
    sts: CannedSts, postgres_databases: PostgresDatabases, tmp_path: Path, mode: VendingMode
) -> Iterator[Replicas]:
    """Two, over one PostgreSQL and one Redis."""
    url = postgres_databases.create()
    with ExitStack() as stack:
        stack.callback(postgres_databases.drop, url)
        env = environment(url, sts.url, stack.enter_context(redis_server()).url)
        env |= {"TOKENVEND_VENDING_MODE": mode, "TOKENVEND_SAML_PROVIDER_ARN": PROVIDER_ARN}
        ports = stack.enter_context(serving(tmp_path, env, 2))
        if isinstance(sts, SamlSts):
            with urlopen(f"http://127.0.0.1:{ports[0]}{METADATA_PATH}", timeout=10) as answer:
                sts.upload(answer.read())
        yield Replicas(url, ports, sts)
