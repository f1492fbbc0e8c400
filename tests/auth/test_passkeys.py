"""Passkeys: who may add, show and remove them, and every way in which an answer is not one."""

import json
import secrets
import uuid
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st

from app.auth import ceremony
from app.auth.ceremony import Assertion, Attestation, CeremonyFailed, RelyingParty
from app.crypto.encoding import b64url, unb64url
from app.records.models import TotpFactor
from tests.security.observed import assert_problem, without_request_id
from tests.security.races import all_at_once
from tests.support.authenticator import enrol
from tests.support.databases import PostgresDatabases
from tests.support.passkey_keeper import BACKED_UP, MAY_BE_BACKED_UP, PRESENT, VERIFIED, Authenticator
from tests.support.service import PASSWORD, Device, Service, running_service, test_settings

MOVABLE = PRESENT | VERIFIED | MAY_BE_BACKED_UP | BACKED_UP
OWNED = {"passkey_id", "name", "transports", "backed_up", "created_at", "last_used_at"}


def creation_options(device: Device) -> dict[str, Any]:
    answer = device.post("/v1/me/passkeys/options")
    assert answer.status_code == 200, answer.text
    options: dict[str, Any] = answer.json()["options"]
    return options


def send(device: Device, credential: dict[str, Any], **members: Any) -> Response:
    return device.post("/v1/me/passkeys", {"credential": credential, **members})


def add(device: Device, **traits: Any) -> Authenticator:
    """A passkey of the device's user."""
    authenticator = Authenticator(**traits)
    answer = send(device, authenticator.create(creation_options(device)))
    assert answer.status_code == 201, answer.text
    return authenticator


def request_options(service: Service, mfa_token: str | None = None) -> dict[str, Any]:
    answer = service.client.post("/v1/auth/passkey/options", json={"mfa_token": mfa_token} if mfa_token else None)
    assert answer.status_code == 200, answer.text
    options: dict[str, Any] = answer.json()["options"]
    return options


def show(service: Service, credential: dict[str, Any], **members: Any) -> Response:
    return service.client.post("/v1/auth/passkey", json={"credential": credential, **members})


def sign_in(service: Service, authenticator: Authenticator, **members: Any) -> Response:
    return show(service, authenticator.get(request_options(service)), **members)


def waiting_for_second_factor(service: Service, device: Device) -> dict[str, Any]:
    """The `mfa` member of a sign-in by password of a user who has an authenticator app."""
    now = service.clock.now()
    user_id = uuid.UUID(device.user_id)
    factor = TotpFactor(user_id=user_id, secret_encrypted=b"-", created_at=now, confirmed_at=now)
    if not service.sql("SELECT 1 FROM totp_factors WHERE user_id = :id", id=stored(service, device)):
        service.runtime.platform.database.run("write", lambda session: session.add(factor))
    answer = service.log_in(device.email).json()
    assert answer["status"] == "mfa_required"
    challenge: dict[str, Any] = answer["mfa"]
    return challenge


def stored(service: Service, device: Device) -> Any:
    """The user's id as the database spells it."""
    return (
        uuid.UUID(device.user_id).hex
        if service.runtime.platform.database.engine.dialect.name == "sqlite"
        else device.user_id
    )


def guest(service: Service) -> Device:
    tokens = service.client.post("/v1/auth/guest", json={}).json()["tokens"]
    device = Device(service, "", tokens["access_token"], tokens["refresh_token"], tokens["session_id"])
    device.user_id = device.get("/v1/me").json()["id"]
    return device


def events(service: Service, event: str) -> list[tuple[str, dict[str, Any]]]:
    rows = service.sql("SELECT outcome, detail FROM audit_events WHERE event = :event ORDER BY id", event=event)
    return [(row[0], json.loads(row[1]) if isinstance(row[1], str) else row[1]) for row in rows]


def mails(service: Service) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in service.sql("SELECT kind, recipient FROM outbox ORDER BY created_at, kind")]


