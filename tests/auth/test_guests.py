"""Guests: an account bound to a device, and what makes it everybody's own."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import text

from app.accounts import passwords
from app.crypto.vault import Vault
from app.mail.outbox import SEALED_AS
from app.platform.problems import EmailTaken, InvalidSingleUseToken
from app.records.audit import Origin
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem, without_request_id
from tests.security.races import all_at_once
from tests.support.outside import add_passkey, events, guest, mails
from tests.support.service import PASSWORD, Device, Service

ORIGIN = Origin("request", "127.0.0.1")


def upgrade(device: Device, email: str = "ada@example.org", password: str = PASSWORD) -> Response:
    return device.post("/v1/me/upgrade", {"email": email, "password": password})


class TestStarting:
    def test_makes_an_account_of_the_device(self, service: Service) -> None:
        device = guest(service)
        profile = device.get("/v1/me").json()
        assert (profile["email"], profile["email_verified"], profile["display_name"]) == (None, False, None)
        assert profile["prefix"] == f"users/{profile['id']}/"
        assert service.sql("SELECT guest, email_key, password_hash FROM users") == [(True, None, None)]
        assert service.sql("SELECT method FROM sessions") == [("guest",)]
        assert events(service, "guest.created") == events(service, "session.started") == ["done"]

    def test_gives_what_any_user_has(self, service: Service) -> None:
        """VC6: a guest vends for a prefix of their own, refreshes and signs out."""
        device, other = guest(service), guest(service)
        vended = device.vend().json()
        assert vended["prefix"] == f"users/{device.user_id}/"
        assert other.vend().json()["prefix"] != vended["prefix"]
        assert service.refresh(device.refresh_token).status_code == 200
        assert device.get("/v1/me/sessions").json()["items"][0]["current"] is True

    def test_answers_as_any_sign_in(self, service: Service) -> None:
        answer = service.client.post("/v1/auth/guest", json={"device_name": "Ada's phone"})
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["mfa"]) == ("complete", None)
        assert answer.headers["cache-control"] == "no-store"
        assert service.sql("SELECT device_name FROM sessions") == [("Ada's phone",)]

    def test_takes_nothing_else(self, service: Service) -> None:
        """AZ3."""
        for member in ("email", "role", "id", "guest", "prefix"):
            assert_problem(service.client.post("/v1/auth/guest", json={member: "x"}), 422, "invalid_request")
        assert service.sql("SELECT count(*) FROM users") == [(0,)]

    def test_is_limited_by_address(self, make_service: Callable[..., Service]) -> None:
        service = make_service(rate_limits="on")
        statuses = [service.client.post("/v1/auth/guest", json={}).status_code for _ in range(31)]
        assert statuses == [200] * 30 + [429]

    def test_can_be_turned_off_for_new_guests(self, make_service: Callable[..., Service]) -> None:
        """VC12: guests that exist go on: they refresh, vend and can be upgraded."""
        device = guest(make_service())
        closed = make_service(guests="off")
        assert_problem(closed.client.post("/v1/auth/guest", json={}), 403, "guests_off")
        assert closed.client.get("/demo/settings.json").json() == {"guests": False}, "the sample app hides its button"
        assert closed.sql("SELECT count(*) FROM users") == [(1,)]
        device.service = closed
        assert closed.refresh(device.refresh_token).status_code == 200
        assert device.vend().status_code == 200
        assert upgrade(device).json() == {"status": "active"}

    def test_ends_with_the_session(self, service: Service) -> None:
        """TK7: thirty idle days, or a sign-out, and nothing opens it again."""
        idle, signed_out = guest(service), guest(service)
        assert signed_out.delete("/v1/me/sessions").status_code == 204
        assert_problem(service.refresh(signed_out.refresh_token), 401, "invalid_refresh_token")
        service.clock.advance(days=30)
        assert_problem(service.refresh(idle.refresh_token), 401, "invalid_refresh_token")


class TestUpgrading:
    def test_keeps_id_prefix_session_and_ledger(self, service: Service) -> None:
        """VC1: nothing moves; the new password opens the same account on another device."""
        device = guest(service)
        before, vended = device.get("/v1/me").json(), device.vend().json()
        answer = device.post("/v1/me/upgrade", {"email": "ada@example.org", "password": PASSWORD})
        assert (answer.status_code, answer.json()) == (200, {"status": "active"})
        after = device.get("/v1/me").json()
        assert before["guest"]
        assert after == before | {"email": "ada@example.org", "guest": False}
        elsewhere = service.device("ada@example.org")
        assert (elsewhere.user_id, elsewhere.vend().json()["prefix"]) == (before["id"], before["prefix"])
        ledger = elsewhere.get("/v1/me/credentials").json()["items"]
        assert vended["credential_id"] in [entry["credential_id"] for entry in ledger]
        assert {entry["prefix"] for entry in ledger} == {before["prefix"]}
        assert service.refresh(device.refresh_token).status_code == 200
        assert events(service, "guest.upgraded") == ["done"]

    def test_is_for_guests(self, service: Service) -> None:
        device = service.device()
        assert_problem(upgrade(device), 409, "already_registered")
        upgraded = guest(service)
        upgrade(upgraded)
        assert_problem(upgrade(upgraded, "bob@example.org"), 409, "already_registered")
        assert upgraded.get("/v1/me").json()["email"] == "ada@example.org"
        assert_problem(service.client.post("/v1/me/upgrade", json={}), 401, "unauthenticated")

    def test_wants_a_free_address(self, service: Service) -> None:
        """HT5: however it is spelt."""
        owner, device = service.device("ada@example.org"), guest(service)
        assert_problem(upgrade(device, "ADA@Example.org"), 409, "email_taken")
        assert device.get("/v1/me").json()["email"] is None
        assert service.sql("SELECT count(*) FROM users WHERE guest") == [(1,)]
        assert owner.get("/v1/me").json()["email"] == "ada@example.org"
        assert events(service, "guest.upgraded") == ["refused"]
        assert_problem(service.log_in("ada@example.org", PASSWORD + "x"), 401, "invalid_login")

    @pytest.mark.parametrize(("status", "code"), [("erased", 401), ("disabled", 403)])
    def test_stops_where_the_account_ends_meanwhile(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, status: str, code: int
    ) -> None:
        """AZ5: erased or disabled while the password is hashed: what was erased gets no address."""

        class Ending(CountingContext):
            def hash(self, *args: Any, **kwargs: Any) -> str:
                service.sql("UPDATE users SET status = :status", status=status)
                return super().hash(*args, **kwargs)

        device = guest(service)
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", Ending())
        assert upgrade(device).status_code == code
        assert service.sql("SELECT email, email_key, password_hash FROM users") == [(None, None, None)]

    @pytest.mark.parametrize(
        ("email", "password", "code"),
        [
            ("no address", PASSWORD, "invalid_request"),
            ("ada@example.org", "password", "weak_password"),
            ("violet.tractor@example.org", "violet.tractor", "weak_password"),
            ("ada@example.org", "short", "weak_password"),
            ("ada@example.org", "quentin-oxbridge7", "weak_password"),
        ],
    )
    def test_wants_what_registration_wants(self, service: Service, email: str, password: str, code: str) -> None:
        """AU1, AU4."""
        device = guest(service)
        device.patch("/v1/me", {"display_name": "Quentin Oxbridge"})
        assert_problem(upgrade(device, email, password), 422, code)
        assert service.sql("SELECT count(*) FROM users WHERE guest") == [(1,)]

    def test_a_registered_user_is_no_guest_any_more(self, service: Service) -> None:
        """AU14: what a guest does without a fresh sign-in, a user does not."""
        device = guest(service)
        upgrade(device)
        service.clock.advance(minutes=6)
        answer = device.post("/v1/me/identities", {"provider": "x", "id_token": "x"})
        assert_problem(answer, 403, "step_up_required")


class TestUpgradingWithVerification:
    @pytest.fixture
    def service(self, make_service: Callable[..., Service]) -> Service:
        return make_service(email_verification="required")

    def register(self, service: Service, email: str) -> None:
        """An account as if its address had been verified."""
        device = guest(service)
        upgrade(device, email)
        self.confirm(service)

    def token(self, service: Service) -> str:
        """Of the newest mail."""
        row = service.sql(
            "SELECT id, token_encrypted FROM outbox WHERE token_encrypted IS NOT NULL ORDER BY created_at DESC"
        )[0]
        return token_of(service.runtime.platform.vault, str(row[0]), bytes(row[1]))

    def confirm(self, service: Service, token: str | None = None) -> None:
        """Raises what the service refuses it by."""
        body = {"token": token or self.token(service), "password": PASSWORD}
        answer = service.client.post("/v1/email-verifications/confirm", json=body)
        if answer.status_code != 204:
            raise {400: InvalidSingleUseToken, 409: EmailTaken}[answer.status_code]

    def test_waits_for_the_link_in_the_mail(self, service: Service) -> None:
        device = guest(service)
        before = device.get("/v1/me").json()
        answer = device.post("/v1/me/upgrade", {"email": "ada@example.org", "password": PASSWORD})
        assert (answer.status_code, answer.json()) == (200, {"status": "verification_required"})
        assert device.get("/v1/me").json() == before
        assert mails(service) == [("guest_upgrade", "ada@example.org")]
        assert_problem(service.log_in("ada@example.org"), 401, "invalid_login")
        self.confirm(service)
        assert device.get("/v1/me").json() == before | {
            "email": "ada@example.org",
            "email_verified": True,
            "guest": False,
        }
        assert service.device("ada@example.org").user_id == device.user_id
        assert events(service, "guest.upgraded") == events(service, "email.verified") == ["done"]

    def test_does_not_tell_whether_an_address_is_taken(self, service: Service, hashing: CountingContext) -> None:
        """AU9, AU20: same status, headers, bytes and hashes; the owner is told, at the address as they gave it."""
        self.register(service, "Ada@example.org")
        seen = []
        for email in ("ada@example.org", "bob@example.org"):
            device = guest(service)
            hashed = hashing.hashed
            answer = device.post("/v1/me/upgrade", {"email": email, "password": PASSWORD})
            seen.append((without_request_id(answer), hashing.hashed - hashed))
        assert seen[0] == seen[1]
        told = {("address_taken", "Ada@example.org"), ("guest_upgrade", "bob@example.org")}
        assert set(mails(service)) == told | {("guest_upgrade", "Ada@example.org")}

    def test_a_link_works_once_and_for_a_day(self, service: Service) -> None:
        upgrade(guest(service))
        token = self.token(service)
        service.clock.advance(hours=24)
        with pytest.raises(InvalidSingleUseToken):
            self.confirm(service, token)
        upgrade(guest(service))
        token = self.token(service)
        self.confirm(service, token)
        self.confirm(service, token)
        assert events(service, "guest.upgraded") == ["done"]

    def test_a_newer_mail_makes_the_older_link_useless(self, service: Service) -> None:
        device = guest(service)
        upgrade(device)
        old = self.token(service)
        service.clock.advance(seconds=1)
        upgrade(device, "lovelace@example.org")
        with pytest.raises(InvalidSingleUseToken):
            self.confirm(service, old)
        self.confirm(service)
        assert device.get("/v1/me").json()["email"] == "lovelace@example.org"

    def test_an_address_that_was_taken_meanwhile_is_refused(self, service: Service) -> None:
        first, second = guest(service), guest(service)
        upgrade(first)
        waiting = self.token(service)
        service.clock.advance(seconds=1)
        upgrade(second)
        self.confirm(service)
        with pytest.raises(EmailTaken):
            self.confirm(service, waiting)
        assert first.get("/v1/me").json()["email"] is None
        assert first.vend().status_code == 200

    def test_a_disabled_guest_is_not_upgraded(self, service: Service) -> None:
        upgrade(guest(service))
        service.sql("UPDATE users SET status = 'disabled'")
        with pytest.raises(InvalidSingleUseToken):
            self.confirm(service)

    def test_the_password_is_stored_as_a_hash_alone(self, service: Service) -> None:
        """AU6: in the token's row too."""
        upgrade(guest(service))
        (row,) = service.sql("SELECT data FROM single_use_tokens")
        assert PASSWORD not in str(row[0])
        assert "$argon2id$" in str(row[0])

    def test_mails_to_one_address_are_limited(self, make_service: Callable[..., Service]) -> None:
        service = make_service(email_verification="required", rate_limits="on")
        statuses = [upgrade(guest(service)).status_code for _ in range(11)]
        assert statuses == [200] * 10 + [429]


