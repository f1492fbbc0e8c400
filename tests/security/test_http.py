"""What every answer has in common: problem documents, headers, origins, hosts."""

import base64
import uuid
from collections.abc import Callable

import pytest
from httpx2 import Response

from app.platform.problems import Problem
from tests.security.observed import assert_problem, without_request_id
from tests.support.service import PASSWORD, Device, Service

CANARY = "c4n4ry-0d3f"


@pytest.fixture(scope="module")
def device(shared: Service) -> Device:
    return shared.device()


def refusals(service: Service) -> dict[str, Response]:
    """One request for each way to be refused, each with the canary in whatever the client may choose."""
    device = service.device()
    disabled = service.device()
    service.disable(disabled.email)
    client = service.client
    login = {"email": f"{CANARY}@example.org", "password": CANARY * 2}
    answers = {
        "malformed_request": client.post(
            "/v1/users", content=f'{{"{CANARY}'.encode(), headers={"Content-Type": "application/json"}
        ),
        "host_not_allowed": client.get("/v1/me", headers={"Host": f"{CANARY}.example.org"}),
        "unauthenticated": client.get("/v1/me", headers={"Authorization": f"Basic {CANARY}"}),
        "invalid_token": client.get("/v1/me", headers={"Authorization": f"Bearer {CANARY}"}),
        "invalid_login": client.post("/v1/auth/login", json=login),
        "invalid_refresh_token": service.refresh(CANARY),
        "account_disabled": disabled.get(f"/v1/me?{CANARY}={CANARY}"),
        "not_found": client.get(f"/{CANARY}?{CANARY}"),
        "method_not_allowed": client.request("DELETE", "/healthz"),
        "email_taken": service.register(device.email, PASSWORD, display_name=CANARY),
        "content_too_large": client.post("/v1/users", content=CANARY * 10_000),
        "unsupported_media_type": client.post("/v1/users", content=CANARY),
        "invalid_request": client.post("/v1/users", json={**login, CANARY: CANARY, "display_name": f"{CANARY}\0"}),
        "weak_password": service.register(f"{CANARY}@example.org", CANARY),
        "invalid_path": device.vend(path=f"{CANARY}*/"),
        "invalid_duration": device.vend(duration_seconds=4010),
    }
    service.sts.fail("AccessDenied", 403)
    answers["sts_refused"] = device.vend(path="denied/")
    service.sts.fail("Throttling", 400, times=2)
    answers["sts_throttled"] = device.vend(path="throttled/")
    service.sts.answer_garbage(200, "text/html", f"<html>{CANARY}</html>".encode())
    answers["sts_unavailable"] = device.vend(path="garbage/")
    service.sts.fail("PackedPolicyTooLarge")
    answers["policy_too_large"] = device.vend(path="large/")
    return answers