class TestCreationOptions:
    def test_ask_for_a_passkey_that_verifies_its_user_and_finds_itself(self, service: Service) -> None:
        device = service.device()
        answer = device.post("/v1/me/passkeys/options")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["expires_in"] == 300
        options = answer.json()["options"]
        assert options == {
            "rp": {"id": "testserver", "name": options["rp"]["name"]},
            "user": {"id": b64url(uuid.UUID(device.user_id).bytes), "name": device.email, "displayName": device.email},
            "challenge": options["challenge"],
            "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in (-8, -7, -257)],
            "timeout": 300_000,
            "excludeCredentials": [],
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": True,
                "userVerification": "required",
            },
            "attestation": "none",
        }
        assert len(unb64url(options["challenge"])) >= 16
        assert creation_options(device)["challenge"] != options["challenge"]

    def test_leave_out_what_the_user_has(self, service: Service) -> None:
        device = service.device()
        authenticator = add(device)
        add(service.device())
        excluded = {
            "type": "public-key",
            "id": b64url(authenticator.credential_id),
            "transports": ["internal", "hybrid"],
        }
        assert creation_options(device)["excludeCredentials"] == [excluded]

    def test_name_a_guest_without_an_address(self, service: Service) -> None:
        device = guest(service)
        service.clock.advance(minutes=10)  # a guest has nothing to be seen anew by
        assert creation_options(device)["user"]["name"] == "Guest"

    def test_need_a_fresh_sign_in(self, service: Service) -> None:
        """AU14, TK19: an access token that somebody picked up adds no passkey of theirs (ASVS 7.5.1)."""
        device = service.device()
        options = creation_options(device)
        service.clock.advance(minutes=5, seconds=1)
        assert_problem(device.post("/v1/me/passkeys/options"), 403, "step_up_required")
        assert_problem(send(device, Authenticator().create(options)), 403, "step_up_required")


