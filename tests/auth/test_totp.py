"""The authenticator app: enrolled, confirmed, used once a code, taken away."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import pytest
from httpx2 import Response

from app.auth import totp as totp_factor
from app.crypto import kinds
from app.crypto.totp import match_totp, totp_uri
from app.platform.problems import InvalidToken
from tests.security.observed import assert_problem
from tests.support.authenticator import answer, challenge, enable, enrol, mails, totp
from tests.support.service import Service

RFC_KEY = b"12345678901234567890"
RFC_VECTORS = {59: "94287082", 1111111109: "07081804", 1234567890: "89005924", 20000000000: "65353130"}
"""RFC 6238, appendix B, of eight digits."""


class TestCodes:
    @pytest.mark.parametrize("seconds", RFC_VECTORS)
    def test_are_those_of_the_rfc(self, seconds: int) -> None:
        """AU11: 30 seconds, SHA-1, the last six of the RFC's digits; the tests' own app computes them too."""
        at, eight = datetime.fromtimestamp(seconds, UTC), RFC_VECTORS[seconds]
        assert totp(RFC_KEY, at, digits=8) == eight
        assert match_totp(base64.b32encode(RFC_KEY).decode(), eight[-6:], at) == seconds // 30

    @pytest.mark.parametrize(
        "code", ["", "28708", "2870820", "94287082", "abcdef", "٢٨٧٠٨٢", "²87082", "\ud800", "-28708"]
    )
    def test_are_six_digits_and_nothing_else(self, code: str) -> None:
        at = datetime.fromtimestamp(59, UTC)
        assert match_totp(base64.b32encode(RFC_KEY).decode(), code, at) is None


class TestUri:
    def test_tells_any_app_whose_account_it_is(self) -> None:
        uri = totp_uri("A" * 32, issuer="Ada & Söhne", account="a+b/c?d=é&f#@example.org")
        assert uri.startswith("otpauth://totp/Ada%20%26%20S%C3%B6hne:a%2Bb%2Fc%3Fd%3D%C3%A9%26f%23@example.org?")
        parts = urlsplit(uri)
        assert unquote(parts.path) == "/Ada & Söhne:a+b/c?d=é&f#@example.org"
        assert parse_qs(parts.query) == {"secret": ["A" * 32], "issuer": ["Ada & Söhne"]}

    def test_has_one_colon_between_issuer_and_account(self) -> None:
        assert totp_uri("A" * 32, issuer="a:b", account="c:d").startswith("otpauth://totp/a%20b:c%20d?")


class TestEnrolment:
    def test_gives_a_secret_of_160_bits_and_its_uri(self, service: Service) -> None:
        """AU12: random, once; `issuer` is the service as its users know it."""
        first, second = service.device("ada+photos@example.org"), service.device()
        enrolled = first.post("/v1/me/totp").json()
        assert enrolled.keys() == {"secret", "otpauth_uri"}
        assert len(base64.b32decode(enrolled["secret"])) == 20
        assert urlsplit(enrolled["otpauth_uri"]).path == "/testserver:ada%2Bphotos@example.org"
        assert parse_qs(urlsplit(enrolled["otpauth_uri"]).query)["secret"] == [enrolled["secret"]]
        assert second.post("/v1/me/totp").json()["secret"] != enrolled["secret"]

    def test_keeps_the_secret_encrypted_and_shows_it_to_nobody_again(self, service: Service) -> None:
        """AU12: in the database it is ciphertext, bound to its user; no answer has it a second time."""
        device = service.device()
        app = enable(device)
        ((sealed,),) = service.sql("SELECT secret_encrypted FROM totp_factors")
        sealed = bytes(sealed)
        for known in (app.secret.encode(), base64.b32decode(app.secret)):
            assert known not in sealed
        opened = service.runtime.platform.vault.decrypt(kinds.TOTP_SECRET, sealed, bound_to=device.user_id)
        assert opened == app.secret.encode()
        seen = [device.get(path).text for path in ("/v1/me", "/v1/me/sessions", "/v1/me/credentials")]
        seen += [device.post("/v1/me/totp").text, service.log_in(device.email).text]
        seen += [str(row) for row in service.sql("SELECT detail FROM audit_events")]
        assert app.secret not in "".join(seen)

    def test_needs_a_recent_sign_in(self, service: Service) -> None:
        """AU14, TK19: whoever finds the phone open an hour later adds no factor of their own."""
        device = service.device()
        service.clock.advance(minutes=5)
        assert device.post("/v1/me/totp").status_code == 200
        service.clock.advance(seconds=1)
        assert_problem(device.post("/v1/me/totp"), 403, "step_up_required")

    def test_that_was_given_up_locks_nobody_out(self, service: Service) -> None:
        """AU13: it is asked for nowhere, and its codes count for nothing."""
        device = service.device()
        app = enrol(device)
        assert service.log_in(device.email).json()["status"] == "complete"
        assert device.get("/v1/me").json()["mfa_enabled"] is False
        stepped = device.post("/v1/auth/step-up", json={"method": "totp", "code": app.code()})
        assert_problem(stepped, 403, "wrong_code")
        assert_problem(device.delete("/v1/me/totp"), 404, "not_found")

    def test_is_replaced_by_the_next(self, service: Service) -> None:
        """AU13: the code of the first secret confirms nothing any more."""
        device = service.device()
        first, second = enrol(device), enrol(device)
        assert first.secret != second.secret
        refused = device.post("/v1/me/totp/confirm", json={"code": first.code()})
        assert_problem(refused, 403, "wrong_code")
        assert device.post("/v1/me/totp/confirm", json={"code": second.code()}).status_code == 200

    def test_of_a_second_app_is_refused(self, service: Service) -> None:
        device = service.device()
        app = enable(device)
        assert_problem(device.post("/v1/me/totp"), 409, "already_enabled")
        refused = device.post("/v1/me/totp/confirm", json={"code": app.fresh_code()})
        assert_problem(refused, 409, "already_enabled")

    def test_leaves_nothing_on_an_account_that_is_erased_meanwhile(self, service: Service) -> None:
        device = service.device()
        service.sql("UPDATE users SET status = 'erased'")
        with pytest.raises(InvalidToken):
            service.runtime.platform.database.run(
                "write",
                totp_factor.enrol,
                service.runtime.platform.vault,
                service.clock.now(),
                user_id=UUID(device.user_id),
                issuer="x",
            )
        assert service.sql("SELECT count(*) FROM totp_factors") == [(0,)]

    def test_of_a_guest_has_a_label_too(self, service: Service) -> None:
        device = service.device()
        service.sql("UPDATE users SET email = NULL, email_key = NULL, guest = true")
        uri = device.post("/v1/me/totp").json()["otpauth_uri"]
        assert urlsplit(uri).path == f"/testserver:{device.user_id}"


class TestConfirmation:
    def test_makes_the_app_count_from_the_next_sign_in_on(self, service: Service) -> None:
        """AU13: the session that confirmed has shown the factor, and goes on."""
        device = service.device()
        enable(device)
        assert device.get("/v1/me").json()["mfa_enabled"] is True
        challenged = service.log_in(device.email).json()
        assert (challenged["status"], challenged["tokens"]) == ("mfa_required", None)
        assert challenged["mfa"].keys() == {"mfa_token", "methods", "expires_in"}
        assert (challenged["mfa"]["methods"], challenged["mfa"]["expires_in"]) == (["totp", "recovery_code"], 300)
        assert service.sql("SELECT count(*) FROM sessions WHERE mfa_at IS NOT NULL") == [(1,)]

    def test_ends_the_other_sessions_and_tells_the_owner(self, service: Service) -> None:
        """TK14, AU14: another device is out at once, its refresh token too; a mail says what happened."""
        device = service.device()
        other = service.device(device.email)
        enable(device)
        assert_problem(other.get("/v1/me"), 401, "invalid_token")
        assert_problem(service.refresh(other.refresh_token), 401, "invalid_refresh_token")
        assert device.get("/v1/me").status_code == 200
        assert service.refresh(device.refresh_token).status_code == 200
        assert mails(service) == [("mfa_enabled", device.email)]
        rows = service.sql("SELECT outcome FROM audit_events WHERE event = 'mfa.enabled'")
        assert rows == [("done",)]

    def test_uses_its_code_up(self, service: Service) -> None:
        """AU11: what confirmed the app does not sign in as well."""
        device = service.device()
        app = enable(device)
        assert_problem(answer(service, challenge(device), app.code()), 401, "invalid_mfa_code")
        assert answer(service, challenge(device), app.fresh_code()).status_code == 200

    def test_of_a_wrong_code_changes_nothing(self, service: Service) -> None:
        device = service.device()
        app = enrol(device)
        assert_problem(device.post("/v1/me/totp/confirm", json={"code": app.wrong_code()}), 403, "wrong_code")
        assert device.get("/v1/me").json()["mfa_enabled"] is False
        assert mails(service) == []
        assert service.sql("SELECT outcome FROM audit_events WHERE event = 'mfa.enabled'") == [("refused",)]
        assert device.post("/v1/me/totp/confirm", json={"code": app.code()}).status_code == 200

    def test_without_an_enrolment_finds_nothing(self, service: Service) -> None:
        assert_problem(service.device().post("/v1/me/totp/confirm", json={"code": "123456"}), 404, "not_found")

    def test_comes_within_a_quarter_of_an_hour(self, service: Service) -> None:
        """AU14: the re-authentication that began the enrolment does not last for ever."""
        device = service.device()
        app = enrol(device)
        service.clock.advance(seconds=15 * 60 - 1)
        late = service.device()
        late_app = enrol(late)
        assert device.post("/v1/me/totp/confirm", json={"code": app.code()}).status_code == 200
        service.clock.advance(seconds=15 * 60)
        late = service.device(late.email)
        assert_problem(late.post("/v1/me/totp/confirm", json={"code": late_app.code()}), 404, "not_found")

    def test_guesses_are_limited(self, make_service: Callable[..., Service]) -> None:
        """AU19: ten wrong codes by a session, and the right one is not looked at."""
        service = make_service(rate_limits="on", trusted_proxies=("127.0.0.1",))
        device = service.device()
        app = enrol(device)

        def confirm(code: str, number: int) -> Response:
            """From one address after another, so that only the account's own limit can refuse it."""
            headers = {**device.headers, "X-Forwarded-For": f"198.51.100.{number}"}
            return service.client.post("/v1/me/totp/confirm", json={"code": code}, headers=headers)

        assert {confirm(app.wrong_code(), number).status_code for number in range(10)} == {403}
        assert_problem(confirm(app.code(), 10), 429, "rate_limited")