class TestProblems:
    def test_every_refusal_is_a_problem_document_that_echoes_nothing(self, service: Service) -> None:
        """HT4: status and code of the catalogue, RFC 9457's members, the request id, and no value of the caller's."""
        for code, answer in refusals(service).items():
            assert_problem(answer, Problem.catalogue[code].status, code)
            assert CANARY not in answer.text.lower()
            assert CANARY not in str(answer.headers).lower()
            assert PASSWORD not in answer.text
            waits = answer.status_code in (429, 503)
            assert ("retry-after" in answer.headers) is waits
            assert not waits or int(answer.headers["retry-after"]) >= 1

    def test_a_limit_says_when_to_come_back(self, make_on_sqlite: Callable[..., Service]) -> None:
        """HT4: 429."""
        service = make_on_sqlite(rate_limits="on")
        answers = [service.register(f"{CANARY}@example.org", "short") for _ in range(31)]
        assert_problem(answers[-1], 429, "rate_limited")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        assert CANARY not in answers[-1].text

    def test_a_lost_database_is_a_503(self, service: Service) -> None:
        """HT4: without the driver's words."""
        device = service.device()
        service.sql("ALTER TABLE audit_events RENAME TO gone")
        answer = service.log_in(device.email, f"wrong {CANARY}")
        assert_problem(answer, 503, "database_unavailable")
        assert "audit_events" not in answer.text
        assert int(answer.headers["retry-after"]) >= 1

    @pytest.mark.parametrize("spelling", ["ω", "Ж", "~", "<script>", "%1b%5b31m", "%e2%80%ae"])
    def test_not_even_one_character_of_a_value_is_echoed(self, device: Device, spelling: str) -> None:
        """HT4: validation messages name what is wrong, not what was sent."""
        answer = device.delete(f"/v1/me/sessions/{spelling}")
        assert_problem(answer, 422, "invalid_request")
        sentence = answer.json()["errors"][0]["message"] + answer.json()["errors"][0]["location"]
        assert sentence.isascii()
        assert "<" not in sentence
        assert "~" not in sentence

    @pytest.mark.parametrize(
        "position",
        ["2026-01-01T00:00:00 {id}", "0001-01-01T00:00:00+23:59 {id}", "9999-12-31T23:59:59-23:59 {id}",
         "2026-01-01 {id}", "2026-01-01T00:00:00+00:00 x", "{id}", "", " ", "2026-01-01T00:00:00+00:00 {id} x",
         "NaN {id}", "2026-13-01T00:00:00+00:00 {id}", "\x002026-01-01T00:00:00+00:00 {id}"],
    )  # fmt: skip
    def test_a_made_up_cursor_is_the_callers_fault(self, device: Device, position: str) -> None:
        """HT4, HT12: 422 and not a 500, whatever time it names."""
        cursor = base64.urlsafe_b64encode(position.format(id=uuid.UUID(int=1)).encode()).decode()
        answer = device.get("/v1/me/credentials", params={"cursor": cursor})
        assert_problem(answer, 422, "invalid_request")

    @pytest.mark.parametrize(
        "query",
        ["cursor=é", "cursor=%00", "cursor=%ff%fe", "cursor=====", "cursor=a", "limit=0", "limit=201", "limit=-1",
         "limit=1e2", "limit=NaN", "limit=" + "9" * 5000, "limit=", "cursor=" + "A" * 300,
         "limit=1&limit=x", "cursor=%ed%a0%80", "limit=%00", "limit=' OR 1=1--"],
    )  # fmt: skip
    def test_odd_parameters_are_refused(self, device: Device, query: str) -> None:
        """HT4, HT12: of the ledger's list."""
        assert_problem(device.get(f"/v1/me/credentials?{query}"), 422, "invalid_request")


class TestHeaders:
    def test_every_answer_is_armoured(self, make_on_sqlite: Callable[..., Service]) -> None:
        """HT7: nosniff, HSTS on https, a CSP that allows nothing; on answers, refusals and pages alike."""
        service = make_on_sqlite(public_url="https://tokens.example.org", allowed_hosts="testserver")
        device = service.device()
        answers = [device.get(path) for path in ("/v1/me", "/healthz", "/.well-known/jwks.json", "/nowhere", "/docs")]
        answers += [device.get("/docs/main.js"), device.get("/demo"), device.get("/openapi.json")]
        answers += [device.get(path) for path in ("/console", "/console/main.js", "/console/shared/api.js")]
        answers += [device.vend(), device.vend(path="*"), service.log_in(device.email, "wrong")]
        answers += [
            service.client.get("/", headers={"Host": "evil.example.org"}),
            service.client.request("PUT", "/docs"),
        ]
        for answer in answers:
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["strict-transport-security"].startswith("max-age=63072000")
            assert answer.headers["referrer-policy"] == "no-referrer"
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "script-src 'unsafe" not in policy
            assert "server" not in answer.headers
            assert uuid.UUID(answer.headers["x-request-id"])

    def test_plain_http_promises_no_https(self, shared: Service) -> None:
        """HT7: a development machine would lock itself out."""
        assert "strict-transport-security" not in shared.client.get("/healthz").headers

    def test_a_request_id_is_the_servers_own(self, shared: Service) -> None:
        """HT12: not the client's, which would end up in the log and in headers."""
        for chosen in (CANARY, "x" * 500, "a b"):
            assert shared.client.get("/healthz", headers={"X-Request-ID": chosen}).headers["x-request-id"] != chosen


