"""Another address: verified there, told to the old one."""

from collections.abc import Callable

import pytest
from httpx2 import Response
from limits import parse

from app.platform.limits import LIMITS, account_key
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem
from tests.security.races import all_at_once
from tests.support.outside import add_passkey, events
from tests.support.service import PASSWORD, Device, Service

ADA = "ada@example.org"
NEW = "ada@example.com"


def ask(device: Device, new_email: str = NEW, password: str | None = PASSWORD) -> Response:
    return device.post("/v1/me/email", json={"new_email": new_email, "password": password})


def confirm(service: Service, token: str, password: str | None = PASSWORD) -> Response:
    return service.client.post("/v1/me/email/confirm", json={"token": token, "password": password})


class TestChange:
    def test_holds_once_the_link_at_the_new_address_is_opened(self, service: Service) -> None:
        """AU14: the old address is told when it is asked for, and when it is done."""
        device = service.device(ADA)
        answer = ask(device)
        assert (answer.status_code, answer.content) == (202, b"")
        assert [mail.subject for mail in service.mails(ADA)] == ["A new e-mail address was asked for"]
        assert device.get("/v1/me").json()["email"] == ADA
        assert confirm(service, service.mails(NEW)[0].token).status_code == 204
        profile = device.get("/v1/me").json()
        assert (profile["email"], profile["email_verified"]) == (NEW, True)
        assert service.mails(ADA)[-1].subject == "Your e-mail address was changed"
        assert service.log_in(NEW).status_code == 200
        assert service.log_in(ADA).status_code == 401

    def test_is_told_again_to_who_opens_the_link_again(self, service: Service) -> None:
        device = service.device(ADA)
        ask(device)
        token = service.mails(NEW)[0].token
        assert confirm(service, token).status_code == 204
        assert confirm(service, token, password=None).status_code == 204
        assert len(service.mails(ADA)) == 2
        ask(device, "third@example.org")
        assert confirm(service, service.mails("third@example.org")[0].token).status_code == 204
        assert_problem(confirm(service, token), 400, "invalid_single_use_token")

    def test_needs_the_password(self, service: Service) -> None:
        """AU14"""
        device = service.device(ADA)
        assert_problem(ask(device, password="not the password"), 403, "wrong_password")
        assert_problem(ask(device, password=None), 403, "wrong_password")
        assert service.mails(NEW) == service.mails(ADA) == []

    def test_without_a_password_needs_a_fresh_sign_in(self, service: Service) -> None:
        """AU14: a stale session is told to step up."""
        device = service.device(ADA)
        service.sql("UPDATE users SET password_hash = NULL")
        service.clock.advance(minutes=5, seconds=1)
        assert_problem(ask(device, password=None), 403, "step_up_required")
        service.clock.advance(minutes=-5)
        assert ask(device, password=None).status_code == 202

    def test_to_a_taken_address_tells_its_owner_and_nobody_else(self, service: Service) -> None:
        """AU9: the same answer and the same word to the old address."""
        device = service.device(ADA)
        service.register("Bob@example.org")
        free, taken = ask(device), ask(device, "bob@EXAMPLE.org")
        assert (taken.status_code, taken.content) == (free.status_code, free.content)
        assert len(service.mails(ADA)) == 2
        assert [mail.subject for mail in service.mails("Bob@example.org")] == ["You have an account already"]

    def test_fails_where_somebody_took_the_address_meanwhile(self, service: Service) -> None:
        device = service.device(ADA)
        ask(device)
        service.register(NEW)
        assert_problem(confirm(service, service.mails(NEW)[0].token), 409, "email_taken")
        assert device.get("/v1/me").json()["email"] == ADA

    def test_may_be_one_of_spelling(self, service: Service) -> None:
        device = service.device(ADA)
        assert ask(device, "Ada@example.org").status_code == 202
        assert confirm(service, service.mails("Ada@example.org")[0].token).status_code == 204
        assert device.get("/v1/me").json()["email"] == "Ada@example.org"

    def test_withdraws_what_was_sent_before(self, service: Service) -> None:
        """Older changes and resets, which the old address could still open."""
        device = service.device(ADA)
        ask(device, "first@example.com")
        ask(device)
        service.client.post("/v1/password-resets", json={"email": ADA})
        first, link = service.mails("first@example.com")[0].token, service.mails(NEW)[0].token
        assert_problem(confirm(service, first), 400, "invalid_single_use_token")
        assert confirm(service, link).status_code == 204
        reset = {"token": service.mails(ADA)[-2].token, "new_password": "copper walnut lighthouse"}
        assert_problem(service.client.post("/v1/password-resets/confirm", json=reset), 400, "invalid_single_use_token")

    def test_is_called_off_by_a_new_password(self, service: Service) -> None:
        device = service.device(ADA)
        ask(device)
        device.put("/v1/me/password", json={"current_password": PASSWORD, "new_password": "copper walnut lighthouse"})
        assert_problem(confirm(service, service.mails(NEW)[0].token), 400, "invalid_single_use_token")

    def test_expires_after_a_day(self, service: Service) -> None:
        ask(service.device(ADA))
        token = service.mails(NEW)[0].token
        service.clock.advance(hours=24)
        assert_problem(confirm(service, token), 400, "invalid_single_use_token")

    def test_of_a_guest_is_an_upgrade_instead(self, service: Service) -> None:
        device = service.device(ADA)
        service.sql("UPDATE users SET guest = :yes", yes=True)
        assert_problem(ask(device), 422, "invalid_request")

    def test_writes_no_more_than_ten_letters_an_hour(self, make_service: Callable[..., Service]) -> None:
        device = make_service(rate_limits="on").device(ADA)
        answers = [ask(device, f"new{number}@example.com").status_code for number in range(11)]
        assert answers == [202] * 10 + [429]


