"""What is stored about a user, in their own hands: all of it, no secret, and nothing of anybody else's."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from app.accounts import export
from app.mail import outbox
from app.records import audit
from app.records.audit import Origin
from app.records.models import Identity, Passkey, RecoveryCode, TotpFactor, User
from tests.support.service import PASSWORD, Service

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
        assert (exported["quota_bytes"], exported["usage"]) == (None, None)

    def test_has_quota_and_usage(self, service: Service) -> None:
        device = service.device()
        service.sql("UPDATE users SET quota_bytes = 1000")
        device.vend()
        service.sql("UPDATE usage SET bytes = 30, objects = 2")
        exported = device.get("/v1/me/export").json()
        assert exported["quota_bytes"] == 1000
        assert exported["usage"] == {"bytes": 30, "objects": 2, "counted_at": None}

    def test_has_mails_to_other_addresses(self, service: Service) -> None:
        """To the new one that was asked for, and to the former one."""
        device, new = service.device(EMAIL), "new@example.org"
        assert device.post("/v1/me/email", {"new_email": new, "password": PASSWORD}).status_code == 202
        token = service.mails(new)[-1].token
        assert device.post("/v1/me/email/confirm", {"token": token}).status_code == 204
        told = {(mail["kind"], mail["recipient"]) for mail in device.get("/v1/me/export").json()["mails"]}
        assert told == {("change_email", new), ("email_change_requested", EMAIL), ("email_changed", EMAIL)}

    def test_has_factors_identities_and_mails(self, service: Service) -> None:
        """AZ4: by their named members alone; no key, no hash, no token."""
        device, now = service.device(EMAIL), service.clock.now()
        owned: dict[str, Any] = {"user_id": UUID(device.user_id), "created_at": now}

        def add(session: Session) -> None:
            passkey = {"credential_id": b"id", "public_key": b"k", "sign_count": 0, "transports": [], "backed_up": True}
            outside = {"provider": "google", "issuer": "https://accounts.google.com", "subject": "1", "email": EMAIL}
            session.add(TotpFactor(**owned, secret_encrypted=b"sealed", confirmed_at=now))
            session.add_all(RecoveryCode(**owned, code_hash=bytes([i]), used_at=now if i else None) for i in range(3))
            session.add(Passkey(**owned, **passkey, id=uuid4(), name="Ada's phone"))
            session.add(Identity(**owned, **outside, id=uuid4(), last_used_at=now))
            user = session.get_one(User, owned["user_id"])
            outbox.tell(session, service.runtime.platform.vault, now, "mfa_enabled", user, token="a link's")

        service.runtime.platform.database.run("write", add)
        exported = device.get("/v1/me/export").json()
        at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert exported["profile"]["mfa_enabled"] is True
        assert (exported["guest"], exported["has_password"], exported["recovery_codes_left"]) == (False, True, 1)
        assert exported["passkeys"] == [{"name": "Ada's phone", "created_at": at, "last_used_at": None}]
        assert exported["identities"] == [
            {
                "provider": "google",
                "issuer": "https://accounts.google.com",
                "subject": "1",
                "email": EMAIL,
                "created_at": at,
                "last_used_at": at,
            }
        ]
        assert exported["mails"] == [{"kind": "mfa_enabled", "recipient": EMAIL, "created_at": at, "sent_at": None}]

    def test_tells_what_others_did_to_it_but_not_from_where(self, service: Service) -> None:
        """An administrator's address is theirs; one that nobody is known to have is shown."""
        device, admin = service.device(EMAIL), uuid4()
        for actor, address in ((admin, "198.51.100.7"), (None, "203.0.113.9")):
            service.runtime.platform.database.run(
                "write",
                audit.record,
                Origin("", address),
                "session.ended",
                service.clock.now(),
                actor_id=actor,
                subject_id=UUID(device.user_id),
            )
        answer = device.get("/v1/me/export")
        told = [(e["address"], e["by_the_user"]) for e in answer.json()["events"] if e["event"] == "session.ended"]
        assert told == [(None, False), ("203.0.113.9", False)]
        assert str(admin) not in answer.text

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
