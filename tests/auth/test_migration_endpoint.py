"""Users bring their passwords along from any old system: once each, the right ones, and nobody else's.

The old system is behind the very endpoint that the guide on moving users has, in a process of its own.
"""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.auth.old_system import Known, OldSystem
from app.platform.breaker import FAULTS_TO_OPEN, OPEN_FOR
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem, without_request_id
from tests.support.clock import ManualClock
from tests.support.logged import capture_logs
from tests.support.odd_http import OddServer, http
from tests.support.old_system import OTHER_SECRET, SECRET, OldUsers, guides_block, guides_endpoint
from tests.support.ports import free_port
from tests.support.service import PASSWORD, Service

ADA = "ada@example.org"


@pytest.fixture
def old(tmp_path: Path) -> Iterator[OldUsers]:
    with guides_endpoint(tmp_path) as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def cheap(hashing: CountingContext) -> CountingContext:
    return hashing


def now() -> ManualClock:
    """A question is believed for five minutes, so the service's clock has to be that of the endpoint."""
    return ManualClock(datetime.now(UTC))


@pytest.fixture
def service(make_service: Callable[..., Service], old: OldUsers) -> Service:
    return make_service(clock=now(), **old.settings)


def imported(service: Service, *rows: dict[str, Any], source: str = "tokenvend") -> None:
    admin = service.staff(email="zoe@example.org")
    answer = service.client.post(
        f"/v1/admin/user-imports?source={source}",
        content="".join(json.dumps(row) + "\n" for row in rows),
        headers={**admin.headers, "Content-Type": "application/x-ndjson"},
    )
    assert answer.json()["created"] == len(rows), answer.text
    assert answer.json()["items"] == []


def user(service: Service, email: str) -> Any:
    columns = "id, password_hash, password_from, email, email_verified_at, display_name, status, role"
    (row,) = service.sql(f"SELECT {columns} FROM users WHERE lower(email) = :email", email=email.lower())
    return row


def number_of_users(service: Service) -> int:
    return int(service.sql("SELECT count(*) FROM users")[0][0])


def events(service: Service, event: str) -> int:
    rows = service.sql("SELECT count(*) FROM audit_events WHERE event = :event AND outcome = 'done'", event=event)
    return int(rows[0][0])


def metric(service: Service, name: str, **labels: str) -> float | None:
    return service.runtime.platform.metrics.registry.get_sample_value(name, labels)


