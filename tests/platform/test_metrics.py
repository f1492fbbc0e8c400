"""What `/metrics` says of requests, limits, credentials, pool and jobs, after each of them happened."""

import asyncio
import re
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.platform import jobs
from app.platform.jobs import Job
from tests.support.engine import eventually
from tests.support.service import Service


def value(service: Service, series: str) -> float:
    """Of one series, as Prometheus reads it; 0 where there is none."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", service.client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def requests(service: Service, method: str, route: str, status: int) -> float:
    series = f'tokenvend_http_seconds_count{{method="{method}",route="{route}",status="{status}"}}'
    return value(service, series)


class TestRequests:
    def test_are_counted_by_route_and_status(self, service: Service) -> None:
        device = service.device()
        device.vend()
        service.log_in(device.email)
        service.log_in(device.email, "a wrong password, surely")
        assert requests(service, "POST", "/v1/credentials", 200) == 1
        assert requests(service, "POST", "/v1/auth/login", 200) == 1
        assert requests(service, "POST", "/v1/auth/login", 401) == 1

    def test_make_no_series_of_what_a_caller_makes_up(self, service: Service) -> None:
        before = service.client.get("/metrics").text.count("tokenvend_http_seconds_count")
        for number in range(20):
            service.client.request(f"MADE{number}", f"/up/{number}")
        text_after = service.client.get("/metrics").text
        assert requests(service, "other", "unmatched", 404) == 20
        assert text_after.count("tokenvend_http_seconds_count") <= before + 2  # and /metrics itself


class TestLimits:
    def test_refusals_are_counted_by_limit(self, make_service: Callable[..., Service]) -> None:
        service = make_service(rate_limits="on")
        for _ in range(31):
            service.client.post("/v1/auth/guest", json={})
        assert value(service, 'tokenvend_limits_refused_total{limit="guest"}') == 1


class TestLiveCredentials:
    def test_count_from_issuance_to_expiry_and_once_for_each(self, service: Service) -> None:
        device = service.device()
        device.vend()
        device.vend()
        device.vend(access="read")
        assert value(service, "tokenvend_live_credentials") == 2
        service.clock.advance(hours=1, minutes=1)
        assert value(service, "tokenvend_live_credentials") == 0


@pytest.mark.both_databases
class TestReadiness:
    def test_tells_which_part_is_not_well(self, service: Service) -> None:
        assert service.client.get("/readyz").status_code == 200
        parts = {part: value(service, f'tokenvend_ready{{part="{part}"}}') for part in ("database", "keys", "engine")}
        assert parts == {"database": 1, "keys": 1, "engine": 1}
        service.clock.advance(seconds=3)
        for _ in range(8):
            service.sts.fail(503, "ServiceUnavailable")
        assert service.client.get("/readyz").status_code == 503
        assert value(service, 'tokenvend_ready{part="engine"}') == 0
        assert value(service, 'tokenvend_ready{part="database"}') == 1

    def test_is_told_as_it_was_last_seen_while_the_database_answers_nobody(self, service: Service) -> None:
        """A scrape reads what this process has in memory: what is slow must not hide how slow it is."""
        assert service.client.get("/readyz").status_code == 200
        service.clock.advance(minutes=1)
        over, portal = threading.Event(), service.client.portal
        assert portal is not None
        waiting = [
            portal.start_task_soon(service.runtime.platform.database.read, lambda _: over.wait(30)) for _ in range(9)
        ]
        try:
            assert eventually(lambda: value(service, "tokenvend_database_waiting") == 1)
            assert value(service, 'tokenvend_ready{part="database"}') == 1
        finally:
            over.set()
        assert [one.result(30) for one in waiting] == [True] * 9


@pytest.mark.both_databases
class TestPool:
    def test_tells_size_use_and_what_waits(self, service: Service) -> None:
        database = service.runtime.platform.database
        assert value(service, "tokenvend_database_pool_size") == 8
        assert eventually(lambda: value(service, "tokenvend_database_connections") == 0), "what is looked up at start"

        def look(session: Session) -> int:
            session.execute(text("SELECT 1"))
            return database.connections_in_use

        assert database.run("read", look) == 1

    def test_tells_hashes_under_way(self, service: Service) -> None:
        hasher = service.runtime.hasher

        def waiting() -> float:
            value = service.runtime.platform.metrics.registry.get_sample_value(
                "tokenvend_hasher_waiting", {"lane": "sign_in"}
            )
            assert value is not None
            return value

        async def three() -> tuple[float, float]:
            work = [asyncio.create_task(hasher.verify("a password", None, by="somebody")) for _ in range(3)]
            await asyncio.sleep(0)
            during = waiting()
            await asyncio.gather(*work)
            await asyncio.sleep(0)
            return during, waiting()

        assert asyncio.run(three()) == (3, 0)


@pytest.mark.both_databases
class TestJobs:
    def test_failures_are_counted(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        async def fail() -> bool:
            asyncio.get_running_loop().call_soon(stop.set)
            raise ValueError

        stop, database = asyncio.Event(), service.runtime.platform.database

        async def once() -> None:
            work = asyncio.create_task(
                jobs.keep_working([Job("odd", fail, every=3600)], database, service.runtime.platform.metrics)
            )
            await stop.wait()
            await asyncio.sleep(0)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

        asyncio.run(once())
        assert value(service, 'tokenvend_job_failures_total{job="odd"}') == 1
