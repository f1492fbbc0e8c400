"""The ledger: no credential is handed out that is not in it, and none after its session has ended."""

import base64
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import AsyncClient
from starlette.types import Message, Receive, Scope, Send

from tests.support.service import Device, Service
from tests.vending.crowd import on_loop_of, sign_in


def events(service: Service) -> list[Any]:
    return service.sql("SELECT outcome, detail FROM audit_events WHERE event = 'credential.issued' ORDER BY id")


@pytest.mark.both_databases
class TestRecord:
    def test_each_issuance_has_its_row_and_its_event(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        vended = device.vend(access="read", path="albums/", duration_seconds=900).json()
        assert device.vend(access="read", path="albums/", duration_seconds=900).json() == vended
        ((row,),) = [
            service.sql(
                "SELECT id, user_id, session_id, access_key_id, access, prefix, role_session_name, sts_request_id, "
                "expires_at, revoked_at FROM issued_credentials"
            )
        ]
        assert [str(uuid.UUID(str(value))) for value in row[:3]] == [
            vended["credential_id"],
            device.user_id,
            device.session_id,
        ]
        assert row[3:8] == (
            vended["access_key_id"],
            "read",
            f"users/{device.user_id}/albums/",
            service.sts.assumed[0]["RoleSessionName"],
            "request-1",
        )
        assert str(row.expires_at).startswith("2026-06-01 12:15:00")
        assert row.revoked_at is None
        ((outcome, detail),) = events(service)
        assert outcome == "done"
        assert vended["credential_id"] in str(detail)

    def test_holds_no_secret(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        vended = device.vend().json()
        for table in ("issued_credentials", "audit_events"):
            kept = str(service.sql(f"SELECT * FROM {table}"))
            assert vended["secret_access_key"] not in kept
            assert vended["session_token"] not in kept

    def test_is_committed_before_the_answer_begins(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        seen: list[Any] = []

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            async def watch(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seen.extend(service.sql("SELECT access_key_id FROM issued_credentials"))
                    seen.extend(events(service))
                await send(message)

            await service.app(scope, receive, watch)

        async def alone(client: AsyncClient) -> Any:
            return await client.post("/v1/credentials", headers=device.headers)

        answer = on_loop_of(service, alone, app=watched)
        assert seen[0] == (answer.json()["access_key_id"],)
        assert seen[1].outcome == "done"

    @pytest.mark.parametrize("table", ["issued_credentials", "audit_events"])
    def test_no_row_no_credential(self, service: Service, table: str) -> None:
        """Ledger and audit row are one transaction: without both, what STS issued is dropped unseen."""
        (device,) = sign_in(service, 1)
        service.sts.before_answer = lambda form: rename(service, table, "gone")
        answer = device.vend()
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "ASIA" not in answer.text
        assert "canned" not in answer.text
        assert len(service.sts.assumed) == 1
        service.sts.before_answer = lambda form: None
        rename(service, "gone", table)
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(0,)]
        assert events(service) == []
        assert device.vend().json()["access_key_id"] == "ASIACANNED0000000002"


def rename(service: Service, old: str, new: str) -> None:
    service.sql(f"ALTER TABLE {old} RENAME TO {new}")


@pytest.mark.both_databases
class TestMeanwhile:
    """What happens while STS works wins over what STS then issues."""

    def test_the_session_is_signed_out(self, service: Service) -> None:
        phone = service.device("ada@example.org")
        tablet = service.device("ada@example.org")
        self.refused(
            service, phone, lambda: tablet.delete(f"/v1/me/sessions/{phone.session_id}"), (401, "invalid_token")
        )
        assert tablet.vend().status_code == 200

    def test_the_user_is_disabled(self, service: Service) -> None:
        """AZ5, VC6."""
        (device,) = sign_in(service, 1)
        self.refused(service, device, lambda: service.disable(device.email), (403, "account_disabled"))

    def test_the_family_ends_for_reuse(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        service.refresh(device.refresh_token)
        service.clock.advance(seconds=31)
        self.refused(service, device, lambda: service.refresh(device.refresh_token), (401, "invalid_token"))

    def refused(self, service: Service, device: Device, act: Callable[[], Any], expected: tuple[int, str]) -> None:
        done: list[Any] = []
        service.sts.before_answer = lambda form: done.append(act())
        answer = device.vend()
        service.sts.before_answer = lambda form: None
        assert len(done) == 1
        assert (answer.status_code, answer.json()["code"]) == expected
        assert "ASIA" not in answer.text
        assert len(service.sts.assumed) == 1
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(0,)]
        assert [outcome for outcome, _ in events(service)] == ["refused"]
        assert device.vend().status_code == expected[0], "it was kept in memory"
        assert len(service.sts.assumed) == 1


@pytest.mark.both_databases
class TestConnections:
    def test_none_is_held_while_sts_works(self, make_service: Any) -> None:
        """One connection in all: another user is served while the first one's credential is on its way."""
        service = make_service(database_pool_size=1)
        first, other = sign_in(service, 2)
        meanwhile: list[int] = []
        service.sts.before_answer = lambda form: meanwhile.append(other.get("/v1/me").status_code)
        assert first.vend().status_code == 200
        assert meanwhile == [200]


MADE_UP = [
    "",
    "nonsense",
    "2026-06-01T12:00:00+00:00",
    "2026-06-01T12:00:00+00:00 1",
    f"2026-06-01T12:00:00 {uuid.UUID(int=1)}",
    f"0001-01-01T00:00:00+23:00 {uuid.UUID(int=1)}",
    f"9999-12-31T23:59:59-23:00 {uuid.UUID(int=1)}",
    f"2026-13-01T12:00:00+00:00 {uuid.UUID(int=1)}",
    f"2026-06-01T12:00:00+00:00 {uuid.UUID(int=1)} x",
    "\0 \0",
    f"é {uuid.UUID(int=1)}",
]


def all_pages(device: Device, limit: int) -> list[list[str]]:
    pages: list[list[str]] = []
    cursor = None
    while cursor is not None or not pages:
        page = device.get("/v1/me/credentials", params={"limit": limit} | ({"cursor": cursor} if cursor else {})).json()
        pages.append([item["credential_id"] for item in page["items"]])
        cursor = page["next_cursor"]
        assert len(pages) < 10
    return pages


@pytest.mark.both_databases
class TestList:
    def test_shows_ones_own_newest_first_without_secrets(self, service: Service) -> None:
        ada, bob = sign_in(service, 2)
        first = ada.vend(access="read").json()
        bob.vend()
        service.clock.advance(minutes=1)
        second = ada.vend(path="albums/").json()
        answer = ada.get("/v1/me/credentials")
        assert answer.json() == {
            "items": [
                {
                    "credential_id": second["credential_id"],
                    "access_key_id": second["access_key_id"],
                    "access": "read_write",
                    "prefix": f"users/{ada.user_id}/albums/",
                    "shared_prefixes": [],
                    "write_prefixes": [],
                    "session_id": ada.session_id,
                    "link_id": None,
                    "issued_at": "2026-06-01T12:01:00Z",
                    "expiration": "2026-06-01T13:01:00Z",
                    "revoked_at": None,
                },
                {
                    "credential_id": first["credential_id"],
                    "access_key_id": first["access_key_id"],
                    "access": "read",
                    "prefix": f"users/{ada.user_id}/",
                    "shared_prefixes": [],
                    "write_prefixes": [],
                    "session_id": ada.session_id,
                    "link_id": None,
                    "issued_at": "2026-06-01T12:00:00Z",
                    "expiration": "2026-06-01T13:00:00Z",
                    "revoked_at": None,
                },
            ],
            "next_cursor": None,
        }

    def test_pages_have_each_row_once(self, service: Service) -> None:
        """Three of the six were issued in the same moment."""
        (device,) = sign_in(service, 1)
        issued = []
        for path in ("a/", "b/", "c/", "d/", "e/", "f/"):
            issued.append(device.vend(path=path).json()["credential_id"])
            if path in "a/b/c/":
                service.clock.advance(seconds=1)
        for limit in (1, 2, 5, 6, 7):
            pages = all_pages(device, limit)
            assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
            assert len(pages) == -(-6 // limit)
            listed = [credential_id for page in pages for credential_id in page]
            assert sorted(listed) == sorted(issued)
            assert listed[3:] == issued[2::-1]

    def test_a_cursor_opens_nobody_elses(self, service: Service) -> None:
        """AZ2."""
        ada, bob = sign_in(service, 2)
        ada.vend(access="read")
        ada.vend(access="write")
        mine = bob.vend().json()["credential_id"]
        cursor = ada.get("/v1/me/credentials", params={"limit": 1}).json()["next_cursor"]
        items = bob.get("/v1/me/credentials", params={"cursor": cursor}).json()["items"]
        assert {item["credential_id"] for item in items} <= {mine}

    def test_a_made_up_cursor_is_refused(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        for position in MADE_UP:
            for cursor in (base64.urlsafe_b64encode(position.encode()).decode(), position, position + "="):
                answer = device.get("/v1/me/credentials", params={"cursor": cursor})
                assert answer.status_code == 422, position
                assert answer.json()["code"] == "invalid_request"

    def test_a_limit_out_of_bounds_is_refused(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        for limit in ("0", "-1", "201", "x", "1e3", ""):
            assert device.get("/v1/me/credentials", params={"limit": limit}).status_code == 422, limit
