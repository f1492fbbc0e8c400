"""What a stranger learns of a service in production: that it is there."""

from collections.abc import Callable

import pytest

from tests.security.observed import LiveServer, assert_problem
from tests.support.service import Service

VERSIONS = ("uvicorn", "starlette", "fastapi", "python", "httptools", "tokenvend/")


@pytest.fixture
def production(make_on_sqlite: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    return make_on_sqlite(
        environment="production",
        rate_limits="on",
        public_url="https://testserver",
        smtp_url="smtp://127.0.0.1:9",
        mail_from="photos@example.org",
        metrics_token="metrics-token-of-tests-0123456789",
    )


class TestProduction:
    def test_documents_metrics_and_demo_are_private(self, production: Service) -> None:
        """HT9."""
        for path in ("/docs", "/redoc", "/openapi.json", "/demo", "/demo/mailbox"):
            assert_problem(production.client.get(path), 404, "not_found")
        assert_problem(production.client.get("/metrics"), 401, "unauthenticated")

    def test_only_trace_and_connect_are_no_methods_anywhere(self, production: Service) -> None:
        """HT9: nothing answers to them."""
        for method in ("TRACE", "CONNECT", "PROPFIND"):
            for path in ("/healthz", "/v1/auth/login", "/v1/credentials"):
                assert_problem(production.client.request(method, path), 405, "method_not_allowed")


class TestServer:
    def test_no_answer_names_a_product_or_version(self, live_server: LiveServer) -> None:
        """HT9: neither an answer of the service's nor one of the server under it, to what is no HTTP."""
        answers = [
            live_server.ask("GET", "/healthz"),
            live_server.ask("GET", "/nothing"),
            live_server.ask("POST", "/v1/auth/login", [("Content-Type", "application/json")], b"{"),
            live_server.ask("GET", "/healthz", [("Host", "evil.example")]),
            live_server.ask("GET", "/" + "a" * 20_000),
        ]
        assert {answer.status for answer in answers} >= {200, 404, 400, 431}
        for answer in answers:
            assert "server" not in answer.headers
            assert "x-powered-by" not in answer.headers
            seen = (str(answer.headers) + answer.body.decode()).lower()
            assert [name for name in VERSIONS if name in seen] == []