class TestAdding:
    def test_gives_the_user_a_passkey_and_tells_them(self, service: Service) -> None:
        """AU14: a notice goes to the address of the account (ASVS 6.3.7)."""
        device = service.device()
        credential = Authenticator(flags=PRESENT | VERIFIED | MAY_BE_BACKED_UP).create(creation_options(device))
        answer = send(device, credential, name="Ada’s phone")
        assert answer.status_code == 201
        assert answer.json().keys() == OWNED
        assert answer.json()["name"] == "Ada’s phone"
        assert answer.json()["transports"] == ["internal", "hybrid"]
        assert (answer.json()["backed_up"], answer.json()["last_used_at"]) == (False, None)
        assert device.get("/v1/me/passkeys").json() == {"items": [answer.json()], "next_cursor": None}
        assert service.device().get("/v1/me/passkeys").json()["items"] == []
        assert mails(service) == [("passkey_added", device.email)]
        assert events(service, "passkey.added") == [("done", {})]

    def test_names_one_that_nobody_named(self, service: Service) -> None:
        device = service.device()
        add(device)
        service.clock.advance(seconds=1)
        add(device)
        names = [passkey["name"] for passkey in device.get("/v1/me/passkeys").json()["items"]]
        assert names == ["Passkey 1", "Passkey 2"]

    def test_refuses_an_answer_that_is_none(self, service: Service) -> None:
        """AU14: wrong place, party, ceremony, challenge or key, or nobody seen: one refusal, on record."""
        device = service.device()
        wrong: list[dict[str, Any]] = [
            {"origin": "https://evil.example"},
            {"origin": "http://testserver:8000"},
            {"origin": "http://testserver.evil.example"},
            {"rp_id": "evil.example"},
            {"lies": {"type": "webauthn.get"}},
            {"lies": {"challenge": b64url(b"tvs_" + secrets.token_bytes(32))}},
            {"lies": {"challenge": ""}},
            {"lies": {"challenge": 5}},
            {"lies": {"crossOrigin": True}},
            {"lies": {"origin": None}},
            {"flags": PRESENT},
            {"flags": VERIFIED},
            {"flags": PRESENT | VERIFIED | BACKED_UP},  # although it may not be
            {"algorithm": -36},
            {"credential_id": bytes(1024)},
        ]
        for traits in wrong:
            answer = send(device, Authenticator(**traits).create(creation_options(device)))
            if "credential_id" not in traits:
                assert (answer.status_code, answer.json()["code"]) == (401, "invalid_passkey"), traits
            else:
                assert_problem(answer, 422, "invalid_request")
        assert [outcome for outcome, _ in events(service, "passkey.added")] == ["refused"] * (len(wrong) - 1)
        assert device.get("/v1/me/passkeys").json()["items"] == []
        assert mails(service) == []

    def test_refuses_an_answer_that_came_before(self, service: Service) -> None:
        device = service.device()
        options = creation_options(device)
        assert send(device, Authenticator().create(options)).status_code == 201
        assert_problem(send(device, Authenticator().create(options)), 401, "invalid_passkey")

    def test_a_wrong_answer_uses_the_options_up(self, service: Service) -> None:
        device = service.device()
        options = creation_options(device)
        assert_problem(send(device, Authenticator(flags=PRESENT).create(options)), 401, "invalid_passkey")
        assert_problem(send(device, Authenticator().create(options)), 401, "invalid_passkey")

    def test_refuses_an_answer_that_took_too_long(self, service: Service) -> None:
        device = service.device()
        service.clock.advance(minutes=3)
        options = creation_options(device)
        service.clock.advance(minutes=5)
        fresh = service.log_in(device.email).json()["tokens"]["access_token"]
        headers = {"Authorization": f"Bearer {fresh}"}
        body = {"credential": Authenticator().create(options)}
        assert_problem(service.client.post("/v1/me/passkeys", json=body, headers=headers), 401, "invalid_passkey")

    def test_refuses_an_answer_to_somebody_elses_options(self, service: Service) -> None:
        device, other = service.device(), service.device()
        assert_problem(send(other, Authenticator().create(creation_options(device))), 401, "invalid_passkey")

    def test_refuses_an_answer_to_the_options_of_a_sign_in(self, service: Service) -> None:
        device = service.device()
        options = {**creation_options(device), "challenge": request_options(service)["challenge"]}
        assert_problem(send(device, Authenticator().create(options)), 401, "invalid_passkey")

    def test_refuses_a_passkey_that_is_there_already(self, service: Service) -> None:
        """Also as another user's: its id would then lead to two accounts."""
        device, other = service.device(), service.device()
        authenticator = add(device)
        for somebody in (device, other):
            assert_problem(send(somebody, authenticator.create(creation_options(somebody))), 401, "invalid_passkey")

    def test_refuses_an_id_that_the_authenticator_did_not_attest(self, service: Service) -> None:
        device = service.device()
        credential = Authenticator().create(creation_options(device), attested_id=bytes(16))
        assert_problem(send(device, credential), 401, "invalid_passkey")

    def test_believes_no_statement_and_parses_none(self, service: Service) -> None:
        """None was asked for; who sends one gets in like those who do not."""
        device = service.device()
        credential = Authenticator().create(creation_options(device))
        attested = cbor2.loads(unb64url(credential["response"]["attestationObject"]))
        attested |= {"fmt": "tpm", "attStmt": {"x5c": [b"not a certificate"], "ver": "2.0"}}
        credential["response"]["attestationObject"] = b64url(cbor2.dumps(attested))
        assert send(device, credential).status_code == 201

    def test_refuses_another_than_the_twentieth(self, service: Service) -> None:
        device = service.device()
        options = [creation_options(device) for _ in range(21)]
        answers = [send(device, Authenticator().create(each)) for each in options]
        assert [answer.status_code for answer in answers] == [201] * 20 + [422]
        assert_problem(answers[-1], 422, "invalid_request")
        assert_problem(device.post("/v1/me/passkeys/options"), 422, "invalid_request")

    def test_ignores_what_browsers_will_say_and_what_they_leave_empty(self, service: Service) -> None:
        device = service.device()
        credential = Authenticator().create(creation_options(device))
        new = {"publicKey": None, "authenticatorData": None, "publicKeyAlgorithm": None, "signalled": {"a": [1]}}
        response = credential["response"] | new | {"transports": ["usb", "Smart-Card 2", 7, "hybrid"]}
        empty = {"authenticatorAttachment": None, "clientExtensionResults": None, "hints": ["client-device"]}
        answer = send(device, {**credential, **empty, "response": response})
        assert answer.status_code == 201, answer.text
        assert answer.json()["transports"] == ["usb", "hybrid"]

    @pytest.mark.parametrize("transports", [None, [], "usb"])
    def test_needs_no_transports(self, service: Service, transports: object) -> None:
        device = service.device()
        credential = Authenticator().create(creation_options(device))
        credential["response"]["transports"] = transports
        assert send(device, credential).json()["transports"] == []

    def test_takes_closed_members_of_our_own_and_ignores_extensions(self, service: Service) -> None:
        device = service.device()
        credential = Authenticator().create(creation_options(device))
        assert_problem(send(device, credential, extra=1), 422, "invalid_request")
        assert_problem(send(device, {**credential, "id": "AAAA"}), 422, "invalid_request")
        assert_problem(send(device, {**credential, "type": "password"}), 422, "invalid_request")
        assert_problem(send(device, credential, name=""), 422, "invalid_request")
        assert_problem(send(device, credential, name="a\u202eb"), 422, "invalid_request")
        bare = {name: credential["response"][name] for name in ("clientDataJSON", "attestationObject")}
        assert send(device, {**credential, "response": bare, "clientExtensionResults": {"a": [{}]}}).status_code == 201

    def test_makes_a_guest_a_user(self, service: Service) -> None:
        device = guest(service)
        service.clock.advance(minutes=10)
        authenticator = add(device)
        assert service.sql("SELECT guest FROM users") == [(False,)]
        assert events(service, "guest.upgraded") == [("done", {"method": "passkey"})]
        assert mails(service) == []
        answer = sign_in(service, authenticator)
        again = {"Authorization": f"Bearer {answer.json()['tokens']['access_token']}"}
        profile = service.client.get("/v1/me", headers=again).json()
        assert (profile["id"], profile["prefix"]) == (device.user_id, f"users/{device.user_id}/")
        assert_problem(device.post("/v1/me/passkeys/options"), 403, "step_up_required")


