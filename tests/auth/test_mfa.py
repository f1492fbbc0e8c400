"""The second factor of a sign-in: what a challenge opens, how often it may be tried, and who may go without."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from httpx2 import Response
from sqlalchemy.orm import Session

from app.auth import mfa
from app.auth.mfa import Challenge
from app.records import single_use
from app.records.audit import Origin
from app.records.models import User
from tests.security.observed import assert_problem, without_request_id
from tests.security.races import CROWD, all_at_once
from tests.support.authenticator import Authenticator, answer, challenge, enable, enrol
from tests.support.openapi import openapi
from tests.support.service import PASSWORD, ROLE_ARN, SECRET_KEY, Device, Service

TOKENS = {"token_type", "access_token", "expires_in", "refresh_token", "refresh_expires_in", "session_id"}
FOR_ENROLLING = {
    ("GET", "/v1/me"),
    ("POST", "/v1/me/totp"),
    ("POST", "/v1/me/totp/confirm"),
    ("GET", "/v1/me/passkeys"),
    ("POST", "/v1/me/passkeys"),
    ("POST", "/v1/me/passkeys/options"),
    ("POST", "/v1/auth/step-up"),
}
"""What an administrator without a second factor may call, to set one up."""


class TestAnswer:
    def test_completes_the_sign_in(self, service: Service) -> None:
        """The session is the one that the first factor asked for, and has shown both."""
        device = service.device()
        app = enable(device)
        token = service.log_in(device.email, device_name="Ada's phone").json()["mfa"]["mfa_token"]
        completed = answer(service, token, app.fresh_code())
        assert completed.status_code == 200
        assert completed.headers["cache-control"] == "no-store"
        result = completed.json()
        assert (result["status"], result["mfa"], result["tokens"].keys()) == ("complete", None, TOKENS)
        shown = "SELECT method FROM sessions WHERE mfa_at = created_at AND device_name = :name"
        assert service.sql(shown, name="Ada's phone") == [("password",)]
        bearer = {"Authorization": f"Bearer {result['tokens']['access_token']}"}
        assert service.client.post("/v1/credentials", json={}, headers=bearer).status_code == 200

    @pytest.mark.parametrize("steps", [-1, 0, 1])
    def test_takes_the_code_of_one_step_either_way(self, service: Service, steps: int) -> None:
        """AU11: ±30 seconds by the server's clock, the documented deviation; two steps are too many."""
        device = service.device()
        app = enable(device)
        service.clock.advance(minutes=5)
        token = challenge(device)
        assert_problem(answer(service, token, app.code(steps=2 * steps or 2)), 401, "invalid_mfa_code")
        assert answer(service, token, app.code(steps=steps)).status_code == 200

    def test_takes_no_code_twice(self, service: Service) -> None:
        """AU11: nor an earlier one once a later one was used, whatever the challenge."""
        device = service.device()
        app = enable(device)
        service.clock.advance(minutes=5)
        assert answer(service, challenge(device), app.code()).status_code == 200
        for steps in (0, -1):
            assert_problem(answer(service, challenge(device), app.code(steps=steps)), 401, "invalid_mfa_code")
        assert answer(service, challenge(device), app.code(steps=1)).status_code == 200

    @pytest.mark.parametrize("spelling", ["{} {}", "{}-{}", " {}{}\n", "{}\u00a0{}", "\u200b{}{}"])
    def test_takes_whatever_way_people_type(self, service: Service, spelling: str) -> None:
        device = service.device()
        app = enable(device)
        code = app.fresh_code()
        assert answer(service, challenge(device), spelling.format(code[:3], code[3:])).status_code == 200

    def test_takes_the_wide_digits_of_an_east_asian_keyboard(self, service: Service) -> None:
        device = service.device()
        app = enable(device)
        wide = "".join(chr(ord(digit) - ord("0") + 0xFF10) for digit in app.fresh_code())
        assert answer(service, challenge(device), wide).status_code == 200

    @pytest.mark.parametrize("zero", ["٠", "۰", "०", "০", "\U0001d7ce"], ids=ascii)
    def test_takes_the_digits_of_every_script(self, service: Service, zero: str) -> None:
        """Arabic, Persian, Devanagari, Bengali, mathematical bold: for a step-up and a confirmation too."""

        def typed(code: str) -> str:
            digits = "".join(chr(ord(zero) + int(one)) if one.isdecimal() else one for one in code)
            return f"\u200f{digits[:3]}\u00a0{digits[3:]} "

        device = service.device()
        app = enrol(device)
        confirmed = device.post("/v1/me/totp/confirm", {"code": typed(app.fresh_code())})
        assert confirmed.status_code == 200, confirmed.text
        assert answer(service, challenge(device), typed(app.fresh_code())).status_code == 200
        stepped = device.post("/v1/auth/step-up", {"method": "totp", "code": typed(app.fresh_code())})
        assert stepped.status_code == 200, stepped.text
        [recovery, *_] = confirmed.json()["recovery_codes"]
        assert answer(service, challenge(device), typed(recovery.lower()), "recovery_code").status_code == 200

    @pytest.mark.parametrize("code", ["", "٢٨٧٠٨٢", "\u0000", "1" * 64, "abcdef", "²²²²²²"])
    def test_is_wrong_for_whatever_is_no_code(self, service: Service, code: str) -> None:
        device = service.device()
        enable(device)
        for method in ("totp", "recovery_code"):
            assert_problem(answer(service, challenge(device), code, method), 401, "invalid_mfa_code")

    def test_is_refused_to_who_was_disabled_meanwhile(self, service: Service) -> None:
        """AZ5: and no recovery code is lost over it."""
        device = service.device()
        app = enable(device)
        tokens = [challenge(device), challenge(device)]
        service.disable(device.email)
        assert_problem(answer(service, tokens[0], app.fresh_code()), 403, "account_disabled")
        assert_problem(answer(service, tokens[1], app.recovery_codes[0], "recovery_code"), 403, "account_disabled")
        assert service.sql("SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL") == [(0,)]
        assert service.sql("SELECT count(*) FROM sessions") == [(1,)]

    def test_is_on_record(self, service: Service) -> None:
        device = service.device()
        app = enable(device)
        token = challenge(device)
        answer(service, token, app.wrong_code())
        answer(service, token, app.fresh_code())
        rows = service.sql(
            "SELECT event, outcome FROM audit_events WHERE event IN ('mfa.challenged', 'session.started') ORDER BY id"
        )
        assert [tuple(row) for row in rows] == [
            ("session.started", "done"),
            ("mfa.challenged", "done"),
            ("session.started", "refused"),
            ("session.started", "done"),
        ]


