"""STS under load and in trouble: how many calls at once, how long, in which Region, and what the caller is told."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from app.aws import sts_client
from app.aws.transport import Answer, Endpoint, Fault, FaultKind, Keys
from app.platform.environment import load_settings
from app.platform.problems import Overloaded, PolicyTooLarge, Problem, StsRefused, StsThrottled, StsUnavailable
from tests.aws.calling import Calling, signers, static_session, until
from tests.aws.calling import with_client as with_any_client
from tests.support import sigv4
from tests.support.canned_sts import CannedSts
from tests.support.clock import ManualClock
from tests.support.logged import capture_logs

REGIONS = ("us-east-1", "eu-west-1", "ap-south-1")
START = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOWHERE = "http://{region}.invalid"


def with_client(url: str, story: Callable[[Calling], Awaitable[Any]], **options: Any) -> Any:
    return with_any_client(url, story, make_session=static_session, **options)


@dataclass
class Scripted:
    """A transport that answers as told, Region by Region; a Region without a fault answers well."""

    faults: dict[str, FaultKind] = field(default_factory=dict)
    date: str | None = None
    calls: list[str] = field(default_factory=list)
    """The Regions that were called."""
    gate: asyncio.Event | None = None
    """None answers before it is set."""
    takes: float = 0
    """Seconds, for each answer."""
    closed: bool = False

    async def send(self, endpoint: Endpoint, action: str, parameters: Any, keys: Keys | None) -> Answer:
        self.calls.append(endpoint.region)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(self.takes)
        if kind := self.faults.get(endpoint.region):
            raise Fault(kind, f"{kind} there", self.date)
        return Answer({"Arn": f"arn:of:{endpoint.region}"}, self.date)

    async def close(self) -> None:
        self.closed = True


async def problem_of(call: Calling) -> Problem:
    with pytest.raises(Problem) as refused:
        await call.ask()
    return refused.value


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_client, "BACKOFF", (0, 0.001))


class TestPlaces:
    def test_are_never_exceeded(self, sts: CannedSts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sts_client, "CONCURRENT_CALLS", 8)
        lock, together, inside, most = threading.Lock(), threading.Barrier(8), 0, 0

        def meet(form: dict[str, str]) -> None:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            together.wait(10)  # until as many are here as there are places
            with lock:
                inside -= 1

        sts.before_answer = meet
        with_client(sts.url, lambda call: asyncio.gather(*(call.ask() for _ in range(40))))
        assert (most, len(sts.forms)) == (8, 40)

    def test_are_64(self) -> None:
        assert sts_client.CONCURRENT_CALLS == 64

    def test_come_free_when_callers_give_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sts_client, "CONCURRENT_CALLS", 2)

        async def story(call: Calling) -> None:
            transport.gate = asyncio.Event()
            callers = [asyncio.create_task(call.ask()) for _ in range(6)]
            await until(lambda: len(transport.calls) == 2)
            assert (call.client._waiting, call.sample("sts_waiting")) == (4, 4)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            assert (call.client._waiting, call.sample("sts_waiting")) == (0, 0)
            transport.gate.set()
            await asyncio.gather(call.ask(), call.ask())

        transport = Scripted()
        with_client(NOWHERE, story, transport=transport)
        assert len(transport.calls) == 4

    def test_are_counted_back_after_a_fault(self) -> None:
        async def story(call: Calling) -> None:
            await problem_of(call)
            assert (call.client._waiting, call.sample("sts_waiting")) == (0, 0)
            assert call.client._places._value == sts_client.CONCURRENT_CALLS

        with_client(NOWHERE, story, transport=Scripted({"us-east-1": "refused"}))

    def test_are_awaited_for_half_of_the_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert sts_client.LONGEST_WAIT == sts_client.DEADLINE / 2
        monkeypatch.setattr(sts_client, "CONCURRENT_CALLS", 1)

        async def story(call: Calling) -> None:
            transport.gate = asyncio.Event()
            first = asyncio.create_task(call.ask())
            await until(lambda: bool(transport.calls))
            monkeypatch.setattr(sts_client, "LONGEST_WAIT", 0.05)
            refused = await problem_of(call)
            assert isinstance(refused, Overloaded)
            assert refused.retry_after in range(2, 7)
            assert (call.client._waiting, call.sample("sts_waiting")) == (0, 0)
            transport.gate.set()
            await first

        transport = Scripted()
        with_client(NOWHERE, story, transport=transport)
        assert len(transport.calls) == 1

    def test_leave_time_for_an_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A crowd that STS cannot serve is refused in part; whoever has a place is served, and no Region is blamed."""
        for name, value in (("CONCURRENT_CALLS", 1), ("LONGEST_WAIT", 0.4), ("DEADLINE", 0.8)):
            monkeypatch.setattr(sts_client, name, value)
        transport = Scripted(takes=0.15)

        async def story(call: Calling) -> None:
            await call.base.current()
            outcomes = await asyncio.gather(*(call.ask() for _ in range(20)), return_exceptions=True)
            refused = [outcome for outcome in outcomes if not isinstance(outcome, Answer)]
            assert {type(problem) for problem in refused} == {Overloaded}
            assert len(refused) == 20 - len(transport.calls)

        with_client(NOWHERE, story, transport=transport)
        assert transport.calls