class TestAdministrators:
    def test_set_up_their_first_factor_by_password_and_no_other(self, service: Service) -> None:
        """AZ7: who knows an administrator's password alone adds no passkey, and no app, beside the ones there are."""
        thief = service.device()
        service.sql("UPDATE users SET role = 'admin'")
        authenticator = Authenticator()
        credential = authenticator.create(creation_options(thief))
        early = creation_options(thief)
        assert send(thief, credential).status_code == 201
        assert_problem(thief.post("/v1/me/passkeys/options"), 403, "mfa_required")
        assert_problem(send(thief, Authenticator().create(early)), 403, "mfa_required")
        app = enrol(thief)
        assert_problem(thief.post("/v1/me/totp/confirm", {"code": app.code()}), 403, "mfa_required")
        tokens = sign_in(service, authenticator).json()["tokens"]
        owner = Device(service, thief.email, tokens["access_token"], "", "")
        assert send(owner, Authenticator().create(creation_options(owner))).status_code == 201


class TestRenaming:
    def rename(self, device: Device, passkey_id: str, name: str) -> Response:
        path = f"/v1/me/passkeys/{passkey_id}"
        return device.service.client.patch(path, json={"name": name}, headers=device.headers)

    def test_changes_the_name_alone(self, service: Service) -> None:
        device = service.device()
        add(device)
        (before,) = device.get("/v1/me/passkeys").json()["items"]
        answer = self.rename(device, before["passkey_id"], "The blue one")
        assert (answer.status_code, answer.json()) == (200, {**before, "name": "The blue one"})
        assert device.get("/v1/me/passkeys").json()["items"] == [answer.json()]
        assert events(service, "passkey.renamed") == [("done", {})]

    def test_of_another_users_is_not_found(self, service: Service) -> None:
        device = service.device()
        add(device)
        (passkey,) = device.get("/v1/me/passkeys").json()["items"]
        assert_problem(self.rename(service.device(), passkey["passkey_id"], "mine"), 404, "not_found")
        assert_problem(self.rename(device, passkey["passkey_id"], "x" * 101), 422, "invalid_request")
        assert device.get("/v1/me/passkeys").json()["items"] == [passkey]


class TestUnverified:
    def test_signs_in_once_the_address_is_verified(self, make_service: Callable[..., Service]) -> None:
        """VC6: as with a password, on an account from before addresses were verified; a guest's has none to verify."""
        before = make_service()
        device, upgraded = before.device("ada@example.org"), guest(before)
        authenticator, others = add(device), add(upgraded)
        service = make_service(email_verification="required")
        assert_problem(service.log_in(device.email), 403, "email_not_verified")
        assert_problem(sign_in(service, authenticator), 403, "email_not_verified")
        assert sign_in(service, others).status_code == 200
        service.client.post("/v1/email-verifications", json={"email": device.email})
        token = service.mails(device.email)[-1].token
        assert service.client.post("/v1/email-verifications/confirm", json={"token": token}).status_code == 204
        assert sign_in(service, authenticator).status_code == 200


