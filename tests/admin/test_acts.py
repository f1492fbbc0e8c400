"""What administrators do to accounts, what of it is refused, and what is on record afterwards."""

import json
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event as sql_event

from app.accounts import passwords
from app.auth import endings
from app.records.models import Passkey
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem
from tests.security.races import CROWD, all_at_once
from tests.support.accounts import add_sessions
from tests.support.authenticator import Authenticator, answer, challenge, enable
from tests.support.databases import PostgresDatabases
from tests.support.openapi import openapi
from tests.support.redis import redis_server
from tests.support.service import PASSWORD, Device, Service, running_service

WHY = {"reason": "asked for by phone, ticket 4711"}
NEW = "another tractor at dawn"


@pytest.fixture
def admin(service: Service) -> Device:
    return service.staff("admin", "root@example.com")


@pytest.fixture
def support(service: Service) -> Device:
    return service.staff("support", "desk@example.com")


@pytest.fixture
def user(service: Service) -> Device:
    return service.device("ada@example.org")


def act(device: Device, user_id: str, name: str, body: Any = WHY) -> Any:
    return device.post(f"/v1/admin/users/{user_id}/{name}", json=body)


def change(device: Device, user_id: str, **members: Any) -> Any:
    return device.patch(f"/v1/admin/users/{user_id}", json=members)


def erase(device: Device, user_id: str, body: Any = WHY) -> Any:
    target = f"/v1/admin/users/{user_id}"
    return device.service.client.request("DELETE", target, json=body, headers=device.headers)


