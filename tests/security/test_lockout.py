"""Guessing at an account: a hundred in a row at most, wherever and however many at once.

Nobody is signed out by it, and no owner who is signed in is kept from defending the account.
"""

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response
from limits import parse

from app.accounts import reauthentication
from app.platform.limits import LIMITS, Key, LimitName, account_key
from app.records.actor import Actor
from app.records.audit import COMMAND_LINE
from app.records.models import TotpFactor
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem, without_request_id
from tests.security.races import all_at_once
from tests.support.authenticator import enable
from tests.support.openapi import openapi
from tests.support.service import PASSWORD, Device, Service

PROXY = "127.0.0.1"
WRONG = "not the password"
MOST = parse(LIMITS["guess"].amount).amount
CODES, SIGNED_IN, BY_ONE_SESSION = (
    parse(LIMITS[name].amount).amount for name in ("code_guess", "own_guess", "session_guess")
)


@pytest.fixture
def make_limited(make_service: Callable[..., Service], hashing: CountingContext) -> Callable[..., Service]:
    """With limits on, behind a proxy, so that a test can come from as many addresses as it likes."""
    return lambda **changes: make_service(rate_limits="on", trusted_proxies=(PROXY,), **changes)


@pytest.fixture
def limited(make_limited: Callable[..., Service]) -> Service:
    return make_limited()


def guess(service: Service, email: str, number: int, password: str = WRONG) -> Response:
    """A sign-in from an address of its own."""
    body = {"email": email, "password": password}
    address = f"198.51.{number // 256}.{number % 256}"
    return service.client.post("/v1/auth/login", json=body, headers={"X-Forwarded-For": address})


def lock(service: Service, email: str) -> None:
    for number in range(MOST):
        assert guess(service, email, number).status_code == 401


def add_factor(service: Service, device: Device) -> None:
    """As if an authenticator app had been set up."""
    user_id, now = UUID(device.user_id), service.clock.now()
    factor = TotpFactor(user_id=user_id, secret_encrypted=b"", created_at=now, confirmed_at=now)
    service.runtime.platform.database.run("write", lambda session: session.add(factor))