class TestRemoving:
    def remove(self, device: Device, index: int = 0) -> Response:
        passkeys = device.get("/v1/me/passkeys").json()["items"]
        return device.delete(f"/v1/me/passkeys/{passkeys[index]['passkey_id']}")

    def test_ends_the_passkey_and_tells_the_user(self, service: Service) -> None:
        """AU14: the removed one signs nobody in, and a notice goes out (ASVS 6.3.7)."""
        device = service.device()
        authenticator = add(device)
        assert self.remove(device).status_code == 204
        assert device.get("/v1/me/passkeys").json()["items"] == []
        assert_problem(sign_in(service, authenticator), 401, "invalid_passkey")
        assert ("passkey_removed", device.email) in mails(service)
        assert events(service, "passkey.removed") == [("done", {})]

    def test_needs_a_fresh_sign_in(self, service: Service) -> None:
        """AU14, TK19."""
        device = service.device()
        add(device)
        service.clock.advance(minutes=5, seconds=1)
        assert_problem(self.remove(device), 403, "step_up_required")

    def test_of_another_users_is_not_found(self, service: Service) -> None:
        device = service.device()
        add(device)
        (passkey,) = device.get("/v1/me/passkeys").json()["items"]
        assert_problem(service.device().delete(f"/v1/me/passkeys/{passkey['passkey_id']}"), 404, "not_found")
        assert device.get("/v1/me/passkeys").json()["items"] == [passkey]

    def test_leaves_the_last_way_to_sign_in(self, service: Service) -> None:
        device = service.device()
        add(device)
        add(device)
        service.sql("UPDATE users SET password_hash = NULL")
        assert self.remove(device).status_code == 204
        assert_problem(self.remove(device), 409, "last_sign_in")
        assert events(service, "passkey.removed")[-1] == ("refused", {"reason": "last_sign_in"})
        service.sql(
            "INSERT INTO identities (id, user_id, provider, issuer, subject, created_at, last_used_at)"
            " SELECT id, id, 'google', 'https://accounts.google.com', '1', created_at, created_at FROM users"
        )
        assert self.remove(device).status_code == 204

    def test_leaves_it_to_who_has_a_password_and_no_address(self, service: Service) -> None:
        """A guest who added a passkey may set one, for step-ups: nobody signs in with it."""
        device = guest(service)
        add(device)
        service.clock.advance(seconds=1)
        answer = device.put("/v1/me/password", {"current_password": None, "new_password": PASSWORD})
        assert answer.status_code == 204
        assert_problem(self.remove(device), 409, "last_sign_in")

    def test_of_the_last_two_at_once_leaves_one(self, service: Service) -> None:
        device = service.device()
        add(device)
        add(device)
        service.sql("UPDATE users SET password_hash = NULL")
        ids = [passkey["passkey_id"] for passkey in device.get("/v1/me/passkeys").json()["items"]]
        answers = all_at_once(lambda index: device.delete(f"/v1/me/passkeys/{ids[index]}"), crowd=2)
        assert sorted(answer.status_code for answer in answers) == [204, 409]


