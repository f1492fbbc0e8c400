"""Recovery codes: ten, once each, kept as keyed hashes."""

import base64
import re

import pytest

from tests.security.observed import assert_problem, stored_values
from tests.support.authenticator import answer, challenge, enable, mails
from tests.support.service import Service


class TestCodes:
    def test_are_ten_of_120_bits_in_groups(self, service: Service) -> None:
        """AU15: more than the 112 bits from which on a keyed hash is enough."""
        codes = enable(service.device()).recovery_codes
        assert len(set(codes)) == 10
        for code in codes:
            assert re.fullmatch(r"[A-Z2-7]{4}(-[A-Z2-7]{4}){5}", code)
            assert len(base64.b32decode(code.replace("-", ""))) * 8 == 120

    def test_are_nowhere_in_the_database(self, service: Service) -> None:
        """AU15: neither as they are shown nor without hyphens, in no column."""
        codes = enable(service.device()).recovery_codes
        stored = [value for _, value in stored_values(service)]
        text = "\n".join(value if isinstance(value, str) else str(value) for value in stored)
        for code in codes:
            assert code not in text
            assert code.replace("-", "") not in text
        hashes = {bytes(value) for (value,) in service.sql("SELECT code_hash FROM recovery_codes")}
        assert {len(value) for value in hashes} == {32}


@pytest.mark.both_databases
class TestUse:
    def test_signs_in_once_each(self, service: Service) -> None:
        """AU15: used, it is as wrong as any; the others still work."""
        device = service.device()
        first, second = enable(device).recovery_codes[:2]
        assert answer(service, challenge(device), first, "recovery_code").json()["status"] == "complete"
        assert_problem(answer(service, challenge(device), first, "recovery_code"), 401, "invalid_mfa_code")
        assert answer(service, challenge(device), second, "recovery_code").json()["status"] == "complete"

    def test_is_told_to_the_owner(self, service: Service) -> None:
        """AU14: each use is a mail; a wrong code is none."""
        device = service.device()
        code = enable(device).recovery_codes[0]
        answer(service, challenge(device), code[:-1] + "A" if code[-1] != "A" else code[:-1] + "B", "recovery_code")
        assert mails(service) == [("mfa_enabled", device.email)]
        answer(service, challenge(device), code, "recovery_code")
        assert mails(service)[1:] == [("recovery_code_used", device.email)]

    def test_takes_whatever_way_people_type(self, service: Service) -> None:
        device = service.device()
        codes = enable(device).recovery_codes
        typed = [codes[0].lower(), codes[1].replace("-", ""), f" {codes[2].replace('-', ' - ')}\t", codes[3].title()]
        for code in typed:
            assert answer(service, challenge(device), code, "recovery_code").status_code == 200, code

    def test_is_of_the_user_it_was_made_for(self, service: Service) -> None:
        """AZ2: somebody else's code is wrong, and stays good for them."""
        owner, stranger = service.device(), service.device()
        code = enable(owner).recovery_codes[0]
        enable(stranger)
        assert_problem(answer(service, challenge(stranger), code, "recovery_code"), 401, "invalid_mfa_code")
        assert answer(service, challenge(owner), code, "recovery_code").status_code == 200

    def test_needs_the_right_method(self, service: Service) -> None:
        device = service.device()
        app = enable(device)
        assert_problem(answer(service, challenge(device), app.recovery_codes[0], "totp"), 401, "invalid_mfa_code")
        refused = answer(service, challenge(device), app.fresh_code(), "recovery_code")
        assert_problem(refused, 401, "invalid_mfa_code")
        assert_problem(answer(service, challenge(device), app.code(), "passkey"), 422, "invalid_request")


class TestRenewal:
    def test_makes_the_old_set_useless(self, service: Service) -> None:
        """AU15: used or not; the owner is told, and other devices stay."""
        device = service.device()
        app = enable(device)
        other = answer(service, challenge(device), app.fresh_code()).json()["tokens"]
        renewed = device.post("/v1/me/recovery-codes")
        assert renewed.status_code == 200, renewed.text
        assert renewed.headers["cache-control"] == "no-store"
        codes = renewed.json()["recovery_codes"]
        assert len(set(codes) - set(app.recovery_codes)) == 10
        assert_problem(
            answer(service, challenge(device), app.recovery_codes[0], "recovery_code"), 401, "invalid_mfa_code"
        )
        assert answer(service, challenge(device), codes[0], "recovery_code").status_code == 200
        assert ("recovery_codes_made", device.email) in mails(service)
        assert service.sql("SELECT count(*) FROM audit_events WHERE event = 'mfa.recovery_codes_made'") == [(1,)]
        bearer = {"Authorization": f"Bearer {other['access_token']}"}
        assert service.client.get("/v1/me", headers=bearer).status_code == 200

    def test_needs_a_recent_sign_in(self, service: Service) -> None:
        """AU14, TK19."""
        device = service.device()
        enable(device)
        service.clock.advance(minutes=5, seconds=1)
        assert_problem(device.post("/v1/me/recovery-codes"), 403, "step_up_required")

    def test_without_an_app_finds_nothing(self, service: Service) -> None:
        assert_problem(service.device().post("/v1/me/recovery-codes"), 404, "not_found")