@pytest.mark.both_databases
class TestFirstSignIn:
    """IM8"""

    @pytest.mark.parametrize("source", ["tokenvend", "auth0"])
    def test_a_user_who_was_imported_without_a_hash_keeps_account_and_password(
        self, service: Service, old: OldUsers, source: str
    ) -> None:
        imported(service, {"email": ADA}, source=source)
        before = user(service, ADA)
        assert (before.password_hash, before.password_from) == (None, "old_system")
        old.add(ADA, PASSWORD, name="Ada of the old system")
        assert_problem(service.log_in(ADA, "wrong password"), 401, "invalid_login")
        assert user(service, ADA) == before
        assert service.log_in("ADA@example.org").status_code == 200
        after = user(service, ADA)
        assert (after.id, after.display_name, after.password_from) == (before.id, before.display_name, None)
        assert after.password_hash.startswith("$argon2id$")
        assert after.email_verified_at is not None
        assert (events(service, "password.migrated"), number_of_users(service)) == (1, 2)

    def test_a_user_who_was_not_gets_an_account(self, service: Service, old: OldUsers) -> None:
        old.add(ADA, "short1", name="Ada\n Lovelace")  # weaker than a new password may be
        assert_problem(service.log_in(ADA, "wrong password"), 401, "invalid_login")
        assert number_of_users(service) == 0
        assert service.log_in(ADA, "short1").status_code == 200
        row = user(service, ADA)
        assert (row.role, row.status, row.display_name) == ("user", "active", "Ada Lovelace")
        assert row.email_verified_at is not None
        assert (events(service, "user.registered"), events(service, "password.migrated")) == (1, 1)

    def test_an_address_that_is_not_verified_there_is_not_verified_here(self, service: Service, old: OldUsers) -> None:
        imported(service, {"email": "Ada@example.org"})
        old.add("Ada@example.org", PASSWORD, email=ADA, email_verified=False)
        old.add("grace@example.org", PASSWORD, email_verified=False)
        for email in (ADA, "grace@example.org"):
            assert service.log_in(email).status_code == 200
            assert user(service, email).email_verified_at is None
        assert user(service, ADA).email == "Ada@example.org"

    def test_nobody_is_asked_about_twice(self, service: Service, old: OldUsers) -> None:
        """Neither later passwords there nor the end of that system matter then."""
        old.add(ADA, PASSWORD)
        assert service.log_in(ADA).status_code == 200
        old.add(ADA, "another one")
        assert_problem(service.log_in(ADA, "another one"), 401, "invalid_login")
        assert service.log_in(ADA).status_code == 200
        assert old.asked == [ADA]
        assert metric(service, "tokenvend_old_system_calls_total", outcome="yes") == 1

    def test_of_ten_at_once_one_makes_the_account(self, service: Service, old: OldUsers) -> None:
        old.add(ADA, PASSWORD)
        with ThreadPoolExecutor(10) as threads:
            answers = list(threads.map(lambda _: service.log_in(ADA), range(10)))
        assert {answer.status_code for answer in answers} <= {200, 503}  # a loaded machine's database
        assert sum(answer.status_code == 200 for answer in answers) > 1
        assert (number_of_users(service), events(service, "password.migrated")) == (1, 1)

    def test_users_of_cognito_are_asked_about_too_unless_another_provider_has_them(
        self, service: Service, old: OldUsers
    ) -> None:
        admin = service.staff(email="zoe@example.org")
        rows = "email,user_status\nada@example.org,CONFIRMED\ngrace@example.org,EXTERNAL_PROVIDER\n"
        headers = {**admin.headers, "Content-Type": "text/csv"}
        service.client.post("/v1/admin/user-imports?source=cognito", content=rows, headers=headers)
        for email in (ADA, "grace@example.org"):
            old.add(email, PASSWORD)
        assert service.log_in(ADA).status_code == 200
        assert_problem(service.log_in("grace@example.org"), 401, "invalid_login")
        assert old.asked == [ADA]


class TestRefusals:
    """IM8"""

    def test_a_user_who_is_disabled_stays_out(self, service: Service, old: OldUsers) -> None:
        imported(service, {"email": ADA, "status": "disabled"})
        old.add(ADA, PASSWORD)
        assert_problem(service.log_in(ADA), 401, "invalid_login")
        assert user(service, ADA).password_hash is None

    def test_users_with_a_password_or_another_way_in_are_not_asked_about(self, service: Service, old: OldUsers) -> None:
        service.register(ADA)
        service.register("grace@example.org")
        service.sql("UPDATE users SET password_hash = NULL WHERE email = 'grace@example.org'")
        for email in (ADA, "grace@example.org"):
            old.add(email, "the one there")
            assert_problem(service.log_in(email, "the one there"), 401, "invalid_login")
        assert old.asked == []

    def test_a_password_that_was_set_here_ends_it(self, service: Service, old: OldUsers) -> None:
        imported(service, {"email": ADA})
        old.add(ADA, "the one there")
        service.client.post("/v1/password-resets", json={"email": ADA})
        body = {"token": service.mails(ADA)[-1].token, "new_password": PASSWORD}
        assert service.client.post("/v1/password-resets/confirm", json=body).status_code == 204
        assert_problem(service.log_in(ADA, "the one there"), 401, "invalid_login")
        assert old.asked == []

    @pytest.mark.parametrize("known", [False, True])
    def test_no_address_counts_but_the_one_that_was_asked_about(
        self, service: Service, old: OldUsers, known: bool
    ) -> None:
        if known:
            imported(service, {"email": ADA}, {"email": "grace@example.org"})
        before = number_of_users(service)
        old.add(ADA, PASSWORD, email="grace@example.org")
        assert_problem(service.log_in(ADA), 401, "invalid_login")
        assert number_of_users(service) == before
        assert not service.sql("SELECT 1 FROM users WHERE password_hash IS NOT NULL AND email <> 'zoe@example.org'")

    def test_all_are_one_answer_after_the_same_work(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, cheap: CountingContext
    ) -> None:
        """AU9: unknown here, awaited here, known here: a hash, and the old system's time."""
        imported(service, {"email": ADA})
        service.register("grace@example.org")
        waited: list[str] = []
        find_user, linger = OldSystem.find_user, OldSystem.linger

        async def asked(self: OldSystem, email: str, password: str) -> Known | None:
            waited.append("asked")
            return await find_user(self, email, password)

        async def lingered(self: OldSystem) -> None:
            waited.append("lingered")
            await linger(self)

        monkeypatch.setattr(OldSystem, "find_user", asked)
        monkeypatch.setattr(OldSystem, "linger", lingered)
        verified = len(cheap.verified)
        emails = ("nobody@example.org", ADA, "grace@example.org")
        answers = [without_request_id(service.log_in(email, "wrong password")) for email in emails]
        assert answers[0] == answers[1] == answers[2]
        assert waited == ["asked", "asked", "lingered"]
        assert len(cheap.verified) == verified + 3

    @pytest.mark.parametrize(
        "answer",
        [
            *({}, {"email": ADA}, {"email": ADA, "email_verified": "true"}, {"email": 7, "email_verified": True}),
            {"email": ADA, "email_verified": True, "name": ["Ada"]},
            {"email": "not an address", "email_verified": True},
        ],
    )
    def test_a_yes_that_cannot_be_used_looks_like_a_no(
        self, make_service: Callable[..., Service], answer: dict[str, Any]
    ) -> None:
        """AU9: nothing that comes after the password was checked there ends in another answer."""
        found = []
        for status, body in (("200 OK", answer), ("401 Unauthorized", {})):
            with answering(status, json.dumps(body).encode()) as odd:
                found.append(without_request_id(asking(make_service, odd.url).log_in(ADA)))
                assert odd.requests == 1
        assert found[0] == found[1]
        assert found[0][0] == 401

    @pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found"])
    def test_a_no_is_a_guess(self, make_service: Callable[..., Service], status: str) -> None:
        """AU7, AU8"""
        with answering(status) as odd:
            service = asking(make_service, odd.url, rate_limits="on", trusted_proxies=("127.0.0.1",))
            for number in range(60):
                assert_problem(guess(service, number), 401, "invalid_login")
            assert_problem(guess(service, 60), 429, "rate_limited")
            assert odd.requests == 60


