"""New passwords: by mail, or by who knows the old one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from httpx2 import Response
from limits import parse
from sqlalchemy import event

from app.platform.limits import LIMITS, Key, LimitName, account_key
from tests.security.observed import assert_problem, without_request_id
from tests.security.races import all_at_once
from tests.support.outside import add_passkey
from tests.support.service import PASSWORD, Device, Service

ADA = "ada@example.org"
NEW = "copper walnut lighthouse"


def ask(service: Service, email: str = ADA) -> Response:
    return service.client.post("/v1/password-resets", json={"email": email})


def reset(service: Service, token: str, password: str = NEW) -> Response:
    return service.client.post("/v1/password-resets/confirm", json={"token": token, "new_password": password})


def change(device: Device, current: str | None, new: str = NEW) -> Response:
    return device.put("/v1/me/password", json={"current_password": current, "new_password": new})


def use_up(service: Service, name: LimitName, key: Key) -> None:
    """As if so much had been guessed in a row as the limit allows."""
    assert service.client.portal is not None
    for _ in range(parse(LIMITS[name].amount).amount):
        service.client.portal.call(service.runtime.platform.limiter.hit, name, key)


def set_up_mfa(service: Service) -> None:
    """An authenticator app for every user, whose codes no test asks for."""
    seal = "password_hash" if service.runtime.platform.database.engine.dialect.name == "sqlite" else "''::bytea"
    service.sql(
        "INSERT INTO totp_factors (user_id, secret_encrypted, created_at, confirmed_at)"
        f" SELECT id, {seal}, created_at, created_at FROM users"
    )


class TestReset:
    def test_sets_the_password_and_ends_every_session(self, service: Service) -> None:
        """AU16, TK14: and does not sign in; the address is verified by it, and a mail tells."""
        devices = service.device(ADA), service.device(ADA)
        answer = ask(service)
        assert (answer.status_code, answer.content) == (202, b"")
        token = service.mails(ADA)[0].token
        answer = reset(service, token)
        assert (answer.status_code, answer.content) == (204, b"")
        for device in devices:
            assert_problem(device.get("/v1/me"), 401, "invalid_token")
            assert_problem(service.refresh(device.refresh_token), 401, "invalid_refresh_token")
        assert service.log_in(ADA).status_code == 401
        assert service.device(ADA, NEW).get("/v1/me").json()["email_verified"] is True
        assert service.mails(ADA)[-1].subject == "Your password was changed"

    def test_keeps_the_second_factor(self, service: Service) -> None:
        """AU16: the next sign-in asks for it."""
        device = service.device(ADA)
        set_up_mfa(service)
        ask(service)
        assert reset(service, service.mails(ADA)[0].token).status_code == 204
        assert service.log_in(ADA, NEW).json()["status"] == "mfa_required"
        assert_problem(device.get("/v1/me"), 401, "invalid_token")

    def test_leaves_no_way_in_to_who_took_the_address_first(self, service: Service) -> None:
        """Whoever registered a stranger's address, unverified, may have added a passkey or identity of their own."""
        device = service.device(ADA)
        add_passkey(service, device.user_id)
        ask(service)
        assert reset(service, service.mails(ADA)[-1].token).status_code == 204
        assert service.sql("SELECT count(*) FROM passkeys") == [(0,)]
        add_passkey(service, device.user_id)
        ask(service)
        assert reset(service, service.mails(ADA)[-1].token).status_code == 204
        assert service.sql("SELECT count(*) FROM passkeys") == [(1,)], "the owner's own, by now"

    def test_works_once_and_for_ten_minutes(self, service: Service) -> None:
        """AU16: a used, an older and an expired link are refused alike."""
        service.register(ADA)
        ask(service)
        ask(service)
        older, newer = (mail.token for mail in service.mails(ADA))
        assert_problem(reset(service, older), 400, "invalid_single_use_token")
        assert reset(service, newer).status_code == 204
        assert_problem(reset(service, newer), 400, "invalid_single_use_token")
        ask(service)
        expired = service.mails(ADA)[-1].token
        service.clock.advance(minutes=10)
        assert_problem(reset(service, expired), 400, "invalid_single_use_token")
        assert service.log_in(ADA, NEW).status_code == 200

    def test_tokens_are_of_256_bits_and_stored_hashed(self, service: Service) -> None:
        """AU16: neither token table nor outbox holds one that opens anything."""
        service.register(ADA)
        ask(service)
        token = service.mails(ADA)[0].token
        assert len(token.removeprefix("tvs_")) == 43
        ((hashed,),) = service.sql("SELECT token_hash FROM single_use_tokens")
        assert token.encode() not in bytes(hashed)
        assert service.sql("SELECT token_encrypted FROM outbox") == [(None,)]

    def test_a_weak_password_does_not_use_the_token_up(self, service: Service) -> None:
        """AU16, AU4"""
        service.register(ADA, display_name="Grace")
        ask(service)
        token = service.mails(ADA)[0].token
        for weak in ("short", "password1234", "ada@example.org"):
            answer = reset(service, token, weak)
            assert_problem(answer, 422, "weak_password")
            assert {error["location"] for error in answer.json()["errors"]} == {"body.new_password"}
        assert reset(service, token).status_code == 204

    def test_goes_to_the_stored_spelling_only(self, service: Service) -> None:
        """AU20: whoever owns a mailbox that folds to the same key gets nothing."""
        service.register("Ada@example.org")
        for variant in ("ada@example.org", "ADA@EXAMPLE.ORG", "\uff21da@example.org"):
            assert ask(service, variant).status_code == 202
            assert service.mails(variant) == []
        assert len(service.mails("Ada@example.org")) == 3

    def test_is_answered_alike_for_who_cannot_have_one(self, service: Service) -> None:
        """AU9: unknown, disabled: the same bytes, no mail, and a link of before is dead."""
        service.register(ADA)
        known = ask(service)
        token = service.mails(ADA)[0].token
        service.disable(ADA)
        for email in (ADA, "nobody@example.org"):
            assert without_request_id(ask(service, email)) == without_request_id(known)
        assert len(service.mails(ADA)) == 1
        assert service.mails("nobody@example.org") == []
        assert_problem(reset(service, token), 400, "invalid_single_use_token")

    def test_looks_at_no_more_rows_for_a_stranger_than_for_an_owner(self, service: Service) -> None:
        """AU9: or each request for an unknown address would write what all the others left, and wait for them."""
        service.register(ADA)
        written = []
        for email in (ADA, "nobody@example.org", "nobody.else@example.org"):
            with counted_rows(service) as rows:
                assert ask(service, email).status_code == 202
            written.append(list(rows))
        assert written == [[0], [0], [0]]

    def test_gives_a_password_to_who_has_none(self, service: Service) -> None:
        service.register(ADA)
        service.sql("UPDATE users SET password_hash = NULL")
        ask(service)
        assert reset(service, service.mails(ADA)[0].token).status_code == 204
        assert service.log_in(ADA, NEW).status_code == 200

    def test_clears_the_count_of_guesses(self, make_service: Callable[..., Service]) -> None:
        """AU7: whoever reads the account's mail is no guesser."""
        service = make_service(rate_limits="on")
        service.register(ADA)
        use_up(service, "guess", account_key(service.runtime.platform.vault, ADA))
        assert_problem(service.log_in(ADA), 429, "rate_limited")
        ask(service)
        assert reset(service, service.mails(ADA)[0].token).status_code == 204
        assert service.log_in(ADA, NEW).status_code == 200

    def test_keeps_the_count_of_guesses_at_a_second_factor(self, make_service: Callable[..., Service]) -> None:
        """AU16: or whoever reads the mail would have endless codes to try."""
        service = make_service(rate_limits="on")
        device = service.device(ADA)
        set_up_mfa(service)
        use_up(service, "guess", account_key(service.runtime.platform.vault, ADA))
        use_up(service, "code_guess", device.user_id)
        ask(service)
        assert reset(service, service.mails(ADA)[0].token).status_code == 204
        waiting = service.log_in(ADA, NEW).json()["mfa"]["mfa_token"]
        code = {"mfa_token": waiting, "method": "totp", "code": "000000"}
        assert_problem(service.client.post("/v1/auth/mfa", json=code), 429, "rate_limited")

    def test_ends_a_sign_in_that_waits_for_its_second_factor(self, service: Service) -> None:
        """AU16: one that began with the old password."""
        service.register(ADA)
        set_up_mfa(service)
        waiting = service.log_in(ADA).json()["mfa"]["mfa_token"]
        ask(service)
        assert reset(service, service.mails(ADA)[0].token).status_code == 204
        answer = service.client.post("/v1/auth/mfa", json={"mfa_token": waiting, "method": "totp", "code": "000000"})
        assert_problem(answer, 401, "invalid_mfa_token")