class TestChallenge:
    def test_is_good_for_one_session(self, service: Service) -> None:
        device = service.device()
        app = enable(device)
        token = challenge(device)
        assert answer(service, token, app.fresh_code()).status_code == 200
        assert_problem(answer(service, token, app.fresh_code()), 401, "invalid_mfa_token")

    def test_is_good_for_five_minutes(self, service: Service) -> None:
        device = service.device()
        app = enable(device)
        early, late = challenge(device), challenge(device)
        service.clock.advance(minutes=5, seconds=-1)
        assert answer(service, early, app.code()).status_code == 200
        service.clock.advance(seconds=31)
        assert_problem(answer(service, late, app.code()), 401, "invalid_mfa_token")

    def test_is_good_for_five_tries(self, service: Service) -> None:
        """AU19: the sixth is refused, even with the right code; an invented token is refused alike."""
        device = service.device()
        app = enable(device)
        token, other = challenge(device), challenge(device)
        for _ in range(4):
            assert_problem(answer(service, token, app.wrong_code()), 401, "invalid_mfa_code")
            assert_problem(answer(service, other, app.wrong_code()), 401, "invalid_mfa_code")
        assert_problem(answer(service, token, app.wrong_code()), 401, "invalid_mfa_code")
        exhausted = answer(service, token, app.fresh_code())
        assert_problem(exhausted, 401, "invalid_mfa_token")
        invented = answer(service, "tvs_" + "A" * 43, app.code())
        assert without_request_id(invented) == without_request_id(exhausted)
        assert answer(service, other, app.code()).status_code == 200

    def test_opens_nothing_else(self, service: Service) -> None:
        """AU18: on every other route it is no access token; it is no refresh token and no mail's token either."""
        device = service.device()
        enable(device)
        token = challenge(device)
        headers = {"Authorization": f"Bearer {token}"}
        guarded = 0
        for path, operations in openapi()["paths"].items():
            for method in operations:
                anonymous = service.client.request(method, path.replace("{", "").replace("}", ""))
                if anonymous.status_code == 401:
                    guarded += 1
                    refused = service.client.request(method, path.replace("{", "").replace("}", ""), headers=headers)
                    assert_problem(refused, 401, "invalid_token")
        assert guarded >= 12
        assert_problem(service.refresh(token), 401, "invalid_refresh_token")

    def test_is_taken_by_no_other_kind_of_token(self, service: Service) -> None:
        """TK4: an access token or a refresh token answers no challenge."""
        device = service.device()
        app = enable(device)
        for token in (device.access_token, device.refresh_token, "", "\0", "é" * 100, "\udc80"[:0]):
            assert_problem(answer(service, token, app.fresh_code()), 401, "invalid_mfa_token")

    def test_does_not_outlive_the_password(self, service: Service) -> None:
        """TK14: what was begun with the old one ends with it, as sessions do."""
        device = service.device()
        app = enable(device)
        token = challenge(device)
        service.sql("UPDATE users SET password_hash = 'that of another password'")
        assert_problem(answer(service, token, app.fresh_code()), 401, "invalid_mfa_token")

    def test_of_another_purpose_is_unknown(self, service: Service) -> None:
        """TK4: the hash of a token is that of its purpose."""
        device = service.device()
        app = enable(device)
        token = service.runtime.platform.database.run(
            "write",
            single_use.issue,
            service.runtime.platform.vault,
            service.clock.now(),
            "password_reset",
            ttl=timedelta(minutes=10),
            user_id=UUID(device.user_id),
        )
        assert_problem(answer(service, token, app.fresh_code()), 401, "invalid_mfa_token")


