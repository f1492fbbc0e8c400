"""Registering where addresses are verified: links, repeated registrations, and who gets which mail."""

from collections.abc import Callable

import pytest

from app.admin import prune
from app.crypto.password_hashes import PASSWORD_CONTEXT
from app.records import addresses
from tests.security.observed import assert_problem, without_request_id
from tests.security.races import all_at_once
from tests.security.test_identities import ONE_PERSON
from tests.support.service import PASSWORD, Service

ADA = "ada@example.org"
OTHER_PASSWORD = "copper walnut lighthouse"


@pytest.fixture
def verifying(make_service: Callable[..., Service]) -> Service:
    return make_service(email_verification="required")


def confirm(service: Service, token: str, password: str | None = None) -> int:
    body = {"token": token, "password": password}
    return service.client.post("/v1/email-verifications/confirm", json=body).status_code


def ask_again(service: Service, email: str = ADA) -> None:
    answer = service.client.post("/v1/email-verifications", json={"email": email})
    assert (answer.status_code, answer.content) == (202, b"")


class TestRegistration:
    def test_leads_to_a_mail_and_then_to_a_sign_in(self, verifying: Service) -> None:
        answer = verifying.register(ADA)
        assert (answer.status_code, answer.json()) == (201, {"status": "verification_required"})
        assert_problem(verifying.log_in(ADA), 403, "email_not_verified")
        assert_problem(verifying.log_in(ADA, OTHER_PASSWORD), 401, "invalid_login")
        (mail,) = verifying.mails(ADA)
        assert confirm(verifying, mail.token) == 204
        profile = verifying.device(ADA).get("/v1/me").json()
        assert (profile["email"], profile["email_verified"]) == (ADA, True)

    def test_needs_no_mail_where_nothing_is_verified(self, service: Service) -> None:
        assert service.register(ADA).json() == {"status": "active"}
        assert_problem(service.register(ADA.upper()), 409, "email_taken")
        assert service.mails(ADA) == []
        ask_again(service)
        (mail,) = service.mails(ADA)
        assert confirm(service, mail.token) == 204
        assert service.device(ADA).get("/v1/me").json()["email_verified"] is True

    def test_of_a_taken_address_tells_its_owner_alone(self, verifying: Service) -> None:
        """AU9, AU20: the same answer, and mail to the stored spelling only."""
        fresh = verifying.register(ADA)
        assert confirm(verifying, verifying.mails(ADA)[0].token) == 204
        taken = verifying.register("ADA@example.org", OTHER_PASSWORD)
        assert without_request_id(taken) == without_request_id(fresh)
        assert verifying.mails("ADA@example.org") == []
        assert [mail.subject for mail in verifying.mails(ADA)][1:] == ["You have an account already"]
        assert verifying.log_in(ADA).status_code == 200
        assert verifying.log_in(ADA, OTHER_PASSWORD).status_code == 401

    def test_of_a_disabled_account_writes_to_nobody(self, verifying: Service) -> None:
        verifying.register(ADA)
        verifying.disable(ADA)
        before = len(verifying.mails(ADA))
        assert verifying.register(ADA).status_code == 201
        ask_again(verifying)
        assert len(verifying.mails(ADA)) == before

    def test_each_link_makes_its_own_registration_the_accounts(self, verifying: Service) -> None:
        """Against pre-hijacking: whoever else registers the address before it is verified gains nothing."""
        verifying.register(ADA, PASSWORD, display_name="Ada")
        verifying.register(ADA, OTHER_PASSWORD, display_name="Mallory")
        assert_problem(verifying.log_in(ADA, OTHER_PASSWORD), 403, "email_not_verified")
        mine, theirs = verifying.mails(ADA)
        assert confirm(verifying, mine.token) == 204
        assert verifying.log_in(ADA, OTHER_PASSWORD).status_code == 401
        assert verifying.device(ADA).get("/v1/me").json()["display_name"] == "Ada"
        assert confirm(verifying, theirs.token) == 400

    def test_a_link_asked_for_again_activates_no_password_of_two(self, verifying: Service) -> None:
        """Nobody knows whose registration the asker means: the address is verified, and a reset gives the password."""
        verifying.register(ADA, PASSWORD)
        verifying.register(ADA, OTHER_PASSWORD)
        ask_again(verifying)
        assert confirm(verifying, verifying.mails(ADA)[-1].token) == 204
        assert [verifying.log_in(ADA, password).status_code for password in (PASSWORD, OTHER_PASSWORD)] == [401, 401]

    def test_an_account_in_use_is_not_registered_anew(self, make_service: Callable[..., Service]) -> None:
        """One from before addresses were verified keeps its password, whatever link is opened."""
        make_service().device(ADA)
        verifying = make_service(email_verification="required")
        verifying.register(ADA, OTHER_PASSWORD)
        ask_again(verifying)
        taken, link = verifying.mails(ADA)
        assert taken.subject == "You have an account already"
        assert confirm(verifying, link.token) == 204
        assert verifying.log_in(ADA).status_code == 200

    def test_nor_is_one_whose_devices_are_forgotten(self, make_service: Callable[..., Service]) -> None:
        """Its sessions are deleted in time; its pictures are not, and would be the next registrant's."""
        before = make_service()
        before.device(ADA).delete("/v1/me/sessions")
        before.clock.advance(days=91)
        for _ in range(2):
            before.runtime.platform.database.run("write", prune.delete_stale, before.clock.now())
        assert before.sql("SELECT count(*) FROM sessions") == [(0,)]
        verifying = make_service(email_verification="required")
        verifying.register(ADA, OTHER_PASSWORD)
        assert [mail.subject for mail in verifying.mails(ADA)] == ["You have an account already"]
        ask_again(verifying)
        assert confirm(verifying, verifying.mails(ADA)[-1].token) == 204
        assert [verifying.log_in(ADA, password).status_code for password in (PASSWORD, OTHER_PASSWORD)] == [200, 401]

    def test_nor_is_one_whose_sign_in_is_no_longer_on_record(self, make_service: Callable[..., Service]) -> None:
        """Audit events go where an operator says so."""
        before = make_service()
        assert before.device(ADA).vend().status_code == 200
        forget_audit(before)
        verifying = make_service(email_verification="required")
        verifying.register(ADA, OTHER_PASSWORD)
        assert [mail.subject for mail in verifying.mails(ADA)] == ["You have an account already"]
        ask_again(verifying)
        assert confirm(verifying, verifying.mails(ADA)[-1].token) == 204
        assert verifying.log_in(ADA).status_code == 200

    def test_nor_is_an_imported_one(self, make_service: Callable[..., Service]) -> None:
        """Who was unverified elsewhere keeps the password of there, whoever registers the address meanwhile."""
        service = make_service()
        admin = service.staff()
        rows = f'email,password_hash\n{ADA},"{PASSWORD_CONTEXT.hash(PASSWORD)}"\n'
        headers = {**admin.headers, "Content-Type": "text/csv"}
        answer = service.client.post("/v1/admin/user-imports", content=rows, headers=headers)
        assert answer.json()["created"] == 1
        verifying = make_service(email_verification="required")
        verifying.register(ADA, OTHER_PASSWORD)
        assert [mail.subject for mail in verifying.mails(ADA)] == ["You have an account already"]
        ask_again(verifying)
        assert confirm(verifying, verifying.mails(ADA)[-1].token) == 204
        assert [verifying.log_in(ADA, password).status_code for password in (PASSWORD, OTHER_PASSWORD)] == [200, 401]