@pytest.mark.both_databases
class TestLockOut:
    def test_the_101st_is_not_even_verified(self, limited: Service, hashing: CountingContext) -> None:
        """AU7: by as many addresses; nor is the right password, and the answer is the same."""
        email = limited.device().email
        lock(limited, email)
        verified = len(hashing.verified)
        wrong, right = guess(limited, email, 200), guess(limited, email, 201, PASSWORD)
        assert_problem(wrong, 429, "rate_limited")
        assert wrong.headers["retry-after"] == "86400"
        assert without_request_id(wrong) == without_request_id(right)
        assert len(hashing.verified) == verified

    def test_it_ends_after_a_day_and_not_by_asking(self, limited: Service) -> None:
        """AU7: a stranger who goes on does not make it longer."""
        email = limited.device().email
        lock(limited, email)
        for hour in range(23):
            limited.clock.advance(hours=1)
            assert guess(limited, email, 200 + hour, PASSWORD).status_code == 429
        limited.clock.advance(hours=1)
        assert guess(limited, email, 300, PASSWORD).status_code == 200

    def test_a_right_password_ends_the_row(self, limited: Service) -> None:
        """AU7: of consecutive ones: as many after it are allowed, though it was the last one before the lock."""
        email = limited.device().email
        for number in range(MOST - 1):
            assert guess(limited, email, number).status_code == 401
        assert guess(limited, email, 200, PASSWORD).status_code == 200
        lock(limited, email)
        assert guess(limited, email, 300, PASSWORD).status_code == 429

    def test_a_right_password_before_a_second_factor_does_not(self, limited: Service) -> None:
        """AU19: its owner shows the factor too, before what was counted is forgotten."""
        device = limited.device()
        add_factor(limited, device)
        for number in range(MOST):
            answer = guess(limited, device.email, number, PASSWORD)
            assert (answer.status_code, answer.json()["status"]) == (200, "mfa_required")
        assert guess(limited, device.email, 200, PASSWORD).status_code == 429

    @pytest.mark.parametrize("factor", [False, True])
    def test_nor_one_that_is_asked_for_again(self, limited: Service, factor: bool) -> None:
        """AU19: by a thief of the session who knows the password too; without a factor it ends the row."""
        device = limited.device()
        app = enable(device) if factor else None
        actor = Actor(
            UUID(device.user_id), UUID(device.session_id), "user", limited.clock.now(), mfa=False, guest=False
        )
        ask = functools.partial(
            reauthentication.verify_password,
            limited.runtime.platform,
            limited.runtime.hasher,
            COMMAND_LINE,
            actor,
            PASSWORD,
        )
        assert limited.client.portal is not None
        hit(limited, "own_guess", device.user_id, SIGNED_IN - 1)
        assert limited.client.portal.call(ask).startswith("$argon2id$")
        assert limited.client.portal.call(ask).startswith("$argon2id$")
        wrong = {"method": "totp", "code": app.wrong_code() if app else "123456"}
        assert device.post("/v1/auth/step-up", wrong).status_code == 403
        assert device.post("/v1/auth/step-up", wrong).status_code == (429 if factor else 403)

    def test_all_spellings_of_an_address_are_one_account(self, limited: Service) -> None:
        """AU7, HT8: case, full-width letters and the domain's other form count together, known or not."""
        for email in ("ada@bücher.example", "nobody@bücher.example"):
            if email.startswith("ada"):
                assert limited.register(email).status_code == 201
            local = email.partition("@")[0]
            spellings = [email, email.upper(), f"{local}@xn--bcher-kva.example", f"{local.title()}@BÜCHER.example"]
            spellings.append("".join(chr(ord(letter) + 0xFEE0) for letter in local) + "@bücher.example")
            for number in range(MOST):
                assert guess(limited, spellings[number % len(spellings)], number).status_code == 401
            for number, spelling in enumerate(spellings):
                assert guess(limited, spelling, 200 + number).status_code == 429

    def test_one_locked_account_locks_no_other(self, limited: Service) -> None:
        """AU7: neighbours of its address too."""
        lock(limited, "ada@example.org")
        for email in ("ada@example.com", "ada+x@example.org", "a.da@example.org", "bob@example.org"):
            assert guess(limited, email, 200).status_code == 401

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_in_parallel_no_more_get_through(self, limited: Service, hashing: CountingContext, rounds: int) -> None:
        """AU7: 20 rounds of 20 at once where one is left: exactly one is verified."""
        for number in range(rounds):
            email = f"row{number}@example.org"
            if number % 2:
                assert limited.client.post(
                    "/v1/users",
                    json={"email": email, "password": PASSWORD},
                    headers={"X-Forwarded-For": f"192.0.2.{number}"},
                ).is_success
            _count(limited, email, MOST - 1)
            verified = len(hashing.verified)
            statuses = all_at_once(lambda index, email=email: guess(limited, email, index).status_code)
            assert sorted(statuses) == [401] + [429] * 19
            assert len(hashing.verified) == verified + 1

    def test_a_right_one_amid_wrong_ones_frees_no_more_than_a_row(self, limited: Service) -> None:
        """AU7: the owner signs in while 20 guess at once: after it a hundred are left at most."""
        email = limited.device().email
        _count(limited, email, 20)
        passwords = [PASSWORD if index == 10 else WRONG for index in range(20)]
        statuses = all_at_once(lambda index: guess(limited, email, index, passwords[index]).status_code)
        assert sorted(statuses) == [200] + [401] * 19
        left = [guess(limited, email, 100 + number).status_code for number in range(MOST + 1)]
        assert left.count(401) <= MOST
        assert left[-1] == 429


def _count(service: Service, email: str, guesses: int) -> None:
    """As if so many guesses had been made: by the limiter itself."""
    hit(service, "guess", account_key(service.runtime.platform.vault, email), guesses)


def hit(service: Service, name: LimitName, key: Key, times: int) -> None:
    assert service.client.portal is not None
    for _ in range(times):
        service.client.portal.call(service.runtime.platform.limiter.hit, name, key)