def codes(answers: list[Response]) -> list[str]:
    """What each was refused with, or `200`."""
    return sorted("200" if one.status_code == 200 else one.json()["code"] for one in answers)


@pytest.mark.slow("twenty at once, again and again")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestRaces:
    """Twenty at once, twenty rounds, on PostgreSQL."""

    def challenges(self, device: Device) -> list[str]:
        """As a sign-in leaves them, without the work of a password hash each."""
        service = device.service

        def admit(session: Session) -> str:
            admitted = mfa.admit(
                session,
                service.runtime.platform.vault,
                Origin("", "127.0.0.1"),
                service.clock.now(),
                user=session.get_one(User, UUID(device.user_id)),
                method="password",
                verified=False,
                verified_only=False,
                device_name=None,
            )
            assert isinstance(admitted, Challenge)
            return admitted.mfa_token

        return [service.runtime.platform.database.run("write", admit) for _ in range(CROWD)]

    def test_one_code_of_the_app_signs_in_once(self, service: Service, rounds: int) -> None:
        """AU11: with a challenge each."""
        device = service.device()
        app = enable(device)
        for _ in range(rounds):
            code, tokens = app.fresh_code(), self.challenges(device)
            answers = all_at_once(lambda index, code=code, tokens=tokens: answer(service, tokens[index], code))  # type: ignore[misc]
            assert codes(answers) == ["200"] + ["invalid_mfa_code"] * (CROWD - 1)
        assert service.sql("SELECT count(*) FROM sessions") == [(1 + rounds,)]

    def test_one_recovery_code_signs_in_once(self, service: Service, rounds: int) -> None:
        """AU15: with a challenge each; the owner gets one mail for it."""
        device = service.device()
        enable(device)
        made = device.post("/v1/me/recovery-codes").json()["recovery_codes"][:rounds]
        for code in made:
            tokens = self.challenges(device)
            answers = all_at_once(
                lambda index, code=code, tokens=tokens: answer(service, tokens[index], code, "recovery_code")  # type: ignore[misc]
            )
            assert codes(answers) == ["200"] + ["invalid_mfa_code"] * (CROWD - 1)
        assert service.sql("SELECT count(*) FROM outbox WHERE kind = 'recovery_code_used'") == [(len(made),)]
        assert service.sql("SELECT count(*) FROM sessions") == [(1 + len(made),)]

    def test_one_challenge_starts_one_session(self, service: Service, rounds: int) -> None:
        """AU15: of many right codes for it one is used up, and the others are still good."""
        device = service.device()
        made = enable(device).recovery_codes
        for number in range(rounds):
            token = self.challenges(device)[0]
            answers = all_at_once(
                lambda index, token=token, made=made: answer(service, token, made[index % 10], "recovery_code")  # type: ignore[misc]
            )
            assert codes(answers) == ["200"] + ["invalid_mfa_token"] * (CROWD - 1)
            assert service.sql("SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL") == [(1,)]
            assert service.sql("SELECT count(*) FROM sessions") == [(2 + number,)]
            made = device.post("/v1/me/recovery-codes").json()["recovery_codes"]

    def test_one_challenge_takes_five_guesses(self, service: Service, rounds: int) -> None:
        """AU19: in parallel too."""
        device = service.device()
        app = enable(device)
        for _ in range(rounds):
            token, wrong = self.challenges(device)[0], app.wrong_code()
            answers = all_at_once(lambda _index, token=token, wrong=wrong: answer(service, token, wrong))  # type: ignore[misc]
            assert codes(answers) == ["invalid_mfa_code"] * 5 + ["invalid_mfa_token"] * (CROWD - 5)

    def test_one_enrolment_is_confirmed_once(self, service: Service, rounds: int) -> None:
        """AU13: one set of recovery codes is shown, and it is the one that counts."""
        device = service.device()
        for _ in range(rounds):
            body = {"code": enrol(device).code()}
            answers = all_at_once(lambda _index, body=body: device.post("/v1/me/totp/confirm", json=body))  # type: ignore[misc]
            assert codes(answers) == ["200"] + ["already_enabled"] * (CROWD - 1)
            assert service.sql("SELECT count(*) FROM recovery_codes") == [(10,)]
            assert device.delete("/v1/me/totp").status_code == 204