class TestDeadline:
    def test_is_four_seconds(self) -> None:
        assert sts_client.DEADLINE == 4

    def test_is_one_for_all_tries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """SECURITY.md, faults, "STS slow/unreachable": the second try has what the first one left."""
        monkeypatch.setattr(sts_client, "DEADLINE", 0.5)
        transport = Scripted({"us-east-1": "unavailable"}, takes=0.3)

        async def story(call: Calling) -> None:
            await call.base.current()
            problem = await problem_of(call)
            assert isinstance(problem, StsUnavailable)
            assert problem.cause == "no answer within 0.5 s"
            assert problem.retry_after in range(2, 7)
            labels = {"action": "GetCallerIdentity", "region": "us-east-1", "outcome": "unavailable"}
            assert call.sample("sts_calls_total", **labels) == 2

        with_client(NOWHERE, story, transport=transport)
        assert len(transport.calls) == 2

    def test_includes_the_base_credentials(self, sts: CannedSts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sts_client, "DEADLINE", 0.1)
        released = threading.Event()

        def slow_session() -> Any:
            released.wait(10)
            return static_session()

        async def story(call: Calling) -> None:
            assert isinstance(await problem_of(call), StsUnavailable)
            released.set()
            await call.base.current()
            monkeypatch.setattr(sts_client, "DEADLINE", 4)
            await call.ask()

        with_any_client(sts.url, story, make_session=slow_session)
        assert len(sts.forms) == 1


class TestTries:
    @pytest.mark.parametrize(("kind", "problem"), [("unavailable", StsUnavailable), ("throttled", StsThrottled)])
    def test_are_two_in_one_region(self, kind: FaultKind, problem: type[Problem]) -> None:
        """SECURITY.md, faults, "STS throttled/5xx"."""
        transport = Scripted({"us-east-1": kind})
        assert isinstance(with_client(NOWHERE, problem_of, transport=transport), problem)
        assert transport.calls == ["us-east-1"] * 2

    @pytest.mark.parametrize(
        ("kind", "problem"), [("refused", StsRefused), ("too_large", PolicyTooLarge), ("expired", StsRefused)]
    )
    def test_are_one_where_another_would_change_nothing(self, kind: FaultKind, problem: type[Problem]) -> None:
        """SECURITY.md, faults, "PackedPolicyTooLarge, Malformed, AccessDenied, RegionDisabled"."""
        transport = Scripted(dict.fromkeys(REGIONS, kind))
        refused = with_client(NOWHERE, problem_of, transport=transport, regions=REGIONS)
        assert isinstance(refused, problem)
        assert refused.cause == f"{kind} there"
        assert transport.calls == ["us-east-1"]

    def test_are_in_every_region_in_order(self) -> None:
        transport = Scripted(dict.fromkeys(REGIONS, "unavailable"))
        with_client(NOWHERE, problem_of, transport=transport, regions=REGIONS)
        assert transport.calls == list(REGIONS)

    @pytest.mark.parametrize("code", ["Throttling", "InternalFailure"])
    def test_go_on_in_the_next_region_signed_for_it(
        self, sts: CannedSts, monkeypatch: pytest.MonkeyPatch, code: str
    ) -> None:
        monkeypatch.setenv("TOKENVEND_STS_ENDPOINT_URL", f"{sts.url}/{{region}}")
        monkeypatch.setenv("TOKENVEND_STS_REGIONS", ",".join(REGIONS))
        monkeypatch.setenv("TOKENVEND_SECRET_KEY", "k9f3-Zq8w-1mLp-77xT-bVn2-Rh5c-Yd4s")
        settings = load_settings()
        assert settings.sts_endpoint_url is not None
        sts.fail(code, 500, times=2)
        with_client(settings.sts_endpoint_url, Calling.ask, regions=settings.sts_regions)
        assert [request.path for request in sts.requests] == [f"/{region}" for region in REGIONS]
        assert [sigv4.read(request.headers["authorization"]).region for request in sts.requests] == list(REGIONS)
        for request in sts.requests:
            expected = sigv4.signature("POST", request.path, request.headers, request.body, "base-secret")
            assert sigv4.read(request.headers["authorization"]).signature == expected

    def test_go_on_where_a_region_is_not_there_at_all(self, sts: CannedSts) -> None:
        with ExitStack() as stack:
            gone = stack.enter_context(closing(CannedSts()))
        ports = {"us-east-1": gone.url, "eu-west-1": sts.url}

        async def story(call: Calling) -> None:
            call.endpoints.ordered = [Endpoint(region, url) for region, url in ports.items()]
            await call.ask()

        with_client(NOWHERE, story, regions=tuple(ports))
        assert signers(sts) == ["AKIATESTTESTTEST"]

    def test_of_one_that_answers_spare_the_others(self) -> None:
        transport = Scripted()
        with_client(NOWHERE, Calling.ask, transport=transport, regions=REGIONS)
        assert transport.calls == ["us-east-1"]


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("kind", "least", "most"),
        [("throttled", 1, 5), ("unavailable", 2, 6), ("refused", 20, 40), ("expired", 20, 40)],
    )
    def test_is_spread(self, kind: FaultKind, least: int, most: int) -> None:
        async def story(call: Calling) -> set[int | None]:
            call.endpoints.failed = lambda endpoint: None  # type: ignore[method-assign]
            return {(await problem_of(call)).retry_after for _ in range(30)}

        told = with_client(NOWHERE, story, transport=Scripted({"us-east-1": kind}))
        assert told <= set(range(least, most + 1))
        assert len(told) > 2

    def test_is_not_for_what_the_caller_has_to_change(self) -> None:
        assert with_client(NOWHERE, problem_of, transport=Scripted({"us-east-1": "too_large"})).retry_after is None


