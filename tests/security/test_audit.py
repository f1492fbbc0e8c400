"""What is done, and what is refused, leaves its rows; and nothing that a caller chose makes one look like another."""

import json
import logging
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from httpx2 import Response

from tests.support.service import PASSWORD, Device, Service

NEW_PASSWORD = "amber canyon lighthouse"


def events_of(service: Service, answer: Response) -> list[tuple[str, str]]:
    """Event and outcome of each row of a request, once its time and address are seen to be right."""
    rows = service.sql(
        "SELECT event, outcome, at, address FROM audit_events WHERE request_id = :id ORDER BY id",
        id=answer.headers["X-Request-ID"],
    )
    for _, _, at, address in rows:
        moment = datetime.fromisoformat(at).replace(tzinfo=UTC) if isinstance(at, str) else at
        assert moment == service.clock.now()
        assert address == "127.0.0.1"
    return [(event, outcome) for event, outcome, _, _ in rows]


def disabled(service: Service, call: Callable[[Device], Response]) -> Response:
    device = service.device()
    service.disable(device.email)
    return call(device)


def reused(service: Service) -> Response:
    device = service.device()
    service.refresh(device.refresh_token)
    service.clock.advance(seconds=31)
    return service.refresh(device.refresh_token)


def as_admin(service: Service, path: str) -> Response:
    device = service.device()
    service.sql("UPDATE users SET role = 'admin' WHERE email = :email", email=device.email)
    return device.get(path)


def put_password(device: Device, current: str) -> Response:
    return device.put("/v1/me/password", {"current_password": current, "new_password": NEW_PASSWORD})


Flow = Callable[[Service], Response]
ONE_ROW: dict[str, tuple[Flow, tuple[str, str]]] = {
    "a registration": (lambda s: s.register("new@example.org"), ("user.registered", "done")),
    "a taken address": (lambda s: s.register(s.device().email), ("user.registered", "refused")),
    "a sign-in": (lambda s: s.log_in(s.device().email), ("session.started", "done")),
    "a wrong password": (lambda s: s.log_in(s.device().email, "wrong"), ("session.started", "refused")),
    "an unknown address": (lambda s: s.log_in("nobody@example.org"), ("session.started", "refused")),
    "a disabled user's sign-in": (
        lambda s: disabled(s, lambda device: s.log_in(device.email)),
        ("session.started", "refused"),
    ),
    "a disabled user's call": (
        lambda s: disabled(s, lambda device: device.get("/v1/me")),
        ("access.refused", "refused"),
    ),
    "a disabled user's refresh": (
        lambda s: disabled(s, lambda device: s.refresh(device.refresh_token)),
        ("session.refreshed", "refused"),
    ),
    "a step-up": (
        lambda s: s.device().post("/v1/auth/step-up", {"password": PASSWORD}),
        ("session.stepped_up", "done"),
    ),
    "a failed step-up": (
        lambda s: s.device().post("/v1/auth/step-up", {"password": "wrong"}),
        ("password.asked", "refused"),
    ),
    "a revocation": (lambda s: s.device().post("/v1/credentials/revoke"), ("credential.revoked", "done")),
    "a vend": (lambda s: s.device().vend(), ("credential.issued", "done")),
    "a sign-out": (
        lambda s: s.client.post("/v1/auth/logout", json={"refresh_token": s.device().refresh_token}),
        ("session.ended", "done"),
    ),
    "the end of a session": (lambda s: s.device().delete("/v1/me/sessions"), ("session.ended", "done")),
    "a new password": (lambda s: put_password(s.device(), PASSWORD), ("password.changed", "done")),
    "a wrong current password": (lambda s: put_password(s.device(), "wrong"), ("password.asked", "refused")),
    "a new name": (
        lambda s: s.device().patch("/v1/me", {"display_name": "Ada"}),
        ("user.profile_changed", "done"),
    ),
    "a user among administrators": (
        lambda s: s.device().get("/v1/admin/audit-events"),
        ("access.refused", "refused"),
    ),
    "an export of the audit": (lambda s: as_admin(s, "/v1/admin/audit-events/export"), ("audit.exported", "done")),
}


class TestRows:
    @pytest.mark.parametrize("flow", ONE_ROW)
    def test_each_thing_done_or_refused_has_one(self, service: Service, flow: str) -> None:
        """OP2: with the moment in UTC, the request's id and the client's address."""
        act, expected = ONE_ROW[flow]
        assert events_of(service, act(service)) == [expected]

    def test_a_stolen_refresh_token_has_two_for_the_theft_and_the_end(self, service: Service) -> None:
        """OP2: a refusal and a revocation."""
        assert events_of(service, reused(service)) == [("session.ended", "done"), ("session.reuse_detected", "refused")]

    def test_a_guest_has_two_for_the_account_and_the_sign_in(self, service: Service) -> None:
        """OP2: as a registration and a sign-in would."""
        answer = service.client.post("/v1/auth/guest", json={})
        assert events_of(service, answer) == [("guest.created", "done"), ("session.started", "done")]

    def test_one_for_each_session_that_ends(self, service: Service) -> None:
        """OP2: signing out everywhere is as many revocations as devices."""
        device = service.device()
        service.log_in(device.email)
        assert events_of(service, device.delete("/v1/me/sessions")) == [("session.ended", "done")] * 2

    def test_an_administrator_without_a_second_factor_has_one(self, make_on_sqlite: Callable[..., Service]) -> None:
        """OP2, AZ7: outside development."""
        service = make_on_sqlite(
            environment="production",
            AWS_REGION="us-east-1",
            public_url="https://testserver",
            smtp_url="smtps://user:password@mail.example.org",
            mail_from="Photos <photos@example.org>",
            email_verification="off",
            rate_limits="on",
        )
        answer = as_admin(service, "/v1/admin/audit-events")
        assert answer.status_code == 403
        assert events_of(service, answer) == [("access.refused", "refused")]

    def test_a_request_id_of_a_clients_is_not_taken(self, service: Service) -> None:
        """OP2, OP3: no caller picks the id under which an act is found."""
        body = {"email": "ada@example.org", "password": PASSWORD}
        answer = service.client.post("/v1/users", json=body, headers={"X-Request-ID": "forged"})
        assert events_of(service, answer) == [("user.registered", "done")]
        assert service.sql("SELECT count(*) FROM audit_events WHERE request_id = 'forged'") == [(0,)]