@pytest.mark.both_databases
class TestConfirming:
    """AU25: whoever reads the mail of an address is not the guest who asks for it until they show it."""

    @pytest.fixture
    def service(self, make_service: Callable[..., Service]) -> Service:
        return make_service(email_verification="required")

    @pytest.fixture
    def waiting(self, service: Service) -> tuple[Device, str]:
        """A guest, and the token of the mail to the address that they ask for."""
        device = guest(service)
        upgrade(device)
        (mail,) = service.mails("ada@example.org")
        assert mail.subject == "A device asks for your e-mail address"
        return device, mail.token

    def confirm(self, service: Service, token: str, password: str | None = None) -> Response:
        body = {"token": token} | ({} if password is None else {"password": password})
        return service.client.post("/v1/email-verifications/confirm", json=body)

    def test_by_a_button_alone_gives_a_stranger_nothing(self, service: Service, waiting: tuple[Device, str]) -> None:
        stranger, token = waiting
        assert_problem(self.confirm(service, token), 403, "account_password_required")
        assert_problem(self.confirm(service, token, "my usual password"), 403, "wrong_password")
        assert (stranger.get("/v1/me").json()["email"], service.sql("SELECT email FROM users")) == (None, [(None,)])
        assert events(service, "guest.upgraded") == ["refused"]

    def test_by_the_password_that_the_guest_chose(self, service: Service, waiting: tuple[Device, str]) -> None:
        device, token = waiting
        assert self.confirm(service, token, PASSWORD).status_code == 204
        assert device.get("/v1/me").json()["email"] == "ada@example.org"
        assert self.confirm(service, token, PASSWORD).status_code == 204, "it is done"

    def test_by_the_guest_themselves(self, service: Service, waiting: tuple[Device, str]) -> None:
        device, token = waiting
        assert device.post("/v1/email-verifications/confirm", {"token": token}).status_code == 204
        assert device.get("/v1/me").json()["email"] == "ada@example.org"
        assert service.sql("SELECT confirmed_elsewhere FROM users") == [(False,)]

    def test_in_the_session_of_another_is_by_password(self, service: Service, waiting: tuple[Device, str]) -> None:
        _, token = waiting
        answer = guest(service).post("/v1/email-verifications/confirm", {"token": token})
        assert_problem(answer, 403, "account_password_required")

    def test_in_a_session_that_has_ended_says_so(self, service: Service, waiting: tuple[Device, str]) -> None:
        device, token = waiting
        service.client.post("/v1/auth/logout", json={"refresh_token": device.refresh_token})
        assert_problem(device.post("/v1/email-verifications/confirm", {"token": token}), 401, "invalid_token")

    def test_five_wrong_passwords_use_the_link_up(
        self, service: Service, waiting: tuple[Device, str], hashing: CountingContext
    ) -> None:
        """AU22: and what is counted is counted before it is verified, so that those at once count too."""
        _, token = waiting
        before = len(hashing.verified)
        answers = all_at_once(lambda _: self.confirm(service, token, "not the password").status_code)
        assert sorted(answers) == [400] * (len(answers) - 5) + [403] * 5
        assert len(hashing.verified) - before == 5
        assert_problem(self.confirm(service, token, PASSWORD), 400, "invalid_single_use_token")

    def test_another_kind_of_link_asks_for_nothing(self, service: Service) -> None:
        service.register("ada@example.org")
        (mail,) = service.mails("ada@example.org")
        assert self.confirm(service, mail.token).status_code == 204

    def test_a_reset_by_mail_ends_what_a_stranger_added_meanwhile(
        self, service: Service, waiting: tuple[Device, str]
    ) -> None:
        """AU25: somebody told the owner of the address which password to type."""
        stranger, token = waiting
        assert self.confirm(service, token, PASSWORD).status_code == 204
        add_passkey(service, stranger.user_id)
        reset(service, "ada@example.org")
        assert service.sql("SELECT count(*) FROM passkeys") == [(0,)]
        assert service.refresh(stranger.refresh_token).status_code == 401
        add_passkey(service, stranger.user_id)
        reset(service, "ada@example.org")
        assert service.sql("SELECT count(*) FROM passkeys") == [(1,)], "the first reset made the account its owner's"

    def test_a_reset_leaves_the_ways_in_of_a_guest_who_confirmed(
        self, service: Service, waiting: tuple[Device, str]
    ) -> None:
        device, token = waiting
        device.post("/v1/email-verifications/confirm", {"token": token})
        add_passkey(service, device.user_id)
        reset(service, "ada@example.org")
        assert service.sql("SELECT count(*) FROM passkeys") == [(1,)]


