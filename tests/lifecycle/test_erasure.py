"""Erasing an account: at once it is nobody's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text, update

from app.accounts import passwords
from app.mail import outbox
from app.mail.bounds import Kind
from app.records.models import DeviceSession, OutboxMail
from tests.security.cheap_hashing import CountingContext
from tests.security.races import all_at_once
from tests.support.databases import PostgresDatabases
from tests.support.engine import eventually
from tests.support.service import PASSWORD, Device, Service, running_service

EMAIL = "ada@example.org"


def count(service: Service, table: str, where: str = "1 = 1", **parameters: Any) -> int:
    return int(service.sql(f"SELECT count(*) FROM {table} WHERE {where}", **parameters)[0][0])


@pytest.fixture
def on_postgresql(postgres_databases: PostgresDatabases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Where transactions really run beside each other, with hashes that cost little: for races."""
    monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", CountingContext())
    url = postgres_databases.create()
    with running_service(url) as service:
        yield service
    postgres_databases.drop(url)


def make_admin(service: Service, device: Device) -> None:
    service.sql("UPDATE users SET role = 'admin' WHERE email = :email", email=device.email)


@pytest.mark.both_databases
class TestErasure:
    def test_signs_everybody_out_at_once(self, service: Service) -> None:
        device, other = service.device(EMAIL), service.device(EMAIL)
        assert device.erase().status_code == 202
        for held in (device, other):
            assert held.get("/v1/me").json()["code"] == "invalid_token"
            assert held.vend().json()["code"] == "invalid_token"
            assert service.refresh(held.refresh_token).json()["code"] == "invalid_refresh_token"

    def test_leaves_an_address_like_any_unknown_one(self, service: Service) -> None:
        service.device(EMAIL).erase()
        erased, unknown = service.log_in(EMAIL), service.log_in("nobody@example.org")
        assert erased.status_code == unknown.status_code == 401
        assert erased.json() | {"request_id": ""} == unknown.json() | {"request_id": ""}

    def test_the_address_registers_anew_with_another_prefix(self, service: Service) -> None:
        """VC4: nothing of the former owner's is within reach."""
        first = service.device(EMAIL)
        before = first.vend().json()["prefix"]
        first.erase()
        second = service.device(EMAIL)
        assert second.user_id != first.user_id
        assert second.vend().json()["prefix"] == f"users/{second.user_id}/" != before

    def test_leaves_nothing_that_names_the_person(self, service: Service) -> None:
        device = service.device(EMAIL)
        device.patch("/v1/me", json={"display_name": "Ada"})
        device.erase()
        [row] = service.sql(
            "SELECT email, email_key, email_verified_at, display_name, password_hash, status FROM users"
        )
        assert tuple(row) == (None, None, None, None, None, "erased")
        for table in ("totp_factors", "recovery_codes", "passkeys", "identities", "single_use_tokens"):
            assert count(service, table) == 0

    def test_keeps_the_ledger_that_traces_each_key(self, service: Service) -> None:
        device = service.device(EMAIL)
        device.vend()
        device.erase()
        assert count(service, "issued_credentials") == 1
        assert count(service, "audit_events", "event = 'user.erasure_requested' AND outcome = 'done'") == 1

    def test_has_the_end_of_each_session_on_record(self, service: Service) -> None:
        device, _other = service.device(EMAIL), service.device(EMAIL)
        device.erase()
        assert service.sql("SELECT DISTINCT end_reason FROM sessions") == [("erased",)]
        assert (
            count(service, "audit_events", "event = 'session.ended' AND CAST(detail AS VARCHAR) LIKE '%erased%'") == 2
        )

    def test_tells_the_owner_by_mail(self, service: Service) -> None:
        """At the address that the account no longer has."""
        service.device(EMAIL).erase()
        assert service.sql("SELECT kind, recipient FROM outbox") == [("account_erased", EMAIL)]
        [mail] = service.mails(EMAIL)
        assert mail.recipient == EMAIL

    def test_leaves_of_the_mails_only_notices_that_wait(self, service: Service) -> None:
        """Links lead nowhere now, and what was sent names the person; others' mails are theirs."""
        device, now = service.device(EMAIL), service.clock.now()
        own = UUID(device.user_id)
        put: list[tuple[Kind, UUID, str, str | None]] = [
            ("verify_email", own, EMAIL, "token"),
            ("password_changed", own, EMAIL, None),
            ("mfa_enabled", own, EMAIL, None),
            ("email_changed", own, "former@example.org", None),
            ("verify_email", uuid4(), "bob@example.org", "token"),
        ]
        for kind, about, recipient, token in put:
            service.runtime.platform.database.run(
                "write",
                outbox.put,
                service.runtime.platform.vault,
                now,
                kind,
                about=about,
                recipient=recipient,
                token=token,
            )
        sent = update(OutboxMail).where(OutboxMail.kind.in_(("mfa_enabled", "email_changed"))).values(sent_at=now)
        service.runtime.platform.database.run("write", lambda session: session.execute(sent))
        device.erase()
        assert service.sql("SELECT kind, recipient FROM outbox ORDER BY kind") == [
            ("account_erased", EMAIL),
            ("password_changed", EMAIL),
            ("verify_email", "bob@example.org"),
        ]

    @pytest.mark.slow("twenty at once, again and again")
    def test_of_many_at_once_one_is_done(self, on_postgresql: Service, rounds: int) -> None:
        for number in range(rounds):
            device = on_postgresql.device(f"many{number}@example.org")
            answers = all_at_once(lambda _index, device=device: device.erase().status_code)
            assert answers.count(202) == 1
            assert set(answers) <= {202, 401, 403}
        assert count(on_postgresql, "erasures") == rounds

    def test_waits_for_a_vend_that_is_being_written_down(self, on_postgresql: Service) -> None:
        """The ledger locks user, then session, as everybody does: the other way round each would wait for the other."""
        device = on_postgresql.device(EMAIL)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with on_postgresql.runtime.platform.database.engine.connect() as vend, ThreadPoolExecutor(1) as pool:
            vend.execute(text("SELECT id FROM users FOR SHARE"))
            erasing = pool.submit(device.erase)
            assert eventually(lambda: on_postgresql.sql(waiting) == [(1,)])
            vend.execute(text("SELECT id FROM sessions FOR SHARE NOWAIT"))
            vend.commit()
            assert erasing.result().status_code == 202