class TestSignIn:
    def test_needs_no_name_and_no_password(self, service: Service) -> None:
        """A passkey that verified its user is two factors in one, and as fresh as a step-up."""
        device = service.device()
        authenticator = add(device, counter=7)
        service.clock.advance(minutes=10)
        options = request_options(service)
        assert options == {
            "rpId": "testserver",
            "challenge": options["challenge"],
            "timeout": 300_000,
            "allowCredentials": [],
            "userVerification": "required",
        }
        answer = show(service, authenticator.get(options), device_name="Ada’s phone")
        assert answer.status_code == 200, answer.text
        assert (answer.json()["status"], answer.json()["mfa"]) == ("complete", None)
        assert answer.headers["cache-control"] == "no-store"
        tokens = answer.json()["tokens"]
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert service.client.get("/v1/me", headers=bearer).json()["id"] == device.user_id
        sessions = service.client.get("/v1/me/sessions", headers=bearer).json()["items"]
        assert sessions[0]["device_name"] == "Ada’s phone"
        assert service.client.post("/v1/me/passkeys/options", headers=bearer).status_code == 200
        (passkey,) = device.get("/v1/me/passkeys").json()["items"]
        assert passkey["last_used_at"] == "2026-06-01T12:10:00Z"
        assert service.sql("SELECT sign_count FROM passkeys") == [(8,)]
        assert events(service, "session.started")[-1] == ("done", {"method": "passkey", "mfa": 1})
        assert service.sql("SELECT count(*) FROM sessions WHERE method = 'passkey' AND mfa_at IS NOT NULL") == [(1,)]

    def test_asks_nobody_for_a_second_factor(self, service: Service) -> None:
        device = service.device()
        authenticator = add(device)
        waiting_for_second_factor(service, device)
        assert sign_in(service, authenticator).json()["status"] == "complete"

    def test_refuses_an_answer_that_is_none(self, service: Service) -> None:
        """AU9: whatever is wrong, status, headers and body are those of a passkey that nobody has."""
        authenticator = add(service.device(), counter=7)
        unknown = sign_in(service, Authenticator(user_handle=authenticator.user_handle))
        assert_problem(unknown, 401, "invalid_passkey")
        wrong: list[dict[str, Any]] = [
            {"origin": "https://evil.example"},
            {"origin": "https://testserver"},
            {"rp_id": "evil.example"},
            {"lies": {"type": "webauthn.create"}},
            {"lies": {"challenge": b64url(b"tvs_" + secrets.token_bytes(32))}},
            {"lies": {"challenge": b64url(b"\xff")}},
            {"lies": {"challenge": {}}},
            {"lies": {"crossOrigin": True}},
            {"flags": PRESENT},
            {"flags": VERIFIED},
            {"flags": 0xFF},
            {"counter": 6},
            {"counter": 0},
            {"user_handle": b64url(uuid.uuid4().bytes)},
            {"user_handle": "AAAA"},
            {"silent": True},
            {"key": Authenticator().key},
            {"credential_id": bytes(16)},
        ]
        for changes in wrong:
            answer = sign_in(service, authenticator.but(**changes))
            assert without_request_id(answer) == without_request_id(unknown), changes
            outcome, detail = events(service, "session.started")[-1]
            assert (outcome, detail["reason"]) == ("refused", "invalid_passkey")
        assert sign_in(service, authenticator).status_code == 200

    def test_takes_a_counter_that_falls_back_for_a_copy(self, service: Service) -> None:
        """WebAuthn §7.2: refused and on record; only who has the key can make the record say so."""
        device = service.device()
        authenticator = add(device, counter=7)
        copied = authenticator.but()
        assert sign_in(service, authenticator).status_code == 200
        assert_problem(sign_in(service, copied), 401, "invalid_passkey")
        assert events(service, "session.started")[-1] == ("refused", {"reason": "invalid_passkey", "fault": "cloned"})
        assert_problem(sign_in(service, copied.but(key=Authenticator().key, counter=7)), 401, "invalid_passkey")
        assert events(service, "session.started")[-1][1]["fault"] == "invalid_answer"

    def test_refuses_a_copy_that_claims_to_be_one_that_may_move(self, service: Service) -> None:
        """§7.2: a thief who has the key signs any flags, so what counts is what the passkey was at first."""
        authenticator = add(service.device(), counter=7)
        assert sign_in(service, authenticator).status_code == 200
        copied = authenticator.but(counter=1, flags=MOVABLE)
        assert_problem(sign_in(service, copied), 401, "invalid_passkey")
        assert events(service, "session.started")[-1][1]["fault"] == "cloned"

    @pytest.mark.parametrize("flags", [MOVABLE, MOVABLE & ~BACKED_UP])
    def test_lets_one_in_that_moved_to_a_keeper_which_counts_anew(self, service: Service, flags: int) -> None:
        """§7.2: a counter that fell is a signal, which is on record, and no proof."""
        device = service.device()
        authenticator = add(device, counter=5, flags=flags)
        assert sign_in(service, authenticator).status_code == 200
        assert events(service, "passkey.counter_fell") == []
        moved = authenticator.but(counter=0)
        assert [sign_in(service, moved).status_code for _ in range(2)] == [200, 200]
        [(outcome, detail)] = events(service, "passkey.counter_fell")
        assert (outcome, detail["former_counter"], detail["counter"]) == ("done", 6, 0)
        assert_problem(sign_in(service, moved.but(key=Authenticator().key)), 401, "invalid_passkey")
        [event] = service.staff().get("/v1/admin/audit-events?event=passkey.counter_fell").json()["items"]
        assert event["subject_id"] == device.user_id

    @pytest.mark.parametrize(("backed_up", "status"), [(True, 200), (False, 401)])
    def test_judges_one_of_an_earlier_version_by_its_backup(
        self, service: Service, backed_up: bool, status: int
    ) -> None:
        authenticator = add(service.device(), counter=5, flags=MOVABLE)
        service.sql("UPDATE passkeys SET backup_eligible = NULL, backed_up = :backed_up", backed_up=backed_up)
        assert sign_in(service, authenticator.but(counter=0)).status_code == status

    def test_learns_whether_one_of_an_earlier_version_may_move(self, service: Service) -> None:
        authenticator = add(service.device(), counter=5, flags=MOVABLE)
        service.sql("UPDATE passkeys SET backup_eligible = NULL, backed_up = :backed_up", backed_up=False)
        assert sign_in(service, authenticator).status_code == 200
        assert sign_in(service, authenticator.but(counter=0)).status_code == 200

    def test_ignores_what_browsers_will_say(self, service: Service) -> None:
        authenticator = add(service.device())
        credential = authenticator.get(request_options(service))
        response = credential["response"] | {"attestationObject": "AAAA", "signalled": None}
        new = {"authenticatorAttachment": None, "clientExtensionResults": {"prf": {"enabled": True}}, "later": 1}
        assert_problem(show(service, {**credential, **new, "response": response}, later=1), 422, "invalid_request")
        answer = show(service, {**credential, **new, "response": response})
        assert answer.status_code == 200, answer.text

    def test_takes_one_that_never_counts(self, service: Service) -> None:
        """As keys that are on many devices do."""
        authenticator = add(service.device())
        assert [sign_in(service, authenticator).status_code for _ in range(2)] == [200, 200]

    def test_refuses_an_answer_that_came_before(self, service: Service) -> None:
        authenticator = add(service.device())
        credential = authenticator.get(request_options(service))
        assert show(service, credential).status_code == 200
        assert_problem(show(service, credential), 401, "invalid_passkey")

    def test_refuses_an_answer_that_took_too_long(self, service: Service) -> None:
        authenticator = add(service.device())
        options = request_options(service)
        service.clock.advance(minutes=5)
        assert_problem(show(service, authenticator.get(options)), 401, "invalid_passkey")

    def test_refuses_an_answer_to_the_options_of_a_registration(self, service: Service) -> None:
        device = service.device()
        authenticator = add(device)
        options = {**request_options(service), "challenge": creation_options(device)["challenge"]}
        assert_problem(show(service, authenticator.get(options)), 401, "invalid_passkey")

    def test_tells_the_owner_alone_that_the_account_is_disabled(self, service: Service) -> None:
        device = service.device()
        authenticator = add(device)
        service.disable(device.email)
        assert_problem(sign_in(service, authenticator.but(key=Authenticator().key)), 401, "invalid_passkey")
        assert_problem(sign_in(service, authenticator), 403, "account_disabled")
        assert events(service, "session.started")[-1] == ("refused", {"reason": "disabled"})

    def test_of_an_erased_user_is_one_that_nobody_has(self, service: Service) -> None:
        device = service.device()
        authenticator = add(device)
        service.sql("UPDATE users SET status = 'erased'")
        unknown = sign_in(service, Authenticator(user_handle=authenticator.user_handle))
        assert without_request_id(sign_in(service, authenticator)) == without_request_id(unknown)

    def test_is_limited_by_address(self, make_service: Callable[..., Service]) -> None:
        service = make_service(rate_limits="on")
        statuses = [service.client.post("/v1/auth/passkey/options").status_code for _ in range(121)]
        assert statuses == [200] * 120 + [429]