class TestConfirming:
    """AU25: whoever reads the mail of an address has not asked for the account that wants it until they show it."""

    @pytest.fixture
    def waiting(self, service: Service) -> tuple[Device, str]:
        """An account, and the token of the mail to the address that it asks for."""
        device = service.device(ADA)
        ask(device)
        (mail,) = service.mails(NEW)
        assert mail.subject == "An account asks for your e-mail address"
        return device, mail.token

    def test_by_a_button_alone_gives_a_stranger_nothing(self, service: Service, waiting: tuple[Device, str]) -> None:
        stranger, token = waiting
        assert_problem(
            service.client.post("/v1/me/email/confirm", json={"token": token}), 403, "account_password_required"
        )
        assert_problem(confirm(service, token, "my usual password"), 403, "wrong_password")
        assert stranger.get("/v1/me").json()["email"] == ADA
        assert events(service, "email.changed") == ["refused"]

    def test_by_the_account_itself_needs_no_password(self, service: Service, waiting: tuple[Device, str]) -> None:
        device, token = waiting
        assert device.post("/v1/me/email/confirm", {"token": token}).status_code == 204
        assert device.get("/v1/me").json()["email"] == NEW
        assert service.sql("SELECT confirmed_elsewhere FROM users") == [(False,)]

    def test_in_the_session_of_another_is_by_password(self, service: Service, waiting: tuple[Device, str]) -> None:
        """It is the asking account's password, and not that of whoever confirms."""
        _, token = waiting
        bob = service.device("bob@example.org", password="copper walnut lighthouse")
        assert_problem(bob.post("/v1/me/email/confirm", {"token": token}), 403, "account_password_required")
        own = {"token": token, "password": "copper walnut lighthouse"}
        assert_problem(bob.post("/v1/me/email/confirm", own), 403, "wrong_password")
        assert bob.post("/v1/me/email/confirm", {"token": token, "password": PASSWORD}).status_code == 204

    def test_in_a_session_that_has_ended_says_so(self, service: Service, waiting: tuple[Device, str]) -> None:
        device, token = waiting
        service.client.post("/v1/auth/logout", json={"refresh_token": device.refresh_token})
        assert_problem(device.post("/v1/me/email/confirm", {"token": token}), 401, "invalid_token")

    def test_of_an_account_without_a_password_takes_its_session(
        self, service: Service, waiting: tuple[Device, str], hashing: CountingContext
    ) -> None:
        """Whoever signs in by passkey or outside identity alone. Nothing is verified for a password that is sent."""
        device, token = waiting
        service.sql("UPDATE users SET password_hash = NULL")
        before = len(hashing.verified)
        for password in (None, PASSWORD):
            assert_problem(confirm(service, token, password), 403, "account_session_required")
        assert len(hashing.verified) == before
        assert device.post("/v1/me/email/confirm", {"token": token}).status_code == 204
        assert device.get("/v1/me").json()["email"] == NEW

    def test_five_wrong_passwords_use_the_link_up(
        self, service: Service, waiting: tuple[Device, str], hashing: CountingContext
    ) -> None:
        """AU22: tries are counted before they are verified, so that tries at the same time count too."""
        _, token = waiting
        before = len(hashing.verified)
        answers = all_at_once(lambda _: confirm(service, token, "not the password").status_code)
        assert sorted(answers) == [400] * (len(answers) - 5) + [403] * 5
        assert len(hashing.verified) - before == 5
        assert_problem(confirm(service, token), 400, "invalid_single_use_token")

    def test_elsewhere_counts_as_a_guess_at_sign_in(self, make_service: Callable[..., Service]) -> None:
        """AU8: of all tries at the account's password there are no more than without the link."""
        service = make_service(rate_limits="on")
        device = service.device(ADA)
        ask(device)
        token = service.mails(NEW)[0].token
        key = account_key(service.runtime.platform.vault, service.sql("SELECT email_key FROM users")[0][0])
        assert service.client.portal is not None
        for _ in range(parse(LIMITS["guess"].amount).amount - 1):
            service.client.portal.call(service.runtime.platform.limiter.hit, "guess", key)
        assert_problem(confirm(service, token, "not the password"), 403, "wrong_password")
        assert_problem(confirm(service, token), 429, "rate_limited")
        assert device.post("/v1/me/email/confirm", {"token": token}).status_code == 204

    @pytest.mark.parametrize("elsewhere", [True, False], ids=["elsewhere", "by itself"])
    def test_a_reset_by_mail_ends_other_ways_in_where_it_was_elsewhere(
        self, service: Service, waiting: tuple[Device, str], elsewhere: bool
    ) -> None:
        """Somebody told the owner of the address which password to type."""
        device, token = waiting
        add_passkey(service, device.user_id)
        answer = confirm(service, token) if elsewhere else device.post("/v1/me/email/confirm", {"token": token})
        assert answer.status_code == 204
        assert service.client.post("/v1/password-resets", json={"email": NEW}).status_code == 202
        reset = {"token": service.mails(NEW)[-1].token, "new_password": "copper walnut lighthouse"}
        assert service.client.post("/v1/password-resets/confirm", json=reset).status_code == 204
        assert service.sql("SELECT count(*) FROM passkeys") == [(0 if elsewhere else 1,)]
        assert service.sql("SELECT confirmed_elsewhere FROM users") == [(False,)]