class TestChange:
    def test_keeps_this_session_and_ends_the_others(self, service: Service) -> None:
        """TK14: with a mail that says so."""
        here, there = service.device(ADA), service.device(ADA)
        assert change(here, PASSWORD).status_code == 204
        assert here.get("/v1/me").status_code == 200
        assert service.refresh(here.refresh_token).status_code == 200
        assert_problem(there.get("/v1/me"), 401, "invalid_token")
        assert_problem(service.refresh(there.refresh_token), 401, "invalid_refresh_token")
        assert service.log_in(ADA).status_code == 401
        assert service.log_in(ADA, NEW).status_code == 200
        assert [mail.subject for mail in service.mails(ADA)] == ["Your password was changed"]

    def test_needs_the_current_password(self, service: Service) -> None:
        """AU5: a wrong one, or none where there is one, changes nothing and is audited."""
        device = service.device(ADA)
        assert_problem(change(device, "not the password"), 403, "wrong_password")
        assert_problem(change(device, None), 403, "wrong_password")
        assert_problem(device.put("/v1/me/password", json={"new_password": NEW}), 403, "wrong_password")
        assert service.log_in(ADA).status_code == 200
        refused = service.sql("SELECT outcome FROM audit_events WHERE event = 'password.asked'")
        assert refused == [("refused",)] * 3

    def test_a_wrong_current_password_counts_as_a_guess(self, make_service: Callable[..., Service]) -> None:
        """AU5: of those that a session has, and a sign-in of none of them."""
        service = make_service(rate_limits="on")
        device = service.device(ADA)
        assert [change(device, "not the password").status_code for _ in range(11)] == [403] * 10 + [429]
        assert_problem(change(device, PASSWORD), 429, "rate_limited")
        assert device.get("/v1/me").status_code == 200
        assert service.log_in(ADA).status_code == 200

    def test_a_weak_new_one_is_refused(self, service: Service) -> None:
        device = service.device(ADA)
        answer = change(device, PASSWORD, "password1234")
        assert_problem(answer, 422, "weak_password")
        assert answer.json()["errors"][0]["location"] == "body.new_password"

    def test_without_a_password_needs_a_fresh_sign_in(self, service: Service) -> None:
        device = service.device(ADA)
        service.sql("UPDATE users SET password_hash = NULL")
        assert_problem(change(device, PASSWORD), 403, "wrong_password")
        service.clock.advance(minutes=5, seconds=1)
        assert_problem(change(device, None), 403, "step_up_required")
        service.clock.advance(minutes=-5)
        assert change(device, None).status_code == 204
        assert service.log_in(ADA, NEW).status_code == 200

    def test_of_a_guest_is_an_upgrade_instead(self, service: Service) -> None:
        device = service.device(ADA)
        service.sql("UPDATE users SET guest = :yes", yes=True)
        assert_problem(change(device, None), 422, "invalid_request")


