"""A shared folder on an engine that revokes: Ceph's gateway. What is withdrawn is read no more."""

from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.journeys.deployment import Deployment
from tests.journeys.on_ceph import served_on_ceph
from tests.journeys.shared_folder import FOLDER, check_reach, get, shared_folder, withdraw_under_load
from tests.journeys.sharing_machine import Sharing
from tests.journeys.test_isolation_ceph import node  # noqa: F401 - a fixture
from tests.support.ceph import CephNode
from tests.support.databases import SqliteDatabases

pytestmark = pytest.mark.xdist_group("ceph")


@pytest.fixture(scope="module")
def revoking(
    node: CephNode,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_databases: SqliteDatabases,
) -> Iterator[Deployment]:
    """`tokenvend serve` with `REVOCATION=role_policy`."""
    directory = tmp_path_factory.mktemp("sharing")
    environment = {"TOKENVEND_REVOCATION": "role_policy", "TOKENVEND_REVOCATION_DELAY": "3"}
    with served_on_ceph(directory, node, sqlite_databases.create(directory), environment) as deployment:
        yield deployment


def test_is_read_and_nothing_else_is_reached(revoking: Deployment, flower: bytes) -> None:
    with shared_folder(revoking, flower) as shared:
        check_reach(shared)
        twin = f"{shared.bob.prefix}{FOLDER.upper()}twin.jpg"
        revoking.as_owner.put_object(Bucket=revoking.bucket, Key=twin, Body=b"a twin")
        assert get(revoking, shared.ada.keys(include_shared=True), twin) == 403


@pytest.mark.long
def test_no_read_succeeds_after_effective_by(revoking: Deployment, flower: bytes) -> None:
    """Three readers that vend anew at each refusal: none gets the folder back, and the engine is told in time."""
    with shared_folder(revoking, flower) as shared:
        load = withdraw_under_load(shared)
        before = [status for began_at, status in load.reads if began_at < load.answered_at - 0.1]
        after = [status for began_at, status in load.reads if began_at >= load.effective_by]
        last = max(began_at for began_at, status in load.reads if status == 200)
        print(f"\n{len(load.reads)} reads; the last to succeed began {last - load.answered_at:+.3f} s after the answer")
        assert before.count(200) > 10
        assert after
        assert set(after) == {403}
        assert [shared for asked_at, shared in load.vends if asked_at > load.answered_at if shared] == []
        assert [shared for asked_at, shared in load.vends if asked_at > load.answered_at]


def test_whatever_happens_the_engine_agrees_with_the_model(revoking: Deployment, in_full: bool) -> None:
    """A few walks of a few steps: each credential reads what its grants say, until the first of them ends."""
    machine = type("On", (Sharing,), {"deployment": revoking})
    walks = 8 if in_full else 3
    few = settings(max_examples=walks, stateful_step_count=15, deadline=None, phases=[Phase.generate], database=None)
    run_state_machine_as_test(machine, settings=few)
