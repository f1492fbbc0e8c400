"""One person in a browser of their own at `/demo`, with all noted that a page should not do behind their back."""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect

SCREENSHOTS = Path(__file__).parent.parent.parent / "build" / "screenshots"
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 800}
ON_BOTH = pytest.mark.parametrize(
    "viewport", [PHONE, pytest.param(DESKTOP, marks=pytest.mark.long)], ids=["phone", "desktop"]
)
PASSWORD = "quiet lantern orbit 58"
DENIED = {"List yours": "200 OK", "Open theirs": "403 AccessDenied", "List theirs": "403 AccessDenied"}
SECRETS = ("access_token", "refresh_token", "secret_access_key", "session_token")

BY_DAY = {
    "resultTypes": ["violations"],
    "rules": {"target-size": {"enabled": True}, "label-content-name-mismatch": {"enabled": True}},
}
"""All that axe looks at unasked, and two rules more: WCAG 2.2 has them at levels AA and A."""
BY_NIGHT = {"resultTypes": ["violations"], "runOnly": ["color-contrast", "link-in-text-block"]}
"""Nothing but the colours is different then."""
SEEN = {"exclude": [["#figures tr:nth-child(n + 4)"]]}
"""Without the hundreds of cells that are like those before them: axe would look at them for seconds."""

WATCH_PROGRESS = """() => {
  const seen = (globalThis.seenProgress = {});
  const look = () => {
    for (const row of document.querySelectorAll("[data-testid=upload]")) {
      const name = row.querySelector("[data-part=name]").textContent;
      const value = row.querySelector("progress").value;
      const values = (seen[name] ??= []);
      if (values.at(-1) !== value) values.push(value);
    }
  };
  new MutationObserver(look).observe(document.getElementById("uploads"),
    { subtree: true, childList: true, attributes: true, characterData: true });
}"""


