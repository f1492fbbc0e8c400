"""What a person may do about their own account on the sample page, with the mails that it shows in development."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.pages.qr import read_qr
from tests.pages.visit import PASSWORD, Visit
from tests.support.authenticator import totp

pytestmark = pytest.mark.sampled(8)

OpenVisit = Callable[..., Visit]
NEW_PASSWORD = "copper walnut lighthouse"


def account(person: Visit, name: str) -> None:
    """Presses a button of the account's card."""
    person.page.locator("#own-account").get_by_role("button", name=name, exact=True).click()


def answer(page: Page, submit: str, **fields: str) -> None:
    """Fills the dialog in and sends it."""
    dialog = page.locator("#question")
    expect(dialog).to_be_visible()
    for name, value in fields.items():
        dialog.locator(f"[name={name}]").fill(value)
    dialog.get_by_role("button", name=submit, exact=True).click()


def find_mail(person: Visit, subject: str) -> Locator:
    """The newest one of that subject, in the mail box that is open then."""
    person.page.locator("#open-mailbox").click()
    mail = person.page.get_by_test_id("mail").filter(has_text=person.email).filter(has_text=subject).first
    expect(mail).to_be_visible()
    return mail


def follow_mail(person: Visit, subject: str) -> Page:
    """Opens the link of the newest mail of that subject, beside this page."""
    mail = find_mail(person, subject)
    with person.context.expect_page() as opened:
        mail.get_by_role("link").click()
    person.page.locator("#close-mailbox").click()
    return opened.value


def code_of(secret: str) -> str:
    return totp(base64.b32decode(secret), datetime.now(UTC))


def add_authenticator(person: Visit) -> tuple[str, list[str]]:
    """The secret and the recovery codes."""
    account(person, "Add an authenticator app")
    shown = person.page.get_by_test_id("totp-secret")
    expect(shown).to_be_visible()
    plain = shown.inner_text().replace(" ", "")
    answer(person.page, "Turn it on", code=code_of(plain))
    expect(person.page.get_by_test_id("recovery-codes")).to_be_visible()
    return plain, person.page.get_by_test_id("recovery-codes").locator("code").all_inner_texts()


def sign_out(person: Visit) -> None:
    person.page.locator("#sign-out").click()
    expect(person.page.locator("#welcome")).to_be_visible()


def begin_sign_in(person: Visit, password: str = PASSWORD) -> None:
    person.page.get_by_label("I have an account").check()
    person.page.locator("#email").fill(person.email)
    person.page.locator("#password").fill(password)
    person.page.locator("#submit").click()


class TestSecondFactor:
    def test_is_set_up_and_asked_for(self, visit: OpenVisit) -> None:
        """AU13: with a recovery code in the place of the app, which works once."""
        person = visit().register()
        person.context.grant_permissions(["clipboard-read", "clipboard-write"])
        account(person, "Add an authenticator app")
        page = person.page
        shown = page.get_by_test_id("totp-secret")
        expect(shown).to_be_visible()
        person.look_at_both("enrolment")
        scanned = urlsplit(read_qr(page, page.locator("#question .qr")))
        assert (scanned.scheme, scanned.netloc) == ("otpauth", "totp")
        assert parse_qs(scanned.query)["secret"] == [shown.inner_text().replace(" ", "")]
        page.get_by_role("button", name="Copy the secret").click()
        expect(page.locator("#status")).to_have_text("The secret is copied.")
        assert page.evaluate("() => navigator.clipboard.readText()") == parse_qs(scanned.query)["secret"][0]
        page.locator("#question").get_by_role("button", name="Cancel").click()

        _secret, codes = add_authenticator(person)
        expect(person.page.get_by_role("button", name="Cancel")).to_be_hidden()  # it is on already
        person.look_at_both("recovery-codes")
        assert len(codes) == 10
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Save as a file").click()
        assert waiting.value.path().read_text().splitlines()[2:] == codes
        page.get_by_role("button", name="Copy the codes").click()
        expect(page.locator("#status")).to_have_text("The codes are copied.")
        assert page.evaluate("() => navigator.clipboard.readText()").splitlines() == codes
        answer(person.page, "I have kept them")
        expect(page.locator("#question")).to_be_hidden()
        assert not [code for code in codes if code in person.exposed()]
        expect(person.page.locator("#own-account [data-part=mfa]")).to_have_text("Authenticator app")
        person.look_at_both("account-card")
        sign_out(person)
        expect(page.locator("#status")).to_have_text("You are signed out.")
        person.excused.add("/v1/auth/mfa")
        begin_sign_in(person)
        person.look_at_both("second-factor")
        answer(person.page, "Sign in", code="000000")
        expect(person.page.locator("#question [data-part=error]")).to_contain_text("The code is wrong")
        person.page.locator("#question").get_by_role("button", name="Use a recovery code").click()
        answer(person.page, "Sign in", code=codes[0])
        expect(person.page.locator("#album")).to_be_visible()
        expect(page.locator("#status")).to_be_empty()

    def test_who_gives_up_is_not_signed_in(self, visit: OpenVisit) -> None:
        person = visit().register()
        add_authenticator(person)
        answer(person.page, "I have kept them")
        sign_out(person)
        begin_sign_in(person)
        person.page.locator("#question").get_by_role("button", name="Cancel").click()
        expect(person.page.locator("#form-error")).to_contain_text("Without the code")
        expect(person.page.locator("#album")).to_be_hidden()


