"""What an operation makes the service judge, hash or verify: in which lanes, and within which limits."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from passlib.hash import bcrypt

from app.platform.limits import LimitName
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem
from tests.support.openapi import openapi
from tests.support.service import PASSWORD, Device, Service
from tests.support.work import Work, watch

NEW = "copper walnut lighthouse"
Route = tuple[str, str]
SIGN_IN, JUDGE, NEW_HASH = "sign_in", "judge", "new"

WORK: dict[Route, tuple[set[str], set[LimitName]]] = {
    ("POST", "/v1/users"): ({JUDGE, NEW_HASH}, {"register"}),
    ("POST", "/v1/auth/login"): ({SIGN_IN}, {"log_in", "guess"}),
    ("POST", "/v1/auth/step-up"): ({SIGN_IN}, {"mfa", "own_password"}),
    ("POST", "/v1/me/upgrade"): ({JUDGE, NEW_HASH}, {"register"}),
    ("PUT", "/v1/me/password"): ({SIGN_IN, JUDGE, NEW_HASH}, {"confirm", "own_password", "change_password"}),
    ("POST", "/v1/me/email"): ({SIGN_IN}, {"mail", "own_password"}),
    ("DELETE", "/v1/me"): ({SIGN_IN}, {"mfa", "own_password"}),
    ("POST", "/v1/password-resets/confirm"): ({JUDGE, NEW_HASH}, {"confirm"}),
    ("POST", "/v1/email-verifications/confirm"): ({SIGN_IN}, {"confirm"}),
    ("POST", "/v1/me/email/confirm"): ({SIGN_IN}, {"confirm"}),
    ("POST", "/v1/links"): ({NEW_HASH}, {"share"}),
    ("POST", "/v1/links/open"): ({SIGN_IN}, {"open_link", "link_guess", "address_link_guess"}),
    ("POST", "/v1/links/report"): ({SIGN_IN}, {"report_link", "open_link", "link_guess", "address_link_guess"}),
}
"""By operation, the lanes that it works in and the limits that it passes before. No other one works in any."""


def _reset_token(device: Device) -> str:
    device.service.client.post("/v1/password-resets", json={"email": device.email})
    return device.service.mails(device.email)[-1].token


def _change_token(device: Device) -> str:
    """Of a link that another user opens."""
    asking = device.service.device()
    asking.post("/v1/me/email", {"new_email": "moved@example.org", "password": PASSWORD})
    return device.service.mails("moved@example.org")[-1].token


def _upgrade_token(device: Device) -> str:
    """Of a guest's link, which another user opens."""
    service = device.service
    object.__setattr__(service.runtime.platform.settings, "email_verification", "required")
    service.sql("UPDATE users SET email_verified_at = created_at WHERE email = :email", email=device.email)
    _guest(service).post("/v1/me/upgrade", {"email": "upgraded@example.org", "password": NEW})
    return service.mails("upgraded@example.org")[-1].token


def _link_secret(device: Device) -> str:
    link = device.post("/v1/links", {"path": "albums/", "password": PASSWORD}).json()
    return str(link["url"].partition("#")[2])


BODIES: dict[Route, Callable[[Device], dict[str, Any]]] = {
    ("POST", "/v1/users"): lambda _: {"email": "new@example.org", "password": NEW},
    ("POST", "/v1/auth/login"): lambda device: {"email": device.email, "password": PASSWORD},
    ("POST", "/v1/auth/step-up"): lambda _: {"password": PASSWORD},
    ("POST", "/v1/me/upgrade"): lambda _: {"email": "upgraded@example.org", "password": NEW},
    ("PUT", "/v1/me/password"): lambda _: {"current_password": PASSWORD, "new_password": NEW},
    ("POST", "/v1/me/email"): lambda _: {"new_email": "moved@example.org", "password": PASSWORD},
    ("DELETE", "/v1/me"): lambda _: {"password": PASSWORD},
    ("POST", "/v1/password-resets/confirm"): lambda device: {"token": _reset_token(device), "new_password": NEW},
    ("POST", "/v1/email-verifications/confirm"): lambda device: {"token": _upgrade_token(device), "password": NEW},
    ("POST", "/v1/me/email/confirm"): lambda device: {"token": _change_token(device), "password": PASSWORD},
    ("POST", "/v1/links"): lambda _: {"path": "albums/", "password": PASSWORD},
    ("POST", "/v1/links/open"): lambda device: {"secret": _link_secret(device), "password": PASSWORD},
    ("POST", "/v1/links/report"): lambda device: {"secret": _link_secret(device), "password": PASSWORD},
}


def operations() -> Iterator[tuple[Route, bool]]:
    """Each operation of the OpenAPI document, and whether its body has a password."""
    document = openapi()
    models = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            text = json.dumps(operation.get("requestBody", {}))
            named = [model for name, model in models.items() if f'schemas/{name}"' in text]
            members = {member for model in named for member in model.get("properties", {})}
            yield (method.upper(), path), any("password" in member for member in members)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return watch(monkeypatch)


