"""Each part stopped under steady load: nothing that was accepted is lost, and nobody gets an answer that is not in the
documents. `make chaos` runs these, and they print how long it took to be ready again beside how long it should take.

The time is printed and not asserted: on a machine that is busy with something else it says nothing about the service,
and a test that fails for it would be run again until it passes. That it becomes ready at all is asserted.
"""

import time
from collections.abc import Iterator

import pytest

from tests.chaos.cluster import Cluster, running
from tests.chaos.load import BALANCER, BROKEN, PEOPLE, Load, assert_kept, steady

AROUND, SHORTLY_AROUND = 4.0, 1.0
"""Seconds of load without a fault, before and after it."""
READY_WITHIN = 5.0
"""Seconds from the end of a fault to readiness: the aim."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def around(in_full: bool) -> float:
    return AROUND if in_full else SHORTLY_AROUND


@pytest.fixture
def load(cluster: Cluster, around: float) -> Iterator[Load]:
    with steady(cluster.port, cluster.database_url) as load:
        time.sleep(around)
        assert not load.errors()
        yield load


def finish(name: str, cluster: Cluster, load: Load, ready_after: float | None, around: float) -> None:
    """Prints what was seen, and holds it to what must be."""
    assert ready_after is not None, "not ready again"
    time.sleep(around)
    load.stop()
    missed = ", MISSED" if ready_after > READY_WITHIN else ""
    print(
        f"\n{name}: ready again after {ready_after:.1f} s (aim {READY_WITHIN:.0f} s{missed}), "
        f"longest time without a success {load.longest_gap:.1f} s, {load.count():,} requests, "
        f"refused {dict(load.errors())}"
    )
    assert load.undocumented == []
    assert_kept(load, cluster.database_url)


def only_ours(load: Load) -> None:
    """No broken connection, and no answer of the balancer's."""
    assert not [answer for answer in load.errors() if answer == BROKEN or answer[1] == BALANCER]


class TestReplicas:
    @pytest.mark.long
    def test_a_rolling_restart_refuses_nobody(self, cluster: Cluster, load: Load, around: float) -> None:
        """Section 5, SIGTERM under load: each replica in turn, as an upgrade does."""
        for replica in cluster.replicas:
            assert replica.terminate() == 0
            replica.start()
            ready_after = cluster.becomes_ready()
        finish("rolling restart", cluster, load, ready_after, around)
        assert not load.errors()

    def test_one_that_is_killed_takes_along_what_it_had_in_hand(
        self, cluster: Cluster, load: Load, around: float
    ) -> None:
        """Section 5, kill -9: nobody else notices."""
        cluster.replicas[0].kill()
        time.sleep(2)
        cluster.replicas[0].start()
        finish("kill -9 of a replica", cluster, load, cluster.becomes_ready(), around)
        assert load.errors().total() <= PEOPLE + 1


class TestParts:
    @pytest.mark.long
    def test_sts_stopped(self, cluster: Cluster, load: Load, around: float) -> None:
        """Section 5, STS unreachable: whoever has a credential keeps it, everything else goes on until the balancer
        learns that the replicas cannot vend.
        """
        cluster.stop_sts()
        time.sleep(3)
        cluster.start_sts()
        finish("STS stopped", cluster, load, cluster.becomes_ready(), around)

    @pytest.mark.long
    def test_redis_stopped(self, cluster: Cluster, load: Load, around: float) -> None:
        """Section 5, Redis down: each replica counts and caches by itself; nobody is refused for it."""
        cluster.redis.kill()
        time.sleep(3)
        cluster.redis.start()
        finish("Redis stopped", cluster, load, cluster.becomes_ready(), around)
        assert not load.errors()

    def test_postgresql_failed_over(self, cluster: Cluster, load: Load, around: float) -> None:
        """Section 5, DB dies mid-flight: the standby is promoted, and has every commit that was answered."""
        cluster.primary.stop()
        time.sleep(1)
        cluster.standby.promote()
        finish("PostgreSQL failed over", cluster, load, cluster.becomes_ready(), around)
