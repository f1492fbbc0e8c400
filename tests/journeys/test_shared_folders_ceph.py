"""A shared folder on an engine that revokes: Ceph's gateway. What is withdrawn is read no more."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.journeys.deployment import Deployment
from tests.journeys.filled_folder import check_owner, check_reach_by_link, check_withdrawn, filled_folder
from tests.journeys.filled_folder import check_reach as check_filled
from tests.journeys.on_ceph import served_on_ceph
from tests.journeys.shared_folder import FOLDER, check_reach, get, shared_folder, withdraw_under_load
from tests.journeys.sharing_machine import REFUSED_WITHIN, Sharing
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


def test_is_filled_in_ones_own_part_and_nothing_else_is_touched(revoking: Deployment) -> None:
    """And what was vended before a withdrawal writes there no more."""
    with filled_folder(revoking) as filled:
        check_filled(filled)
        check_owner(filled)
        check_reach_by_link(filled)
        kept, deadline = filled.ada.keys(include_shared=True), time.monotonic() + REFUSED_WITHIN
        assert filled.send(kept, "PUT {mine}last.jpg").status == 200
        check_withdrawn(filled)
        while filled.send(kept, "PUT {mine}later.jpg").status == 200:
            assert time.monotonic() < deadline, "it was not revoked"
            time.sleep(0.05)


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