class TestOperations:
    """AU22"""

    def test_each_that_takes_a_password_is_in_the_table(self) -> None:
        """A new one without a row, so perhaps without a limit, fails this."""
        assert {route for route, takes in operations() if takes} == WORK.keys() == BODIES.keys()

    @pytest.mark.parametrize("route", WORK, ids=" ".join)
    def test_works_in_its_lanes_within_its_limits(
        self, make_on_sqlite: Callable[..., Service], work: Work, hashing: CountingContext, route: Route
    ) -> None:
        service = make_on_sqlite(rate_limits="on")
        device = _guest(service) if route[1].endswith("/upgrade") else service.device()
        body = BODIES[route](device)
        work.lanes.clear()
        work.limits.clear()
        answer = service.client.request(route[0], route[1], json=body, headers=device.headers)
        assert answer.is_success, answer.text
        lanes, limits = WORK[route]
        assert (work.lanes, limits - work.limits) == (lanes, set())

    @pytest.mark.parametrize("route", sorted(route for route, takes in operations() if not takes), ids=" ".join)
    def test_no_other_works_in_any(self, shared: Service, device: Device, work: Work, route: Route) -> None:
        """Whatever an administrator calls, with as little as the operation takes."""
        path = route[1].format_map(_MadeUp())
        for body in (None, {}):
            shared.client.request(route[0], path, json=body, headers=device.headers)
        assert work.lanes == set()

    def test_a_sign_in_makes_an_old_hash_ours_in_the_lane_of_new_ones(
        self, make_on_sqlite: Callable[..., Service], work: Work
    ) -> None:
        service = make_on_sqlite(rate_limits="on")
        email = service.device().email
        old = bcrypt.using(rounds=4).hash(PASSWORD)
        service.sql("UPDATE users SET password_hash = :old WHERE email = :email", old=old, email=email)
        work.lanes.clear()
        assert service.log_in(email).status_code == 200
        assert work.lanes == {SIGN_IN, NEW_HASH}

    def test_one_without_a_limit_would_be_seen(self, shared: Service, work: Work) -> None:
        """The check itself: a call for a client's address that has passed no limit fails."""
        hasher = shared.runtime.hasher
        assert shared.client.portal is not None
        with pytest.raises(AssertionError, match="no limit before sign_in"):
            shared.client.portal.call(lambda: hasher.verify(PASSWORD, None, by="192.0.2.1"))
        assert work.lanes == set()


class TestUsers:
    """AU22: a signed-in user has limits of their own, from however many addresses they come."""

    def test_give_their_password_again_twenty_times_a_minute(
        self, make_on_sqlite: Callable[..., Service], hashing: CountingContext
    ) -> None:
        service = make_on_sqlite(rate_limits="on", trusted_proxies=("127.0.0.1",))
        device, other = service.device(), service.device()

        def step_up(device: Device, number: int) -> Any:
            headers = device.headers | {"X-Forwarded-For": f"198.51.100.{number}"}
            return service.client.post("/v1/auth/step-up", json={"password": PASSWORD}, headers=headers)

        for number in range(20):
            answer = step_up(device, number)
            assert answer.status_code == 200
            device.access_token = answer.json()["access_token"]
        verified = len(hashing.verified)
        assert_problem(step_up(device, 30), 429, "rate_limited")
        assert len(hashing.verified) == verified
        assert step_up(other, 30).status_code == 200
        service.clock.advance(minutes=1)
        assert step_up(device, 31).status_code == 200

    def test_choose_twenty_new_passwords_an_hour(
        self, make_on_sqlite: Callable[..., Service], hashing: CountingContext
    ) -> None:
        """Weak ones count too: they are judged."""
        service = make_on_sqlite(rate_limits="on")
        device = service.device()

        def change(new: str) -> Any:
            return device.put("/v1/me/password", json={"current_password": PASSWORD, "new_password": new})

        for _ in range(20):
            assert_problem(change("password1234"), 422, "weak_password")
            service.clock.advance(seconds=10)
        hashed = hashing.hashed
        assert_problem(change(NEW), 429, "rate_limited")
        assert hashing.hashed == hashed


class TestFloods:
    """AU22: whose turn it is, as the service itself asks for it."""

    @pytest.mark.slow("a crowd")
    def test_a_crowd_of_one_address_does_not_hold_up_another(self, make_on_sqlite: Callable[..., Service]) -> None:
        """Forty registrations of one address are under way; a sign-in of another waits for none of them."""
        service = make_on_sqlite()
        hasher, order = service.runtime.hasher, []

        async def note(name: str, work: Any) -> None:
            await work
            order.append(name)

        async def flood() -> None:
            crowd = [note("crowd", hasher.hash(f"{NEW} {n}", by="crowd", min_length=8)) for n in range(40)]
            await asyncio.gather(*crowd, note("ada", hasher.verify(PASSWORD, None, by="ada")))

        assert service.client.portal is not None
        service.client.portal.call(flood)
        assert order.index("ada") < 20


def _guest(service: Service) -> Device:
    tokens = service.client.post("/v1/auth/guest", json={}).json()["tokens"]
    return Device(service, "", tokens["access_token"], tokens["refresh_token"], tokens["session_id"])


class _MadeUp(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "6a3f9f8e-5f0e-4f43-9d5c-0d7d4e6f1a2b"


@pytest.fixture(scope="module")
def device(shared: Service) -> Device:
    return shared.staff("admin")
