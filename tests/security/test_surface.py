"""Odd paths, methods and headers, over a real connection to a real server: nothing tidies them on the way."""

import http.client
import json
import re
import uuid

import pytest

from tests.security.observed import LiveServer, Wire, row_counts
from tests.support.openapi import openapi
from tests.support.service import Service

PATHS = [re.sub(r"\{\w+_id\}", str(uuid.UUID(int=7)), path) for path in openapi()["paths"]]

STRANGE_PATHS = [
    "/%2e%2e/%2e%2e/etc/passwd", "/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/..%5c..%5cwindows", "/%c0%ae%c0%ae/",
    "/demo/../../settings.py", "/demo/%2e%2e/__init__.py", "/demo/..%2f..%2fsettings.py", "/demo/....//settings.py",
    "/demo/vendor/../../../settings.py", "/docs/%2e%2e%2f%2e%2e%2fcrypto.py", "/docs/vendor/%2fetc%2fpasswd",
    "/demo//etc/passwd", "/demo/%00", "/demo/index.html%00.js", "/demo/%ff%fe", "/demo/%ed%a0%80", "/demo/" + "a" * 300,
    "/demo/" + "a/" * 3000, "//v1/me", "///", "/v1//me", "/v1/./me", "/v1/x/../me", "/v1/me/", "/v1/me/.", "/v1/me%2f",
    "/v1/me;a=b", "/v1/me%3b", "/v1/me%20", "/v1/me%00", "/v1/me%0d%0aX-Injected:%201", "/v1/me%23", "/v1/ME", "/V1/me",
    "/v1/me.json", "/v1/me/sessions/../../credentials", "/v1/users/1", "/v1/admin/users", "/metrics/", "/.env",
    "/.git/HEAD", "/redoc", "/docs/oauth2-redirect", "/debug", "/server-status", "/actuator/env",
    "/console/%2e%2e/settings.py", "/console/vendor/aws4fetch/LICENSE", "/console/shared/../../settings.py",
    "/wp-login.php", "/%", "/%zz", "/%u0041", "/{{7*7}}", "/${jndi:ldap:%2f%2fx}", "/'%20OR%201=1--",
    "/v1/me?" + "a=b&" * 2000, "/x?q=%0d%0aSet-Cookie:%20x=1", "/healthz/../v1/me", "/healthz%2f..%2fv1%2fme", "/%7f",
]  # fmt: skip

UNUSUAL = ["TRACE", "PROPFIND", "SEARCH", "PURGE", "M-SEARCH"]
METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "SEARCH",
    "PURGE",
    "M-SEARCH",
]


STRANGE_VALUES = [
    "' OR 1=1--", "%0d%0aX-Injected: 1", "{{7*7}}", "${7*7}", "../../etc/passwd", "\x01\x02", "\xff\xfe", "x" * 8000,
    "() { :; }; echo x", "%s%n%x", "<script>alert(1)</script>", "a" + "\t" * 100 + "b", "\u00e9",
]  # fmt: skip

HEADER_NAMES = [
    "User-Agent", "Accept", "Accept-Language", "Referer", "Cookie", "X-Forwarded-For", "X-Original-URL", "Range",
    "X-HTTP-Method-Override", "If-Match", "Origin", "Content-Language", "X-Rewrite-URL",
]  # fmt: skip


