"""The start page of development, what it leads to, and that both are development's alone."""

import html
import posixpath
import re
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import expect
from starlette.testclient import TestClient

from app.main import create_app
from app.pages import guides
from app.pages.starting import Row, Start
from tests.pages.visit import BY_DAY, DESKTOP, ON_BOTH, PHONE, Visit, violations
from tests.security.observed import assert_problem
from tests.support.documents import ROOT, blocks
from tests.support.service import Service

START = Start(
    url="http://localhost:8000",
    engine_url="http://127.0.0.1:8333",
    bucket="photos",
    keeps_mails=True,
    administrator="make admin EMAIL=you@example.org",
    devices=(
        Row("USB, emulator", "adb reverse tcp:8000 tcp:8000"),
        Row("", "adb reverse tcp:8333 tcp:8333"),
        Row("phone by Wi-Fi", "make run HOST=0.0.0.0, then http://192.168.1.5:8000 in your app"),
    ),
)
GUIDES = sorted(name for name in guides.files() if name.endswith(".md"))
HERE = ("127.0.0.1", 50_000)
HREF = re.compile(r'<a href="([^"]+)"')


class TestStartPage:
    def test_has_every_line_of_the_banner(self, service: Service) -> None:
        (shown,) = [block.code for block in blocks(ROOT / "docs" / "try.md") if block.language == "text"]
        assert shown.strip() == START.banner()
        page = TestClient(create_app(service.settings, service.runtime, start=START), client=HERE).get("/").text
        assert len(START.banner().splitlines()) == 10
        assert START.banner().startswith("ready http://localhost:8000\n")
        for row in START.rows():
            said = html.escape(row.text) if row.path is None else f'<a href="{row.path}">/{row.path}</a>'
            assert f"<dd>{said}</dd>" in page or f"<dd><code>{said}</code></dd>" in page
        assert "It runs on this machine" in page

    def test_leads_another_machine_to_what_it_may_reach(self, make_service: Callable[..., Service]) -> None:
        service = make_service(development_remote="on", allowed_hosts=("192.168.1.5",))
        app = create_app(service.settings, service.runtime, start=START)
        phone = TestClient(app, "http://192.168.1.5:8000", client=("192.168.1.7", 50_000))
        page = phone.get("/").text
        links = [href for href in HREF.findall(page) if not href.startswith("guides/")]
        assert links == ["demo", "docs"]
        assert [phone.get(f"/{href}").status_code for href in links] == [200, 200]
        assert page.count("on the machine of the service alone") == 3
        for unfit in ("on this machine", "localhost:8000", "adb reverse tcp", "make "):
            assert unfit not in page

    def test_leads_to_the_console_where_it_answers_others(self, make_service: Callable[..., Service]) -> None:
        service = make_service(development_remote="on")
        page = TestClient(create_app(service.settings, service.runtime), client=("192.168.1.7", 50_000)).get("/").text
        assert HREF.findall(page)[:3] == ["demo", "docs", "console"]

    def test_tells_of_settings_where_nothing_else_is_known(self, service: Service) -> None:
        page = service.client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert '<a href="demo">/demo</a>' in page.text
        assert "adb reverse tcp" not in page.text

    def test_says_where_mails_go_that_are_sent(self) -> None:
        said = Start("http://localhost:8000", "AWS", "photos", keeps_mails=False, administrator="x").banner()
        assert "none: mails go to the server of TOKENVEND_SMTP_URL" in said

    def test_is_of_development(self, make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        production = make_service(
            environment="production",
            rate_limits="on",
            public_url="https://testserver",
            smtp_url="smtp://127.0.0.1:9",
            mail_from="photos@example.org",
        )
        for path in ("/", "/start/start.js", "/guides/docs/index.md"):
            assert production.client.get(path).status_code == 404


class TestAdministration:
    def test_of_the_local_stack_is_for_its_own_machine(self, make_service: Callable[..., Service]) -> None:
        """OP7: whoever listens on all addresses lets phones in, and no administrator from elsewhere."""
        service = make_service(development_remote="on")
        admin = service.staff()
        app = create_app(service.settings, service.runtime, start=START)
        here, elsewhere = (TestClient(app, client=(host, 50_000)) for host in ("127.0.0.1", "192.0.2.7"))
        for path in ("/console", "/console/main.js", "/v1/admin/users", "/v1/admin/nowhere"):
            assert_problem(elsewhere.get(path, headers=admin.headers), 403, "local_only")
            assert_problem(here.get(path, headers={"X-Forwarded-For": "127.0.0.1"}), 403, "local_only")
            assert here.get(path).status_code in (200, 401, 404)
        for path in ("/", "/demo", "/healthz", "/consoles"):
            assert elsewhere.get(path).status_code in (200, 404)


class TestGuides:
    @pytest.mark.parametrize("name", GUIDES)
    def test_lead_to_what_is_served(self, name: str) -> None:
        for href in map(html.unescape, HREF.findall(guides.page(name))):
            parts = urlsplit(href)
            if parts.scheme or not parts.path:
                continue
            target = posixpath.normpath(posixpath.join("guides", posixpath.dirname(name), unquote(parts.path)))
            assert target in {".", "docs"} or target.removeprefix("guides/") in guides.files(), href
            text = guides.page(target.removeprefix("guides/")) if parts.fragment else ""
            assert not parts.fragment or f'id="{parts.fragment}"' in text, href

    def test_are_pages_of_the_service(self, service: Service) -> None:
        page = service.client.get("/guides/docs/try.md")
        assert "<table" in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert service.client.get("/guides/docs/overview.svg").headers["content-type"] == "image/svg+xml"

    @pytest.mark.parametrize(
        "name", ["app/main.py", "docs/../app/main.py", "docs/%2e%2e/app/main.py", ".env", "var/secret_key", "", "docs"]
    )
    def test_are_nothing_else(self, service: Service, name: str) -> None:
        """HT12."""
        assert service.client.get(f"/guides/{name}").status_code == 404

    def test_are_missing_without_a_clone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        guides.files.cache_clear()
        monkeypatch.setattr(guides, "ROOT", guides.HERE)
        try:
            assert guides.files() == {}
            assert guides.links() == ""
        finally:
            guides.files.cache_clear()


@pytest.mark.xdist_group("pages")
def test_says_where_the_sample_app_cannot_work(visit: Callable[..., Visit]) -> None:
    """Browsers have Web Crypto at an address of the network by https:// alone."""
    person = visit(viewport=PHONE)
    note = person.page.get_by_text("does not work at this address")
    person.page.goto(person.url)
    expect(person.page.get_by_role("link", name="/demo")).to_be_visible()
    expect(note).to_be_hidden()
    begin = person.page.get_by_text("Begin with the sample app")
    expect(begin).to_be_visible()
    person.page.route(
        "http://192.168.1.5/**",
        lambda route: route.fulfill(response=route.fetch(url=person.url + urlsplit(route.request.url).path)),
    )
    person.page.goto("http://192.168.1.5/")
    expect(note).to_be_visible()
    expect(begin).to_be_hidden()
    person.look("start-elsewhere")
    person.requests.clear()  # the stand-in for the network is no stranger


@pytest.mark.sampled(4)
@pytest.mark.xdist_group("pages")
@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_is_for_everybody(visit: Callable[..., Visit], name: str) -> None:
    """On a phone much of it is wider than the page, and the keyboard has to scroll it."""
    person = visit(viewport=PHONE)
    person.page.goto(f"{person.url}/guides/{name}")
    assert violations(person.page, BY_DAY) == []


@pytest.mark.xdist_group("pages")
@ON_BOTH
def test_fits_the_screen_and_shows_mails(visit: Callable[..., Visit], viewport: dict[str, int]) -> None:
    person = visit(viewport=viewport)
    person.page.goto(person.url)
    expect(person.page.get_by_role("link", name="All guides")).to_be_visible()
    token = person.page.evaluate(
        """async (email) => {
          const call = (path, body) => fetch(path, { method: "POST", body: JSON.stringify(body),
            headers: { "Content-Type": "application/json" } });
          await call("/v1/users", { email, password: "quiet lantern orbit 58" });
          return (await call("/v1/password-resets", { email })).status;
        }""",
        person.email,
    )
    assert token == 202
    mail = person.page.locator("#mails li", has_text=person.email).first
    expect(mail.get_by_role("heading")).to_be_visible()
    expect(mail.get_by_role("link")).to_have_attribute("href", re.compile(r"/account/reset-password#token="))
    person.look("start")
    if viewport is DESKTOP:
        person.page.get_by_role("link", name="Trying it").click()
        expect(person.page.get_by_role("heading", name="Trying it")).to_be_visible()
        person.look("guide")
