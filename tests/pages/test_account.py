"""The pages that links in mails lead to, in a real browser, with the mails that `tokenvend dev` printed.

The pages keep these handles for tests. Ids: `form`, `submit`, `asked`, `password`, `reveal`, `password-error`,
`form-error`, `failed-reason`. States: `data-state` ready, done or failed, one of them shown.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import expect

from tests.pages.desk import Company, Desk, open_company
from tests.pages.visit import ON_BOTH, PASSWORD, PHONE, Visit
from tests.support.service import Service

pytestmark = pytest.mark.sampled(6)

OpenVisit = Callable[..., Visit]
NEW_PASSWORD = "copper walnut lighthouse"
PAGES = ("verify-email", "reset-password", "change-email")


def call(person: Visit, path: str, body: Any = None, token: str = "", method: str | None = None) -> Any:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(person.url + path, data, headers, method=method), timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def register(person: Visit) -> None:
    person.email = f"{uuid.uuid4()}@example.com"
    call(person, "/v1/users", {"email": person.email, "password": PASSWORD})


def sign_in(person: Visit, password: str = PASSWORD) -> str:
    tokens = call(person, "/v1/auth/login", {"email": person.email, "password": password})["tokens"]
    return str(tokens["access_token"])


def link(person: Visit, page: str, recipient: str = "") -> str:
    """The link of the newest mail to the person: the mail is sent by the service's own job, which a commit wakes."""
    recipient = recipient or person.email
    person.page.goto(f"{person.url}/account/verify-email")
    found = person.page.evaluate(
        """async ([recipient, page]) => {
          for (let tries = 0; tries < 200; tries++) {
            const mails = await (await fetch("../demo/mailbox")).json();
            const mail = mails.find(({ to, text }) => to === recipient && text.includes(page + "#token="));
            if (mail) return mail.text;
            await new Promise((resolve) => setTimeout(resolve, 25));
          }
        }""",
        [recipient, page],
    )
    (address,) = re.findall(rf"http://\S+/account/{page}#token=\S+", found or "")
    return str(address)


def asked_for(person: Visit, page: str) -> str:
    """A fresh link to the page."""
    register(person)
    if page == "verify-email":
        call(person, "/v1/email-verifications", {"email": person.email})
        return link(person, page)
    if page == "reset-password":
        call(person, "/v1/password-resets", {"email": person.email})
        return link(person, page)
    new = f"new-{person.email}"
    call(person, "/v1/me/email", {"new_email": new, "password": PASSWORD}, sign_in(person))
    person.email, old = new, person.email
    assert old != new
    return link(person, page)


class TestLinks:
    @pytest.mark.parametrize("page", PAGES)
    def test_are_confirmed_by_a_press_and_not_by_opening(self, visit: OpenVisit, page: str) -> None:
        """The token leaves the address bar at once, and goes to this service alone, in a body."""
        person = visit(viewport=PHONE)
        person.excused.add("/v1/me/email/confirm")
        address = asked_for(person, page)
        token = address.partition("#token=")[2]
        person.requests.clear()
        person.page.goto(address)
        expect(person.page.locator("#submit")).to_be_visible()
        assert person.page.url == f"{person.url}/account/{page}"
        assert person.calls("POST", "/v1/") == []
        person.look(f"account-{page}-ready")
        if page == "reset-password":
            person.page.locator("#password").fill(NEW_PASSWORD)
        person.page.locator("#submit").click()
        if page == "change-email":
            person.page.locator("#password").fill(PASSWORD)
            person.page.locator("#submit").click()
        expect(person.page.locator("[data-state=done]")).to_be_visible()
        person.look(f"account-{page}-done")
        *_, posted = person.calls("POST", "/v1/")
        assert json.loads(posted.post_data or "")["token"] == token
        assert token not in person.exposed()
        assert token not in json.dumps(person.kept())
        profile = call(person, "/v1/me", token=sign_in(person, NEW_PASSWORD if page == "reset-password" else PASSWORD))
        assert (profile["email"], profile["email_verified"]) == (person.email, True)

    @pytest.mark.parametrize("page", PAGES)
    def test_that_were_used_say_so(self, visit: OpenVisit, page: str) -> None:
        person = visit()
        person.excused.add("/confirm")
        person.page.goto(f"{person.url}/account/{page}#token=tvs_used")
        person.look(f"account-{page}-ready")
        if page == "reset-password":
            person.page.locator("#password").fill(NEW_PASSWORD)
        person.page.locator("#submit").click()
        expect(person.page.locator("#failed-reason")).to_contain_text("expired or was used")
        person.look(f"account-{page}-failed")

    @pytest.mark.parametrize("fragment", ["", "#", "#token=", "#other=1"])
    def test_that_are_not_whole_say_so(self, visit: OpenVisit, fragment: str) -> None:
        person = visit()
        person.page.goto(f"{person.url}/account/verify-email{fragment}")
        expect(person.page.locator("#failed-reason")).to_contain_text("not complete")

    def test_another_one_in_the_same_tab_is_opened(self, visit: OpenVisit) -> None:
        person = visit()
        person.page.goto(f"{person.url}/account/verify-email")
        expect(person.page.locator("#failed-reason")).to_be_visible()
        person.page.evaluate("() => { location.hash = '#token=tvs_other'; }")
        expect(person.page.locator("#submit")).to_be_visible()


