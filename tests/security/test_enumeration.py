"""Nobody finds out by signing in who has an account: same answer, same work. Time itself is not asserted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from app.accounts import passwords
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem, without_request_id
from tests.support.service import PASSWORD, Service

PAIRS = 200


@contextmanager
def statements(service: Service) -> Iterator[list[str]]:
    """The SQL that is executed meanwhile, oldest first."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    engine = service.runtime.platform.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def known_and_unknown(service: Service) -> Iterator[tuple[str, str]]:
    for number in range(PAIRS):
        known, unknown = f"known{number:03}@example.org", f"never{number:03}@example.org"
        yield (known, unknown) if number % 2 else (unknown, known)


@pytest.mark.all
class TestSignIn:
    def test_known_and_unknown_addresses_cannot_be_told_apart(
        self, hashing: CountingContext, make_on_sqlite: Callable[..., Service]
    ) -> None:
        """AU9: 200 pairs: status, headers, bytes, SQL statements and password verifications are the same."""
        service = make_on_sqlite()
        for number in range(PAIRS):
            assert service.register(f"known{number:03}@example.org").status_code == 201
        for pair in known_and_unknown(service):
            observed = []
            for email in pair:
                verified = len(hashing.verified)
                with statements(service) as executed:
                    answer = service.log_in(email, "some other password")
                observed.append((without_request_id(answer), executed, len(hashing.verified) - verified))
            assert observed[0] == observed[1]
            assert observed[0][0][0] == 401
            assert observed[0][2] == 1

    def test_an_unknown_address_is_verified_against_a_hash_of_the_same_cost(self, service: Service) -> None:
        """AU9: the dummy has the parameters of a real hash, so it takes as long."""
        service.register("real@example.org")
        ((real,),) = service.sql("SELECT password_hash FROM users")
        dummy = service.runtime.hasher._dummy_hash
        assert dummy.split("$")[:4] == real.split("$")[:4]
        assert [len(part) for part in dummy.split("$")] == [len(part) for part in real.split("$")]

    def test_the_password_is_not_looked_at_before_the_hash(
        self, hashing: CountingContext, make_on_sqlite: Callable[..., Service]
    ) -> None:
        """AU9: what is no address at all costs one verification too."""
        service = make_on_sqlite()
        for email in ("nobody", "", "a@b", "x" * 300, "nobody@example.org", "'--"):
            verified = len(hashing.verified)
            assert_problem(service.log_in(email, "some other password"), 401, "invalid_login")
            assert len(hashing.verified) == verified + 1

    def test_no_password_opens_an_unknown_account(
        self, monkeypatch: pytest.MonkeyPatch, make_on_sqlite: Callable[..., Service]
    ) -> None:
        """AU9: the dummy's verdict does not count, even if somebody hit it."""
        service = make_on_sqlite()
        monkeypatch.setattr(CountingContext, "verify", lambda *_args: True)
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", CountingContext())
        assert_problem(service.log_in("nobody@example.org"), 401, "invalid_login")

    def test_both_are_limited_alike(self, hashing: CountingContext, make_on_sqlite: Callable[..., Service]) -> None:
        """AU9: by address and by account, the 429 comes after as many tries, with the same answer to the byte."""
        for address, most in (("198.51.100.1", 60), ("198.51.%d.%d", 60)):
            observed = []
            for email in ("known@example.org", "never@example.org"):
                service = make_on_sqlite(rate_limits="on", trusted_proxies=("127.0.0.1",))
                service.register("known@example.org")
                answers = [
                    service.client.post(
                        "/v1/auth/login",
                        json={"email": email, "password": "some other password"},
                        headers={"X-Forwarded-For": address % divmod(number, 256) if "%" in address else address},
                    )
                    for number in range(most + 2)
                ]
                assert [answer.status_code for answer in answers] == [401] * most + [429] * 2
                assert_problem(answers[-1], 429, "rate_limited")
                observed.append([without_request_id(answer) for answer in answers])
            assert observed[0] == observed[1]
        assert len(hashing.verified) == 2 * (60 + 60)

    def test_a_hash_that_cannot_be_verified_looks_like_any_other(
        self, hashing: CountingContext, make_on_sqlite: Callable[..., Service]
    ) -> None:
        """AU9: one that an import left broken, or none at all: one verification, the same answer."""
        service = make_on_sqlite()
        service.register("broken@example.org")
        service.register("nothing@example.org")
        service.sql("UPDATE users SET password_hash = '$2b$12$broken' WHERE email LIKE 'broken%'")
        service.sql("UPDATE users SET password_hash = NULL WHERE email LIKE 'nothing%'")
        observed = []
        for email in ("broken@example.org", "nothing@example.org", "never@example.org"):
            verified = len(hashing.verified)
            answer = service.log_in(email, "some other password")
            observed.append((without_request_id(answer), len(hashing.verified) - verified))
        assert observed[0] == observed[1] == observed[2]
        assert observed[0][1] == 1


@pytest.mark.all
class TestMail:
    """What is sent by mail is not told by the answer that asks for it."""

    @pytest.mark.parametrize("path", ["/v1/password-resets", "/v1/email-verifications", "/v1/users"])
    def test_known_and_unknown_addresses_cannot_be_told_apart(
        self, hashing: CountingContext, make_on_sqlite: Callable[..., Service], path: str
    ) -> None:
        """AU9, AU20: 200 pairs: status, headers, bytes and hashes are the same; strangers get no mail."""
        service = make_on_sqlite(email_verification="required")
        for number in range(PAIRS):
            service.register(f"known{number:03}@example.org")
        if path == "/v1/users":
            service.sql("UPDATE users SET email_verified_at = created_at")
        sent = service.sql("SELECT count(*) FROM outbox WHERE failed_at IS NULL")[0][0]
        secret = {"password": PASSWORD} if path == "/v1/users" else {}
        for pair in known_and_unknown(service):
            observed = []
            for email in pair:
                work = hashing.hashed, len(hashing.verified)
                with statements(service) as executed:
                    answer = service.client.post(path, json={"email": email, **secret})
                hashed = (hashing.hashed - work[0], len(hashing.verified) - work[1])
                observed.append((without_request_id(answer), hashed, [verbs(executed)] if not secret else []))
            assert observed[0] == observed[1]
            assert observed[0][0][0] == (201 if secret else 202)
            assert observed[0][1] == (1 if secret else 0, 0)
        if path != "/v1/users":
            assert service.sql("SELECT count(*) FROM outbox WHERE failed_at IS NULL") == [(sent + PAIRS,)]
            assert service.sql("SELECT count(*) FROM outbox WHERE recipient LIKE 'never%'") == [(0,)]

    def test_both_are_limited_alike(self, make_on_sqlite: Callable[..., Service]) -> None:
        """AU9: by address, and by what was asked for."""
        for path in ("/v1/password-resets", "/v1/email-verifications"):
            service = make_on_sqlite(rate_limits="on")
            service.register("known@example.org")
            for email in ("known@example.org", "never@example.org"):
                answers = [service.client.post(path, json={"email": email}) for _ in range(11)]
                assert [answer.status_code for answer in answers] == [202] * 10 + [429]


def verbs(executed: list[str]) -> list[tuple[str, ...]]:
    """Each statement's first words: a look-up that a verification alone needs aside, which writes nothing."""
    return [tuple(statement.split()[:3]) for statement in executed if not statement.startswith(("SELECT", "BEGIN"))]