class TestOwner:
    def test_whoever_is_signed_in_stays_so(self, limited: Service) -> None:
        """AU7: while a stranger locks the account: profile, vend, refresh, the refreshed session, sign-out."""
        device = limited.device()
        _count(limited, device.email, MOST)
        assert guess(limited, device.email, 200, PASSWORD).status_code == 429
        assert device.get("/v1/me").status_code == 200
        assert device.vend().status_code == 200
        for _ in range(3):
            refreshed = limited.refresh(device.refresh_token)
            assert refreshed.status_code == 200
            device.access_token = refreshed.json()["access_token"]
            device.refresh_token = refreshed.json()["refresh_token"]
            assert device.vend().status_code == 200
        assert device.delete(f"/v1/me/sessions/{device.session_id}").status_code == 204

    def test_letters_that_a_stranger_has_sent_leave_a_new_password_to_be_had(
        self, make_limited: Callable[..., Service]
    ) -> None:
        """AU7: a hundred guesses and ten letters without a way in would keep an owner out of everything."""
        service = make_limited(email_verification="required")
        email = "ada@example.org"
        service.register(email)
        while service.register(email).status_code == 201:
            pass
        answers = [service.client.post("/v1/password-resets", json={"email": email}) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [202] * 10 + [429]
        mails = [mail for mail in service.mails(email) if mail.subject == "Reset your password"]
        body = {"token": mails[-1].token, "new_password": "copper walnut lighthouse"}
        assert service.client.post("/v1/password-resets/confirm", json=body).status_code == 204

    def test_a_new_password_by_mail_lets_in_who_has_a_second_factor_too(self, limited: Service) -> None:
        """AU16, AU23: codes are counted apart, and a new password buys no more of them."""
        device = limited.device()
        app = enable(device)
        _count(limited, device.email, MOST)
        hit(limited, "code_guess", device.user_id, CODES - 1)
        assert limited.client.post("/v1/password-resets", json={"email": device.email}).status_code == 202
        body = {"token": limited.mails(device.email)[-1].token, "new_password": "copper walnut lighthouse"}
        assert limited.client.post("/v1/password-resets/confirm", json=body).status_code == 204
        answer = guess(limited, device.email, 200, "copper walnut lighthouse")
        challenge = answer.json()["mfa"]["mfa_token"]
        sent = {"mfa_token": challenge, "method": "totp", "code": app.fresh_code()}
        assert limited.client.post("/v1/auth/mfa", json=sent).status_code == 200
        hit(limited, "code_guess", device.user_id, CODES)
        challenge = guess(limited, device.email, 201, "copper walnut lighthouse").json()["mfa"]["mfa_token"]
        sent = {"mfa_token": challenge, "method": "totp", "code": app.fresh_code()}
        assert_problem(limited.client.post("/v1/auth/mfa", json=sent), 429, "rate_limited")

    def test_an_unverified_one_who_tries_again_is_not_guessing(self, make_limited: Callable[..., Service]) -> None:
        """AU7: the right password, sent again and again until the mail's link was opened, locks nobody out."""
        service = make_limited()
        email = service.device().email
        object.__setattr__(service.runtime.platform.settings, "email_verification", "required")
        for number in range(MOST + 20):
            assert guess(service, email, number, PASSWORD).status_code == 403
        service.sql("UPDATE users SET email_verified_at = created_at WHERE email = :email", email=email)
        assert guess(service, email, 200, PASSWORD).status_code == 200


def _challenge(device: Device) -> dict[str, Any]:
    """A sign-in that waits for a second factor, begun before the lock."""
    add_factor(device.service, device)
    mfa = guess(device.service, device.email, 250, PASSWORD).json()["mfa"]
    return {"mfa_token": mfa["mfa_token"], "method": "totp", "code": "123456"}


GUESSES: dict[tuple[str, str], Callable[[Device], dict[str, Any]]] = {
    ("POST", "/v1/auth/login"): lambda device: {"email": device.email, "password": PASSWORD},
    ("POST", "/v1/auth/mfa"): _challenge,
    ("POST", "/v1/auth/step-up"): lambda _: {"password": PASSWORD},
    ("POST", "/v1/me/totp/confirm"): lambda _: {"code": "123456"},
    ("PUT", "/v1/me/password"): lambda _: {"current_password": PASSWORD, "new_password": f"{PASSWORD} anew"},
    ("POST", "/v1/me/email"): lambda _: {"new_email": "new@example.org", "password": PASSWORD},
    ("DELETE", "/v1/me"): lambda _: {"password": PASSWORD},
}
"""Each route that says whether a password or a code is right, with a body that is right or would be looked at."""
SIGNED_IN_ROUTES = [route for route in GUESSES if route not in {("POST", "/v1/auth/login"), ("POST", "/v1/auth/mfa")}]
NEW_ALONE = {("POST", "/v1/users"), ("POST", "/v1/me/upgrade"), ("POST", "/v1/links")}
"""They take a password that is to be set, and tell nothing about one that is."""
BY_LINK = {("POST", "/v1/email-verifications/confirm"), ("POST", "/v1/me/email/confirm")}
"""They count five tries by link; those at the password of an account count as tries at sign-in too."""
OF_ALBUMS = {("POST", "/v1/links/open"), ("POST", "/v1/links/report")}
"""The password is a link's, and is counted for it: see `tests/sharing/test_links.py`."""
GUESSED = {"password", "current_password", "code"}


def takers() -> Iterator[tuple[str, str]]:
    """Routes of the OpenAPI document whose body has a member that somebody could guess."""
    document = openapi()
    models = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            text = json.dumps(content.get("application/json", {}))
            if any(
                f'schemas/{name}"' in text and GUESSED & model.get("properties", {}).keys()
                for name, model in models.items()
            ):
                yield method.upper(), path


class TestEveryWay:
    def test_each_route_that_takes_a_password_or_code_is_tried(self) -> None:
        """AU8: a new one without a row here, so perhaps without the limit, fails this."""
        assert set(takers()) == GUESSES.keys() | NEW_ALONE | BY_LINK | OF_ALBUMS

    @pytest.mark.parametrize("route", GUESSES, ids=" ".join)
    def test_refuses_once_its_tries_are_used_up(
        self, limited: Service, hashing: CountingContext, route: tuple[str, str]
    ) -> None:
        """AU8, OP2: the right answer is refused as a wrong one is, nothing is verified, and a row tells of it."""
        device = limited.device()
        body = GUESSES[route](device)
        if route == ("POST", "/v1/auth/login"):
            _count(limited, device.email, MOST)
        elif route == ("POST", "/v1/auth/mfa"):
            hit(limited, "code_guess", device.user_id, CODES)
        else:
            hit(limited, "session_guess", device.session_id, BY_ONE_SESSION)
        verified = len(hashing.verified)
        answer = limited.client.request(route[0], route[1], json=body, headers=device.headers)
        assert_problem(answer, 429, "rate_limited")
        assert len(hashing.verified) == verified
        assert _refusals(limited, answer) == [device.user_id]

    def test_all_of_them_together_are_a_hundred_in_a_row(self) -> None:
        """AU7: NIST SP 800-63B-4 §3.2.2 counts all guesses at one account."""
        assert MOST + CODES + SIGNED_IN <= 100

    @pytest.mark.parametrize("route", SIGNED_IN_ROUTES, ids=" ".join)
    def test_a_lock_by_strangers_keeps_no_owner_from_it(self, limited: Service, route: tuple[str, str]) -> None:
        """AU23: who is signed in steps up, changes password and address, erases."""
        device = limited.device()
        _count(limited, device.email, MOST)
        assert guess(limited, device.email, 200, PASSWORD).status_code == 429
        hit(limited, "code_guess", device.user_id, CODES)
        answer = limited.client.request(route[0], route[1], json=GUESSES[route](device), headers=device.headers)
        assert answer.status_code in ((404,) if route[1] == "/v1/me/totp/confirm" else (200, 202, 204))

    def test_the_owner_who_steps_up_can_sign_in_again(self, limited: Service) -> None:
        """AU23: strangers' tries are forgotten as by a sign-in."""
        device = limited.device()
        _count(limited, device.email, MOST)
        assert device.post("/v1/auth/step-up", {"password": PASSWORD}).status_code == 200
        assert guess(limited, device.email, 200, PASSWORD).status_code == 200

    def test_a_stolen_session_leaves_the_owner_their_tries(self, limited: Service) -> None:
        """AU23: one session uses up its own, and all together guess no more than 20 times."""
        thief = limited.device()
        owner = limited.device(thief.email)
        third = limited.device(thief.email)
        statuses = [thief.post("/v1/auth/step-up", {"password": WRONG}).status_code for _ in range(BY_ONE_SESSION + 5)]
        assert statuses == [403] * BY_ONE_SESSION + [429] * 5
        third_tries = [third.post("/v1/auth/step-up", {"password": WRONG}).status_code for _ in range(8)]
        assert third_tries == [403] * 8
        assert owner.post("/v1/auth/step-up", {"password": PASSWORD}).status_code == 200
        assert thief.post("/v1/auth/step-up", {"password": WRONG}).status_code == 429

    def test_many_sessions_guess_no_more_than_all_may(self, limited: Service) -> None:
        """AU7, AU23: refused ones do not use up what a session has of its own."""
        devices = [limited.device()]
        devices += [limited.device(devices[0].email) for _ in range(3)]
        statuses = [
            device.post("/v1/auth/step-up", {"password": WRONG}).status_code
            for _ in range(BY_ONE_SESSION)
            for device in devices
        ]
        assert statuses.count(403) == SIGNED_IN
        assert statuses.count(429) == len(statuses) - SIGNED_IN

    def test_a_right_code_while_enrolling_forgets_nothing(self, limited: Service) -> None:
        """AU19: the app is the caller's own, so it does not show who they are."""
        device = limited.device()
        for _ in range(5):
            assert device.post("/v1/auth/step-up", {"password": WRONG}).status_code == 403
        enable(device)
        statuses = [
            device.post("/v1/auth/step-up", {"method": "totp", "code": "000000"}).status_code
            for _ in range(BY_ONE_SESSION - 4)
        ]
        assert statuses == [403] * (BY_ONE_SESSION - 5) + [429]

    def test_an_address_that_is_nobodys_leaves_the_same_row(self, limited: Service) -> None:
        """AU9, OP2: but for the user whom there is not. So does what is no address at all, a minute later."""
        for email in ("nobody@example.org", "nobody at all"):
            limited.clock.advance(minutes=1)
            lock(limited, email)
            assert _refusals(limited, guess(limited, email, 200)) == [None]


def _refusals(service: Service, answer: Response) -> list[str | None]:
    """Whom the rows of a request are about, each a guess that was refused unseen."""
    rows = service.sql(
        "SELECT event, outcome, subject_id, detail FROM audit_events WHERE request_id = :id",
        id=answer.headers["X-Request-ID"],
    )
    for event, outcome, _, detail in rows:
        assert (event, outcome) == ("access.refused", "refused")
        assert "too_many_guesses" in str(detail)
    return [str(UUID(str(subject))) if subject else None for _, _, subject, _ in rows]


SPOOFED = ["X-Forwarded-For", "x-forwarded-for", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "True-Client-IP"]


@pytest.mark.all
class TestAddresses:
    @pytest.mark.parametrize("name", SPOOFED)
    @pytest.mark.all
    def test_no_header_makes_another_client(self, make_on_sqlite: Callable[..., Service], name: str) -> None:
        """HT8: without a trusted proxy, whatever a client says of itself, its requests are of one bucket."""
        service = make_on_sqlite(rate_limits="on")
        statuses = [_refresh_from(service, name, f"198.51.100.{number}") for number in range(601)]
        assert statuses == [401] * 600 + [429]

    @pytest.mark.parametrize("name", ["X-Real-IP", "Forwarded"])
    def test_a_trusted_proxy_speaks_by_one_header_alone(
        self, make_on_sqlite: Callable[..., Service], name: str
    ) -> None:
        """HT8: others, which it may pass on from a client, are not read."""
        service = make_on_sqlite(rate_limits="on", trusted_proxies=(PROXY,))
        statuses = [_refresh_from(service, name, f"for=198.51.100.{number}") for number in range(601)]
        assert statuses[-1] == 429

    def test_a_trusted_proxys_last_hop_is_the_client(self, make_on_sqlite: Callable[..., Service]) -> None:
        """HT8: what the client itself put before it is not believed."""
        service = make_on_sqlite(rate_limits="on", trusted_proxies=(PROXY,))
        header = "X-Forwarded-For"
        statuses = [_refresh_from(service, header, f"203.0.113.{n % 250}, 198.51.100.9") for n in range(601)]
        assert statuses == [401] * 600 + [429]
        assert _refresh_from(service, header, "198.51.100.10") == 401

    @pytest.mark.parametrize(
        ("hop", "address"),
        [
            ("fe80::1%" + "x" * 300, PROXY),
            ("fe80::1%'; DROP TABLE users", PROXY),
            ("fe80::1%eth0", "fe80::1"),
        ],
    )
    def test_a_zone_of_an_ipv6_address_is_no_clients_to_say(
        self, make_service: Callable[..., Service], hop: str, address: str
    ) -> None:
        """HT8, HT12: it may be any text, as long as one likes; one that could be a zone is dropped."""
        service = make_service(trusted_proxies=(PROXY,))
        body = {"email": "ada@example.org", "password": WRONG}
        answer = service.client.post("/v1/auth/login", json=body, headers={"X-Forwarded-For": hop})
        assert_problem(answer, 401, "invalid_login")
        assert service.sql("SELECT address FROM audit_events WHERE event = 'session.started'") == [(address,)]

    def test_an_ipv6_network_is_one_client(self, make_on_sqlite: Callable[..., Service]) -> None:
        """HT8: of 64 bits, as one household has; the next one is another."""
        service = make_on_sqlite(rate_limits="on", trusted_proxies=(PROXY,))
        statuses = [_refresh_from(service, "X-Forwarded-For", f"2001:db8:0:1:{n:x}::{n:x}") for n in range(601)]
        assert statuses == [401] * 600 + [429]
        assert _refresh_from(service, "X-Forwarded-For", "2001:db8:0:2::1") == 401


def _refresh_from(service: Service, name: str, value: str) -> int:
    body = {"refresh_token": "tvr_unknown"}
    return service.client.post("/v1/auth/refresh", json=body, headers={name: value}).status_code