@contextmanager
def answering(status: str, body: bytes = b"", *, headers: str = "") -> Iterator[OddServer]:
    """An endpoint that says the same to every question."""
    with closing(OddServer(http(status, body, "application/json", headers=headers))) as odd:
        yield odd


def asking(make_service: Callable[..., Service], url: str, **changes: Any) -> Service:
    return make_service(migration_url=url, migration_secret=(SECRET,), **changes)


def guess(service: Service, number: int) -> Any:
    return sign_in(service, ADA, f"wrong {number}", number)


def sign_in(service: Service, email: str, password: str, number: int) -> Any:
    """From an address of its own."""
    return service.client.post(
        "/v1/auth/login",
        json={"email": email, "password": password},
        headers={"X-Forwarded-For": f"198.51.100.{number}"},
    )


def effort(service: Service, odd: OddServer, cheap: CountingContext) -> list[int]:
    """Questions, hashes and audit rows so far."""
    return [odd.requests, len(cheap.verified), int(service.sql("SELECT count(*) FROM audit_events")[0][0])]


class TestOutage:
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            *(("500 Oops", b""), ("400 Bad Request", b"{}"), ("204 No Content", b""), ("429 Slow down", b"")),
            *(("200 OK", b"<html>"), ("200 OK", b"[]"), ("200 OK", b'{"email": "a", "email": "b"}')),
        ],
    )
    def test_what_is_no_answer_is_503_and_a_guess(
        self, make_service: Callable[..., Service], status: str, body: bytes
    ) -> None:
        with answering(status, body) as odd:
            service = asking(make_service, odd.url, rate_limits="on", trusted_proxies=("127.0.0.1",))
            for number in range(60):
                answer = guess(service, number)
                assert_problem(answer, 503, "user_pool_unavailable")
                assert answer.headers["retry-after"] == "5"
            assert_problem(guess(service, 60), 429, "rate_limited")
        assert number_of_users(service) == 0

    def test_a_redirect_leads_nowhere(self, make_service: Callable[..., Service]) -> None:
        with answering("200 OK", json.dumps({"email": ADA, "email_verified": True}).encode()) as other:
            for status in ("302 Found", "307 Temporary Redirect"):
                with answering(status, headers=f"Location: {other.url}/\r\n") as odd:
                    assert_problem(asking(make_service, odd.url).log_in(ADA), 503, "user_pool_unavailable")
                    assert odd.requests == 1
            assert other.requests == 0

    def test_a_right_password_works_as_ever(self, make_service: Callable[..., Service]) -> None:
        service = asking(make_service, f"http://127.0.0.1:{free_port()}")
        service.register("grace@example.org")
        for _ in range(2 * FAULTS_TO_OPEN):
            assert_problem(service.log_in(ADA), 503, "user_pool_unavailable")
            assert service.log_in("grace@example.org").status_code == 200

    @pytest.mark.parametrize("status", ["500 Oops", "503 Service Unavailable"])
    def test_tells_nobody_which_addresses_have_an_account(
        self, make_service: Callable[..., Service], cheap: CountingContext, status: str
    ) -> None:
        """AU7, AU9: unknown here, awaited here, known here: one answer after one hash, one question and one record.

        Also once the breaker is open, and nobody is asked.
        """
        with answering(status) as odd:
            service = asking(make_service, odd.url, rate_limits="on", trusted_proxies=("127.0.0.1",))
            imported(service, {"email": ADA})
            service.register("grace@example.org")
            service.log_in("somebody@example.org")
            costs = []
            for number in range(60):
                for email in ("nobody@example.org", ADA, "grace@example.org"):
                    before = effort(service, odd, cheap)
                    answer = sign_in(service, email, f"wrong {number}", number)
                    assert_problem(answer, 503, "user_pool_unavailable")
                    cost = [after - earlier for after, earlier in zip(effort(service, odd, cheap), before, strict=True)]
                    costs.append((without_request_id(answer), cost))
            asked = costs[0]
            assert asked[1] == [1, 1, 1]
            spared = (asked[0], [0, 1, 1])
            down = FAULTS_TO_OPEN - 1 if status.startswith("503") else len(costs)
            assert costs == [asked] * down + [spared] * (len(costs) - down)
            for email in ("nobody@example.org", ADA, "grace@example.org"):
                assert_problem(sign_in(service, email, "wrong", 60), 429, "rate_limited")

    def test_takes_as_long_for_a_known_address(self, make_service: Callable[..., Service]) -> None:
        """AU9: until the time-out."""
        with closing(OddServer(None)) as silent:
            service = asking(make_service, silent.url)
            service.register("grace@example.org")
            for email in ("nobody@example.org", "grace@example.org"):
                assert_problem(service.log_in(email, "wrong password"), 503, "user_pool_unavailable")
            assert silent.requests == 2

    def test_a_system_that_is_down_is_left_alone_for_a_while(self, make_service: Callable[..., Service]) -> None:
        with answering("503 Service Unavailable") as odd:
            service = asking(make_service, odd.url)
            for _ in range(FAULTS_TO_OPEN + 3):
                assert_problem(service.log_in(ADA), 503, "user_pool_unavailable")
            assert odd.requests == FAULTS_TO_OPEN
            assert metric(service, "tokenvend_old_system_open") == 1
            assert metric(service, "tokenvend_old_system_calls_total", outcome="spared") == 3
            service.clock.advance(seconds=OPEN_FOR)
            for _ in range(2):
                service.log_in(ADA)
            assert odd.requests == FAULTS_TO_OPEN + 1

    def test_it_is_asked_again_once_it_is_back(self, make_service: Callable[..., Service], tmp_path: Path) -> None:
        with guides_endpoint(tmp_path) as old:
            service = make_service(clock=now(), **(old.settings | {"migration_secret": (OTHER_SECRET,)}))
            assert_problem(service.log_in(ADA), 503, "user_pool_unavailable")
        for _ in range(FAULTS_TO_OPEN):
            assert_problem(service.log_in(ADA), 503, "user_pool_unavailable")
        assert metric(service, "tokenvend_old_system_open") == 1
        service.clock.advance(seconds=OPEN_FOR)
        with ThreadingHTTPServer(("127.0.0.1", int(old.url.rpartition(":")[2])), Denying) as back:
            serving = threading.Thread(target=back.serve_forever, args=(0.02,))
            serving.start()
            assert_problem(service.log_in(ADA), 401, "invalid_login")
            assert metric(service, "tokenvend_old_system_open") == 0
            back.shutdown()
            serving.join()

    def test_what_one_question_breaks_does_not_keep_others_from_asking(
        self, make_service: Callable[..., Service]
    ) -> None:
        with answering("500 Internal Server Error") as odd:
            service = asking(make_service, odd.url)
            for _ in range(2 * FAULTS_TO_OPEN):
                service.log_in(ADA)
            assert odd.requests == 2 * FAULTS_TO_OPEN


