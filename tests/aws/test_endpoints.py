"""A Region that fails gets no calls for a while, then one that tries whether it is back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import botocore.session
import pytest

from app.aws import sts_client
from app.aws.base_credentials import default_session
from app.aws.endpoints import dns_suffix, sts_endpoints
from app.aws.transport import Endpoint, FaultKind
from app.platform.breaker import FAULTS_TO_OPEN, OPEN_FOR
from app.platform.problems import Problem, StsUnavailable
from tests.aws.calling import Calling, static_session, until, with_client
from tests.aws.test_client import NOWHERE, REGIONS, Scripted, problem_of
from tests.support.clock import ManualClock


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_client, "BACKOFF", (0, 0.001))


def story_of(
    transport: Scripted, story: Callable[[Calling, ManualClock], Awaitable[Any]], regions: tuple[str, ...] = REGIONS[:1]
) -> Any:
    clock = ManualClock()
    return with_client(
        NOWHERE,
        lambda call: story(call, clock),
        transport=transport,
        regions=regions,
        clock=clock,
        make_session=static_session,
    )


class TestBreaker:
    def test_opens_after_five_faults_and_then_nothing_is_called(self) -> None:
        transport = Scripted({"us-east-1": "unavailable"})

        async def story(call: Calling, clock: ManualClock) -> None:
            for called in (2, 4, 5, 5, 5):  # two tries each, until it is open
                problem = await problem_of(call)
                assert isinstance(problem, StsUnavailable)
                assert len(transport.calls) == called
            assert problem.cause == "every Region's circuit breaker is open"
            assert problem.retry_after in range(2, 7)
            assert call.sample("sts_region_open", region="us-east-1") == 1
            clock.advance(seconds=OPEN_FOR - 0.1)
            await problem_of(call)
            assert len(transport.calls) == FAULTS_TO_OPEN

        story_of(transport, story)

    def test_lets_one_call_try_after_five_seconds(self) -> None:
        transport = Scripted({"us-east-1": "unavailable"})

        async def story(call: Calling, clock: ManualClock) -> None:
            await open_it(call, transport)
            transport.faults.clear()
            transport.gate = asyncio.Event()
            clock.advance(seconds=OPEN_FOR)
            trial = asyncio.create_task(call.ask())
            await until(lambda: len(transport.calls) == FAULTS_TO_OPEN + 1)
            for problem in await asyncio.gather(*(problem_of(call) for _ in range(10))):
                assert isinstance(problem, StsUnavailable)
            assert len(transport.calls) == FAULTS_TO_OPEN + 1
            transport.gate.set()
            await trial
            assert call.sample("sts_region_open", region="us-east-1") == 0
            await asyncio.gather(*(call.ask() for _ in range(10)))

        story_of(transport, story)

    def test_stays_open_when_the_trial_fails(self) -> None:
        transport = Scripted({"us-east-1": "unavailable"})

        async def story(call: Calling, clock: ManualClock) -> None:
            await open_it(call, transport)
            for trials in (1, 2):
                clock.advance(seconds=OPEN_FOR)
                await problem_of(call)
                await problem_of(call)
                assert len(transport.calls) == FAULTS_TO_OPEN + trials
                assert call.sample("sts_region_open", region="us-east-1") == 1

        story_of(transport, story)

    def test_that_nobody_reported_back_to_is_tried_again(self) -> None:
        """The caller whose call was the trial has hung up."""
        transport = Scripted({"us-east-1": "unavailable"})

        async def story(call: Calling, clock: ManualClock) -> None:
            await open_it(call, transport)
            transport.faults.clear()
            transport.gate = asyncio.Event()
            clock.advance(seconds=OPEN_FOR)
            trial = asyncio.create_task(call.ask())
            await until(lambda: len(transport.calls) == FAULTS_TO_OPEN + 1)
            trial.cancel()
            await asyncio.gather(trial, return_exceptions=True)
            transport.gate.set()
            clock.advance(seconds=OPEN_FOR)
            await call.ask()

        story_of(transport, story)

    @pytest.mark.parametrize("kind", ["throttled", "refused", "expired", "too_large"])
    def test_does_not_open_for_an_answer(self, kind: FaultKind) -> None:
        transport = Scripted({"us-east-1": kind})

        async def story(call: Calling, clock: ManualClock) -> None:
            problems: list[Problem] = [await problem_of(call) for _ in range(10)]
            assert {problem.cause for problem in problems} == {f"{kind} there"}
            assert not call.sample("sts_region_open", region="us-east-1")

        story_of(transport, story)

    def test_counts_faults_in_a_row_alone(self) -> None:
        transport = Scripted()

        async def story(call: Calling, clock: ManualClock) -> None:
            for _ in range(4):
                transport.faults["us-east-1"] = "unavailable"
                await problem_of(call)
                transport.faults.clear()
                await call.ask()

        story_of(transport, story)
        assert len(transport.calls) == 12

    def test_does_not_open_because_callers_hang_up(self) -> None:
        transport = Scripted()

        async def story(call: Calling, clock: ManualClock) -> None:
            transport.gate = asyncio.Event()
            callers = [asyncio.create_task(call.ask()) for _ in range(2 * FAULTS_TO_OPEN)]
            await until(lambda: len(transport.calls) == len(callers))
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            transport.gate.set()
            await call.ask()
            assert call.sample("sts_calls_total", action="GetCallerIdentity", region="us-east-1", outcome="ok") == 1

        story_of(transport, story)

    def test_opens_because_the_deadline_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sts_client, "DEADLINE", 0.05)
        transport = Scripted()

        async def story(call: Calling, clock: ManualClock) -> None:
            await call.base.current()
            transport.gate = asyncio.Event()
            await asyncio.gather(*(problem_of(call) for _ in range(FAULTS_TO_OPEN)))
            assert (await problem_of(call)).cause == "every Region's circuit breaker is open"

        story_of(transport, story)

    def test_is_one_for_each_region(self) -> None:
        transport = Scripted({"us-east-1": "unavailable"})

        async def story(call: Calling, clock: ManualClock) -> None:
            for _ in range(FAULTS_TO_OPEN + 3):
                assert (await call.ask()).texts["Arn"] == "arn:of:eu-west-1"
            clock.advance(seconds=OPEN_FOR)
            transport.faults.clear()
            assert (await call.ask()).texts["Arn"] == "arn:of:us-east-1"

        story_of(transport, story, REGIONS)
        first = [number for number, region in enumerate(transport.calls) if region == "us-east-1"]
        assert first == [0, 2, 4, 6, 8, 13]


async def open_it(call: Calling, transport: Scripted) -> None:
    while len(transport.calls) < FAULTS_TO_OPEN:
        await problem_of(call)


class TestUrl:
    @pytest.mark.parametrize(
        ("region", "template", "url"),
        [
            ("eu-central-1", None, "https://sts.eu-central-1.amazonaws.com"),
            ("cn-north-1", None, "https://sts.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", None, "https://sts.us-gov-west-1.amazonaws.com"),
            (
                "eu-west-1",
                "https://vpce-1.sts.{region}.vpce.amazonaws.com",
                "https://vpce-1.sts.eu-west-1.vpce.amazonaws.com",
            ),
            ("eu-west-1", "http://127.0.0.1:8333", "http://127.0.0.1:8333"),
        ],
    )
    def test_is_regional_or_the_operators(self, region: str, template: str | None, url: str) -> None:
        (endpoint,) = sts_endpoints([region], template, default_session(region))
        assert endpoint == Endpoint(region, url)

    def test_ends_as_the_sdk_knows_it(self) -> None:
        data = botocore.session.get_session().get_component("data_loader").load_data("endpoints")
        suffixes = {partition["partition"]: partition["dnsSuffix"] for partition in data["partitions"]}
        assert {partition: dns_suffix(partition) for partition in suffixes} == suffixes