FORGERY = '{"event": "request", "forged": true}'
HOSTILE = [
    f"{character}{FORGERY}"
    for character in ("\r\n", "\n", "\r", "\x1b[2J\x1b]0;", "\x00", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\b")
]


@pytest.mark.both_databases
class TestForgery:
    @pytest.mark.slow("every field")
    def test_no_field_makes_a_second_line_of_the_log_or_of_the_audit(
        self, make_on_sqlite: Callable[..., Service], printed: Callable[[], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OP3: CR, LF, ESC and their kin in all that a user chooses: one line a request, JSON and nothing but text."""
        monkeypatch.setattr(logging.getLogger("httpx2"), "disabled", True)  # the client's
        service = make_on_sqlite(trusted_proxies=("127.0.0.1",))
        device = service.device()
        service.sql("UPDATE users SET role = 'admin'")
        service.log_in(device.email)  # it warns once of an address that no proxy wrote
        before = len(printed().splitlines())
        asked = 0
        for text in HOSTILE:
            for answer in self.everywhere(service, device, text):
                asked += 1
                assert answer.status_code < 500
        lines = printed().splitlines()[before:]
        requests = [entry for entry in map(json.loads, lines) if entry["event"] == "request"]
        warnings = [entry for entry in map(json.loads, lines) if entry["event"] == "client_address_unread"]
        assert (len(requests), len(warnings), len(lines)) == (asked, 1, asked + 1)
        assert [entry for entry in requests if "forged" in entry] == []
        assert [line for line in lines if unprintable(line)] == []
        exported = device.get("/v1/admin/audit-events/export").text
        rows = service.sql("SELECT count(*) FROM audit_events")[0][0]
        assert len(exported.splitlines()) == rows == exported.count("\n")
        assert not unprintable(exported.replace("\n", ""))
        assert "forged" not in exported

    @staticmethod
    def everywhere(service: Service, device: Device, text: str) -> list[Response]:
        latin = text.encode("latin-1", "replace")
        return [
            service.register(f"a{text}@example.org"),
            service.register(f"b@example.org{text}"),
            service.register(None, PASSWORD, display_name=text),
            service.log_in(text),
            service.log_in(device.email, text),
            service.log_in(device.email, PASSWORD, device_name=text),
            service.refresh(text),
            service.client.post("/v1/auth/guest", json={"device_name": text}),
            service.client.post("/v1/auth/oidc/x", json={"id_token": text}),
            service.client.post("/v1/users", json={text: text}),
            device.patch("/v1/me", {"display_name": text}),
            device.vend(path=text),
            device.get("/v1/me/credentials", params={"cursor": text}),
            device.get("/v1/admin/audit-events", params={"event": text, "actor": text}),
            device.get("/v1/admin/access-keys/" + "".join(f"%{byte:02x}" for byte in text.encode())),
            device.post("/v1/admin/authorization-messages/decode", {"encoded_message": text}),
            service.client.get("/v1/me", headers=[(b"X-Forwarded-For", latin), (b"User-Agent", latin)]),
            service.client.get("/v1/me", headers=[(b"Authorization", b"Bearer " + latin)]),
        ]

    def test_what_stands_in_a_row_all_the_same_is_escaped(self, service: Service) -> None:
        """OP3: should a value ever get there: the export is printable ASCII, and the list well-formed JSON."""
        device = service.device()
        service.sql("UPDATE users SET role = 'admin'")
        for text in HOSTILE:
            service.sql(
                "INSERT INTO audit_events (at, event, outcome, request_id, address, detail) "
                "VALUES (:at, 'user.created', 'done', 'r', :address, :detail)",
                at=service.clock.now().strftime("%Y-%m-%d %H:%M:%S.000000"),
                address=text.replace("\0", "")[:60],
                detail=json.dumps({"reason": text.replace("\0", "")}),
            )
        query = {"event": "user.created"}
        exported = device.get("/v1/admin/audit-events/export", params=query).text
        entries = [json.loads(line) for line in exported.splitlines()]
        assert [entry["detail"][0]["value"] for entry in reversed(entries)] == [t.replace("\0", "") for t in HOSTILE]
        assert exported.isascii()
        assert not unprintable(exported.replace("\n", ""))
        names = dict.fromkeys(("actor_email", "actor_name", "subject_email", "subject_name"))  # the list alone has them
        assert device.get("/v1/admin/audit-events", params=query).json()["items"] == [one | names for one in entries]


def unprintable(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp") or c == "\u202e"]
