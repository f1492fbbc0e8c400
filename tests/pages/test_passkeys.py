"""Passkeys on the sample app, with Chromium's virtual authenticator: the browser's own WebAuthn, and a key in software.

Ids: `passkey-sign-in`, `add-passkey`, `passkeys`. Test id: `passkey` (`data-state` shown, naming or removing).
"""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from app.crypto.encoding import b64url
from tests.pages.visit import Visit

pytestmark = pytest.mark.sampled(6)

OpenVisit = Callable[..., Visit]
PLATFORM = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


class Lock:
    """The lock of a person's device, that keeps their passkeys."""

    def __init__(self, person: Visit) -> None:
        self._session = person.context.new_cdp_session(person.page)
        self._session.send("WebAuthn.enable")
        added = self._session.send("WebAuthn.addVirtualAuthenticator", {"options": PLATFORM})
        self._id = {"authenticatorId": added["authenticatorId"]}

    def kept(self) -> list[dict[str, Any]]:
        credentials: list[dict[str, Any]] = self._session.send("WebAuthn.getCredentials", self._id)["credentials"]
        return credentials

    def recognizes(self, yes: bool) -> None:
        self._session.send("WebAuthn.setUserVerified", {**self._id, "isUserVerified": yes})


def passkeys(person: Visit) -> Locator:
    return person.page.get_by_test_id("passkey")


def add(person: Visit) -> None:
    before = passkeys(person).count()
    person.page.locator("#add-passkey").click()
    expect(passkeys(person)).to_have_count(before + 1)


def sign_out(person: Visit) -> None:
    with person.page.expect_response("**/v1/auth/logout"):
        person.page.locator("#sign-out").click()


class TestPasskeys:
    @pytest.mark.sampled(1)
    def test_sign_in_to_the_same_album_without_name_or_password(self, visit: OpenVisit, china: Path) -> None:
        person = visit()
        lock = Lock(person)
        person.register()
        person.upload(china)
        prefix = person.credential["prefix"]
        add(person)
        (kept,) = lock.kept()
        assert kept["isResidentCredential"]
        assert kept["rpId"] == "localhost"
        user_id = uuid.UUID(prefix.split("/")[1])
        assert kept["userHandle"].rstrip("=").replace("+", "-").replace("/", "_") == b64url(user_id.bytes)

        for _ in range(2):
            sign_out(person)
            person.page.locator("#passkey-sign-in").click()
            expect(person.page.locator("#album")).to_be_visible()
            expect(person.page.locator("[data-testid=photo][data-state=shown]")).to_have_count(1)
            assert person.credential["prefix"] == prefix
            expect(passkeys(person)).to_contain_text("Used")
        assert len(person.calls("POST", "/v1/auth/login")) == 1

    def test_are_renamed_and_removed(self, visit: OpenVisit) -> None:
        person = visit()
        lock = Lock(person)
        person.register()
        add(person)
        row = passkeys(person)
        row.get_by_role("button", name="Rename Passkey 1").click()
        row.get_by_label("Its new name").fill("The blue phone")
        row.get_by_role("button", name="Save").click()
        expect(row.locator("[data-part=name]")).to_have_text("The blue phone")
        row.get_by_role("button", name="Rename").click()
        person.page.keyboard.press("Escape")
        row.get_by_role("button", name="Remove The blue phone").click()
        row.get_by_role("button", name="Keep it").click()
        row.get_by_role("button", name="Remove The blue phone").click()
        row.get_by_role("button", name="Remove", exact=True).click()
        expect(passkeys(person)).to_have_count(0)
        expect(person.page.locator("#add-passkey")).to_be_focused()
        assert len(lock.kept()) == 1  # the page cannot reach into the device

        sign_out(person)
        person.excused.add("/v1/auth/passkey")
        person.page.locator("#passkey-sign-in").click()
        expect(person.page.locator("#form-error")).to_contain_text("This passkey is not known here")

    def test_are_one_for_each_device(self, visit: OpenVisit) -> None:
        person = visit()
        Lock(person)
        person.register()
        add(person)
        person.page.locator("#add-passkey").click()
        expect(person.page.locator("#status")).to_contain_text("has a passkey of yours already")
        expect(passkeys(person)).to_have_count(1)

    def test_want_their_user_recognized(self, visit: OpenVisit) -> None:
        person = visit()
        lock = Lock(person)
        person.register()
        lock.recognizes(False)
        person.page.locator("#add-passkey").click()
        expect(person.page.locator("#status")).to_contain_text("Nothing happened")
        lock.recognizes(True)
        add(person)
        sign_out(person)
        lock.recognizes(False)
        person.page.locator("#passkey-sign-in").click()
        expect(person.page.locator("#form-error")).to_contain_text("Nothing happened")
        assert person.calls("POST", person.url + "/v1/auth/passkey") == person.calls("POST", "/passkey/options")

    @pytest.mark.long
    def test_say_where_they_work(self, visit: OpenVisit) -> None:
        person = visit(host="127.0.0.1").open()
        page = person.page
        expect(page.locator("#passkey-sign-in")).to_be_hidden()
        note = page.locator("#sign-in-form [data-passkey-note]")
        expect(note).to_contain_text("Try them at localhost:")
        person.look_at_both("passkeys-nowhere")
        person.url = person.url.replace("127.0.0.1", "localhost")
        note.get_by_role("link").click()
        expect(page.locator("#passkey-sign-in")).to_be_visible()
        person.requests.clear()  # until it left, the page looked for mails at the other name
        assert page.url == f"{person.url}/demo"

    def test_make_a_guest_a_user_who_may_add_an_address(self, visit: OpenVisit) -> None:
        """Whoever has a passkey is no guest, and gets no offer that the service would refuse."""
        person = visit()
        Lock(person)
        person.open()
        person.look_at_both("passkey-sign-in")
        page = person.page
        page.locator("#guest").click()
        address = page.locator("#own-account [data-part=address]")
        expect(address).to_have_text("None: you are a guest on this device")
        add(person)
        page.locator("#passkeys").scroll_into_view_if_needed()
        person.look_at_both("passkeys")
        passkeys(person).get_by_role("button", name="Rename").click()
        person.look_at_both("passkey-naming")
        page.keyboard.press("Escape")
        passkeys(person).get_by_role("button", name="Remove Passkey 1").click()
        person.look_at_both("passkey-removing")
        passkeys(person).get_by_role("button", name="Keep it").click()

        expect(address).to_have_text("None: your passkey signs you in")
        expect(page.locator("#upgrade")).to_be_hidden()
        page.get_by_role("button", name="Add an address").click()
        page.locator("#question [name=new_email]").fill(person.email)
        person.look_at_both("add-address")
        page.get_by_role("button", name="Send the mail").click()
        page.locator("#open-mailbox").click()
        mail = page.get_by_test_id("mail").filter(has_text=person.email).first
        person.look_at_both("mail-to-confirm")
        mail.get_by_role("button", name="Confirm it here").click()
        expect(page.locator("#mailbox")).to_be_hidden()
        expect(address).to_have_text(person.email)
        expect(page.get_by_role("button", name="Change the address")).to_be_visible()