class TestProof:
    def test_needs_the_password(self, service: Service) -> None:
        device = service.device(EMAIL)
        assert device.erase(None).status_code == 422
        wrong = device.erase("not the password")
        assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_password")
        assert count(service, "audit_events", "event = 'password.asked' AND outcome = 'refused'") == 1
        assert device.get("/v1/me").status_code == 200

    def test_a_step_up_of_the_last_five_minutes_is_enough(self, service: Service) -> None:
        """Some proxies drop the body of a DELETE. The sign-in alone was no such decision."""
        device = service.device(EMAIL)
        refused = device.delete("/v1/me")
        assert (refused.status_code, refused.json()["errors"][0]["location"]) == (422, "body.password")
        assert "step up" in refused.json()["errors"][0]["message"]
        service.clock.advance(seconds=1)
        step_up(device)
        service.clock.advance(minutes=5, seconds=1)
        assert device.delete("/v1/me").status_code == 422
        step_up(device)
        service.clock.advance(minutes=5)
        assert device.delete("/v1/me").status_code == 202
        assert count(service, "erasures") == 1

    def test_a_step_up_on_another_device_is_not(self, service: Service) -> None:
        device, other = service.device(EMAIL), service.device(EMAIL)
        service.clock.advance(seconds=1)
        step_up(other)
        assert device.delete("/v1/me").status_code == 422

    def test_a_wrong_password_is_refused_after_a_step_up_too(self, service: Service) -> None:
        device = service.device(EMAIL)
        service.clock.advance(seconds=1)
        step_up(device)
        assert device.erase("not the password").json()["code"] == "wrong_password"

    def test_a_step_up_by_password_does_not_show_a_second_factor(self, service: Service) -> None:
        device = service.device(EMAIL)
        service.clock.advance(seconds=1)
        step_up(device)
        service.sql(
            "INSERT INTO totp_factors (user_id, secret_encrypted, created_at, confirmed_at)"
            " SELECT id, :secret, created_at, created_at FROM users",
            secret=b"sealed",
        )
        assert device.delete("/v1/me").json()["code"] == "step_up_required"

    def test_without_a_password_a_sign_in_of_the_last_five_minutes_does(self, service: Service) -> None:
        device = service.device(EMAIL)
        service.sql("UPDATE users SET password_hash = NULL")
        service.clock.advance(minutes=5, seconds=1)
        assert device.erase(None).json()["code"] == "step_up_required"
        service.clock.advance(minutes=-1)
        assert device.erase(None).status_code == 202

    def test_with_a_second_factor_it_has_to_be_shown_a_moment_ago(self, service: Service) -> None:
        """A step-up by password renews the sign-in, and not what was shown of the second factor long before."""
        device = service.device(EMAIL)
        [(user_id,)] = service.sql("SELECT id FROM users")
        now = service.sql("SELECT created_at FROM users")[0][0]
        service.sql(
            "INSERT INTO totp_factors (user_id, secret_encrypted, created_at, confirmed_at)"
            " VALUES (:user_id, :secret, :now, :now)",
            user_id=user_id,
            secret=b"sealed",
            now=now,
        )
        assert device.erase().json()["code"] == "step_up_required"
        for age, answered in ((timedelta(minutes=5, seconds=1), 403), (timedelta(minutes=5), 202)):
            shown = update(DeviceSession).values(mfa_at=service.clock.now() - age)
            service.runtime.platform.database.run("write", lambda session, shown=shown: session.execute(shown))
            assert device.erase().status_code == answered

    def test_a_password_changed_meanwhile_is_no_proof(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        device = service.device(EMAIL)
        verify = service.runtime.hasher.verify

        async def slow(password: str, password_hash: str | None, *, by: str) -> tuple[bool, str | None]:
            verified = await verify(password, password_hash, by=by)
            service.sql("UPDATE users SET password_hash = 'another'")
            return verified

        monkeypatch.setattr(service.runtime.hasher, "verify", slow)
        assert device.erase(PASSWORD).json()["code"] == "wrong_password"
        assert count(service, "erasures") == 0

    def test_a_session_signed_out_meanwhile_erases_nothing(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """TK15: while its password is being verified; the last one of the account, too."""

        class SigningOut(CountingContext):
            def verify(self, *args: Any, **kwargs: Any) -> bool:
                assert device.delete("/v1/me/sessions").status_code == 204
                return super().verify(*args, **kwargs)

        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", CountingContext())
        device = service.device(EMAIL)
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", SigningOut())
        answer = device.erase()
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
        assert count(service, "erasures") == 0
        assert count(service, "users", "status = 'active' AND email = :email", email=EMAIL) == 1


def step_up(device: Device) -> None:
    answer = device.post("/v1/auth/step-up", {"password": PASSWORD})
    assert answer.status_code == 200
    device.access_token = answer.json()["access_token"]


@pytest.mark.both_databases
class TestLastAdmin:
    def test_stays(self, service: Service) -> None:
        device = service.device(EMAIL)
        make_admin(service, device)
        refused = device.erase()
        assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")
        assert device.get("/v1/me").status_code == 200
        assert count(service, "audit_events", "event = 'user.erasure_requested' AND outcome = 'refused'") == 1

    def test_a_disabled_administrator_is_no_other_one(self, service: Service) -> None:
        device, other = service.device(EMAIL), service.device()
        make_admin(service, device)
        make_admin(service, other)
        service.disable(other.email)
        assert device.erase().json()["code"] == "last_admin"

    @pytest.mark.slow("twenty at once, again and again")
    def test_of_two_who_leave_at_once_one_stays(self, on_postgresql: Service, rounds: int) -> None:
        service = on_postgresql
        for number in range(rounds):
            service.sql("UPDATE users SET role = 'user' WHERE role = 'admin'")
            pair = [service.device(f"admin{number}-{which}@example.org") for which in range(2)]
            for device in pair:
                make_admin(service, device)
            answers = all_at_once(lambda index, pair=pair: pair[index % 2].erase().status_code)
            assert answers.count(202) == 1
            assert set(answers) <= {202, 401, 403, 409}
            assert count(service, "users", "role = 'admin' AND status = 'active'") == 1

    def test_nor_does_one_leave_who_became_the_last_meanwhile(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The others made them one, and left, while the password was verified."""
        device = service.device(EMAIL)

        class Promoting(CountingContext):
            def verify(self, *args: Any, **kwargs: Any) -> bool:
                make_admin(service, device)
                return super().verify(*args, **kwargs)

        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", Promoting())
        assert device.erase().json()["code"] == "invalid_token"
        assert device.erase().json()["code"] == "last_admin"
        assert count(service, "users", "role = 'admin' AND status = 'active'") == 1