class TestSecondFactor:
    def test_completes_the_sign_in_that_waits(self, service: Service) -> None:
        device = service.device()
        authenticator = add(device, silent=True)
        add(service.device())
        waiting = waiting_for_second_factor(service, device)
        assert "passkey" in waiting["methods"]
        options = request_options(service, waiting["mfa_token"])
        assert [allowed["id"] for allowed in options["allowCredentials"]] == [b64url(authenticator.credential_id)]
        answer = show(service, authenticator.get(options), mfa_token=waiting["mfa_token"])
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "complete"
        assert events(service, "session.started")[-1] == ("done", {"method": "password", "mfa": 1})
        assert_problem(
            service.client.post("/v1/auth/passkey/options", json={"mfa_token": waiting["mfa_token"]}),
            401,
            "invalid_mfa_token",
        )

    def test_takes_an_empty_user_handle_for_an_absent_one(self, service: Service) -> None:
        """Safari (tweag/webauthn#147). Where nobody is named, a passkey must say whose it is."""
        device = service.device()
        authenticator = add(device)
        waiting = waiting_for_second_factor(service, device)
        empty = authenticator.but(user_handle="")
        named = request_options(service, waiting["mfa_token"])
        assert show(service, empty.get(named), mfa_token=waiting["mfa_token"]).status_code == 200
        assert_problem(sign_in(service, empty), 401, "invalid_passkey")

    def test_of_another_user_is_refused(self, service: Service) -> None:
        """Whoever knows somebody's password does not get past their second factor with a passkey of their own."""
        victim, attacker = service.device(), service.device()
        add(victim)
        authenticator = add(attacker)
        waiting = waiting_for_second_factor(service, victim)
        for options in (request_options(service, waiting["mfa_token"]), request_options(service)):
            answer = show(service, authenticator.get(options), mfa_token=waiting["mfa_token"])
            assert_problem(answer, 401, "invalid_passkey")
        assert events(service, "session.started")[-1][1]["fault"] == "other_user"
        bound = request_options(service, waiting["mfa_token"])
        assert_problem(show(service, authenticator.get(bound)), 401, "invalid_passkey")

    def test_needs_a_sign_in_that_still_waits(self, service: Service) -> None:
        device = service.device()
        authenticator = add(device)
        waiting = waiting_for_second_factor(service, device)
        options = request_options(service, waiting["mfa_token"])
        service.clock.advance(minutes=5)
        answer = show(service, authenticator.get(options), mfa_token=waiting["mfa_token"])
        assert_problem(answer, 401, "invalid_mfa_token")