class TestRemoval:
    def test_takes_app_and_recovery_codes_away(self, service: Service) -> None:
        """AU14, TK14: other devices are out, a mail says so, the next sign-in is by password alone."""
        device = service.device()
        app = enable(device)
        signed_in = answer(service, challenge(device), app.fresh_code()).json()["tokens"]
        waiting = challenge(device)
        assert device.delete("/v1/me/totp").status_code == 204
        other = {"Authorization": f"Bearer {signed_in['access_token']}"}
        assert_problem(service.client.get("/v1/me", headers=other), 401, "invalid_token")
        assert device.get("/v1/me").json()["mfa_enabled"] is False
        assert service.log_in(device.email).json()["status"] == "complete"
        assert mails(service) == [("mfa_enabled", device.email), ("mfa_disabled", device.email)]
        for table in ("totp_factors", "recovery_codes"):
            assert service.sql(f"SELECT count(*) FROM {table}") == [(0,)]
        assert service.sql("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND mfa_at IS NOT NULL") == [(0,)]
        assert service.sql("SELECT outcome FROM audit_events WHERE event = 'mfa.disabled'") == [("done",)]
        for code, method in ((app.fresh_code(), "totp"), (app.recovery_codes[0], "recovery_code")):
            assert_problem(answer(service, waiting, code, method), 401, "invalid_mfa_token")

    def test_needs_a_recent_sign_in(self, service: Service) -> None:
        """AU14, TK19: five minutes after the last it is 403 until the session was stepped up."""
        device = service.device()
        app = enable(device)
        service.clock.advance(minutes=5, seconds=1)
        assert_problem(device.delete("/v1/me/totp"), 403, "step_up_required")
        assert device.post("/v1/auth/step-up", json={"method": "totp", "code": app.code()}).status_code == 200
        assert device.delete("/v1/me/totp").status_code == 204

    def test_needs_a_session_that_has_shown_the_factor(self, service: Service) -> None:
        device = service.device()
        enable(device)
        service.sql("UPDATE sessions SET mfa_at = NULL")
        assert_problem(device.delete("/v1/me/totp"), 403, "mfa_required")
        assert_problem(device.post("/v1/me/recovery-codes"), 403, "mfa_required")

    def test_leaves_room_for_another_app(self, service: Service) -> None:
        device = service.device()
        old = enable(device)
        device.delete("/v1/me/totp")
        new = enable(device)
        assert old.secret != new.secret
        assert not set(old.recovery_codes) & set(new.recovery_codes)
