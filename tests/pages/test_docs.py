"""The API's pages: every call can be sent as it stands, and says what it would on its own."""

import json
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from httpx2 import Client, Response
from playwright.sync_api import Page, expect

from tests.conftest import DevServer
from tests.pages.visit import DESKTOP, ON_BOTH, Visit
from tests.support.openapi import openapi

Json = dict[str, Any]
Key = tuple[str, str]

DOCUMENT = openapi()
OPERATIONS: dict[str, tuple[str, str, Json]] = {
    operation["operationId"]: (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
PASSWORD = "violet tractor moonlight"
ADDRESS, NEW_ADDRESS = "ada@example.org", "ada@example.com"

BY_THE_SERVICE = {
    **dict.fromkeys(("confirm_email_verification", "confirm_email_change", "confirm_password_reset"), (400, "token")),
    **dict.fromkeys(("refresh_session", "answer_mfa_challenge", "complete_passkey_sign_in"), (401, "token")),
    "add_passkey": (401, "challenge"),
    "confirm_totp": (403, "code"),
}
"""What needs a token or a code that only the service makes, or an authenticator: the status of the example."""
OF_OTHER_SERVICES = {
    "create_oidc_nonce": "no provider is set up",
    "log_in_with_oidc": "no provider is set up",
    "link_identity": "no provider is set up",
    "create_downloads": "no CDN is set up",
    "create_upload_ticket": "the embedded engine takes no forms",
    "add_storage_event": "no topic is set up",
    "send_test_event": "no server is set up",
    "decode_authorization_message": "the embedded engine cannot",
    "get_sts_openid_configuration": "of another vending mode",
    "get_sts_jwks": "of another vending mode",
    "get_saml_metadata": "of another vending mode",
    "remove_totp": "there is no authenticator app",
    "renew_recovery_codes": "there is no authenticator app",
    "upgrade_guest": "the caller is no guest",
    "open_link": "nobody made the link of the example",
    "report_link": "nobody made the link of the example",
}
"""What this service does not have, or has not got yet."""
ENDS_SESSIONS = {"end_all_sessions", "change_password", "erase_account", "upgrade_guest", "request_email_change"}


@dataclass
class Reader:
    """Somebody at the pages who signed in as the first example of them says."""

    client: Client
    server: DevServer
    email: str

    def sign_in(self, role: str = "user") -> str:
        body = {"email": self.email, "password": PASSWORD}
        self.client.post("/v1/users", json=body)
        with closing(sqlite3.connect(self.server.data_dir / "tokenvend.db", timeout=20)) as database, database:
            database.execute("UPDATE users SET role = ? WHERE email = ?", (role, self.email))
        token: str = self.client.post("/v1/auth/login", json=body).json()["tokens"]["access_token"]
        return token

    def send(self, name: str, token: str) -> Response:
        """As the page does: the path's examples, no other parameter, and the body's example."""
        method, path, operation = OPERATIONS[name]
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", parameter["schema"]["examples"][0])
            assert not parameter.get("required") or parameter["in"] == "path"
        headers = {"Authorization": f"Bearer {token}"} if operation["security"] else {}
        ((kind, content),) = operation.get("requestBody", {"content": {"": {}}})["content"].items()
        body = content.get("example", "")
        text = body if isinstance(body, str) else json.dumps(body)
        if text:
            headers["Content-Type"] = "text/csv" if kind == "application/octet-stream" else kind
        for own in (ADDRESS, NEW_ADDRESS, "carol@example.org"):  # other tests have them too
            text = text.replace(own, self.email if own == ADDRESS else f"{uuid.uuid4()}@example.com")
        return self.client.request(method, path, content=text or None, headers=headers)


@pytest.fixture(scope="module")
def make_reader(dev_server: DevServer) -> Iterator[Callable[[], Reader]]:
    with Client(base_url=dev_server.url, timeout=60) as client:
        yield lambda: Reader(client, dev_server, f"{uuid.uuid4()}@example.org")


@pytest.fixture(scope="module")
def reader(make_reader: Callable[[], Reader]) -> tuple[Reader, str]:
    """An administrator, as `make admin` makes one."""
    one = make_reader()
    return one, one.sign_in("admin")


def expected(name: str) -> set[int]:
    if name in BY_THE_SERVICE:
        return {BY_THE_SERVICE[name][0]}
    if name in OF_OTHER_SERVICES:
        return {400, 401, 404, 409}
    if any(parameter["in"] == "path" for parameter in OPERATIONS[name][2].get("parameters", ())):
        return {404}  # an id that is an example's own
    return {200, 201, 202, 204}


@pytest.mark.xdist_group("client")  # those that share one service
@pytest.mark.sampled(1)  # one call makes what the next one needs
class TestExamples:
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_can_be_sent_as_they_stand(
        self, reader: tuple[Reader, str], make_reader: Callable[[], Reader], name: str
    ) -> None:
        one, token = reader
        if name in ENDS_SESSIONS:
            one = make_reader()
            token = one.sign_in()
        elif name == "register_user":
            one = make_reader()
        answer = one.send(name, token)
        assert answer.status_code in expected(name), answer.text

    def test_are_there_for_every_parameter_that_has_to_be(self) -> None:
        for name, (_, _, operation) in OPERATIONS.items():
            for parameter in operation.get("parameters", ()):
                assert not parameter.get("required") or parameter["schema"]["examples"], name

    def test_have_titles_that_read_well(self) -> None:
        titles = {operation["summary"] for _, _, operation in OPERATIONS.values()}
        assert {"Issue credentials", "Answer MFA challenge", "Log in with OIDC", "Get JWKS"} <= titles
        assert all(
            re.fullmatch(r"[A-Z][a-z]+( (MFA|TOTP|OIDC|JWKS|STS|SAML|OpenID|[a-z]+))*", title) or title == "Get JWKS"
            for title in titles
        )


@pytest.mark.xdist_group("pages")
class TestPage:
    def test_signs_in_and_sends(self, visit: Callable[..., Visit]) -> None:
        person = visit()
        person.excused.add("/v1/")
        page = person.page
        page.goto(f"{person.url}/docs")
        register = open_call(page, "register_user", "Register user")
        email = json.loads(register.get_by_label("Body").input_value())["email"]
        assert send(register) == "201"
        page.get_by_label("E-mail", exact=True).fill(email)
        page.get_by_label("Password", exact=True).fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#sign-in-status")).not_to_contain_text("Register")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#sign-in-status")).to_contain_text(f"Signed in as {email}")
        assert page.locator("#token").input_value().startswith("eyJ")
        assert send(open_call(page, "issue_credentials", "Issue credentials")) == "200"
        answer = page.locator("#issue_credentials .answer").inner_text()
        assert json.loads(answer)["bucket"] == "photos"
        page.locator("#token").fill("another one")
        assert send(open_call(page, "get_profile", "Get profile")) == "401"
        kept = person.kept()
        assert (kept["session"], kept["local"], kept["cookie"], kept["databases"]) == ({}, {}, "", [])
        person.answers.clear()  # their bodies go with the page
        page.reload()
        assert page.locator("#token").input_value() == ""

    def test_sends_calls_for_whoever_a_call_signed_in(self, visit: Callable[..., Visit]) -> None:
        """The first three calls, each as it stands, and at the next load of the page again."""
        person = visit()
        person.excused.add("/v1/")
        page = person.page
        addresses = set()
        for _ in range(2):
            person.answers.clear()  # their bodies go with the page
            page.goto("about:blank")
            page.goto(f"{person.url}/docs")
            register = open_call(page, "register_user", "Register user")
            addresses.add(email := json.loads(register.get_by_label("Body").input_value())["email"])
            assert send(register) == "201"
            issue = open_call(page, "issue_credentials", "Issue credentials")
            assert send(issue) == "401"
            expect(issue.get_by_role("link", name="Sign in")).to_be_visible()
            assert send(open_call(page, "log_in", "Log in")) == "200"
            expect(page.locator("#sign-in-status")).to_have_text(f"Signed in as {email}.")
            assert send(issue) == "200"
            expect(issue.get_by_role("link", name="Sign in")).to_be_hidden()
        assert len(addresses) == 2
        assert send(open_call(page, "start_guest", "Start guest")) == "200"
        expect(page.locator("#sign-in-status")).to_have_text("Signed in as a guest.")
        assert send(open_call(page, "upgrade_guest", "Upgrade guest")) == "200"
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("#sign-in-status")).to_have_text("Signed out.")
        assert page.locator("#token").input_value() == ""
        assert send(open_call(page, "get_profile", "Get profile")) == "401"

    @ON_BOTH
    def test_fits_the_screen(self, visit: Callable[..., Visit], viewport: dict[str, int]) -> None:
        person = visit(viewport=viewport)
        page = person.page
        page.goto(f"{person.url}/docs#issue_credentials")
        call = page.locator("#issue_credentials")
        expect(call.get_by_role("button", name="Send: Issue credentials")).to_be_visible()
        person.look("docs-call")
        for table in call.locator(".scrolled").all():
            assert table.evaluate("(table) => table.scrollWidth <= table.clientWidth")
        if viewport is not DESKTOP:
            assert page.locator(".bar").evaluate("(bar) => bar.offsetHeight") < 90  # two lines
        page.goto(f"{person.url}/docs")
        page.reload()
        expect(page.locator("#check_health")).to_be_visible()
        person.look("docs")
        page.get_by_label("Find a call").fill("grant received")
        expect(page.locator(".operation:visible")).to_have_count(3)
        page.get_by_role("link", name="Why was it refused?").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Why was it refused?")


def open_call(page: Page, name: str, title: str) -> Any:
    call = page.locator(f"#{name}")
    call.locator("summary").click()
    expect(call.get_by_role("button", name=f"Send: {title}")).to_be_visible()
    return call


def send(call: Any) -> str:
    """The status."""
    call.get_by_role("button", name=re.compile("^Send: ")).click()
    expect(call.locator(".status")).to_have_text(re.compile(r"^\d{3} "))
    text: str = call.locator(".status").inner_text()
    return text[:3]
