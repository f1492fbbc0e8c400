"""Credentials: for whom, how many, for how long."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from httpx2 import Response

from app.crypto.encoding import b64url
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem
from tests.security.races import all_at_once
from tests.support.service import Service


def execute(service: Service, statement: str) -> None:
    service.sql(statement)


class TestAnswers:
    def test_nothing_secret_is_cached(self, service: Service) -> None:
        """VC5: `no-store` on every answer with a token or a credential, and on refusals of the same routes."""
        device = service.device()
        answers = [
            service.log_in(device.email),
            service.refresh(device.refresh_token),
            device.vend(),
            device.get("/v1/credentials/container"),
            device.get("/v1/me/credentials"),
            device.get("/v1/me"),
            service.log_in(device.email, "wrong"),
            service.refresh("x"),
            device.vend(path="*"),
            service.client.post("/v1/credentials"),
        ]
        for answer in answers:
            assert answer.headers["cache-control"] == "no-store"
            assert "etag" not in answer.headers
            assert "last-modified" not in answer.headers


@pytest.mark.both_databases
class TestWhoGetsOne:
    def test_nobody_whose_session_or_account_has_ended(self, service: Service) -> None:
        """VC6: signed out, reused, disabled: not even what was vended before, and STS is not asked."""
        signed_out, disabled = service.device(), service.device()
        for device in (signed_out, disabled):
            assert device.vend().status_code == 200
        asked = len(service.sts.forms)
        signed_out.delete("/v1/me/sessions")
        service.disable(disabled.email)
        for route in ("/v1/credentials/container", "/v1/me/credentials"):
            assert_problem(signed_out.get(route), 401, "invalid_token")
            assert_problem(disabled.get(route), 403, "account_disabled")
        assert_problem(signed_out.vend(), 401, "invalid_token")
        assert_problem(disabled.vend(), 403, "account_disabled")
        assert len(service.sts.forms) == asked

    @pytest.mark.parametrize(
        ("statement", "status", "code"),
        [
            ("UPDATE users SET status = 'disabled'", 403, "account_disabled"),
            ("UPDATE sessions SET ended_at = created_at, end_reason = 'test'", 401, "invalid_token"),
        ],
    )
    def test_what_happens_while_sts_works_wins(self, service: Service, statement: str, status: int, code: str) -> None:
        """VC6: the credential that STS then issues is dropped unseen, not cached and not in the ledger."""
        device = service.device()
        service.sts.before_answer = lambda _form: execute(service, statement)
        answer = device.vend()
        assert_problem(answer, status, code)
        assert "ASIA" not in answer.text
        assert len(service.sts.assumed) == 1
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(0,)]
        refused = "SELECT outcome FROM audit_events WHERE event = 'credential.issued'"
        assert service.sql(refused) == [("refused",)]
        service.sts.before_answer = lambda _form: None
        service.sql("UPDATE users SET status = 'active'")
        service.sql("UPDATE sessions SET ended_at = NULL")
        assert device.vend().json()["access_key_id"].endswith("2")

    def test_a_crowd_is_stopped_by_disabling(self, service: Service) -> None:
        """VC6: 20 vends race with it; whoever lost is refused, and every credential handed out is in the ledger."""
        device = service.device()

        def act(index: int) -> Response | None:
            if index == 7:
                service.disable(device.email)
                return None
            return device.vend(path=f"{index}/")

        answers = [answer for answer in all_at_once(act) if answer is not None]
        assert {answer.status_code for answer in answers} <= {200, 403}
        handed_out = {answer.json()["credential_id"] for answer in answers if answer.status_code == 200}
        ledger = {str(uuid.UUID(str(row[0]))) for row in service.sql("SELECT id FROM issued_credentials")}
        assert handed_out == ledger
        assert_problem(device.vend(path="7/"), 403, "account_disabled")

    def test_it_lives_no_longer_than_documented(self, make_on_sqlite: Callable[..., Service]) -> None:
        """VC6: STS is asked for what the settings allow, and the answer's expiration is STS's own."""
        service = make_on_sqlite()
        device = service.device()
        for wish, seconds in (({}, 3600), ({"duration_seconds": 900}, 900), ({"duration_seconds": 3600}, 3600)):
            vended = device.vend(**wish).json()
            start, end = (datetime.fromisoformat(vended[name]) for name in ("server_time", "expiration"))
            assert (end - start).total_seconds() == vended["expires_in"] == seconds
        assert {form["DurationSeconds"] for form in service.sts.assumed} == {"3600", "900"}

    def test_an_old_one_is_not_handed_out_again(self, make_on_sqlite: Callable[..., Service]) -> None:
        """VC6: from the cache only while more than half of its life is left."""
        service = make_on_sqlite()
        device = service.device()
        first = device.vend(duration_seconds=900).json()["credential_id"]
        service.clock.advance(seconds=449)
        assert device.vend(duration_seconds=900).json()["credential_id"] == first
        service.clock.advance(seconds=1)
        assert device.vend(duration_seconds=900).json()["credential_id"] != first


class TestHowMany:
    def test_each_user_has_a_limit_of_their_own(
        self, hashing: CountingContext, make_on_sqlite: Callable[..., Service]
    ) -> None:
        """VC8: 60 a minute, another device does not help, another user is not hurt. Of the container endpoint what asks
        STS counts among them."""
        service = make_on_sqlite(rate_limits="on")
        device, other = service.device(), service.device()
        new = {"params": {"path": "new/"}}
        assert device.get("/v1/credentials/container").status_code == 200
        assert {device.vend().status_code for _ in range(59)} == {200}
        assert device.get("/v1/credentials/container").status_code == 200
        second = service.device(device.email)
        for answer in (device.vend(), device.get("/v1/credentials/container", **new), second.vend()):
            assert_problem(answer, 429, "rate_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert other.vend().status_code == 200
        assert device.get("/v1/me").status_code == 200

    def test_a_forwarded_address_opens_no_second_bucket(
        self, hashing: CountingContext, make_on_sqlite: Callable[..., Service]
    ) -> None:
        """VC8: the vend limit counts by user, and sign-ins by the peer's address, whatever a header says."""
        service = make_on_sqlite(rate_limits="on")
        statuses = []
        for number in range(61):
            spoofed = {"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"}
            statuses.append(service.client.post("/v1/auth/login", json={}, headers=spoofed).status_code)
            body = {"email": "nobody@example.org", "password": ""}
            statuses.append(service.client.post("/v1/auth/login", json=body, headers=spoofed).status_code)
        assert statuses.count(401) == 60
        assert statuses[-1] == 429