class TestPaths:
    @pytest.mark.parametrize("target", STRANGE_PATHS, ids=lambda target: target[:40])
    def test_strange_paths_lead_nowhere(self, live_server: LiveServer, target: str) -> None:
        """HT12: a 400, 401 or 404 of the usual shape; no file, no header, no fault."""
        answer = live_server.ask("GET", target)
        assert answer.status in (400, 401, 404), answer
        assert_wire_problem(answer)
        for name in ("x-injected", "set-cookie", "location"):
            assert name not in answer.headers
        assert b"root:" not in answer.body
        assert b"import " not in answer.body

    @pytest.mark.parametrize(
        "path", [*PATHS, "/console", "/console/main.js", "/demo", "/docs", "/openapi.json", "/demo/main.js"]
    )
    def test_other_methods_are_refused(self, live_server: LiveServer, path: str) -> None:
        """HT12, HT4: 405 with `Allow`, and every allowed method is guarded or public, not a fault."""
        for method in METHODS:
            answer = live_server.ask(method, path)
            assert answer.status < 500, (method, answer)
            if answer.status == 405:
                assert answer.headers["allow"]
                assert method not in [allowed.strip() for allowed in answer.headers["allow"].split(",")]
                assert method == "HEAD" or json.loads(answer.body)["code"] == "method_not_allowed"
            assert method not in UNUSUAL or answer.status == 405

    def test_the_server_as_a_whole_tells_its_methods(self, live_server: LiveServer) -> None:
        """RFC 9110 §9.3.7: some monitors ping with it, by whatever Host."""
        answer = live_server.ask("OPTIONS", "*", [("Host", "10.0.0.7")])
        assert (answer.status, answer.body) == (200, b"")
        assert "GET" in answer.headers["allow"]

    def test_an_absolute_target_says_which_host_is_meant(self, live_server: LiveServer) -> None:
        """HT11: the allow-list is for what counts, and that is not the Host field then (RFC 9112 §3.2.2)."""
        own = f"http://127.0.0.1:{live_server.port}"
        assert live_server.ask("GET", f"{own}/v1/me").status == 401
        assert live_server.ask("GET", f"{own}/v1/me", [("Host", "evil.example")]).status == 401
        for target in ("http://evil.example/v1/me", "https://127.0.0.1.evil.example/v1/me", "http://evil.example"):
            answer = live_server.ask("GET", target)
            assert (answer.status, json.loads(answer.body)["code"]) == (400, "host_not_allowed")

    def test_a_head_leaves_no_body_in_the_way_of_the_next_answer(self, live_server: LiveServer) -> None:
        """HT10: not even that of a problem, where the one who asks takes what follows for the next answer."""
        connection = http.client.HTTPConnection("127.0.0.1", live_server.port, timeout=15)
        try:
            for path, status in (("/healthz", 200), ("/v1/me", 401), ("/nowhere", 404), ("/openapi.json", 200)):
                connection.request("HEAD", path)
                head = connection.getresponse()
                assert (head.status, head.read()) == (status, b"")
                connection.request("GET", path)
                got = connection.getresponse()
                assert got.status == status
                assert len(got.read()) == int(head.headers["Content-Length"])
        finally:
            connection.close()

    @pytest.mark.parametrize("value", STRANGE_VALUES, ids=lambda value: ascii(value)[:30])
    def test_strange_headers_change_nothing(self, live_server: LiveServer, value: str) -> None:
        """HT12: the answer is that of a plain request, or a plain 400 from the server's own parser."""
        plain = live_server.ask("GET", "/v1/me")
        for name in HEADER_NAMES:
            answer = live_server.ask("GET", "/v1/me", [(name, value)])
            assert answer.status in (plain.status, 400), (name, answer)
            assert "x-injected" not in answer.headers
            if answer.status == plain.status:
                assert json.loads(answer.body)["code"] == "unauthenticated"

    def test_overrides_do_not_change_method_or_path(self, shared: Service) -> None:
        """HT12: nor does anything that a strange request left behind."""
        device = shared.device()
        before = row_counts(shared)
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"):
            for value in ("DELETE", "/v1/me/sessions"):
                assert shared.client.get("/v1/me/sessions", headers={**device.headers, name: value}).status_code == 200
        assert shared.client.get("/v1/me/sessions?_method=DELETE", headers=device.headers).status_code == 200
        assert row_counts(shared) == before
        assert device.get("/v1/me").status_code == 200


def assert_wire_problem(answer: Wire) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.body)
    assert document["status"] == answer.status
    assert document["request_id"] == answer.headers["x-request-id"]
