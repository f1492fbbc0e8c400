"""Step-up: a session whose user was seen anew, and what becomes of its refresh tokens when an answer is lost."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response

from app.accounts import reauthentication
from app.crypto.encoding import unb64url
from app.platform.problems import RateLimited
from app.records.actor import Actor
from app.records.audit import Origin
from tests.security.observed import assert_problem
from tests.security.races import CROWD, all_at_once
from tests.support.authenticator import enable, mails
from tests.support.service import PASSWORD, Device, Service

TOKENS = {"token_type", "access_token", "expires_in", "refresh_token", "refresh_expires_in", "session_id"}


def step_up(device: Device, **body: Any) -> Response:
    return device.post("/v1/auth/step-up", json=body or {"password": PASSWORD})


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


class TestPassword:
    def test_makes_the_session_fresh(self, service: Service) -> None:
        """TK19: the same session, a new auth_time; what was 403 is open, for both access tokens."""
        device = service.device()
        service.clock.advance(minutes=6)
        assert_problem(device.post("/v1/me/totp"), 403, "step_up_required")
        stepped = step_up(device)
        assert stepped.status_code == 200, stepped.text
        assert stepped.headers["cache-control"] == "no-store"
        tokens = stepped.json()
        assert (tokens.keys(), tokens["session_id"]) == (TOKENS, device.session_id)
        claims = service.runtime.tokens.verify(tokens["access_token"])
        assert str(claims.user_id) == device.user_id
        assert service.client.post("/v1/me/totp", headers=bearer(tokens)).status_code == 200
        assert device.post("/v1/me/totp").status_code == 200
        service.clock.advance(minutes=5, seconds=1)
        assert_problem(device.post("/v1/me/totp"), 403, "step_up_required")

    def test_tells_the_token_when_its_user_was_seen(self, service: Service) -> None:
        """TK19: RFC 9068's auth_time is that of the step-up."""
        device = service.device()
        service.clock.advance(minutes=6)
        token = step_up(device).json()["access_token"]
        claims = json.loads(unb64url(token.split(".")[1]))
        assert claims["auth_time"] == int(service.clock.now().timestamp())

    def test_that_is_wrong_is_a_403(self, service: Service) -> None:
        """AU5, TK19: not a 401, which apps answer by refreshing; the session goes on as stale as it was."""
        device = service.device()
        service.clock.advance(minutes=6)
        assert_problem(step_up(device, password="not the password"), 403, "wrong_password")
        assert_problem(device.post("/v1/me/totp"), 403, "step_up_required")
        assert device.get("/v1/me").status_code == 200

    def test_alone_is_not_enough_for_who_has_a_second_factor(self, service: Service) -> None:
        """AU14: right or wrong, which the answer does not tell; none is verified."""
        device = service.device()
        enable(device)
        for password in (PASSWORD, "not the password"):
            assert_problem(step_up(device, password=password), 403, "mfa_required")

    def test_of_an_account_without_one_is_wrong(self, service: Service) -> None:
        device = service.device()
        service.sql("UPDATE users SET password_hash = NULL")
        assert_problem(step_up(device), 403, "wrong_password")


class TestCode:
    def test_makes_the_session_fresh(self, service: Service) -> None:
        device = service.device()
        app = enable(device)
        service.clock.advance(minutes=6)
        assert_problem(device.delete("/v1/me/totp"), 403, "step_up_required")
        assert step_up(device, method="totp", code=app.code()).json().keys() == TOKENS
        assert device.delete("/v1/me/totp").status_code == 204
        rows = service.sql("SELECT outcome FROM audit_events WHERE event = 'session.stepped_up'")
        assert rows == [("done",)]

    def test_is_taken_once(self, service: Service) -> None:
        """AU11, AU15: the app's and a recovery code; 403, for a 401 would make apps refresh."""
        device = service.device()
        app = enable(device)
        for method, code in (("totp", app.fresh_code()), ("recovery_code", app.recovery_codes[0])):
            assert step_up(device, method=method, code=code).status_code == 200
            assert_problem(step_up(device, method=method, code=code), 403, "wrong_code")
        assert mails(service)[1:] == [("recovery_code_used", device.email)]
        rows = service.sql(
            "SELECT count(*) FROM audit_events WHERE event = 'session.stepped_up' AND outcome = 'refused'"
        )
        assert rows == [(2,)]

    def test_is_wrong_without_a_second_factor(self, service: Service) -> None:
        assert_problem(step_up(service.device(), method="totp", code="123456"), 403, "wrong_code")

    def test_of_somebody_else_is_wrong(self, service: Service) -> None:
        """AZ2."""
        device, other = service.device(), service.device()
        enable(device)
        app = enable(other)
        assert_problem(step_up(device, method="totp", code=app.fresh_code()), 403, "wrong_code")
        code = app.recovery_codes[0]
        assert_problem(step_up(device, method="recovery_code", code=code), 403, "wrong_code")
        assert step_up(other, method="recovery_code", code=code).status_code == 200