def reset(service: Service, email: str) -> None:
    assert service.client.post("/v1/password-resets", json={"email": email}).status_code == 202
    body = {"token": service.mails(email)[-1].token, "new_password": "copper walnut lighthouse"}
    assert service.client.post("/v1/password-resets/confirm", json=body).status_code == 204


def token_of(vault: Vault, mail_id: str, sealed: bytes) -> str:
    """Of a mail that waits in the outbox."""
    return vault.decrypt(SEALED_AS, sealed, bound_to=str(uuid.UUID(mail_id))).decode()


@pytest.mark.slow("twenty at once, again and again")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestRaces:
    def test_one_address_goes_to_one_of_twenty_guests(
        self, service: Service, hashing: CountingContext, rounds: int
    ) -> None:
        """HT5: twenty rounds."""
        for number in range(rounds):
            devices = [guest(service) for _ in range(20)]
            email = f"ada{number}@example.org"
            answers = all_at_once(lambda i, devices=devices, email=email: upgrade(devices[i], email).status_code)
            assert sorted(answers) == [200] + [409] * 19
        assert hashing.hashed == 20 * rounds
        assert service.sql("SELECT count(*) FROM users WHERE NOT guest") == [(rounds,)]

    def test_a_link_waits_for_its_guest_before_it_is_used_up(self, make_service: Callable[..., Service]) -> None:
        """Whoever changes an account locks it, then its tokens: in another order the two would wait for each other."""
        service = make_service(email_verification="required")
        device = guest(service)
        upgrade(device)
        ((mail_id, sealed),) = service.sql("SELECT id, token_encrypted FROM outbox")
        token = token_of(service.runtime.platform.vault, str(mail_id), bytes(sealed))
        with ThreadPoolExecutor(1) as pool, service.runtime.platform.database.engine.connect() as other:
            other.execute(text("SELECT 1 FROM users FOR UPDATE"))
            opened = pool.submit(device.post, "/v1/email-verifications/confirm", {"token": token})
            while not service.sql("SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert not opened.done()
            other.execute(text("UPDATE single_use_tokens SET data = data"))
            other.rollback()
            assert opened.result().status_code == 204

    def test_one_guest_gets_one_of_twenty_addresses(
        self, service: Service, hashing: CountingContext, rounds: int
    ) -> None:
        for number in range(rounds):
            device = guest(service)
            answers = all_at_once(
                lambda i, device=device, number=number: upgrade(device, f"a{number}.{i}@example.org").status_code
            )
            assert sorted(answers) == [200] + [409] * 19
        assert service.sql("SELECT count(*) FROM users WHERE email IS NOT NULL") == [(rounds,)]
