"""The console's dashboard, access keys and audit in a real browser, and what its pages may load.

Ids: `windows`, `tiles`, `charts`, `figures`, `behind`, `stats-error`; `key`, `key-error`, `message`, `decoded`;
`actor`, `subject`, `event`, `outcome`, `after`, `before`, `export`. Test ids: `key-facts`, `revoke-key`. `data-chart`.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from httpx2 import Client
from playwright.sync_api import Page, Route, expect

from app.records import audit
from tests.pages.desk import Account, Company, Desk, open_company
from tests.pages.test_console import WHY
from tests.pages.visit import PASSWORD

pytestmark = pytest.mark.sampled(6)

OpenDesk = Callable[..., Desk]
TRAIL = "a trail of the tests"
CSP = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self'; connect-src 'self'"
)
PAINTED = """(canvas) => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const color = getComputedStyle(document.documentElement).getPropertyValue("--series-1").trim();
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  let found = 0;
  for (let at = 0; at < pixels.length; at += 4) {
    if (pixels[at] === red && pixels[at + 1] === green && pixels[at + 2] === blue) found += 1;
  }
  return found;
}"""


@pytest.fixture(scope="module")
def admin(company: Company) -> Account:
    return company.person("admin", name="Grace Hopper")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with open_company(tmp_path_factory.mktemp("fresh")) as opened:
        yield opened


def tile(page: Page, name: str) -> str:
    return page.locator("#tiles div").filter(has_text=name).first.locator("dd").inner_text()


class TestDashboard:
    def test_shows_what_the_service_counted(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        company.add_history()
        person = desk().enter(admin)
        page = person.page
        expect(page.locator("#tiles dd").first).not_to_have_text("–")
        stats = person.answered("/v1/admin/stats?window=24h")[-1]
        totals = {
            name: sum(bucket[name] or 0 for bucket in stats["buckets"])
            for name in stats["buckets"][0]
            if name != "start"
        }
        assert totals["sign_ins"] > 2000
        assert tile(page, "Sign-ins") == f"{totals['sign_ins']:,}"
        assert tile(page, "Registrations") == f"{totals['sign_ups']:,}"
        assert tile(page, "Refused sign-ins").split()[0] == f"{totals['failures']:,}"
        legend = page.locator("[data-chart=sign-ins] .legend")
        expect(legend).to_contain_text(f"Wrong code{totals['mfa_failures']:,}")
        for chart in ("sign-ins", "sign-ups"):
            assert page.locator(f"[data-chart={chart}] canvas").evaluate(PAINTED) > 100
        # A chart has counts or gauges, never both. What is pointed at is said with its time, and nothing moves by it.
        gauges = {"users", "live", "latency"}
        assert {chart.get_attribute("data-chart") for chart in page.locator("[data-gauge=true]").all()} == gauges
        heights = page.locator(".chart figcaption").evaluate_all("(all) => all.map((one) => one.offsetHeight)")
        assert len(set(heights)) == 1
        when = page.locator("[data-chart=sign-ins] .when")
        expect(when).to_have_text("All of this time")
        plot = page.locator("[data-chart=sign-ins] .u-over")
        plot.hover(position={"x": 200, "y": 50})
        expect(legend).not_to_contain_text(f"{totals['sign_ins']:,}")
        expect(when).to_have_text(re.compile(r"^\w+ \d+, .+ to .+M$"))
        # The bucket that is not over is drawn dashed, and says so.
        plot.hover(position={"x": plot.evaluate("(plot) => plot.clientWidth - 1"), "y": 50})
        expect(when).to_have_text(re.compile(", so far$"))
        assert page.locator(".chart figcaption").evaluate_all("(all) => all.map((one) => one.offsetHeight)") == heights
        page.get_by_text("All figures as a table").click()
        expect(page.locator("#figures tbody tr")).to_have_count(96)

    @pytest.mark.parametrize(
        ("label", "window", "buckets"), [("1 h", "1h", 12), ("7 days", "7d", 84), ("30 days", "30d", 120)]
    )
    def test_shows_the_time_that_is_chosen(
        self, desk: OpenDesk, admin: Account, label: str, window: str, buckets: int
    ) -> None:
        person = desk().enter(admin)
        with person.page.expect_response(f"**/v1/admin/stats?window={window}") as answer:
            person.page.get_by_label(label, exact=True).check()
        assert len(answer.value.json()["buckets"]) == buckets
        expect(person.page.locator(".chart canvas")).to_have_count(8)

    def test_renews_itself_while_it_is_seen(self, desk: OpenDesk, admin: Account) -> None:
        person = desk()
        page = person.page
        page.clock.install()
        person.enter(admin)
        expect(page.locator(".chart canvas")).to_have_count(8)
        asked = len(person.calls("GET", "/v1/admin/stats"))
        with page.expect_response("**/v1/admin/stats*"):
            page.clock.run_for(31_000)
        hide = "(hidden) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        hide += " document.dispatchEvent(new Event('visibilitychange')); }"
        expect(page.locator("#tiles")).to_have_attribute("aria-busy", "false")
        page.evaluate(hide, True)
        page.clock.run_for(300_000)
        assert len(person.calls("GET", "/v1/admin/stats")) == asked + 1
        with page.expect_response("**/v1/admin/stats*"):
            page.evaluate(hide, False)
        person.go("Users")
        expect(page.locator("#user-list tbody tr").first).to_be_visible()
        asked = len(person.calls("GET", "/v1/admin/stats"))
        page.clock.run_for(300_000)
        assert len(person.calls("GET", "/v1/admin/stats")) == asked

    def test_says_when_nothing_happened_and_when_it_cannot_tell(self, desk: OpenDesk, fresh: Company) -> None:
        person = desk(fresh).enter(fresh.person("admin"))
        page = person.page
        expect(page.locator("[data-chart=vends] .nothing")).to_have_text("Nothing in this time.")
        person.look("dashboard-empty")
        person.excused.add("/v1/admin/stats")
        problem = {"status": 503, "code": "database_unavailable", "detail": "The database does not answer."}
        page.route(
            "**/v1/admin/stats*",
            lambda route: route.fulfill(status=503, headers={"Retry-After": "3"}, body=json.dumps(problem)),
        )
        page.get_by_label("1 h", exact=True).check()
        expect(page.locator("#stats-error")).to_contain_text(
            "could not be renewed. The service cannot reach its database. Try again in 3 s"
        )
        page.unroute("**/v1/admin/stats*")
        page.locator("#stats-error").get_by_role("button", name="Try again").click()
        expect(page.locator("#stats-error")).to_be_hidden()

    def test_says_when_the_tally_is_behind(self, desk: OpenDesk, admin: Account) -> None:
        person = desk()

        def behind(route: Route) -> None:
            stats = route.fetch().json()
            route.fulfill(json=stats | {"counted_until": "2026-01-01T00:00:00Z"})

        person.page.route("**/v1/admin/stats*", behind)
        person.enter(admin)
        expect(person.page.locator("#behind")).to_contain_text("the service is catching up")


class TestAccessKeys:
    def test_are_looked_up_and_revoked(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        user = company.person(name="Ada Lovelace")
        live, expired, _revoked = company.add_credentials(user.id, 3)
        person = desk().enter(admin, "#/keys")
        page = person.page
        page.get_by_label("Access key id").fill(f"  {live} ")
        page.get_by_role("button", name="Look up").click()
        known = page.get_by_test_id("key-facts")
        for said in ("live", "Ada Lovelace", user.email, "read_write", f"users/{user.id}/", "123456789012"):
            expect(known).to_contain_text(said)
        page.get_by_test_id("revoke-key").click()
        person.answer("Revoke", reason=WHY)
        expect(known.locator(".badge").first).to_have_text("revoked")
        ((outcome, detail),) = company.audit_rows("credential.revoked", user.id)
        assert (outcome, json.loads(detail)["reason"]) == ("done", WHY)
        expect(page.get_by_test_id("revoke-key")).to_have_count(0)
        expires, refused = (
            known.locator("div", has=page.get_by_text(name, exact=True)).locator("dd").inner_text()
            for name in ("Expires", "S3 refuses it by")
        )
        assert refused == expires  # the engine of development is told of no revocation
        page.get_by_label("Access key id").fill(expired)
        page.keyboard.press("Enter")
        expect(known.locator(".badge").first).to_have_text("expired")
        page.get_by_role("link", name="Ada Lovelace").click()
        expect(page.locator("#user-heading")).to_have_text("Ada Lovelace")
        page.go_back()
        expect(page.get_by_label("Access key id")).to_have_value(expired)

    def test_that_are_strange_or_none_are_told_apart(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        person = desk().enter(admin, "#/keys/ASIASTRANGE000000001")
        page = person.page
        person.excused.add("/v1/admin/access-keys/")
        expect(page.get_by_test_id("key-facts")).to_contain_text("not vended here")
        page.get_by_label("Access key id").fill("hello")
        page.get_by_role("button", name="Look up").click()
        expect(page.locator("#key-error")).to_contain_text("This is no access key id")
        company.sts.fail("ValidationError")
        page.get_by_label("Access key id").fill("ASIASTRANGE000000002")
        page.get_by_role("button", name="Look up").click()
        expect(page.locator("#key-error")).to_have_text("Neither this service nor STS knows this key.")

    def test_refusals_of_aws_are_decoded(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        person = desk().enter(admin, "#/keys")
        page = person.page
        person.excused.add("/decode")
        page.get_by_role("button", name="Decode").click()
        expect(page.locator("#decode-error")).to_contain_text("Paste what stands after")
        page.get_by_label("Encoded authorization message").fill("qk0Zx\n_-/+= ")
        page.get_by_role("button", name="Decode").click()
        expect(page.locator("#decoded pre")).to_have_text('{\n  "allowed": false\n}')
        assert company.sts.forms[-1]["EncodedMessage"] == "qk0Zx_-/+="
        company.sts.fail("InvalidAuthorizationMessageException")
        page.get_by_role("button", name="Decode").click()
        expect(page.locator("#decode-error")).to_contain_text("STS cannot decode this")


class TestAudit:
    @pytest.fixture(scope="class")
    @staticmethod
    def trail(company: Company) -> Account:
        """Seventy events about one user, each a minute from the next, of the first of February."""
        user = company.person()
        start = datetime(2026, 2, 1, 12, tzinfo=UTC)

        def story(session: Any) -> None:
            for number in range(70):
                audit.record(
                    session,
                    audit.COMMAND_LINE,
                    "password.changed" if number % 7 else "password.reset",
                    start + timedelta(minutes=number),
                    outcome="refused" if number % 10 == 0 else "done",
                    subject_id=uuid.UUID(user.id),
                    note=TRAIL,
                )

        company.runtime.platform.database.run("write", story)
        return user

    def rows(self, person: Desk, number: int) -> None:
        expect(person.page.locator("#audit-list tbody tr")).to_have_count(number)

    def test_is_filtered_and_paged(self, desk: OpenDesk, admin: Account, trail: Account) -> None:
        person = desk(timezone_id="America/New_York").enter(admin, f"#/audit?subject={trail.id}")
        page = person.page
        self.rows(person, 50)
        options = page.locator("#event option").all_inner_texts()[1:]
        assert [re.fullmatch(r"(.+) \((.+)\)", option)[2] for option in options] == list(get_args(audit.Event))  # type: ignore[index]
        page.locator("#audit-list .more").click()
        self.rows(person, 71)  # the registration too
        page.get_by_label("Event", exact=True).select_option("password.reset")
        page.get_by_role("button", name="Show", exact=True).click()
        self.rows(person, 10)
        page.get_by_label("Outcome").select_option("refused")
        page.get_by_role("button", name="Show", exact=True).click()
        self.rows(person, 1)
        page.go_back()
        self.rows(person, 10)
        expect(page.get_by_label("Outcome")).to_have_value("")
        # Noon in UTC is seven o'clock in New York.
        page.get_by_label("From", exact=True).fill("2026-02-01T07:00")
        page.get_by_label("Before", exact=True).fill("2026-02-01T07:15")
        page.get_by_role("button", name="Show", exact=True).click()
        self.rows(person, 3)
        assert "after=2026-02-01T12%3A00%3A00Z" in page.url
        page.get_by_role("button", name="Clear").click()
        self.rows(person, 50)
        person.excused.add("/v1/admin/audit-events")
        page.get_by_label("Who did it").fill("grace@nowhere.example")
        page.keyboard.press("Enter")
        expect(page.locator("#audit-list .empty")).to_contain_text("No account has this e-mail address now.")

    def test_is_followed_by_person_and_by_request(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        """By address; names stand beside ids, and details are words. Who is erased has no name any more."""
        target, gone = company.person(name="Ada Lovelace"), company.person(name="Gone Person")
        with Client(base_url=company.url) as client:
            body = {"email": admin.email, "password": PASSWORD}
            token = client.post("/v1/auth/login", json=body).json()["tokens"]["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            acts = {"act": "disable", "user_ids": [target.id, gone.id], "reason": WHY}
            assert client.post("/v1/admin/user-acts", json=acts).json()["done"] == 2
            assert client.post(f"/v1/admin/users/{gone.id}/erasure", json={"reason": WHY}).status_code == 202
        person = desk().enter(admin, "#/audit")
        page = person.page
        page.get_by_label("Person").fill(target.email)
        page.keyboard.press("Enter")
        row = page.locator("#audit-list tbody tr").filter(has_text="user.disabled")
        expect(row).to_have_count(1)
        for said in ("Disabled", "Grace Hopper", "Ada Lovelace", target.email, f"reason {WHY}"):
            expect(row).to_contain_text(said)
        row.get_by_title("All events of request").click()
        # The disabling of both, and the ends of their sessions.
        expect(page.locator("#audit-list tbody tr").filter(has_text="user.disabled")).to_have_count(2)
        expect(page.locator("#audit-list")).not_to_contain_text("Gone Person")
        expect(page.locator("#audit-list")).not_to_contain_text(gone.email)
        expect(page.get_by_label("Person")).to_have_value("")
        assert "request_id=" in page.url
        page.locator("#audit-list").get_by_role("link", name="Ada Lovelace").first.click()
        expect(page.locator("#user-heading")).to_have_text("Ada Lovelace")

    def test_breaks_long_addresses_between_words(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        email = f"maximiliane.mustermann.{uuid.uuid4().hex[:4]}@university.example.org"
        user = company.person(name="Maximiliane", email=email)
        page = desk().enter(admin, f"#/audit?person={user.id}").page
        address = page.locator("#audit-list").get_by_text(email).first
        expect(address).to_be_visible()
        lines = address.evaluate(
            """(element) => [...element.childNodes].filter((node) => node.data).map((node) => {
              const words = document.createRange();
              words.selectNodeContents(node);
              return [node.data, [...new Set([...words.getClientRects()].map(({ top }) => top))].length];
            })"""
        )
        assert "".join(piece for piece, _ in lines) == email
        assert {count for _, count in lines} == {1}
        assert address.evaluate("(element) => element.offsetHeight") > 30  # it is too long for one line

    def test_is_taken_along_as_a_file(self, desk: OpenDesk, company: Company, admin: Account, trail: Account) -> None:
        person = desk().enter(admin, f"#/audit?subject={trail.id}&event=password.changed")
        page = person.page
        self.rows(person, 50)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download as NDJSON").click()
        assert re.fullmatch(r"audit-\d{4}-\d\d-\d\d\.ndjson", waiting.value.suggested_filename)
        lines = [json.loads(line) for line in waiting.value.path().read_text().splitlines()]
        assert len(lines) == 60
        assert {line["event"] for line in lines} == {"password.changed"}
        assert all(person.access_token not in request.url for request in person.requests)
        assert len(company.audit_rows("audit.exported", trail.id)) == 1
        expect(page.locator("#status")).to_have_text("The file is complete.")

    def test_that_cannot_be_taken_along_says_why(self, desk: OpenDesk, admin: Account) -> None:
        person = desk().enter(admin, "#/audit")
        page = person.page
        person.excused.add("/export")
        problem = {"status": 503, "code": "database_unavailable", "detail": "The database does not answer."}
        page.route(
            "**/export*",
            lambda route: route.fulfill(status=503, headers={"Retry-After": "3"}, body=json.dumps(problem)),
        )
        page.get_by_role("button", name="Download as NDJSON").click()
        expect(page.locator("#audit-error")).to_have_text(
            "The service cannot reach its database. Try again in 3 seconds."
        )
        expect(page.get_by_role("button", name="Download as NDJSON")).to_be_enabled()


class TestPage:
    def test_may_load_and_reach_the_service_alone(self, desk: OpenDesk, admin: Account) -> None:
        """HT7: and neither inline script nor style; uPlot's own styles are set by script, which is no violation."""
        person = desk()
        page = person.page
        page.add_init_script(
            "globalThis.violations = [];"
            "addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));"
        )
        person.enter(admin)
        for section in ("Users", "Access keys", "Audit", "Imports", "Dashboard"):
            person.go(section)
        expect(page.locator(".chart canvas")).to_have_count(8)
        assert page.evaluate("() => violations") == []
        files = [
            answer
            for answer in person.answers
            if not re.search("/v1/|events.json|links.json|/console/session", answer.url)
        ]
        assert len(files) > 15
        assert {answer.headers.get("content-security-policy") for answer in files if answer.status == 200} == {CSP}
        assert (
            page.evaluate("() => document.querySelectorAll('[style]:not(.uplot *), script:not([src]), style').length")
            == 0
        )
