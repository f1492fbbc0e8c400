"""What is stored about a user, in their own hands: all of it, no secret, and nothing of anybody else's."""

import json

import pytest

from app.accounts import export
from tests.support.service import Service

EMAIL = "ada@example.org"
SECRETS = ("argon2", "password_hash", "secret", "token_hash", "public_key", "code_hash", "sts_request_id")


class TestExport:
    def test_has_all_that_is_stored(self, service: Service) -> None:
        device = service.device(EMAIL)
        vended = device.vend().json()
        exported = device.get("/v1/me/export").json()
        assert exported["profile"] == device.get("/v1/me").json()
        assert [entry["session_id"] for entry in exported["sessions"]] == [device.session_id]
        assert [entry["access_key_id"] for entry in exported["credentials"]] == [vended["access_key_id"]]
        events = [entry["event"] for entry in exported["events"]]
        assert events == ["user.registered", "session.started", "credential.issued", "user.exported"]
        assert exported["recovery_codes_left"] == 0
        assert exported["passkeys"] == exported["identities"] == exported["mails"] == []

    def test_holds_no_secret(self, service: Service) -> None:
        """AZ4: neither keys nor hashes."""
        device = service.device(EMAIL)
        vended = device.vend().json()
        text = device.get("/v1/me/export").text
        for secret in (*SECRETS, vended["secret_access_key"], vended["session_token"], device.refresh_token):
            assert secret not in text

    def test_has_nothing_of_others(self, service: Service) -> None:
        """AZ2."""
        device, other = service.device(EMAIL), service.device()
        key = other.vend().json()["access_key_id"]
        text = device.get("/v1/me/export").text
        for foreign in (other.user_id, other.email, other.session_id, key):
            assert foreign not in text

    def test_is_read_in_pages(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        device = service.device(EMAIL)
        for _ in range(7):
            service.log_in(EMAIL)
        whole = device.get("/v1/me/export").json()
        monkeypatch.setattr(export, "PAGE", 2)
        paged = device.get("/v1/me/export").json()
        assert len(paged["sessions"]) == 8
        assert paged["sessions"] == whole["sessions"]
        assert paged["events"][:-1] == whole["events"]

    def test_needs_a_fresh_sign_in(self, service: Service) -> None:
        """TK19: a phone that was left lying about gives nothing away."""
        device = service.device(EMAIL)
        service.clock.advance(minutes=6)
        assert device.get("/v1/me/export").json()["code"] == "step_up_required"

    def test_is_the_documented_model(self, service: Service) -> None:
        document = service.client.get("/openapi.json").json()["components"]["schemas"]["AccountExport"]
        exported = service.device(EMAIL).get("/v1/me/export")
        assert exported.headers["content-type"] == "application/json"
        assert exported.headers["cache-control"] == "no-store"
        assert set(json.loads(exported.text)) == set(document["required"])