@contextmanager
def counted_rows(service: Service) -> Iterator[list[int]]:
    """How many single-use tokens each statement has withdrawn."""
    rows: list[int] = []

    def note(_connection: object, cursor: Any, statement: str, *_rest: object) -> None:
        if statement.startswith("UPDATE single_use_tokens"):
            rows.append(cursor.rowcount)

    engine = service.runtime.platform.database.engine
    event.listen(engine, "after_cursor_execute", note)
    yield rows
    event.remove(engine, "after_cursor_execute", note)


@pytest.mark.slow("twenty at once, again and again")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestRaces:
    def test_strangers_do_not_wait_for_each_other(self, service: Service) -> None:
        """AU9: ten rounds of twenty at once; deadlocks would be a 503."""
        for number in range(10):
            statuses = all_at_once(lambda index, n=number: ask(service, f"x{n}.{index}@example.org").status_code)
            assert statuses == [202] * 20

    def test_one_of_twenty_resets_with_one_token_wins(self, service: Service, hashing: object, rounds: int) -> None:
        """AU16: twenty rounds of twenty at once."""
        service.register(ADA)
        for number in range(rounds):
            ask(service)
            token = [mail for mail in service.mails(ADA) if "Reset" in mail.subject][-1].token
            passwords = [f"{NEW} {number} {index}" for index in range(20)]
            statuses = all_at_once(lambda index, p=passwords, t=token: reset(service, t, p[index]).status_code)
            assert sorted(statuses) == [204] + [400] * 19
            assert service.log_in(ADA, passwords[statuses.index(204)]).status_code == 200
