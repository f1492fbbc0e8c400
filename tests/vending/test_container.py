"""The container endpoint, for SDKs that ask before every call: what is cached is cheap, and comes in a second."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from app.platform.limits import LIMITS
from app.platform.metrics import Metrics
from app.vending import cache
from tests.security.observed import assert_problem
from tests.support.service import Device, Service
from tests.vending.crowd import hold, sign_in

MakeService = Callable[..., Service]


def ask(device: Device) -> Any:
    return device.get("/v1/credentials/container")


def renewed(device: Device) -> Device:
    """The access token lives for fifteen minutes."""
    tokens = device.service.refresh(device.refresh_token).json()
    device.access_token, device.refresh_token = tokens["access_token"], tokens["refresh_token"]
    return device


class TestReuse:
    """boto3 asks before each call from fifteen minutes before the end. What it gets has to end that."""

    @pytest.mark.parametrize(
        ("ttl", "seconds"),
        [(900, 450), (1799, 900), (1800, 810), (1900, 910), (1980, 990), (2000, 1000), (3600, 1800)],
    )
    def test_ends_at_half_of_a_life_and_before_sdks_ask_for_another(
        self, make_service: MakeService, ttl: int, seconds: int
    ) -> None:
        """`seconds`: the age from which a credential is not handed out any more."""
        service = make_service(credential_ttl=ttl)
        (device,) = sign_in(service, 1)
        first = ask(device).json()
        assert device.vend().json()["access_key_id"] == first["AccessKeyId"]
        service.clock.advance(seconds=seconds - 1)
        assert ask(renewed(device)).json() == first
        service.clock.advance(seconds=1)
        second = ask(device).json()
        assert second["AccessKeyId"] != first["AccessKeyId"]
        assert device.vend().json()["access_key_id"] == second["AccessKeyId"]
        assert len(service.sts.assumed) == 2


class TestLimit:
    def test_cached_ones_have_a_limit_of_their_own(self, make_service: MakeService) -> None:
        """For each session, so that a shell takes nothing from a phone."""
        service = make_service(rate_limits="on")
        phone = service.device("ada@example.org")
        shell = service.device("ada@example.org")
        assert [shell.vend().status_code for _ in range(61)] == [200] * 60 + [429]
        assert ask(shell).status_code == 200
        use_up(service, shell, spare=1)
        assert ask(shell).status_code == 200
        assert_problem(ask(shell), 429, "rate_limited")
        assert ask(phone).status_code == 429, "it has nothing cached, and the user has asked for 60"
        service.clock.advance(minutes=1)
        assert [ask(device).status_code for device in (shell, phone)] == [200, 200]

    def test_those_that_ask_sts_count_as_credentials_too(self, make_service: MakeService) -> None:
        service = make_service(rate_limits="on")
        (device,) = sign_in(service, 1)
        paths = [f"{number}/" for number in range(20)]
        assert {device.get("/v1/credentials/container", params={"path": path}).status_code for path in paths} == {200}
        assert [device.vend(path="0/").status_code for _ in range(41)] == [200] * 40 + [429]
        assert device.get("/v1/credentials/container", params={"path": "0/"}).status_code == 200
        assert device.get("/v1/credentials/container", params={"path": "new/"}).status_code == 429

    def test_those_that_get_none_take_nothing_from_apps(self, make_service: MakeService) -> None:
        """A program that asks on and on, for what STS or a limit refuses."""
        service = make_service(rate_limits="on")
        phone, shell = service.device("ada@example.org"), service.device("ada@example.org")
        assert phone.vend().status_code == 200
        paths = [f"{number}/" for number in range(70)]
        asked = [shell.get("/v1/credentials/container", params={"path": path}).status_code for path in paths]
        assert asked[-1] == 429
        assert phone.vend().status_code == 200, "it is cached"

    def test_a_quota_makes_no_cached_one_dearer(self, make_service: MakeService) -> None:
        service = make_service(rate_limits="on")
        (device,) = sign_in(service, 1)
        service.sql("UPDATE users SET quota_bytes = 1000000")
        assert {ask(device).status_code for _ in range(61)} == {200}


def use_up(service: Service, device: Device, *, spare: int) -> None:
    """Counts what the session has asked for, up to so many."""
    limiter, portal = service.runtime.platform.limiter, service.client.portal
    assert portal is not None

    async def count() -> None:
        while await limiter.try_shared_hit("container_credentials", device.session_id):
            pass
        for _ in range(spare):
            await limiter.take_back("container_credentials", device.session_id)

    assert LIMITS["container_credentials"].amount == "600/minute"
    portal.call(count)


class TestWhileStsIsSlow:
    """AWS's C++ SDK waits for a second, and then goes on without a signature."""

    @pytest.fixture
    def answers(self, service: Service) -> threading.Event:
        """STS answers when it is set."""
        return threading.Event()

    @pytest.fixture
    def device(self, service: Service, answers: threading.Event) -> Device:
        """Has a credential that is to be renewed, by an STS that is slow by now."""
        (device,) = sign_in(service, 1)
        assert ask(device).status_code == 200
        service.clock.advance(minutes=35)
        service.sts.before_answer = lambda form: hold(answers, most=3)
        return renewed(device)

    def test_the_cached_one_is_given_and_renewed_behind_it(
        self, service: Service, device: Device, answers: threading.Event
    ) -> None:
        assert ask(device).json()["AccessKeyId"] == "ASIACANNED0000000001"
        assert not answers.is_set()
        answers.set()
        while ask(device).json()["AccessKeyId"] != "ASIACANNED0000000002":
            pass
        assert len(service.sts.assumed) == 2
        assert over_budget(service) == {"older": 1}
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(2,)]

    def test_it_is_given_until_its_last_minute(self, service: Service, device: Device) -> None:
        service.clock.advance(minutes=23, seconds=59)
        assert ask(renewed(device)).json()["AccessKeyId"] == "ASIACANNED0000000001"

    def test_then_the_caller_waits(self, service: Service, device: Device, answers: threading.Event) -> None:
        service.clock.advance(minutes=24)
        service.sts.before_answer = lambda form: hold(answers, most=1)
        assert ask(renewed(device)).json()["AccessKeyId"] == "ASIACANNED0000000002"
        assert over_budget(service) == {"new": 1}

    def test_a_refusal_that_took_so_long_is_counted(self, service: Service, answers: threading.Event) -> None:
        (device,) = sign_in(service, 1)
        service.sts.before_answer = lambda form: hold(answers, most=1)
        service.sts.fail("AccessDenied", 403)
        assert ask(device).status_code == 503
        assert over_budget(service) == {"refused": 1}

    def test_apps_wait_for_a_new_one(self, service: Service, device: Device, answers: threading.Event) -> None:
        """They know how long they wait, and get what lives longest."""
        service.sts.before_answer = lambda form: hold(answers, most=1)
        assert device.vend().json()["access_key_id"] == "ASIACANNED0000000002"
        assert over_budget(service) == {}

    @pytest.mark.parametrize(
        ("statement", "code"),
        [("DELETE FROM sessions", "invalid_token"), ("UPDATE users SET status = 'disabled'", "account_disabled")],
    )
    def test_not_where_the_session_has_ended_meanwhile(
        self, service: Service, device: Device, statement: str, code: str
    ) -> None:
        def end(_form: object) -> None:
            service.sql("DELETE FROM refresh_tokens")
            service.sql(statement)
            hold(threading.Event(), most=2)

        service.sts.before_answer = end
        refused = ask(device)
        assert refused.json()["code"] == code
        assert "ASIA" not in refused.text

    def test_where_sts_refuses_it_is_given_too(self, service: Service, device: Device) -> None:
        service.clock.advance(minutes=20)
        service.sts.answer_only("GetCallerIdentity")
        service.sts.before_answer = lambda form: None
        assert ask(renewed(device)).json()["AccessKeyId"] == "ASIACANNED0000000001"
        assert device.vend().status_code == 503, "an app is told, and may have its own"


def over_budget(service: Service) -> dict[str, int]:
    metrics: Metrics = service.runtime.platform.metrics
    counts = {one: int(metrics.container_late.labels(one)._value.get()) for one in ("older", "new", "refused")}
    return {one: count for one, count in counts.items() if count}


def test_the_budget_leaves_something_of_the_second() -> None:
    assert 0.5 <= cache.BUDGET <= 0.8