class TestGuesses:
    @pytest.fixture
    def limited(self, make_service: Callable[..., Service]) -> Service:
        return make_service(rate_limits="on", trusted_proxies=("127.0.0.1",))

    def post(self, service: Service, path: str, body: dict[str, str], number: int, **headers: str) -> Response:
        """From one address after another, so that only the account's own limit can refuse it."""
        return service.client.post(path, json=body, headers={**headers, "X-Forwarded-For": f"198.51.100.{number}"})

    def challenge(self, service: Service, email: str, number: int) -> Response:
        return self.post(service, "/v1/auth/login", {"email": email, "password": PASSWORD}, number)

    def test_are_counted_by_account_whatever_the_challenge(self, limited: Service) -> None:
        """AU19: whoever has the password gets no endless supply of codes by signing in again and again."""
        device = limited.device()
        app = enable(device)
        wrong, number, token, tried = 0, 0, "", 0
        while True:
            if tried % 5 == 0:
                signed_in = self.challenge(limited, device.email, number := number + 1)
                if signed_in.status_code == 429:
                    break
                token = signed_in.json()["mfa"]["mfa_token"]
            body = {"mfa_token": token, "method": "totp", "code": app.wrong_code()}
            refused = self.post(limited, "/v1/auth/mfa", body, number := number + 1)
            if refused.status_code == 429:
                break
            assert_problem(refused, 401, "invalid_mfa_code")
            tried, wrong = tried + 1, wrong + 1
            assert wrong <= 20
        assert wrong == 20
        assert device.get("/v1/me").status_code == 200, "the owner's session is none the worse"
        assert limited.refresh(device.refresh_token).status_code == 200

    def test_are_counted_apart_from_passwords_and_forgotten_after_a_right_code(self, limited: Service) -> None:
        """AU19, AU23: a completed sign-in or a step-up begins all of them anew."""
        device = limited.device()
        app = enable(device)
        wrong = {"email": device.email, "password": "not the password"}
        numbers = iter(range(1, 250))
        for _ in range(59):
            assert self.post(limited, "/v1/auth/login", wrong, next(numbers)).status_code == 401
        token = self.challenge(limited, device.email, next(numbers)).json()["mfa"]["mfa_token"]
        body = {"mfa_token": token, "method": "totp", "code": app.fresh_code()}
        assert self.post(limited, "/v1/auth/mfa", body, next(numbers)).status_code == 200
        for _ in range(60):
            assert self.post(limited, "/v1/auth/login", wrong, next(numbers)).status_code == 401
        assert_problem(self.challenge(limited, device.email, next(numbers)), 429, "rate_limited")
        step_up = {"method": "totp", "code": app.wrong_code()}
        assert_problem(
            self.post(limited, "/v1/auth/step-up", step_up, next(numbers), **device.headers), 403, "wrong_code"
        )
        step_up["code"] = app.fresh_code()
        assert self.post(limited, "/v1/auth/step-up", step_up, next(numbers), **device.headers).status_code == 200
        assert self.challenge(limited, device.email, next(numbers)).status_code == 200

    def test_are_limited_by_address(self, make_service: Callable[..., Service]) -> None:
        service = make_service(rate_limits="on")
        answers = [answer(service, "tvs_x", "123456").status_code for _ in range(61)]
        assert answers == [401] * 60 + [429]