class Denying(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(401)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


class TestGuide:
    def test_its_endpoint_answers_this_service_alone(self, make_service: Callable[..., Service], old: OldUsers) -> None:
        """Another secret, and an old question, are refused there, and count as no guess here."""
        old.add(ADA, PASSWORD)
        another = make_service(clock=now(), **(old.settings | {"migration_secret": (OTHER_SECRET,)}))
        assert_problem(another.log_in(ADA), 503, "user_pool_unavailable")
        late = ManualClock(datetime.now(UTC))
        late.advance(seconds=-301)
        assert_problem(make_service(clock=late, **old.settings).log_in(ADA), 503, "user_pool_unavailable")
        assert old.asked == []
        both = make_service(clock=now(), **(old.settings | {"migration_secret": (OTHER_SECRET, SECRET)}))
        assert both.log_in(ADA).status_code == 200

    def test_firebase_is_asked(self, make_service: Callable[..., Service], tmp_path: Path) -> None:
        """As its REST reference has it: `accounts:signInWithPassword`, with its errors."""
        with ThreadingHTTPServer(("127.0.0.1", 0), Firebase) as firebase:
            serving = threading.Thread(target=firebase.serve_forever, args=(0.02,))
            serving.start()
            environment = {
                "FIREBASE_API_KEY": "a-key",
                "FIREBASE_AUTH_URL": f"http://127.0.0.1:{firebase.server_address[1]}",
            }
            code = guides_block("signInWithPassword")
            with guides_endpoint(tmp_path, code, environment=environment) as old:
                service = make_service(clock=now(), **old.settings)
                assert_problem(service.log_in(ADA, "wrong password"), 401, "invalid_login")
                assert_problem(service.log_in("busy@example.org"), 503, "user_pool_unavailable")
                assert_problem(service.log_in("factor@example.org"), 401, "invalid_login")
                assert service.log_in(ADA).status_code == 200
            firebase.shutdown()
            serving.join()
        row = user(service, ADA)
        assert (row.display_name, row.email_verified_at) == ("Ada", None)


class Firebase(BaseHTTPRequestHandler):
    """Identity Toolkit's answers to a right and a wrong password, to a user with a second factor, and to a crowd."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        right = self.path == "/v1/accounts:signInWithPassword" and self.headers["X-Goog-Api-Key"] == "a-key"
        if not right or asked["email"] == "busy@example.org":
            self.answer(400, {"error": {"code": 400, "message": "TOO_MANY_ATTEMPTS_TRY_LATER : Try later."}})
        elif asked["password"] != PASSWORD:
            self.answer(400, {"error": {"code": 400, "message": "INVALID_LOGIN_CREDENTIALS"}})
        elif asked["email"] == "factor@example.org":
            self.answer(200, {"mfaPendingCredential": "…", "mfaInfo": []})
        else:
            claims = {"email": asked["email"], "email_verified": False, "name": "Ada", "user_id": "x"}
            token = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
            self.answer(200, {"idToken": f"e30.{token}.sig", "email": asked["email"], "registered": True})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None: ...


def test_no_log_has_the_password(
    make_service: Callable[..., Service], old: OldUsers, caplog: pytest.LogCaptureFixture
) -> None:
    """OP1: neither what is right, nor what is wrong, nor what nobody took; here, in urllib3, and at the endpoint."""
    caplog.set_level("DEBUG")
    service = make_service(clock=now(), **old.settings)
    old.add(ADA, "canary-8461-sings")
    with capture_logs() as logs:
        for password in ("canary-8461-sings", "canary-8461-wrong"):
            service.log_in(ADA, password)
        with answering("500 Oops", b"canary-8461-answered") as odd:
            asking(make_service, odd.url).log_in("grace@example.org", "canary-8461-lost")
    said = json.dumps(logs, default=str)
    assert "status 500" in said
    assert "urllib3" in caplog.text
    assert "canary-8461" not in said + caplog.text + (old.folder / "log").read_text()
