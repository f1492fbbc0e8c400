"""Every page under a path of a shared host, behind a proxy that cuts the path off and behind one that leaves it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect

from tests.pages.desk import Company, Desk, open_company
from tests.pages.test_account import call, link
from tests.pages.visit import ON_BOTH, PASSWORD, PHONE, Visit
from tests.support.relay import relay

pytestmark = pytest.mark.sampled(4)

PATH = "/eu/tokens"


@pytest.fixture(scope="module", params=[True, False], ids=["stripped", "whole"])
def shared_host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A service that the browser reaches only under a path, and whose users verify their addresses."""

    @contextmanager
    def behind(port: int) -> Iterator[str]:
        with relay(port, path=PATH.encode(), strips=request.param) as proxy:
            yield f"http://localhost:{proxy}{PATH}"

    with open_company(tmp_path_factory.mktemp("shared-host"), behind=behind) as opened:
        yield opened


@ON_BOTH
class TestPages:
    def test_of_a_mailed_link_confirms(
        self, desk: Callable[..., Desk], shared_host: Company, viewport: dict[str, int]
    ) -> None:
        person = desk(shared_host, viewport=viewport)
        call(person, "/v1/users", {"email": person.email, "password": PASSWORD})
        call(person, "/v1/email-verifications", {"email": person.email})
        person.page.goto(link(person, "verify-email"))
        expect(person.page.locator("#submit")).to_be_visible()
        assert person.page.url == f"{shared_host.url}/account/verify-email"
        person.look("prefix-verify-email")
        person.page.locator("#submit").click()
        expect(person.page.locator("[data-state=done] h1")).to_be_focused()

    def test_of_the_console_work(
        self, desk: Callable[..., Desk], shared_host: Company, viewport: dict[str, int]
    ) -> None:
        admin = desk(shared_host, viewport=viewport)
        admin.enter(shared_host.person("admin"), "/")
        assert admin.page.url == f"{shared_host.url}/console"
        expect(admin.page.locator("#charts canvas").first).to_be_visible()
        admin.look("prefix-console")
        admin.go("Audit")
        expect(admin.page.locator("#event option")).not_to_have_count(1)
        expect(admin.page.locator("#audit-list tbody tr").first).to_be_visible()
        (cookie,) = admin.kept()["cookies"]
        assert cookie["path"] == f"{PATH}/console/session"
        admin.page.reload()
        expect(admin.page.locator("#audit-list tbody tr").first).to_be_visible()

    def test_of_the_sample_app_get_a_credential(
        self, browser: Browser, shared_host: Company, viewport: dict[str, int]
    ) -> None:
        person = Visit(browser, shared_host.url, viewport=viewport)
        person.excused.add("amazonaws.com")  # no engine is behind this service
        person.page.route("https://*.amazonaws.com/**", lambda route: route.abort())
        person.register()
        assert person.credential["prefix"].startswith("users/")
        person.look("prefix-demo")
        person.page.get_by_role("link", name="Lightbox").click()
        expect(person.page.locator("#submit")).to_be_visible()
        assert person.page.url == f"{shared_host.url}/demo"
        person.close()
        assert person.complaints == []

    def test_of_the_api_call_it(
        self, desk: Callable[..., Desk], shared_host: Company, viewport: dict[str, int]
    ) -> None:
        reader = desk(shared_host, viewport=viewport)
        reader.page.goto(f"{shared_host.url}/docs")
        operation = reader.page.locator("#check_health")
        operation.locator("summary").click()
        operation.get_by_role("button", name="Send: Check health").click()
        expect(operation.locator(".status")).to_contain_text("200")
        reader.look(f"prefix-docs-{'phone' if viewport is PHONE else 'desktop'}")
        assert reader.calls("GET", "/healthz")[-1].url == f"{shared_host.url}/healthz"