class TestNewPassword:
    def test_that_is_weak_is_explained_and_may_be_chosen_again(self, visit: OpenVisit) -> None:
        person = visit(viewport=PHONE)
        person.excused.add("/confirm")
        person.page.goto(asked_for(person, "reset-password"))
        person.page.locator("#submit").click()
        expect(person.page.locator("#password-error")).to_have_text("Choose a password.")
        person.page.locator("#password").fill("password1234")
        person.page.locator("#submit").click()
        expect(person.page.locator("#password-error")).to_contain_text("attackers try first")
        expect(person.page.locator("#password")).to_be_focused()
        person.look("account-reset-password-weak")
        person.page.locator("#reveal").click()
        expect(person.page.locator("#password")).to_have_attribute("type", "text")
        person.look("account-reset-password-revealed")
        person.page.locator("#password").fill(NEW_PASSWORD)
        person.page.keyboard.press("Enter")
        expect(person.page.locator("[data-state=done] h1")).to_be_focused()

    def test_fits_a_narrow_screen(self, visit: OpenVisit) -> None:
        person = visit(viewport={"width": 320, "height": 640})
        person.page.goto(f"{person.url}/account/reset-password#token=tvs_any")
        expect(person.page.locator("#submit")).to_be_visible()
        assert person.page.evaluate("() => document.documentElement.scrollWidth") == 320


@pytest.fixture(scope="module")
def verifying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A service that asks for verified addresses."""
    with open_company(tmp_path_factory.mktemp("verifying"), email_verification="required") as company:
        yield company


class TestGuest:
    """A link that upgrades a guest is opened without the guest's session: the page asks who they are."""

    @ON_BOTH
    def test_is_upgraded_with_the_password_that_they_chose(
        self, desk: Callable[..., Desk], verifying: Company, viewport: dict[str, int]
    ) -> None:
        person = desk(verifying, viewport=viewport)
        person.excused.add("/confirm")
        guest = call(person, "/v1/auth/guest", {})["tokens"]["access_token"]
        email = f"{uuid.uuid4()}@example.com"
        call(person, "/v1/me/upgrade", {"email": email, "password": PASSWORD}, guest)
        person.page.goto(link(person, "verify-email", email))
        expect(person.page.locator("#asked")).to_be_hidden()
        person.page.locator("#submit").click()
        expect(person.page.locator("#password")).to_be_focused()
        expect(person.page.locator("#asked")).to_contain_text("Is this your device?")
        person.look("account-verify-email-guest")
        person.page.locator("#submit").click()
        expect(person.page.locator("#password-error")).to_have_text("Type the password.")
        assert len(person.calls("POST", "/v1/email-verifications/confirm")) == 1
        person.page.locator("#password").fill("not the password")
        person.page.keyboard.press("Enter")
        expect(person.page.locator("#password-error")).to_contain_text("not the password that was chosen")
        assert call(person, "/v1/me", token=guest)["email"] is None
        person.page.locator("#password").fill(PASSWORD)
        person.page.keyboard.press("Enter")
        expect(person.page.locator("[data-state=done] h1")).to_be_focused()
        assert call(person, "/v1/me", token=guest)["email"] == email


class TestAnotherAddress:
    """A link that changes an account's address is opened without its session: the page asks whose account it is."""

    @ON_BOTH
    def test_is_given_with_the_password_of_the_account(self, visit: OpenVisit, viewport: dict[str, int]) -> None:
        person = visit(viewport=viewport)
        person.excused.add("/confirm")
        person.page.goto(asked_for(person, "change-email"))
        expect(person.page.locator("#asked")).to_be_hidden()
        person.page.locator("#submit").click()
        expect(person.page.locator("#password")).to_be_focused()
        expect(person.page.locator("#asked")).to_contain_text("Is this your account?")
        expect(person.page.locator("#submit")).to_have_text("It is my account")
        person.look("account-change-email-asked")
        person.page.locator("#submit").click()
        expect(person.page.locator("#password-error")).to_have_text("Type the password.")
        person.page.locator("#password").fill("not the password")
        person.page.keyboard.press("Enter")
        expect(person.page.locator("#password-error")).to_have_text("This is not the account’s password.")
        person.page.locator("#password").fill(PASSWORD)
        person.page.keyboard.press("Enter")
        expect(person.page.locator("[data-state=done] h1")).to_be_focused()
        assert call(person, "/v1/me", token=sign_in(person))["email"] == person.email

    def test_of_an_account_without_a_password_leads_to_the_app(self, visit: OpenVisit) -> None:
        person = visit()
        person.page.route(
            "**/v1/me/email/confirm",
            lambda route: route.fulfill(
                status=403, json={"code": "account_session_required"}, content_type="application/problem+json"
            ),
        )
        person.excused.add("/confirm")
        person.page.goto(f"{person.url}/account/change-email#token=tvs_any")
        person.page.locator("#submit").click()
        expect(person.page.locator("#failed-reason")).to_contain_text("Open the link in the app")
        person.look("account-change-email-no-password")


class TestServing:
    @pytest.mark.parametrize("environment", ["development", "production"])
    def test_pages_are_there_in_production_too_and_the_mailbox_is_not(
        self, make_service: Callable[..., Service], environment: str
    ) -> None:
        """HT7: with a policy that lets in nothing from elsewhere."""
        settings: dict[str, Any] = {"environment": environment}
        if environment == "production":
            settings |= {"smtp_url": "smtp://localhost:1", "mail_from": "photos@example.org", "rate_limits": "on"}
            settings |= {"public_url": "https://testserver", "AWS_REGION": "eu-central-1"}
        client = make_service(**settings).client
        for path in (*PAGES, "account.css", "account.js", "icon.svg"):
            answer = client.get(f"/account/{path}")
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["referrer-policy"] == "no-referrer"
        assert client.get("/demo/mailbox").status_code == (200 if environment == "development" else 404)

    def test_nothing_is_inlined(self) -> None:
        for page in PAGES:
            text = (Path(__file__).parents[2] / "app" / "pages" / "account" / f"{page}.html").read_text()
            assert not re.search(r"<style|style=|<script(?! type=\"module\" src=)|\son\w+=", text)
