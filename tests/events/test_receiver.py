"""The receiver of the guide, as it stands there, before the service and before strangers."""

import json
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from app.crypto import webhooks
from app.platform.clock import SystemClock
from tests.events.conftest import deliver
from tests.events.test_delivery import tell
from tests.support.clock import ManualClock
from tests.support.documents import ROOT, blocks
from tests.support.receiver import OTHER_SECRET, SECRET
from tests.support.service import Service

GUIDE = ROOT / "docs" / "operate" / "events-out.md"


def block(text: str) -> str:
    (code,) = [one.code for one in blocks(GUIDE) if text in one.code]
    return code


class Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


@dataclass
class Guides:
    port: int
    noted: list[Any] = field(default_factory=list)

    def post(self, headers: dict[str, str], body: bytes) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", "/", body, headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def guides(monkeypatch: pytest.MonkeyPatch) -> Iterator[Guides]:
    found = Guides(0)
    module = types.ModuleType("events")
    module.note_event = found.noted.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "events", module)
    monkeypatch.setenv("TOKENVEND_WEBHOOK_SECRET", f"{OTHER_SECRET}, {SECRET}")
    receiver: dict[str, Any] = {}
    exec(compile(block("def application"), str(GUIDE), "exec"), receiver)
    monkeypatch.delenv("TOKENVEND_WEBHOOK_SECRET")
    with make_server("127.0.0.1", 0, receiver["application"], handler_class=Quiet) as server:
        found.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


class TestGuidesReceiver:
    def test_takes_what_this_service_signs(self, guides: Guides, make_service: Callable[..., Service]) -> None:
        where = {"webhook_url": f"http://127.0.0.1:{guides.port}", "webhook_secret": (SECRET,)}
        service = make_service(clock=ManualClock(SystemClock().now()), **where)
        tell(service)
        deliver(service)
        assert [event["type"] for event in guides.noted] == ["user.disabled"]
        assert service.sql("SELECT count(*) FROM outgoing_events WHERE delivered_at IS NULL") == [(0,)]

    def test_takes_nothing_else(self, guides: Guides) -> None:
        now, body = int(SystemClock().now().timestamp()), b'{"type": "user.erased"}'
        key, stranger = webhooks.key_of(SECRET), b"k" * 32
        right = webhooks.signed([key], "msg_1", now, body)
        assert guides.post(right, body) == 204
        wrong = [
            ({}, body),
            (webhooks.signed([stranger], "msg_1", now, body), body),
            (webhooks.signed([key], "msg_1", now - 301, body), body),
            (webhooks.signed([key], "msg_1", now + 400, body), body),
            (right, body.replace(b"erased", b"edited")),
            (right | {"webhook-id": "msg_2"}, body),
            (right | {"webhook-timestamp": str(now - 1)}, body),
            (right | {"webhook-signature": right["webhook-signature"].replace("v1,", "v2,")}, body),
        ]
        assert [guides.post(headers, sent) for headers, sent in wrong] == [400] * len(wrong)
        assert len(guides.noted) == 1

    def test_line_makes_a_secret(self) -> None:
        lines = block("TOKENVEND_WEBHOOK_URL=") + 'printf %s "$TOKENVEND_WEBHOOK_SECRET"'
        made = subprocess.run(["bash", "-ec", lines], capture_output=True, text=True, check=True).stdout
        assert len(webhooks.key_of(made)) == 32

    def test_example_has_the_members_of_a_sign_in(self, telling: Callable[..., Service], receiver: Any) -> None:
        service = telling()
        service.device()
        deliver(service)
        (told,) = [event for event in receiver.events if event["type"] == "session.started"]
        shown = json.loads(block('"sequence"'))
        assert list(shown) == list(told)
        assert list(shown["data"]) == list(told["data"])