def on_record(service: Service, event: str) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Outcome, actor, subject and detail of each."""
    rows = service.sql(
        "SELECT outcome, actor_id, subject_id, detail FROM audit_events WHERE event = :event ORDER BY id", event=event
    )
    ids = [tuple(str(uuid.UUID(str(value))) if value else "" for value in row[1:3]) for row in rows]
    details = [row[3] if isinstance(row[3], dict) else json.loads(row[3]) for row in rows]
    return [(row[0], *who, detail) for row, who, detail in zip(rows, ids, details, strict=True)]


class TestInvite:
    def test_mails_a_link_to_choose_a_password(self, service: Service, admin: Device) -> None:
        """AU17: an account without a password, and none in the mail; the owner alone chooses it."""
        answered = admin.post(
            "/v1/admin/users", json={"email": "New@Example.org", "display_name": "New", "role": "support"}
        )
        assert answered.status_code == 201, answered.text
        made = answered.json()
        assert (made["email"], made["display_name"], made["role"]) == ("New@example.org", "New", "support")
        assert (made["email_verified"], made["status"], made["last_seen_at"]) == (False, "active", None)
        assert service.sql("SELECT password_hash FROM users WHERE display_name = 'New'") == [(None,)]
        [mail] = service.mails("New@example.org")
        assert "/account/reset-password#token=" in mail.text
        assert mail.token not in answered.text
        service.clock.advance(hours=23)
        body = {"token": mail.token, "new_password": NEW}
        assert service.client.post("/v1/password-resets/confirm", json=body).status_code == 204
        assert service.log_in("new@example.org", NEW).status_code == 200
        assert_problem(service.client.post("/v1/password-resets/confirm", json=body), 400, "invalid_single_use_token")
        assert on_record(service, "user.invited") == [("done", admin.user_id, made["id"], {"role": "support"})]

    def test_ends_after_a_day(self, service: Service, admin: Device) -> None:
        admin.post("/v1/admin/users", json={"email": "new@example.org"})
        [mail] = service.mails("new@example.org")
        service.clock.advance(hours=24)
        body = {"token": mail.token, "new_password": NEW}
        assert_problem(service.client.post("/v1/password-resets/confirm", json=body), 400, "invalid_single_use_token")

    def test_gives_way_to_a_reset(self, service: Service, admin: Device) -> None:
        """AU16: the older link opens nothing."""
        admin.post("/v1/admin/users", json={"email": "new@example.org"})
        service.client.post("/v1/password-resets", json={"email": "new@example.org"})
        old, new = service.mails("new@example.org")
        for mail, status in ((old, 400), (new, 204)):
            body = {"token": mail.token, "new_password": NEW}
            assert service.client.post("/v1/password-resets/confirm", json=body).status_code == status

    def test_refuses_a_taken_address(self, service: Service, admin: Device, user: Device) -> None:
        assert_problem(admin.post("/v1/admin/users", json={"email": "ADA@example.org"}), 409, "email_taken")
        assert on_record(service, "user.invited") == [("refused", admin.user_id, "", {"reason": "email_taken"})]
        assert service.mails(user.email) == []

    @pytest.mark.parametrize(
        "body",
        [
            {"email": "no address"},
            {"email": "a@example.org", "role": "root"},
            {"email": "a@example.org", "display_name": ""},
            {"email": "a@example.org", "password": PASSWORD},
            {"email": "a@example.org", "password_hash": "x"},
            {"email": "a@example.org", "status": "disabled"},
        ],
    )
    def test_refuses_what_does_not_fit(self, service: Service, admin: Device, body: dict[str, Any]) -> None:
        """AZ3, AU17: closed, and no member for a password."""
        assert_problem(admin.post("/v1/admin/users", json=body), 422, "invalid_request")
        assert service.sql("SELECT count(*) FROM users") == [(1,)]


class TestChange:
    def test_of_a_name_needs_no_reason(self, service: Service, admin: Device, user: Device) -> None:
        assert change(admin, user.user_id, display_name="Ada").json()["display_name"] == "Ada"
        assert user.get("/v1/me").json()["display_name"] == "Ada"
        assert change(admin, user.user_id, display_name=None, **WHY).json()["display_name"] is None
        assert change(admin, user.user_id).json()["display_name"] is None
        assert on_record(service, "user.profile_changed") == [
            ("done", admin.user_id, user.user_id, {}),
            ("done", admin.user_id, user.user_id, WHY),
        ]

    def test_of_a_name_to_nothing_takes_it_away(self, admin: Device, user: Device) -> None:
        change(admin, user.user_id, display_name="Ada")
        assert change(admin, user.user_id, display_name="").json()["display_name"] is None

    def test_of_a_role_holds_from_the_next_call_on(self, service: Service, admin: Device, user: Device) -> None:
        """AZ5: both ways, with the same token."""
        for role, status in (("support", 200), ("admin", 200), ("user", 403)):
            assert change(admin, user.user_id, role=role, **WHY).json()["role"] == role
            assert user.get("/v1/admin/users").status_code == status
        assert on_record(service, "user.role_changed") == [
            ("done", admin.user_id, user.user_id, WHY | {"former_role": former, "role": role})
            for former, role in (("user", "support"), ("support", "admin"), ("admin", "user"))
        ]

    def test_of_a_role_takes_a_reason(self, admin: Device, user: Device) -> None:
        refused = change(admin, user.user_id, role="admin")
        assert_problem(refused, 422, "invalid_request")
        assert [error["location"] for error in refused.json()["errors"]] == ["body.reason"]
        assert user.get("/v1/me").json()["role"] == "user"

    def test_to_the_same_role_is_no_event(self, service: Service, admin: Device, user: Device) -> None:
        assert change(admin, user.user_id, role="user", **WHY).status_code == 200
        assert on_record(service, "user.role_changed") == []

    @pytest.mark.parametrize("member", ["password", "email", "status", "email_verified", "mfa_enabled", "prefix", "id"])
    def test_of_anything_else_is_refused(self, admin: Device, user: Device, member: str) -> None:
        """AZ3, AU17."""
        assert_problem(change(admin, user.user_id, **WHY, **{member: "x"}), 422, "invalid_request")


@pytest.mark.both_databases
class TestDisable:
    def test_holds_from_the_next_call_on(self, service: Service, admin: Device, user: Device) -> None:
        """AZ5: access token, refresh, sign-in, and a vend that the cache could answer."""
        assert user.vend().status_code == 200
        disabled = act(admin, user.user_id, "disable")
        assert (disabled.status_code, disabled.json()["status"]) == (200, "disabled")
        assert_problem(user.get("/v1/me"), 401, "invalid_token")
        assert_problem(user.vend(), 401, "invalid_token")
        assert_problem(service.refresh(user.refresh_token), 401, "invalid_refresh_token")
        assert_problem(service.log_in(user.email), 403, "account_disabled")
        assert on_record(service, "user.disabled") == [("done", admin.user_id, user.user_id, WHY)]
        assert service.sql("SELECT end_reason FROM sessions WHERE ended_at IS NOT NULL") == [("disabled",)]

    def test_is_undone_by_enabling_but_for_the_sessions(self, service: Service, admin: Device, user: Device) -> None:
        act(admin, user.user_id, "disable")
        assert act(admin, user.user_id, "enable").json()["status"] == "active"
        assert user.get("/v1/me").status_code == 401
        assert service.log_in(user.email).status_code == 200
        assert on_record(service, "user.enabled") == [("done", admin.user_id, user.user_id, WHY)]

    def test_leaves_no_link_that_opens_the_account_later(self, service: Service, admin: Device, user: Device) -> None:
        service.client.post("/v1/password-resets", json={"email": user.email})
        [mail] = service.mails(user.email)
        act(admin, user.user_id, "disable")
        act(admin, user.user_id, "enable")
        body = {"token": mail.token, "new_password": NEW}
        assert_problem(service.client.post("/v1/password-resets/confirm", json=body), 400, "invalid_single_use_token")

    def test_keeps_the_one_way_into_a_guests_account(self, service: Service, admin: Device) -> None:
        """Which does not open it meanwhile."""
        tokens = service.client.post("/v1/auth/guest", json={}).json()["tokens"]
        guest = Device(service, "", tokens["access_token"], tokens["refresh_token"], tokens["session_id"])
        guest.user_id = guest.get("/v1/me").json()["id"]
        act(admin, guest.user_id, "disable")
        assert_problem(guest.vend(), 403, "account_disabled")
        assert_problem(service.refresh(guest.refresh_token), 403, "account_disabled")
        act(admin, guest.user_id, "enable")
        service.clock.advance(seconds=1)  # what was under way as the guest was disabled is of the second before
        assert guest.vend().status_code == 200


class TestSignOut:
    def test_ends_every_session(self, service: Service, support: Device, user: Device) -> None:
        """TK15: by support too."""
        other = service.device(user.email)
        assert act(support, user.user_id, "sign-out").status_code == 200
        for device in (user, other):
            assert_problem(device.get("/v1/me"), 401, "invalid_token")
            assert_problem(service.refresh(device.refresh_token), 401, "invalid_refresh_token")
        assert service.log_in(user.email).status_code == 200
        assert on_record(service, "user.signed_out") == [("done", support.user_id, user.user_id, WHY)]
        ended = on_record(service, "session.ended")
        assert ended == [("done", support.user_id, user.user_id, {"reason": "administrator"})] * 2


@pytest.mark.both_databases
class TestManyDevices:
    def test_end_by_one_statement_more_than_few_do(self, service: Service, admin: Device) -> None:
        """TK21: it leaves a job for those beyond a hundred, which nobody waits for."""
        few, many = (service.device() for _ in range(2))
        add_sessions(few, 2)
        add_sessions(many, 400)
        taken = [statements(service, partial(act, admin, user.user_id, "disable")) for user in (few, many)]
        assert taken[1] == taken[0] + 1
        assert many.get("/v1/me").status_code == 401
        while service.runtime.platform.database.run("write", endings.settle):
            pass
        assert service.sql("SELECT count(*) FROM sessions WHERE ended_at IS NULL") == [(1,)]
        assert len(on_record(service, "session.ended")) == 404


def statements(service: Service, call: Callable[[], Any]) -> int:
    """How many a call that succeeds takes."""
    engine, found = service.runtime.platform.database.engine, []

    def keep(_connection: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool) -> None:
        found.append(statement)

    sql_event.listen(engine, "before_cursor_execute", keep)
    try:
        assert call().status_code == 200
    finally:
        sql_event.remove(engine, "before_cursor_execute", keep)
    return len(found)


class TestResetMfa:
    def test_takes_app_and_codes_away_and_tells_the_user(self, service: Service, admin: Device, user: Device) -> None:
        app = enable(user)
        waiting = challenge(user)
        reset = act(admin, user.user_id, "reset-mfa")
        assert (reset.status_code, reset.json()["mfa_enabled"]) == (200, False)
        assert_problem(user.get("/v1/me"), 401, "invalid_token")
        for code, method in ((app.fresh_code(), "totp"), (app.recovery_codes[0], "recovery_code")):
            assert_problem(answer(service, waiting, code, method), 401, "invalid_mfa_token")
        assert service.log_in(user.email).json()["status"] == "complete"
        assert service.sql("SELECT count(*) FROM recovery_codes") == [(0,)]
        assert service.mails(user.email)[-1].subject == "Two-step sign-in is off"
        assert on_record(service, "mfa.reset") == [("done", admin.user_id, user.user_id, WHY)]


class TestUnlock:
    def locked(self, make_service: Callable[..., Service], **changes: Any) -> tuple[Service, Device]:
        """A user at whom too many wrong passwords were tried."""
        service = make_service(rate_limits="on", trusted_proxies=("127.0.0.1",), **changes)
        user = service.device("ada@example.org")
        return service, user

    def guess(self, service: Service, password: str = "wrong", *, number: int = 0) -> int:
        body = {"email": "ada@example.org", "password": password}
        headers = {"X-Forwarded-For": f"198.51.100.{number}"}
        return service.client.post("/v1/auth/login", json=body, headers=headers).status_code

    def test_lets_the_owner_sign_in(self, make_service: Callable[..., Service], hashing: CountingContext) -> None:
        """AU23: by support, on record, and shown before and after."""
        service, user = self.locked(make_service)
        support = service.staff("support", "desk@example.com")
        assert [self.guess(service, number=number) for number in range(62)] == [401] * 60 + [429] * 2
        service.clock.advance(minutes=1)
        shown = support.get(f"/v1/admin/users/{user.user_id}").json()
        assert shown["locked_until"] == "2026-06-02T12:00:00Z"
        listed = support.get("/v1/admin/users?query=ada").json()["items"]
        assert [one["locked_until"] for one in listed] == [shown["locked_until"]]
        assert self.guess(service, PASSWORD) == 429
        unlocked = act(support, user.user_id, "unlock")
        assert (unlocked.status_code, unlocked.json()["locked_until"]) == (200, None)
        assert on_record(service, "user.unlocked") == [("done", support.user_id, user.user_id, WHY)]
        assert self.guess(service, PASSWORD) == 200

    def test_holds_in_every_process(self, make_service: Callable[..., Service], hashing: CountingContext) -> None:
        """AU23: each counts in its own memory. One that refuses looks into the database before, and counts anew."""
        service, user = self.locked(make_service)
        other = make_service(rate_limits="on", trusted_proxies=("127.0.0.1",))
        support = service.staff("support", "desk@example.com")
        assert [self.guess(other, number=number) for number in range(61)] == [401] * 60 + [429]
        for clock in (service.clock, other.clock):
            clock.advance(minutes=1)
        assert act(support, user.user_id, "unlock").status_code == 200
        for clock in (service.clock, other.clock):
            clock.advance(minutes=1)
        assert [self.guess(other, number=number) for number in range(61)] == [401] * 60 + [429]
        assert self.guess(other, PASSWORD) == 429

    def test_frees_a_session_too(self, make_service: Callable[..., Service], hashing: CountingContext) -> None:
        service, user = self.locked(make_service)
        admin = service.staff("admin", "root@example.com")
        tries = [user.post("/v1/auth/step-up", {"password": "wrong"}).status_code for _ in range(11)]
        assert tries == [403] * 10 + [429]
        service.clock.advance(minutes=1)
        assert act(admin, user.user_id, "unlock").status_code == 200
        assert user.post("/v1/auth/step-up", {"password": PASSWORD}).status_code == 200

    @pytest.mark.all
    def test_in_redis_holds_for_all_replicas(
        self, make_service: Callable[..., Service], hashing: CountingContext
    ) -> None:
        """The lock shows wherever it is asked for."""
        with redis_server() as redis:
            service, user = self.locked(make_service, rate_limit_url=redis.url)
            other = make_service(rate_limits="on", trusted_proxies=("127.0.0.1",), rate_limit_url=redis.url)
            support = service.staff("support", "desk@example.com")
            assert [self.guess(other, number=number) for number in range(61)] == [401] * 60 + [429]
            assert support.get(f"/v1/admin/users/{user.user_id}").json()["locked_until"] is not None
            assert act(support, user.user_id, "unlock").json()["locked_until"] is None
            assert self.guess(other, PASSWORD) == 200


class TestSendPasswordReset:
    def test_sends_the_mail_that_the_user_could_ask_for(self, service: Service, support: Device, user: Device) -> None:
        """AU17, AU20: to the stored address; no answer and no record holds the link."""
        answered = act(support, user.user_id, "send-password-reset")
        assert answered.status_code == 200
        [mail] = service.mails(user.email)
        assert mail.subject == "Reset your password"
        assert mail.token not in answered.text
        assert mail.token not in str(service.sql("SELECT detail FROM audit_events"))
        body = {"token": mail.token, "new_password": NEW}
        assert service.client.post("/v1/password-resets/confirm", json=body).status_code == 204
        assert on_record(service, "password.reset_requested") == [("done", support.user_id, user.user_id, WHY)]

    def test_has_a_limit_that_strangers_cannot_use_up(self, make_service: Callable[..., Service]) -> None:
        service = make_service(rate_limits="on")
        support, user = service.staff("support", "desk@example.com"), service.device("ada@example.org")
        for _ in range(11):
            stranger = service.client.post("/v1/password-resets", json={"email": user.email})
        assert stranger.status_code == 429
        answers = [act(support, user.user_id, "send-password-reset") for _ in range(11)]
        assert [answered.status_code for answered in answers] == [200] * 10 + [429]

    def test_is_refused_where_no_link_would_work(self, service: Service, support: Device, user: Device) -> None:
        service.disable(user.email)
        refused = act(support, user.user_id, "send-password-reset")
        assert_problem(refused, 422, "invalid_request")
        assert [error["code"] for error in refused.json()["errors"]] == ["unreachable"]
        assert service.mails(user.email) == []
        assert [row[0] for row in on_record(service, "password.reset_requested")] == ["refused"]


@pytest.mark.both_databases
class TestErase:
    def test_is_the_users_own_erasure(self, service: Service, admin: Device, user: Device) -> None:
        """AZ5: gone at once, and a job empties the prefix."""
        assert erase(admin, user.user_id).status_code == 202
        assert_problem(user.get("/v1/me"), 401, "invalid_token")
        assert_problem(service.log_in(user.email), 401, "invalid_login")
        shown = admin.get(f"/v1/admin/users/{user.user_id}").json()
        assert (shown["status"], shown["email"]) == ("erased", None)
        assert service.sql("SELECT count(*) FROM erasures") == [(1,)]
        assert [mail.subject for mail in service.mails(user.email)] == ["Your account was erased"]
        assert on_record(service, "user.erasure_requested") == [("done", admin.user_id, user.user_id, WHY)]
        [ended] = on_record(service, "session.ended")
        assert ended[1:3] == (admin.user_id, user.user_id)

    def test_may_be_asked_for_by_a_request_whose_body_no_proxy_drops(
        self, service: Service, admin: Device, user: Device
    ) -> None:
        target = f"/v1/admin/users/{user.user_id}"
        assert_problem(admin.delete(target), 422, "invalid_request")
        answer = act(admin, user.user_id, "erasure")
        assert (answer.status_code, answer.content) == (202, b"")
        assert admin.get(target).json()["status"] == "erased"
        assert on_record(service, "user.erasure_requested") == [("done", admin.user_id, user.user_id, WHY)]

    def test_takes_one_who_never_signed_in(self, service: Service, admin: Device) -> None:
        """Somebody who was invited has no session to end."""
        invited = admin.post("/v1/admin/users", json={"email": "new@example.org"}).json()["id"]
        assert erase(admin, invited).status_code == 202
        assert admin.get(f"/v1/admin/users/{invited}").json()["status"] == "erased"
        assert on_record(service, "session.ended") == []

    def test_leaves_nothing_to_act_on(self, service: Service, admin: Device, user: Device) -> None:
        erase(admin, user.user_id)
        for name in ("disable", "enable", "sign-out", "reset-mfa", "send-password-reset", "unlock"):
            assert_problem(act(admin, user.user_id, name), 404, "not_found")
        assert_problem(erase(admin, user.user_id), 404, "not_found")
        assert_problem(change(admin, user.user_id, role="admin", **WHY), 404, "not_found")
        assert service.sql("SELECT count(*) FROM users WHERE status = 'erased' AND role = 'user'") == [(1,)]


class TestReason:
    @pytest.mark.parametrize("reason", [None, "", " ", "two\nlines", "a\u202eb", "x" * 501, 7])
    def test_is_needed_printable_and_short(self, service: Service, admin: Device, user: Device, reason: Any) -> None:
        """OP3: it is on record, and shown to people."""
        for name in ("disable", "enable", "sign-out", "reset-mfa", "send-password-reset", "unlock"):
            for body in ({"reason": reason}, {}, None):
                assert_problem(act(admin, user.user_id, name, body), 422, "invalid_request")
        assert_problem(erase(admin, user.user_id, {"reason": reason}), 422, "invalid_request")
        assert user.get("/v1/me").status_code == 200
        assert act(admin, user.user_id, "enable", {"reason": "ж" * 500}).status_code == 200


class TestSupport:
    @pytest.mark.parametrize("name", ["sign-out", "send-password-reset", "unlock"])
    def test_does_not_act_on_administrators(self, service: Service, admin: Device, support: Device, name: str) -> None:
        """AZ1: nor could they sign one out, or begin a reset."""
        refused = act(support, admin.user_id, name)
        assert_problem(refused, 403, "forbidden")
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        assert admin.get("/v1/me").status_code == 200
        assert service.mails(admin.email) == []
        [(event, detail)] = service.sql(
            "SELECT event, detail FROM audit_events WHERE outcome = 'refused' AND CAST(detail AS TEXT) LIKE '%forbid%'"
        )
        assert event in ("user.signed_out", "password.reset_requested", "user.unlocked")
        assert "forbidden" in str(detail)

    def test_acts_on_support(self, service: Service, support: Device) -> None:
        other = service.staff("support", "desk2@example.com")
        assert act(support, other.user_id, "sign-out").status_code == 200


@pytest.mark.both_databases
class TestLastAdmin:
    """AZ6."""

    def test_is_neither_demoted_disabled_nor_erased(self, service: Service, admin: Device, support: Device) -> None:
        """AZ6: by themself; the refusal is on record."""
        assert_problem(change(admin, admin.user_id, role="support", **WHY), 409, "last_admin")
        assert_problem(act(admin, admin.user_id, "disable"), 409, "last_admin")
        assert_problem(erase(admin, admin.user_id), 409, "last_admin")
        assert admin.get("/v1/me").json()["role"] == "admin"
        for event in ("user.role_changed", "user.disabled", "user.erasure_requested"):
            refused = ("refused", admin.user_id, admin.user_id, {"reason": "last_admin"})
            assert on_record(service, event) == [refused]

    def test_is_not_helped_by_a_disabled_one(self, service: Service, admin: Device) -> None:
        """AZ6."""
        other = service.staff("admin")
        service.disable(other.email)
        assert_problem(act(admin, admin.user_id, "disable"), 409, "last_admin")
        assert act(admin, other.user_id, "enable").status_code == 200
        assert act(admin, admin.user_id, "disable").status_code == 200

    def test_is_not_helped_by_one_who_was_only_invited(self, service: Service, admin: Device) -> None:
        """AZ6: who has never chosen a password may never come."""
        invited = admin.post("/v1/admin/users", json={"email": "next@example.com", "role": "admin"}).json()
        for attempt in (
            lambda: change(admin, admin.user_id, role="support", **WHY),
            lambda: erase(admin, admin.user_id),
        ):
            assert_problem(attempt(), 409, "last_admin")
        assert act(admin, invited["id"], "disable").status_code == 200
        assert act(admin, invited["id"], "enable").status_code == 200
        admin.post(f"/v1/admin/users/{invited['id']}/send-password-reset", json=WHY)
        mail = service.mails("next@example.com")[-1]
        body = {"token": mail.token, "new_password": NEW}
        assert service.client.post("/v1/password-resets/confirm", json=body).status_code == 204
        assert act(admin, admin.user_id, "disable").status_code == 200

    def test_may_leave_where_another_signs_in_by_a_passkey_alone(self, service: Service, admin: Device) -> None:
        other = service.staff("admin")
        service.sql("UPDATE users SET password_hash = NULL WHERE email = :email", email=other.email)
        assert_problem(act(admin, admin.user_id, "disable"), 409, "last_admin")
        passkey = Passkey(
            id=uuid.uuid4(),
            user_id=uuid.UUID(other.user_id),
            credential_id=b"one",
            public_key=b"key",
            sign_count=0,
            transports=[],
            name="Phone",
            backed_up=False,
            created_at=service.clock.now(),
        )
        service.runtime.platform.database.run("write", lambda session: session.add(passkey))
        assert act(admin, admin.user_id, "disable").status_code == 200

    def test_may_do_all_that_leaves_them_one(self, admin: Device) -> None:
        """An administrator acts on themself as on others."""
        assert change(admin, admin.user_id, role="admin", display_name="Root", **WHY).status_code == 200
        assert act(admin, admin.user_id, "reset-mfa").status_code == 200
        assert_problem(admin.get("/v1/me"), 401, "invalid_token")


@pytest.fixture
def on_postgresql(postgres_databases: PostgresDatabases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Where transactions really run beside each other, with hashes that cost little: for races."""
    monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", CountingContext())
    url = postgres_databases.create()
    with running_service(url) as service:
        yield service
    postgres_databases.drop(url)