class TestRequest:
    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"method": "totp"},
            {"code": "123456"},
            {"password": PASSWORD, "code": "123456"},
            {"password": PASSWORD, "method": "totp", "code": "123456"},
            {"method": "password", "code": PASSWORD},
            {"method": "passkey", "code": "123456"},
            {"password": None},
            {"password": f"{PASSWORD}\0"},
            {"method": "totp", "code": "1" * 65},
            {"method": "totp", "code": 123456},
        ],
    )
    def test_has_exactly_one_form(self, service: Service, body: dict[str, Any]) -> None:
        device = service.device()
        refused = device.post("/v1/auth/step-up", json=body)
        assert_problem(refused, 422, "invalid_request")
        assert PASSWORD not in refused.text
        assert "123456" not in refused.text

    def test_needs_a_session(self, service: Service) -> None:
        assert_problem(service.client.post("/v1/auth/step-up", json={"password": PASSWORD}), 401, "unauthenticated")


class TestGuesses:
    def test_are_not_forgotten_by_a_right_password_that_leaves_a_factor_to_show(
        self, make_service: Callable[..., Service]
    ) -> None:
        """AU19: a thief of session and password gets ten codes, however often the password is given again."""
        service = make_service(rate_limits="on", trusted_proxies=("127.0.0.1",))
        device = service.device()
        app = enable(device)
        login = {"email": device.email, "password": PASSWORD}
        logins, steps = [], []
        for number in range(30):
            headers = {"X-Forwarded-For": f"198.51.100.{number}"}
            guess = {"method": "totp", "code": app.wrong_code()}
            logins.append(service.client.post("/v1/auth/login", json=login, headers=headers).status_code)
            step = service.client.post("/v1/auth/step-up", json=guess, headers={**headers, **device.headers})
            steps.append(step.status_code)
        assert logins == [200] * 30
        assert steps == [403] * 10 + [429] * 20

    @pytest.mark.parametrize("has_factor", [False, True])
    def test_are_forgotten_by_a_password_that_is_asked_for_again_only_where_it_is_all_there_is(
        self, make_service: Callable[..., Service], has_factor: bool
    ) -> None:
        """AU19: as before a change of the password, say."""
        service = make_service(rate_limits="on")
        device = service.device()
        if has_factor:
            enable(device)
        runtime, portal = service.runtime, service.client.portal
        assert portal is not None
        user_id = UUID(device.user_id)
        actor = Actor(user_id, UUID(device.session_id), "user", service.clock.now(), has_factor, False)
        for _ in range(19):
            portal.call(runtime.platform.limiter.hit, "own_guess", device.user_id)
        portal.call(
            reauthentication.verify_password, runtime.platform, runtime.hasher, Origin("", "127.0.0.1"), actor, PASSWORD
        )
        portal.call(runtime.platform.limiter.hit, "own_guess", device.user_id)
        if has_factor:
            with pytest.raises(RateLimited):
                portal.call(runtime.platform.limiter.hit, "own_guess", device.user_id)
        else:
            portal.call(runtime.platform.limiter.hit, "own_guess", device.user_id)


