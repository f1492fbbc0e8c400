"""HEAD is GET without the body (RFC 9110 §9.3.2), on every address that answers GET."""

import re
import uuid
from collections.abc import Callable

import pytest
from httpx2 import Response

from tests.platform.test_metrics import requests
from tests.support.openapi import openapi
from tests.support.service import Device, Service

FOUND = re.compile(r"\{\w+\}")
ADDRESSES = sorted(
    FOUND.sub(str(uuid.UUID(int=7)), path) for path, calls in openapi()["paths"].items() if "get" in calls
)
PAGES = [
    *("/account/verify-email", "/account/account.js", "/console", "/console/main.js", "/console/events.json"),
    *("/demo", "/demo/mailbox", "/demo/settings.json", "/docs", "/docs/main.js", "/openapi.json", "/nowhere"),
]
CACHED = "/v1/credentials/container"
"""Its second answer issues nothing."""


def described(answer: Response, path: str) -> tuple[int, dict[str, str]]:
    own = {"x-request-id", "content-length" if path == "/metrics" else ""}  # metrics count the request before
    return answer.status_code, {name: value for name, value in answer.headers.items() if name not in own}


def asked(device: Device, method: str, path: str, headers: dict[str, str]) -> tuple[Response, list[tuple[object, ...]]]:
    """The answer, and what the audit has of it."""
    answer = device.service.client.request(method, path, headers=headers)
    rows = device.service.sql(
        "SELECT event, outcome, subject_id, detail FROM audit_events WHERE request_id = :id ORDER BY id",
        id=answer.headers["x-request-id"],
    )
    return answer, [tuple(row) for row in rows]


class TestHead:
    @pytest.mark.parametrize("path", [*ADDRESSES, *PAGES])
    def test_answers_as_get_does(self, shared: Service, path: str) -> None:
        """AZ1: whoever asks: a stranger, a user, an administrator; and the audit says the same."""
        user, admin = shared.device(), shared.staff()
        for headers in ({}, {"Authorization": "Bearer nonsense"}, user.headers, admin.headers):
            if path == CACHED:
                asked(user, "GET", path, headers)
            got, got_audit = asked(user, "GET", path, headers)
            if headers and got.status_code >= 400:  # refusals of one caller leave one row a minute
                shared.clock.advance(seconds=61)
            head, head_audit = asked(user, "HEAD", path, headers)
            assert described(head, path) == described(got, path), headers
            assert head.content == b""
            assert head_audit == got_audit

    def test_does_what_get_does(self, service: Service) -> None:
        device = service.device()
        _, audit = asked(device, "HEAD", CACHED, device.headers)
        assert [row[:2] for row in audit] == [("credential.issued", "done")]

    def test_has_the_limits_of_get(self, make_service: Callable[..., Service]) -> None:
        service = make_service(rate_limits="on")
        device = service.device()
        statuses = [service.client.head("/v1/me/export", headers=device.headers).status_code for _ in range(12)]
        assert 429 in statuses
        assert device.get("/v1/me/export").status_code == 429

    def test_is_counted_as_what_it_is(self, service: Service) -> None:
        service.client.head("/v1/me")
        assert requests(service, "HEAD", "/v1/me", 401) == 1
        assert requests(service, "GET", "/v1/me", 401) == 0

    def test_is_refused_where_get_is(self, service: Service) -> None:
        for path, allowed in (("/v1/credentials", "POST"), ("/v1/auth/login", "POST")):
            answer = service.client.head(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)

    def test_stands_beside_get_among_the_allowed(self, service: Service) -> None:
        for path, allowed in (
            ("/v1/me", "DELETE, GET, HEAD, PATCH"),
            ("/healthz", "GET, HEAD"),
            ("/demo/mailbox", None),
        ):
            answer = service.client.post(path)
            assert answer.status_code == 405
            assert allowed in (None, answer.headers["allow"])
            assert {"GET", "HEAD"} <= set(answer.headers["allow"].split(", "))

    def test_is_no_operation_of_its_own(self) -> None:
        """Generated clients would have every call twice."""
        assert not any("head" in calls for calls in openapi()["paths"].values())