@pytest.mark.slow("twenty at once, again and again")
class TestRace:
    def test_of_twenty_that_send_one_answer_one_gets_in(
        self, postgres_databases: PostgresDatabases, rounds: int
    ) -> None:
        """The challenge is claimed by one statement."""
        url = postgres_databases.create()
        with running_service(url) as service:
            authenticator = add(service.device())
            for _ in range(rounds):
                credential = authenticator.get(request_options(service))
                statuses = all_at_once(lambda _index, sent=credential: show(service, sent).status_code)
                assert sorted(statuses) == [200] + [401] * 19
        postgres_databases.drop(url)

    def test_of_twenty_that_add_one_passkey_one_does(self, postgres_databases: PostgresDatabases, rounds: int) -> None:
        url = postgres_databases.create()
        with running_service(url) as service:
            for _ in range(rounds):
                device = service.device()
                credential = Authenticator().create(creation_options(device))
                statuses = all_at_once(lambda _index, sent=credential, by=device: send(by, sent).status_code)
                assert sorted(statuses) == [201] + [401] * 19
        postgres_databases.drop(url)


class TestRelyingParty:
    def test_is_the_public_urls_host_and_origin(self) -> None:
        party = ceremony.relying_party(test_settings(public_url="https://tokens.example.org:443/api"))
        assert party == RelyingParty("tokens.example.org", ("https://tokens.example.org",))

    def test_is_localhost_where_an_address_would_be_none(self) -> None:
        party = ceremony.relying_party(test_settings(public_url="http://127.0.0.1:8000"))
        assert party == RelyingParty("localhost", ("http://127.0.0.1:8000", "http://localhost:8000"))

    def test_is_what_the_settings_name(self) -> None:
        settings = test_settings(
            public_url="https://tokens.example.org",
            passkey_rp_id="example.org",
            passkey_origins="https://app.example.org,android:apk-key-hash:FG3pg8VzBlDY7rmVLzT8ZBagg0LmHb6oigSWsj_PROU",
            cors_origins="https://web.example.org",
        )
        origins = (
            "https://app.example.org",
            "android:apk-key-hash:FG3pg8VzBlDY7rmVLzT8ZBagg0LmHb6oigSWsj_PROU",
            "https://web.example.org",
        )
        assert ceremony.relying_party(settings) == RelyingParty("example.org", origins)


PARTY = RelyingParty("testserver", ("http://testserver",))
KEEPER = Authenticator()
CREATED = KEEPER.create({"challenge": b64url(b"x"), "rp": {"id": "testserver"}, "user": {"id": "AA"}})
SHOWN = KEEPER.get({"challenge": b64url(b"x"), "rpId": "testserver"})
PUBLIC_KEY = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)})


@st.composite
def damaged(draw: st.DrawFn, original: str) -> str:
    """Bytes that were right until somebody cut, flipped or replaced some of them."""
    raw = bytearray(unb64url(original))
    at = draw(st.integers(0, len(raw) - 1))
    raw[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return b64url(bytes(raw))


class TestHostileBytes:
    @given(data=st.data())
    def test_are_refused_and_nothing_else(self, data: st.DataObject) -> None:
        """The library raises many things for them; each is a refusal, and none an internal error."""
        response = CREATED["response"]
        sent = [data.draw(st.one_of(damaged(response[name]), st.text(max_size=50), st.just(response[name])))
                for name in ("clientDataJSON", "attestationObject")]  # fmt: skip
        attempt = Attestation(CREATED["id"], *sent)
        try:
            made = ceremony.verify_attestation(attempt, challenge="x", party=PARTY)
        except CeremonyFailed:
            return
        assert made.credential_id == KEEPER.credential_id

    @given(data=st.data())
    def test_sign_nobody_in(self, data: st.DataObject) -> None:
        response = SHOWN["response"]
        sent = [
            data.draw(st.one_of(damaged(response[name]), st.text(max_size=50), st.just(response[name])))
            for name in ("clientDataJSON", "authenticatorData", "signature")
        ]
        key = data.draw(st.one_of(st.just(PUBLIC_KEY), st.binary(max_size=100)))
        attempt = Assertion(SHOWN["id"], *sent, user_handle="AA")
        with pytest.raises(CeremonyFailed):
            ceremony.verify_assertion(
                attempt,
                challenge="x",
                party=PARTY,
                public_key=key,
                sign_count=0,
                may_move=False,
                user_handle=b"\0",
                named=False,
            )