class TestLostAnswer:
    def test_leaves_the_old_refresh_token_good(self, service: Service) -> None:
        """TK11: the app never saw the new one, and goes on with what it has."""
        device = service.device()
        step_up(device)
        service.clock.advance(minutes=10)
        first = service.refresh(device.refresh_token)
        assert first.status_code == 200
        second = service.refresh(first.json()["refresh_token"])
        assert second.status_code == 200
        assert second.json()["session_id"] == device.session_id

    def test_retires_the_sibling_that_was_not_used(self, service: Service) -> None:
        """TK10: a session has one token to go on with; the other one, used later, was copied: the session ends."""
        device = service.device()
        stepped = step_up(device).json()
        heir = service.refresh(stepped["refresh_token"])
        assert heir.status_code == 200
        assert_problem(service.refresh(device.refresh_token), 401, "refresh_token_reused")
        assert_problem(service.refresh(heir.json()["refresh_token"]), 401, "invalid_refresh_token")
        assert service.client.get("/v1/me", headers=bearer(heir.json())).status_code == 401

    def test_forks_into_no_two_sessions(self, service: Service) -> None:
        """TK10, TK11: whichever of the two goes on first, the other's next step ends the family."""
        device = service.device()
        stepped = step_up(device).json()
        old = service.refresh(device.refresh_token).json()
        new = service.refresh(stepped["refresh_token"])
        assert new.status_code == 200
        assert service.sql("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == [(1,)]
        assert_problem(service.refresh(old["refresh_token"]), 401, "refresh_token_reused")
        assert_problem(service.refresh(new.json()["refresh_token"]), 401, "invalid_refresh_token")
        assert service.sql("SELECT count(*) FROM audit_events WHERE event = 'session.reuse_detected'") == [(1,)]

    def test_lets_a_refresh_whose_answer_was_lost_be_repeated(self, service: Service) -> None:
        """TK11: after a step-up as before it, within 30 seconds and with the same successor."""
        device = service.device()
        stepped = step_up(device).json()["refresh_token"]
        first = service.refresh(stepped).json()["refresh_token"]
        service.clock.advance(seconds=29)
        assert service.refresh(stepped).json()["refresh_token"] == first

    def test_may_be_several(self, service: Service) -> None:
        """Each try leaves a token; the one that is used retires those before it."""
        device = service.device()
        tokens = [device.refresh_token] + [step_up(device).json()["refresh_token"] for _ in range(3)]
        assert len(set(tokens)) == 4
        assert service.refresh(tokens[-1]).status_code == 200
        assert service.sql("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == [(1,)]
        assert_problem(service.refresh(tokens[1]), 401, "refresh_token_reused")

    def test_of_an_ended_session_revives_nothing(self, service: Service) -> None:
        """TK13: neither token of a session that was signed out meanwhile."""
        device = service.device()
        stepped = step_up(device).json()
        device.delete("/v1/me/sessions")
        for token in (device.refresh_token, stepped["refresh_token"]):
            assert_problem(service.refresh(token), 401, "invalid_refresh_token")
        assert_problem(step_up(device), 401, "invalid_token")


@pytest.mark.slow("twenty at once, again and again")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestRaces:
    """Twenty at once, twenty rounds, on PostgreSQL."""

    def test_one_code_steps_up_once(self, service: Service, rounds: int) -> None:
        """AU11: the same session, the same code."""
        device = service.device()
        app = enable(device)
        for _ in range(rounds):
            body = {"method": "totp", "code": app.fresh_code()}
            answers = all_at_once(lambda _index, body=body: step_up(device, **body))  # type: ignore[misc]
            assert sorted(one.status_code for one in answers) == [200] + [403] * (CROWD - 1)

    def test_both_tokens_at_once_leave_one_to_go_on_with(self, service: Service, rounds: int) -> None:
        """TK10, TK12: the token from before the step-up, and the one from after it, each by somebody else."""
        email = service.device().email
        for _ in range(3 * rounds):
            device = service.device(email)
            pair = (device.refresh_token, step_up(device).json()["refresh_token"])
            answers = all_at_once(lambda index, pair=pair: service.refresh(pair[index]), crowd=2)  # type: ignore[misc]
            assert {one.status_code for one in answers} <= {200, 401}
            unused = service.sql(
                "SELECT count(*) FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id"
                " WHERE t.used_at IS NULL AND s.ended_at IS NULL AND s.id = CAST(:id AS uuid)",
                id=device.session_id,
            )
            assert unused in ([(0,)], [(1,)])