class TestOrigins:
    ORIGINS = (
        "https://evil.example.org", "null", "http://testserver", "https://app.example.org.evil.example.org",
        "https://evilapp.example.org", "https://app.example.org:444", "http://app.example.org", "file://",
        "HTTPS://APP.EXAMPLE.ORG", "https://app.example.org@evil.example.org", "https://app.example.org/",
    )  # fmt: skip

    @pytest.mark.parametrize("cors_origins", ["", "https://app.example.org"])
    def test_other_origins_may_read_nothing(self, make_on_sqlite: Callable[..., Service], cors_origins: str) -> None:
        """HT6: no Access-Control-Allow-Origin, with CORS off and with another origin allowed, also on refusals."""
        client = make_on_sqlite(cors_origins=cors_origins).client
        for origin in self.ORIGINS:
            preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answers = [
                client.options("/v1/credentials", headers=preflight),
                client.options("/v1/auth/login", headers=preflight),
                *(client.get(path, headers={"Origin": origin}) for path in ("/v1/me", "/healthz", "/nowhere")),
                client.post("/v1/auth/login", json={}, headers={"Origin": origin}),
            ]
            for answer in answers:
                assert "access-control-allow-origin" not in answer.headers
                assert "access-control-allow-credentials" not in answer.headers

    def test_an_allowed_origin_may(self, make_on_sqlite: Callable[..., Service]) -> None:
        """HT6: it alone, by name, and without cookies."""
        service = make_on_sqlite(cors_origins="https://app.example.org")
        answer = service.client.get("/healthz", headers={"Origin": "https://app.example.org"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example.org"
        assert "access-control-allow-credentials" not in answer.headers
        assert "Origin" in answer.headers["vary"]
        refusal = service.client.get("/v1/me", headers={"Origin": "https://app.example.org"})
        assert "www-authenticate" in refusal.headers
        assert "www-authenticate" in refusal.headers["access-control-expose-headers"].lower()


class TestHosts:
    @pytest.mark.parametrize(
        "host",
        ["evil.example.org", "", "testserver.evil.example.org", "testserver@evil.example.org", "eviltestserver",
         "testserver:80@evil.example.org", "testserver:evil", "[testserver]", "testserver.", "testserver/", "*",
         "127.0.0.1", "localhost", "[::1]", "testserver,evil.example.org", "testserver evil", "%74estserver"],
    )  # fmt: skip
    def test_an_unknown_host_is_refused(self, shared: Service, host: str) -> None:
        """HT11: on every path but those that are asked by address, by load balancers and Prometheus."""
        for path in ("/v1/me", "/v1/auth/login", "/docs", "/.well-known/jwks.json", "/nowhere"):
            assert_problem(shared.client.get(path, headers={"Host": host}), 400, "host_not_allowed")
        for path in ("/healthz", "/metrics"):
            assert shared.client.get(path, headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize("host", ["testserver", "testserver:8443", "TestServer"])
    def test_the_own_host_is_not(self, shared: Service, host: str) -> None:
        """HT11: with any port, in any case."""
        assert shared.client.get("/.well-known/jwks.json", headers={"Host": host}).status_code == 200

    def test_no_other_header_names_the_host(self, shared: Service) -> None:
        """HT11: neither X-Forwarded-Host nor Forwarded reaches an answer."""
        plain = shared.client.get("/openapi.json")
        spoofed = {
            "X-Forwarded-Host": CANARY,
            "Forwarded": f"host={CANARY}",
            "X-Host": CANARY,
            "X-Original-Host": CANARY,
        }
        assert without_request_id(shared.client.get("/openapi.json", headers=spoofed)) == without_request_id(plain)