class TestMails:
    def test_an_address_is_verified_by_its_mail(self, visit: OpenVisit) -> None:
        person = visit().register()
        expect(person.page.locator("#own-account [data-part=verified]")).to_have_text("Not yet")
        account(person, "Verify the address")
        opened = follow_mail(person, "Verify")
        opened.locator("#submit").click()
        expect(opened.locator("[data-state=done]")).to_be_visible()
        opened.close()
        person.page.evaluate("dispatchEvent(new Event('focus'))")
        expect(person.page.locator("#own-account [data-part=verified]")).to_have_text("Yes")

    def test_a_forgotten_password_is_set_anew(self, visit: OpenVisit) -> None:
        person = visit().register()
        sign_out(person)
        person.page.get_by_label("I have an account").check()
        person.page.locator("#email").fill(person.email)
        person.page.locator("#forgot").click()
        expect(person.page.locator("#notice")).to_contain_text("a mail with a link is on its way")
        mail = find_mail(person, "password")
        mail.locator("summary").click()
        expect(mail.locator("[data-part=text]")).to_contain_text("#token=")
        person.look_at_both("mailbox")
        person.page.locator("#close-mailbox").click()
        opened = follow_mail(person, "password")
        opened.locator("#password").fill(NEW_PASSWORD)
        opened.locator("#submit").click()
        expect(opened.locator("[data-state=done]")).to_be_visible()
        opened.close()
        begin_sign_in(person, NEW_PASSWORD)
        expect(person.page.locator("#album")).to_be_visible()


class TestAccount:
    @pytest.mark.long
    def test_a_guest_keeps_the_album(self, visit: OpenVisit) -> None:
        person = visit().open()
        person.page.locator("#guest").click()
        expect(person.page.locator("#album")).to_be_visible()
        folder = person.page.locator("#panel [data-part=prefix]").inner_text()
        person.look_at_both("guest")
        account(person, "Keep this album")
        answer(person.page, "Keep it", email=person.email, password=PASSWORD)
        expect(person.page.locator("#own-account [data-part=address]")).to_have_text(person.email)
        sign_out(person)
        begin_sign_in(person)
        expect(person.page.locator("#panel [data-part=prefix]")).to_have_text(folder)

    def test_the_password_is_changed(self, visit: OpenVisit) -> None:
        """AU5: a wrong one is told beside the question, which stays."""
        person = visit().register()
        person.excused.add("/v1/me/password")
        account(person, "Change the password")
        answer(person.page, "Change it", current_password="not the password", new_password=NEW_PASSWORD)
        expect(person.page.locator("#question [data-part=error]")).to_contain_text("not the account’s password")
        answer(person.page, "Change it", current_password=PASSWORD, new_password=NEW_PASSWORD)
        expect(person.page.locator("#question")).to_be_hidden()
        sign_out(person)
        begin_sign_in(person, NEW_PASSWORD)
        expect(person.page.locator("#album")).to_be_visible()

    def test_is_deleted(self, visit: OpenVisit) -> None:
        person = visit().register()
        account(person, "Delete the account")
        person.look_at_both("delete")
        answer(person.page, "Delete for good", password=PASSWORD)
        expect(person.page.locator("#notice")).to_have_text("Your account is deleted.")
        person.excused.add("/v1/auth/login")
        begin_sign_in(person)
        expect(person.page.locator("#form-error")).to_contain_text("No account has this e-mail address")
