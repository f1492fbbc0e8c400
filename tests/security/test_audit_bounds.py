"""What one caller can add to the audit, which nobody may delete: a bound for every operation."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from limits import parse

from app.api.examples import EXAMPLES
from app.platform.limits import LIMITS
from tests.security.observed import assert_problem
from tests.security.test_authorization import GUARDED, PUBLIC, ROUTES, MadeUpIds
from tests.support.databases import SqliteDatabases
from tests.support.openapi import openapi
from tests.support.service import Service, running_service
from tests.vending.crowd import sign_in

CALLS = 8
ALLOWED = 3
"""Of every limit, in this file."""
MOST_ROWS = 2 * ALLOWED
"""A guest is created and signed in, which is two rows."""
DOCUMENT: dict[str, Any] = openapi()


def body_of(route: tuple[str, str]) -> Any:
    """What fits the operation's model, made of examples."""
    method, path = route
    content = DOCUMENT["paths"][path][method.lower()].get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return None if schema is None else example(schema)


def example(schema: dict[str, Any]) -> Any:
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    if "properties" in schema:
        properties = schema["properties"]
        wanted = {*schema.get("required", ()), *{"display_name", "reason"} & properties.keys()}
        return {name: example({"title": name} | properties[name]) for name in wanted}
    given = [*schema.get("examples", ()), *schema.get("enum", ()), EXAMPLES.get(schema.get("title", "")), "x"]
    return next(value for value in given if value is not None)


@pytest.fixture(scope="module")
def limited(sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    url = sqlite_databases.create(tmp_path_factory.mktemp("bounds"))
    with running_service(url, rate_limits="on") as running:
        for name in LIMITS:
            running.runtime.platform.limiter._items[name] = parse(f"{ALLOWED}/hour")
        yield running


def rows(service: Service) -> int:
    return int(service.sql("SELECT count(*) FROM audit_events")[0][0])


def added_by(service: Service, route: tuple[str, str], headers: dict[str, str]) -> int:
    before, ids = rows(service), MadeUpIds()
    address = route[1].format_map(ids)
    content = json.dumps(body_of(route))
    for _ in range(CALLS):
        service.client.request(
            route[0], address, content=content, headers=headers | {"Content-Type": "application/json"}
        )
    return rows(service) - before


def forget_limits(service: Service) -> None:
    """Those by address: the routes of a test come from one."""
    for windows in service.runtime.platform.limiter._local._windows.values():
        windows.clear()


class TestRows:
    @pytest.mark.parametrize("route", ROUTES, ids=" ".join)
    def test_of_a_user_are_bounded(self, limited: Service, route: tuple[str, str]) -> None:
        """OP8: whatever is called again and again by one session."""
        forget_limits(limited)
        (device,) = sign_in(limited, 1)
        assert added_by(limited, route, device.headers) <= MOST_ROWS

    @pytest.mark.parametrize("route", GUARDED, ids=" ".join)
    def test_of_staff_are_bounded(self, limited: Service, route: tuple[str, str]) -> None:
        """OP8."""
        forget_limits(limited)
        (device,) = sign_in(limited, 1)
        limited.sql("UPDATE users SET role = 'admin' WHERE email = :email", email=device.email)
        assert added_by(limited, route, device.headers) <= MOST_ROWS
        limited.sql("UPDATE users SET role = 'user'")

    @pytest.mark.parametrize("route", sorted(PUBLIC), ids=" ".join)
    def test_of_a_stranger_are_bounded(self, limited: Service, route: tuple[str, str]) -> None:
        """OP8."""
        forget_limits(limited)
        assert added_by(limited, route, {}) <= MOST_ROWS

    def test_of_a_disabled_user_are_bounded(self, limited: Service) -> None:
        """OP8: calls and refreshes of one session, each recorded once a minute."""
        forget_limits(limited)
        (device,) = sign_in(limited, 1)
        limited.disable(device.email)
        before = rows(limited)
        for _ in range(CALLS):
            assert_problem(device.get("/v1/me"), 403, "account_disabled")
        assert rows(limited) - before == 1
        limited.clock.advance(minutes=1)
        assert_problem(device.get("/v1/me"), 403, "account_disabled")
        assert rows(limited) - before == 2


class TestRefusals:
    def test_are_recorded_once_for_each_session_reason_and_minute(self, service: Service) -> None:
        """OP2, OP8: the first of each kind always."""
        one, other = sign_in(service, 2)
        for _ in range(3):
            for device in (one, other):
                assert_problem(device.get("/v1/admin/users"), 403, "forbidden")
        assert refusals(service) == [("access.refused", "forbidden")] * 2
        service.clock.advance(seconds=59)
        one.get("/v1/admin/audit-events")
        assert len(refusals(service)) == 2
        service.clock.advance(seconds=1)
        one.get("/v1/admin/users")
        assert len(refusals(service)) == 3

    def test_of_a_refresh_are_recorded_once_a_minute(self, service: Service) -> None:
        """OP8: 600 refreshes a minute pass the limit by address."""
        (device,) = sign_in(service, 1)
        service.disable(device.email)
        for _ in range(5):
            assert_problem(service.refresh(device.refresh_token), 403, "account_disabled")
        assert refusals(service) == [("session.refreshed", "disabled")]


def refusals(service: Service) -> list[tuple[str, str]]:
    found = service.sql("SELECT event, detail FROM audit_events WHERE outcome = 'refused' ORDER BY id")
    return [(event, (detail if isinstance(detail, dict) else json.loads(detail))["reason"]) for event, detail in found]


class TestChanges:
    def test_of_one_user_are_limited(self, make_service: Callable[..., Service]) -> None:
        """OP8: 120 a minute, on whichever device; reading goes on, and so do others."""
        service = make_service(rate_limits="on")
        device, other = sign_in(service, 2)
        statuses = [device.patch("/v1/me", {"display_name": "Ada"}).status_code for _ in range(121)]
        assert statuses == [200] * 120 + [429]
        assert device.get("/v1/me").status_code == 200
        assert device.vend().status_code == 200, "credentials have limits of their own"
        assert other.patch("/v1/me", {"display_name": "Bob"}).status_code == 200

    def test_exports_are_limited(self, make_service: Callable[..., Service]) -> None:
        """OP8."""
        service = make_service(rate_limits="on")
        (device,) = sign_in(service, 1)
        assert [device.get("/v1/me/export").status_code for _ in range(6)] == [200] * 5 + [429]
