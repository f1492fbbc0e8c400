"""The isolation canary, on a good engine, on one that reads no session policy, and where there is none."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from app import engine
from app.engine import Engine
from app.upkeep import canary
from tests.support.clock import ManualClock
from tests.support.engine import of_engine, owner_of
from tests.support.logged import capture_logs
from tests.support.service import Service, running_service

KEYS = {"aws_access_key_id": "AKIATESTTESTTEST", "aws_secret_access_key": "base-secret"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine.start(tmp_path_factory.mktemp("canary") / "engine") as started:
        yield started


@pytest.fixture(scope="module")
def careless() -> Iterator[str]:
    """moto keeps a session policy and never reads it. It has the bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS).create_bucket(Bucket="photos")
    yield url
    server.stop()


Make = Callable[..., Service]


@pytest.fixture
def make(database_url: str) -> Iterator[Make]:
    """A service with the canary on, whose clock is an hour behind: what engines give lives longer for it."""
    with ExitStack() as stack:

        def made(aws: boto3.Session | None = None, **changes: Any) -> Service:
            clock = ManualClock(datetime.now(UTC).replace(microsecond=0) - canary.EVERY)
            return stack.enter_context(
                running_service(database_url, clock=clock, aws=aws, **{"canary": "on", **changes})
            )

        yield made


def on_careless(url: str) -> dict[str, Any]:
    return {
        "aws": boto3.Session(**KEYS),
        "sts_endpoint_url": url,
        "s3_endpoint_url": url,
        "s3_force_path_style": True,
    }


def watch(service: Service) -> list[str]:
    """One pass of the job, and what it logged."""
    assert service.client.portal is not None
    with capture_logs() as logs:
        service.client.portal.call(canary.watch, service.runtime.platform, service.runtime.vending)
    return [f"{entry['log_level']} {entry['event']}" for entry in logs if entry["event"] in EVENTS]


EVENTS = ("canary_passed", "canary_failed", "isolation_broken")


def series(service: Service) -> dict[str, float]:
    lines = service.client.get("/metrics").text.splitlines()
    return {
        name.removeprefix("tokenvend_canary_"): float(value)
        for name, _, value in (line.partition(" ") for line in lines)
        if name.startswith("tokenvend_canary_")
    }


def runs(service: Service) -> list[float]:
    found = series(service)
    return [found[f'runs_total{{result="{result}"}}'] for result in ("passed", "failed", "broken")]


class TestGoodEngine:
    def test_passes_every_hour_and_leaves_nothing(self, make: Make, running: Engine) -> None:
        service = make(**of_engine(running))
        assert watch(service) == ["info canary_passed"]
        service.clock.advance(seconds=3599)
        assert watch(service) == []
        service.clock.advance(seconds=1)
        assert watch(service) == ["info canary_passed"]
        assert runs(service) == [2, 0, 0]
        assert series(service)["broken"] == 0
        assert series(service)["passed_timestamp_seconds"] == service.clock.now().timestamp()
        owner = owner_of(running)
        assert "Contents" not in owner.list_objects_v2(Bucket=running.bucket)

    def test_its_credentials_are_in_the_ledger(self, make: Make, running: Engine) -> None:
        service = make(**of_engine(running))
        watch(service)
        rows = service.sql("SELECT prefix, access FROM issued_credentials")
        assert {tuple(row) for row in rows} == {(f"users/{user_id}/", "read_write") for user_id in canary.USERS}

    def test_is_one_replicas_at_a_time_and_told_by_all(self, make: Make, running: Engine) -> None:
        first, second = make(**of_engine(running)), make(**of_engine(running))
        assert [watch(first), watch(second)] == [["info canary_passed"], []]
        assert runs(second) == [0, 0, 0]
        assert series(second)["passed_timestamp_seconds"] == series(first)["passed_timestamp_seconds"] > 0

    def test_that_died_is_taken_up(self, make: Make, running: Engine) -> None:
        service = make(**of_engine(running))
        assert service.runtime.platform.database.run("write", canary._claim, service.clock.now()) == 1
        assert watch(service) == []
        service.clock.advance(seconds=300)
        assert watch(service) == ["info canary_passed"]

    def test_is_off_unless_it_is_wanted(self, make: Make, running: Engine) -> None:
        service = make(**of_engine(running), canary="off")
        assert watch(service) == []
        assert service.sql("SELECT * FROM canary") == []


class TestEngineWithoutPolicies:
    def test_is_told_at_once(self, make: Make, careless: str) -> None:
        service = make(**on_careless(careless))
        assert watch(service) == ["critical isolation_broken"]
        assert runs(service) == [0, 0, 1]
        assert series(service)["broken"] == 1
        ((subject, detail),) = service.sql(
            "SELECT subject_id, detail FROM audit_events WHERE event = 'isolation.broken'"
        )
        assert uuid.UUID(str(subject)) == canary.USERS[0]
        told = detail if isinstance(detail, dict) else json.loads(detail)
        assert told == {"reached": "get, list, put, delete"}
        assert service.client.get("/readyz").status_code == 200

    def test_is_tried_again_soon_until_it_is_mended(self, make: Make, careless: str, running: Engine) -> None:
        broken, mended = make(**on_careless(careless)), make(**of_engine(running))
        watch(broken)
        watch(mended)
        assert series(mended)["broken"] == 1
        mended.clock.advance(seconds=301)
        assert watch(mended) == ["info canary_passed"]
        watch(broken)
        assert [series(service)["broken"] for service in (broken, mended)] == [0, 0]


class TestNoEngine:
    @pytest.mark.parametrize("away", ["s3_endpoint_url", "sts_endpoint_url"])
    def test_is_no_alarm_but_a_failure(self, make: Make, running: Engine, away: str) -> None:
        service = make(**{**of_engine(running), away: "http://127.0.0.1:1"})
        assert watch(service) == ["error canary_failed"]
        assert (runs(service), series(service)["broken"]) == ([0, 1, 0], 0)
        service.clock.advance(seconds=301)
        assert watch(service) == ["error canary_failed"]

    def test_a_closed_bucket_is_a_failure_too(self, make: Make, running: Engine) -> None:
        """Everything is denied, one's own too: nobody reads the other's, and nobody can work."""
        service = make(**of_engine(running) | {"bucket": "elsewhere"})
        assert watch(service) == ["error canary_failed"]


def test_nobody_can_be_one_of_the_two() -> None:
    assert {user_id.version for user_id in canary.USERS} == {5}
    assert len(set(canary.USERS)) == 2


def test_it_is_a_job(service: Service) -> None:
    (job,) = [job for job in service.runtime.jobs if job.name == "canary"]
    assert job.work.func is canary.watch
    assert timedelta(seconds=job.every) < canary.AGAIN