class TestWhose:
    @pytest.mark.all
    def test_fifty_users_at_once_get_their_own(self, hashing: CountingContext, service: Service) -> None:
        """VC9: fresh and from the cache: keys of one user never reach another, nor another device of the same."""
        devices = [service.device() for _ in range(49)]
        devices.append(service.device(devices[0].email))
        with ThreadPoolExecutor(25) as pool:
            rounds = [list(pool.map(lambda device: device.vend().json(), devices)) for _ in range(2)]
        assert hashing.verified
        assert [vended["credential_id"] for vended in rounds[0]] == [vended["credential_id"] for vended in rounds[1]]
        assert len({vended["session_token"] for vended in rounds[0]}) == 50
        issued = {form["RoleSessionName"]: form for form in service.sts.assumed}
        assert len(service.sts.assumed) == len(issued) == 50
        rows = service.sql("SELECT access_key_id, role_session_name, prefix FROM issued_credentials")
        ledger = {row[0]: (row[1], row[2]) for row in rows}
        for device, vended in zip(devices, rounds[1], strict=True):
            assert vended["prefix"] == f"users/{device.user_id}/"
            name = f"{device.user_id}.{b64url(uuid.UUID(device.session_id).bytes)}"
            assert ledger[vended["access_key_id"]] == (name, vended["prefix"])
            assert vended["prefix"] in issued[name]["Policy"]

    def test_a_wish_never_gets_the_answer_to_another(self, make_on_sqlite: Callable[..., Service]) -> None:
        """VC9: access, path and duration are all in the cache's key."""
        service = make_on_sqlite()
        device = service.device()
        wishes: list[dict[str, Any]] = [
            {"access": access, "path": path, "duration_seconds": seconds}
            for access in ("read", "write", "read_write")
            for path in ("", "a/", "a/b/")
            for seconds in (900, 3600)
        ]
        for _ in range(2):
            for wish in wishes:
                vended = device.vend(**wish).json()
                assert (vended["access"], vended["expires_in"]) == (wish["access"], wish["duration_seconds"])
                assert vended["prefix"] == f"users/{device.user_id}/{wish['path']}"
        assert len(service.sts.assumed) == len(wishes)
