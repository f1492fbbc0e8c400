"""Each client does what the table says of it, with keys that renew, and nothing in another user's folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import page
from tests.clients.acts import YES, Stage
from tests.clients.home import home
from tests.clients.tools import CEPH, MINIO, TOOLS, Tool
from tests.journeys.conftest import on_this_machine  # noqa: F401 - a fixture
from tests.journeys.deployment import Deployment
from tests.journeys.on_ceph import served_on_ceph
from tests.journeys.on_minio import served_on_minio
from tests.journeys.test_isolation_ceph import node  # noqa: F401 - a fixture
from tests.support.ceph import CephNode
from tests.support.databases import SqliteDatabases
from tests.support.minio import minio_node

pytestmark = pytest.mark.xdist_group("clients")


@pytest.fixture(scope="module")
def on_ceph(
    tmp_path_factory: pytest.TempPathFactory,
    node: CephNode,  # noqa: F811
    sqlite_databases: SqliteDatabases,
) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("on-ceph")
    with served_on_ceph(
        directory, node, sqlite_databases.create(directory), {"TOKENVEND_RATE_LIMITS": "off"}
    ) as served:
        yield served


@pytest.fixture(scope="module")
def on_minio(tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("on-minio")
    with minio_node() as server, served_on_minio(directory, server, sqlite_databases.create(directory)) as served:
        yield served


@pytest.mark.parametrize(
    "tool",
    [pytest.param(tool, id=tool.name, marks=pytest.mark.all if tool.is_quick else pytest.mark.long) for tool in TOOLS],
)
def test_a_client_does_what_its_row_says(tool: Tool, on_this_machine: Deployment, tmp_path: Path) -> None:  # noqa: F811
    with home(on_this_machine, tmp_path) as at:
        outcome = Stage(tool, at).play()
    if page.TOLD_TO in os.environ:
        page.keep(tool, outcome)
    assert (outcome.fails(), outcome.works()) == (tool.cannot, set(tool.ways)), outcome
    assert outcome.renews() == (set(tool.ways) - {"static"} if tool.renews else set()), outcome
    assert YES not in {outcome.foreign, *outcome.signed_out.values()}, outcome


@pytest.mark.long
@pytest.mark.parametrize("tool", [pytest.param(tool, id=tool.name) for tool in TOOLS])
@pytest.mark.parametrize("engine", [CEPH, MINIO])
def test_a_client_does_what_its_row_says_elsewhere(
    tool: Tool, engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    deployment: Deployment = request.getfixturevalue({CEPH: "on_ceph", MINIO: "on_minio"}[engine])
    with home(deployment, tmp_path, AWS_REQUEST_CHECKSUM_CALCULATION="when_required") as at:
        outcome = Stage(tool, at).play(ways=False)
    if page.TOLD_TO in os.environ:
        page.keep_elsewhere(tool, engine, outcome)
    assert (outcome.fails(), outcome.foreign != YES) == (tool.cannot_on(engine), True), outcome