class Visit:
    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        viewport: Mapping[str, int],
        timezone_id: str | None = None,
        service_workers: Literal["allow", "block"] = "block",
    ) -> None:
        self.url = url
        self.context = browser.new_context(
            viewport={"width": viewport["width"], "height": viewport["height"]},
            color_scheme="light",
            timezone_id=timezone_id,
            reduced_motion="reduce",  # a software-drawn fade costs more than the test around it
            has_touch=viewport is PHONE,
            is_mobile=viewport is PHONE,
            service_workers=service_workers,  # one test looks at it; in the others it would fetch each file twice
        )
        self.context.set_default_timeout(20_000)
        self.page: Page = self.context.new_page()
        self.email = f"{uuid.uuid4()}@example.com"
        self.requests: list[Request] = []
        self.answers: list[Response] = []
        self.complaints: list[str] = []
        self.excused: set[str] = set()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._on_request)
        self.page.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        # The browser itself notes each refused request as an error; a test names those that it provokes.
        is_excused = "Failed to load resource" in message.text and any(
            part in message.location["url"] for part in self.excused
        )
        is_blocked = message.text.startswith("Service Worker registration blocked by Playwright")
        if message.type in {"error", "warning"} and not is_excused and not is_blocked:
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def _on_request(self, request: Request) -> None:
        self.requests.append(request)

    def _on_response(self, response: Response) -> None:
        self.answers.append(response)

    def answered(self, path: str) -> list[dict[str, Any]]:
        """What the service answered since the page was loaded."""
        return [answer.json() for answer in self.answers if answer.url == self.url + path and answer.status == 200]

    @property
    def credential(self) -> dict[str, Any]:
        return self.answered("/v1/credentials")[-1]

    def secrets(self) -> set[str]:
        issued = [login["tokens"] for login in self.answered("/v1/auth/login")] + self.answered("/v1/credentials")
        return {body[name] for body in issued for name in SECRETS if name in body}

    def open(self) -> "Visit":
        self.answers.clear()
        self.page.goto(f"{self.url}/demo")
        return self

    def register(self) -> "Visit":
        self.open()
        self.page.locator("#email").fill(self.email)
        self.page.locator("#password").fill(PASSWORD)
        self.page.locator("#display_name").fill("Ada Lovelace")
        self.page.locator("#submit").click()
        expect(self.page.locator("#album")).to_be_visible()
        return self

    def sign_in(self) -> None:
        self.page.get_by_label("I have an account").check()
        self.page.locator("#email").fill(self.email)
        self.page.locator("#password").fill(PASSWORD)
        self.page.locator("#submit").click()
        expect(self.page.locator("#album")).to_be_visible()

    def upload(self, *files: Path) -> None:
        """Uploads, and waits until each has a thumbnail."""
        expected = self.page.get_by_test_id("photo").count() + len(files)
        self.page.locator("#files").set_input_files(files)
        expect(self.page.get_by_test_id("photo")).to_have_count(expected)
        expect(self.page.locator("[data-testid=photo][data-state=shown]")).to_have_count(expected)

    def view(self, name: str) -> str:
        """Opens a picture and waits until the original is shown. Its key."""
        self.page.get_by_role("button", name=name).click()
        expect(self.page.locator("#viewer[data-state=shown]")).to_be_visible()
        return self.page.get_by_test_id("viewer-key").inner_text()

    def download(self) -> tuple[str, bytes]:
        with self.page.expect_download() as waiting:
            self.page.locator("#download").click()
        return waiting.value.suggested_filename, waiting.value.path().read_bytes()

    def refusals(self) -> dict[str, str]:
        """What the engine answered to each attempt: `{"Open theirs": "403 AccessDenied", …}`."""
        expect(self.page.locator("#verdict")).not_to_be_empty()
        return {
            row.locator("[data-part=words]").inner_text(): row.locator("[data-part=verdict]").inner_text()
            for row in self.page.get_by_test_id("refusal").all()
        }

    def slow_down(self, bytes_per_second: int) -> None:
        session = self.context.new_cdp_session(self.page)
        session.send("Network.enable")
        throttle = {
            "offline": False,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": bytes_per_second,
        }
        session.send("Network.emulateNetworkConditions", throttle)

    def watch_progress(self) -> None:
        self.page.evaluate(WATCH_PROGRESS)

    def seen_progress(self) -> dict[str, list[float]]:
        seen: dict[str, list[float]] = self.page.evaluate("() => globalThis.seenProgress")
        return seen

    def calls(self, method: str, part: str) -> list[Request]:
        return [request for request in self.requests if request.method == method and part in request.url]

    def originals(self, method: str, name: str) -> list[Request]:
        """As `calls`, without those for the small rendition of that name."""
        return [request for request in self.calls(method, name) if "/.renditions/" not in request.url]

    def foreign_hosts(self) -> set[str]:
        """Whom the page called besides the service and the engine."""
        vended = [opened["credentials"] for opened in self.answered("/v1/links/open")]
        vended += self.answered("/v1/credentials")
        known = {origin(self.url), *(body["endpoint_url"] for body in vended)}
        called = (request.url for request in self.requests if request.url.startswith("http"))
        return {urlsplit(url).netloc for url in called if origin(url) not in known}

    def kept(self) -> dict[str, Any]:
        """All that the browser would still have after the page is closed."""
        state = self.context.storage_state(indexed_db=True)
        page_kept = self.page.evaluate(
            """async () => ({
              session: { ...sessionStorage }, local: { ...localStorage }, cookie: document.cookie,
              databases: await indexedDB.databases(), caches: await caches.keys(), history: history.state,
            })"""
        )
        return {"cookies": state["cookies"], "origins": state["origins"], **page_kept}

    def exposed(self) -> str:
        """All text that another script or a curious eye could find: the document, form values, globals, addresses."""
        found = self.page.evaluate(
            """() => ({
              document: document.documentElement.outerHTML,
              values: [...document.querySelectorAll("input, select, textarea")].map((field) => field.value),
              globals: Object.keys(globalThis).map((name) => [name, String(globalThis[name])]),
            })"""
        )
        return json.dumps(found) + "\n".join(request.url for request in self.requests)

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window, or a dialog than itself."""
        wider: int = self.page.evaluate(
            """() => Math.max(...[document.documentElement, ...document.querySelectorAll("dialog[open]")]
              .map((shown) => shown.scrollWidth - shown.clientWidth))"""
        )
        return wider

    def look(self, name: str) -> None:
        """Whatever is seen now fits the window, and axe finds nothing wrong with it, by night and by day.

        Keeps a picture of each.
        """
        is_wide = self.page.evaluate("() => innerWidth") == DESKTOP["width"]
        for scheme, rules in (("dark", BY_NIGHT), ("light", BY_DAY)):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            self.screenshot(f"{name}-{'desktop' if is_wide else 'phone'}-{scheme}")
            found = violations(self.page, rules)
            assert not found, "\n".join([f"{name}, {scheme}:", *found])
        assert self.overflow() <= 0, name

    def look_at_both(self, name: str) -> None:
        """As `look`, in the window of a phone and in this one: one visit instead of two."""
        own = self.page.viewport_size
        assert own is not None
        for width in (PHONE, own):
            self.page.set_viewport_size({"width": width["width"], "height": width["height"]})
            self.look(name)

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"demo-{name}.png", animations="disabled")

    def close(self) -> None:
        self.context.close()


def rendition_of(key: str) -> str:
    folder, _, name = key.rpartition("/")
    return f"{folder}/.renditions/{name}"


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def violations(page: Page, rules: Mapping[str, Any]) -> list[str]:
    """Rule, element and reason of all that axe finds wrong."""
    if not page.evaluate("() => 'axe' in globalThis"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("([seen, rules]) => axe.run(seen, rules)", [SEEN, rules])["violations"]
    return [f"{rule['id']}: {node['html'][:200]}: {node['failureSummary']}" for rule in found for node in rule["nodes"]]