class TestStaff:
    @pytest.fixture
    def production(self, make_service: Callable[..., Service]) -> Service:
        return make_service(
            environment="production",
            AWS_REGION="us-east-1",
            public_url="https://testserver",
            smtp_url="smtps://user:password@mail.example.org",
            mail_from="Photos <photos@example.org>",
            email_verification="off",
            rate_limits="on",
        )

    @pytest.mark.parametrize("role", ["support", "admin"])
    def test_without_a_second_factor_may_set_one_up_and_nothing_else(self, production: Service, role: str) -> None:
        """AZ7: outside development; every other route, written for them or not, answers `mfa_required`."""
        device = production.device()
        production.sql("UPDATE users SET role = :role", role=role)
        seen = set()
        for path, operations in openapi()["paths"].items():
            for method in map(str.upper, operations):
                target = path.replace("{session_id}", device.session_id)
                if production.client.request(method, target).status_code != 401:
                    continue
                seen.add((method, path))
                if (method, path) not in FOR_ENROLLING:
                    refused = production.client.request(method, target, headers=device.headers)
                    assert_problem(refused, 403, "mfa_required")
        assert seen > FOR_ENROLLING
        app = enable(device)
        assert device.get("/v1/me/sessions").status_code == 200
        assert app.recovery_codes

    def test_needs_none_in_development(self, service: Service) -> None:
        device = service.device()
        service.sql("UPDATE users SET role = 'admin'")
        assert device.get("/v1/me/sessions").status_code == 200

    def test_that_removes_it_is_where_it_began(self, production: Service) -> None:
        """AZ7: what a session once showed is no second factor any more."""
        device = production.device()
        production.sql("UPDATE users SET role = 'admin'")
        enable(device)
        assert device.delete("/v1/me/totp").status_code == 204
        assert_problem(device.get("/v1/me/sessions"), 403, "mfa_required")
        enable(device)
        assert device.get("/v1/me/sessions").status_code == 200

    @pytest.mark.all
    def test_made_on_the_command_line_enrols_and_signs_in(self, production: Service, tmp_path: Path) -> None:
        """AZ7: `tokenvend admin create`, the password alone, an app, and from then on both."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOKENVEND_")}
        done = subprocess.run(
            [sys.executable, "-m", "app", "admin", "create", "--email", "root@example.org", "--password-stdin"],
            input=f"{PASSWORD}\n",
            env=environment
            | {
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "TOKENVEND_ENVIRONMENT": "production",
                "AWS_REGION": "us-east-1",
                "TOKENVEND_DATABASE_URL": production.settings.database_url,
                "TOKENVEND_SECRET_KEY": SECRET_KEY,
                "TOKENVEND_PUBLIC_URL": "https://testserver",
                "TOKENVEND_BUCKET": "photos",
                "TOKENVEND_ROLE_ARN": ROLE_ARN,
                "TOKENVEND_SMTP_URL": "smtps://user:password@mail.example.org",
                "TOKENVEND_MAIL_FROM": "photos@example.org",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        tokens = production.log_in("root@example.org").json()["tokens"]
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        client = production.client
        assert_problem(client.post("/v1/credentials", json={}, headers=bearer), 403, "mfa_required")
        enrolled = client.post("/v1/me/totp", headers=bearer).json()
        assert enrolled["otpauth_uri"].startswith("otpauth://totp/Photos:root@example.org?")
        app = Authenticator(production.clock, enrolled["secret"], [])
        confirmed = client.post("/v1/me/totp/confirm", json={"code": app.code()}, headers=bearer)
        assert confirmed.status_code == 200
        assert client.post("/v1/credentials", json={}, headers=bearer).status_code == 200
        token = production.log_in("root@example.org").json()["mfa"]["mfa_token"]
        signed_in = answer(production, token, app.fresh_code()).json()["tokens"]
        bearer = {"Authorization": f"Bearer {signed_in['access_token']}"}
        assert client.get("/v1/me/sessions", headers=bearer).status_code == 200
        assert client.get("/v1/me", headers=bearer).json()["role"] == "admin"