class TestSkew:
    """SECURITY.md, faults, "SignatureDoesNotMatch (skew)": seen in the metric and told to the operator."""

    @pytest.mark.parametrize("seconds", [-400, 0, 400])
    def test_is_measured_from_the_date_of_an_answer(self, sts: CannedSts, seconds: int) -> None:
        sts._clock = ManualClock(START + timedelta(seconds=seconds))

        async def story(call: Calling) -> float | None:
            with capture_logs() as logs:
                await call.ask()
            assert [(entry["event"], entry["seconds"]) for entry in logs] == (
                [("clock_skew", seconds)] if seconds else []
            )
            return call.sample("sts_clock_skew_seconds")

        assert with_client(sts.url, story, clock=ManualClock(START)) == seconds

    def test_is_in_the_cause_of_a_refusal(self) -> None:
        """Ours is behind by 400 s: that is what the operator reads."""
        transport = Scripted(
            {"us-east-1": "refused"}, date=format_datetime(START + timedelta(seconds=400), usegmt=True)
        )
        with capture_logs():
            refused = with_client(NOWHERE, problem_of, transport=transport, clock=ManualClock(START))
        assert refused.cause == "refused there (this machine's clock is -400 s off STS's)"
        assert "400" not in refused.detail

    def test_is_measured_once_a_minute(self) -> None:
        transport = Scripted(date=format_datetime(START, usegmt=True))
        clock = ManualClock(START)

        async def story(call: Calling) -> list[float | None]:
            measured = []
            for seconds in (0, 30, 31):
                clock.advance(seconds=seconds)
                await call.ask()
                measured.append(call.sample("sts_clock_skew_seconds"))
            return measured

        with capture_logs():
            assert with_client(NOWHERE, story, transport=transport, clock=clock) == [0, 0, -61]

    @pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 01 Jun 2026 12:00:00 -0000", "9" * 400])
    def test_is_nothing_without_a_date(self, date: str | None) -> None:
        async def story(call: Calling) -> float | None:
            await call.ask()
            return call.sample("sts_clock_skew_seconds")

        assert with_client(NOWHERE, story, transport=Scripted(date=date), clock=ManualClock(START)) == 0


class TestClosing:
    def test_closes_transport_and_thread(self) -> None:
        transport = Scripted()

        async def story(call: Calling) -> Calling:
            await call.ask()
            return call

        call = with_client(NOWHERE, story, transport=transport)
        assert transport.closed
        assert call.base._thread._shutdown