def forget_audit(service: Service) -> None:
    """As `tokenvend prune` does, of any age."""
    if service.runtime.platform.database.engine.dialect.name == "postgresql":
        service.sql("ALTER TABLE audit_events DISABLE TRIGGER USER")
    else:
        for name in ("no_delete", "floor"):
            service.sql(f"DROP TRIGGER audit_events_{name}")
    service.sql("DELETE FROM audit_events")


class TestGuests:
    def test_are_upgraded_by_the_same_confirmation(self, verifying: Service) -> None:
        """The same page and call, whatever the mail was for."""
        tokens = verifying.client.post("/v1/auth/guest", json={}).json()["tokens"]
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        guest = verifying.client.get("/v1/me", headers=headers).json()
        wish = {"email": ADA, "password": PASSWORD}
        assert verifying.client.post("/v1/me/upgrade", json=wish, headers=headers).status_code in (200, 202)
        (mail,) = verifying.mails(ADA)
        assert confirm(verifying, mail.token, PASSWORD) == 204
        profile = verifying.device(ADA).get("/v1/me").json()
        assert (profile["id"], profile["email_verified"]) == (guest["id"], True)
        assert confirm(verifying, mail.token) == 204, "it is done"


@pytest.mark.both_databases
class TestLinks:
    def test_live_for_a_day(self, verifying: Service) -> None:
        verifying.register(ADA)
        token = verifying.mails(ADA)[0].token
        verifying.clock.advance(hours=24)
        assert confirm(verifying, token) == 400
        ask_again(verifying)
        assert confirm(verifying, verifying.mails(ADA)[1].token) == 204
        assert verifying.log_in(ADA).status_code == 200

    def test_are_refused_alike_and_audited(self, verifying: Service) -> None:
        for token in ("", "tvs_unknown", "x" * 256, "\ud7ff"):
            answer = verifying.client.post("/v1/email-verifications/confirm", json={"token": token})
            assert_problem(answer, 400, "invalid_single_use_token")
        rows = verifying.sql("SELECT outcome FROM audit_events WHERE event = 'email.verified'")
        assert rows == [("refused",)] * 4

    def test_are_not_sent_to_strangers_or_the_verified(self, verifying: Service) -> None:
        ask_again(verifying, "nobody@example.org")
        verifying.register(ADA)
        confirm(verifying, verifying.mails(ADA)[0].token)
        ask_again(verifying)
        assert verifying.mails("nobody@example.org") == []
        assert len(verifying.mails(ADA)) == 1

    def test_leave_no_password_hash_behind(self, verifying: Service) -> None:
        verifying.register(ADA)
        confirm(verifying, verifying.mails(ADA)[0].token)
        kept = [str(row) for row in verifying.sql("SELECT data FROM single_use_tokens")]
        assert len(kept) == 2
        assert not any("argon2" in data or "example.org" in data for data in kept)

    def test_opened_again_say_that_the_address_is_verified(self, verifying: Service) -> None:
        """Two devices, or a tap too many. It changes nothing, whatever became of the account."""
        verifying.register(ADA)
        token = verifying.mails(ADA)[0].token
        assert [confirm(verifying, token) for _ in range(3)] == [204] * 3
        device = verifying.device(ADA)
        changed = device.put("/v1/me/password", {"current_password": PASSWORD, "new_password": OTHER_PASSWORD})
        assert changed.status_code == 204
        verifying.clock.advance(days=29)
        assert confirm(verifying, token) == 204
        assert verifying.log_in(ADA, OTHER_PASSWORD).status_code == 200
        rows = verifying.sql("SELECT outcome FROM audit_events WHERE event = 'email.verified'")
        assert rows == [("done",)]
        verifying.clock.advance(days=1)
        assert confirm(verifying, token) == 400

    def test_opened_again_say_nothing_of_another_address(self, verifying: Service) -> None:
        verifying.register(ADA)
        token = verifying.mails(ADA)[0].token
        assert confirm(verifying, token) == 204
        verifying.sql("UPDATE users SET email = 'x@example.org', email_key = 'x@example.org'")
        assert confirm(verifying, token) == 400
        verifying.sql("UPDATE users SET email = :ada, email_key = :ada, status = 'disabled'", ada=ADA)
        assert confirm(verifying, token) == 400

    def test_are_limited_by_address_known_or_not(self, make_service: Callable[..., Service]) -> None:
        """AU9: ten letters an hour; the eleventh is refused for either."""
        service = make_service(rate_limits="on")
        service.register(ADA)
        for email in (ADA, "nobody@example.org"):
            answers = [service.client.post("/v1/email-verifications", json={"email": email}) for _ in range(11)]
            assert [answer.status_code for answer in answers] == [202] * 10 + [429]


