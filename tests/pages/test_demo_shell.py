"""The sample app on a home screen, under a path of a shared host: what its worker keeps, and what it does not."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.pages.desk import Desk, open_company
from tests.pages.visit import DESKTOP
from tests.support.relay import relay

PATH = "/eu/tokens"
KEPT = """async () => Object.fromEntries(await Promise.all((await caches.keys()).map(async (name) =>
  [name, (await (await caches.open(name)).keys()).map(({ url }) => url)])))"""
SPOIL = """async (script) => {
  const old = await caches.open("shell of /eu/tokens/demo: old");
  await old.put("/eu/tokens/demo", new Response("the page of yesterday"));
  const [name] = (await caches.keys()).filter((name) => !name.endsWith("old"));
  const spoilt = new Response("throw 1", { headers: { "Content-Type": "text/javascript" } });
  await (await caches.open(name)).put(script, spoilt);
}"""


@pytest.mark.long
def test_it_opens_without_a_line_and_keeps_its_own_files_alone(browser: Browser, tmp_path: Path) -> None:
    line = ExitStack()

    @contextmanager
    def behind(port: int) -> Iterator[str]:
        with line:
            yield f"http://localhost:{line.enter_context(relay(port, path=PATH.encode(), strips=True))}{PATH}"

    with open_company(tmp_path, behind=behind) as company:
        person = Desk(browser, company, viewport=DESKTOP, service_workers="allow")
        page = person.page
        page.goto(f"{company.url}/demo")
        scope = page.evaluate("async () => (await navigator.serviceWorker.ready).scope")
        assert scope == f"{company.url}/demo"

        # The next visit is looked after by the worker. Nothing that a person does leaves a trace in what it keeps.
        page.reload()
        person.page.route("**://*.amazonaws.com/**", lambda route: route.abort())
        person.excused.add("amazonaws.com")
        page.locator("#email").fill(person.email)
        page.locator("#password").fill("quiet lantern orbit 58")
        page.locator("#submit").click()
        expect(page.locator("#album")).to_be_visible()
        assert page.evaluate("() => navigator.serviceWorker.controller !== null")
        (files,) = page.evaluate(KEPT).values()
        assert f"{company.url}/demo" in files
        assert f"{company.url}/demo/main.js" in files
        assert f"{company.url}/demo/vendor/aws4fetch/aws4fetch.esm.js" in files
        assert {urlsplit(address).path.rpartition(".")[2] for address in files} == {
            *(f"{PATH}/demo", "css", "js", "json", "png", "svg")
        }
        assert not [address for address in files if "/v1/" in address or "settings.json" in address]
        loaded = {urlsplit(call.url).path for call in person.calls("GET", "/demo") if call.resource_type != "fetch"}
        assert loaded <= {urlsplit(address).path for address in files}  # else it would not open without a line

        # A newer version takes over at once: while there is a line nothing comes from what is kept.
        page.evaluate(SPOIL, f"{PATH}/demo/main.js")
        page.reload()
        expect(page.locator("#submit")).to_be_visible()
        page.wait_for_function("async () => (await caches.keys()).length === 1")
        assert person.complaints == []
        page.evaluate("async () => { for (const name of await caches.keys()) await caches.delete(name); }")
        page.reload()
        page.wait_for_function(f"async () => Boolean(await caches.match('{PATH}/demo/main.js'))")

        line.close()
        person.excused.add("/demo/")
        page.reload()
        expect(page.locator("#submit")).to_be_visible()
        page.get_by_label("I have an account").check()
        page.locator("#email").fill(person.email)
        page.locator("#password").fill("quiet lantern orbit 58")
        person.excused.add("/v1/")
        page.locator("#submit").click()
        expect(page.locator("#form-error")).to_have_text("The service cannot be reached. Are you online?")
        person.close()
        assert person.complaints == []