def demote(device: Device, user_id: str) -> Any:
    return change(device, user_id, role="user", **WHY)


def disable(device: Device, user_id: str) -> Any:
    return act(device, user_id, "disable")


@pytest.mark.slow("twenty at once, again and again")
class TestRaces:
    @pytest.mark.parametrize("take_away", [demote, disable, erase])
    @pytest.mark.parametrize("whom", ["each other", "themselves"])
    def test_of_two_administrators_one_stays(
        self, on_postgresql: Service, take_away: Callable[[Device, str], Any], whom: str, rounds: int
    ) -> None:
        """AZ6: 20 parallel attempts of two, 20 rounds."""
        service = on_postgresql
        for number in range(rounds):
            service.sql("UPDATE users SET role = 'user' WHERE role = 'admin'")
            pair = [service.staff("admin", f"admin{number}-{which}@example.org") for which in range(2)]

            def attempt(index: int, pair: list[Device] = pair) -> int:
                actor = pair[index % 2]
                target = pair[(index + 1) % 2] if whom == "each other" else actor
                status: int = take_away(actor, target.user_id).status_code
                return status

            answers = all_at_once(attempt, CROWD)
            done = 202 if take_away is erase else 200
            assert answers.count(done) >= 1
            assert set(answers) <= {done, 401, 403, 404, 409}
            assert service.sql("SELECT count(*) FROM users WHERE role = 'admin' AND status = 'active'") == [(1,)]

    def test_who_was_demoted_meanwhile_does_nothing_more(
        self, service: Service, admin: Device, user: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """AZ5: between the look at the token and the act."""
        write = service.runtime.platform.database.write

        async def late(*args: Any, **kwargs: Any) -> Any:
            service.sql("UPDATE users SET role = 'support' WHERE email = :email", email=admin.email)
            return await write(*args, **kwargs)

        monkeypatch.setattr(service.runtime.platform.database, "write", late)
        assert_problem(act(admin, user.user_id, "disable"), 403, "forbidden")
        assert user.get("/v1/me").status_code == 200
        assert on_record(service, "user.disabled") == [
            ("refused", admin.user_id, user.user_id, {"reason": "forbidden"})
        ]


class TestSecrets:
    def test_no_administrator_sets_or_sees_one(self) -> None:
        """AU17: no member of any request or answer of theirs is a password, hash, token, seed or code."""
        document = openapi()
        told = {}

        def visit(node: Any) -> None:
            if isinstance(node, dict):
                if "$ref" in node:
                    name = node["$ref"].rpartition("/")[2]
                    if name not in told:
                        told[name] = list(document["components"]["schemas"][name].get("properties", ()))
                        visit(document["components"]["schemas"][name])
                for value in node.values():
                    visit(value)
            elif isinstance(node, list):
                for value in node:
                    visit(value)

        visit({path: item for path, item in document["paths"].items() if path.startswith("/v1/admin/users")})
        assert {
            "AdminUser",
            "CreateUserRequest",
            "UpdateUserRequest",
            "ReasonRequest",
            "UserSession",
            "UserCredential",
        } <= told.keys()
        secret = ("password", "hash", "token", "secret", "seed", "code")
        members = {member for name, members in told.items() if name not in REFUSALS for member in members}
        assert [member for member in members if any(word in member for word in secret)] == []


REFUSALS = ("Problem", "FieldError")
"""Their `code` is that of a refusal."""


class TestInProduction:
    def test_administration_takes_a_second_factor(self, make_service: Callable[..., Service]) -> None:
        """AZ7: from the password alone, over an app, to the first act and back."""
        service = make_service(
            environment="production",
            AWS_REGION="us-east-1",
            public_url="https://testserver",
            email_verification="off",
            smtp_url="smtps://user:password@mail.example.org",
            mail_from="Photos <photos@example.org>",
            rate_limits="on",
        )
        admin, user = service.staff("admin", "root@example.com"), service.device("ada@example.org")
        assert_problem(admin.get("/v1/admin/users"), 403, "mfa_required")
        assert_problem(act(admin, user.user_id, "disable"), 403, "mfa_required")
        assert user.get("/v1/me").status_code == 200
        app: Authenticator = enable(admin)
        assert admin.get("/v1/admin/users").status_code == 200
        assert act(admin, user.user_id, "disable").status_code == 200
        assert act(admin, admin.user_id, "reset-mfa").status_code == 200
        tokens = service.log_in(admin.email).json()["tokens"]
        again = Device(service, admin.email, tokens["access_token"], tokens["refresh_token"], tokens["session_id"])
        assert_problem(again.get("/v1/admin/users"), 403, "mfa_required")
        assert app.secret not in str(service.sql("SELECT detail FROM audit_events"))