@pytest.mark.slow("twenty at once, again and again")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestRaces:
    def test_twenty_who_open_a_link_are_told_that_it_worked_and_it_worked_once(
        self, make_service: Callable[..., Service], hashing: object, rounds: int
    ) -> None:
        verifying = make_service(email_verification="required")
        for number in range(rounds):
            email = f"ada{number}@example.org"
            verifying.register(email)
            token = verifying.mails(email)[0].token
            assert all_at_once(lambda _, token=token: confirm(verifying, token)) == [204] * 20
        done = verifying.sql("SELECT count(*) FROM audit_events WHERE event = 'email.verified' AND outcome = 'done'")
        assert done == [(rounds,)]

    def test_twenty_spellings_make_one_account_and_one_registration(
        self, make_service: Callable[..., Service], hashing: object
    ) -> None:
        """HT5: all are answered alike; the links go to the one stored spelling, and one of them works."""
        verifying = make_service(email_verification="required")
        assert {*all_at_once(lambda number: verifying.register(ONE_PERSON[number]).status_code)} == {201}
        ((email,),) = verifying.sql("SELECT email FROM users")
        address = addresses.parse(email)
        local, _, domain = address.text.rpartition("@")
        mails = verifying.mails(f"{local}@{domain.encode('idna').decode()}")
        assert len(mails) == 20
        statuses = sorted(all_at_once(lambda number: confirm(verifying, mails[number].token)))
        assert statuses == [204] + [400] * 19
