"""Every screen of the console by day and by night, on a desk and on the narrowest phone: see `Visit.look`."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.pages.desk import Account, Company, Desk
from tests.pages.visit import DESKTOP, ON_BOTH

RATE_LIMITS = "on"
OpenDesk = Callable[..., Desk]
LONG = "Wolfeschlegelsteinhausenbergerdorff" * 2


@pytest.fixture(scope="module")
def staff(company: Company) -> dict[str, Account]:
    """Who looks, and somebody of whom there is much to see."""
    company.add_history()
    seen = company.person(name=LONG, email=f"{LONG[:50]}@{LONG[:40].lower()}.example")
    for device in ("Ada’s phone", "Console on Linux x86_64"):
        seen.sign_in_elsewhere(device)
    seen.keys = company.add_credentials(seen.id, 12)
    company.sql("UPDATE users SET status = 'disabled' WHERE email = 'person003@many.example'")
    company.sql("UPDATE users SET role = 'support', guest = 0 WHERE email = 'person004@many.example'")
    return {"admin": company.person("admin", name="Grace Hopper"), "seen": seen}


@pytest.mark.long
@ON_BOTH
class TestScreens:
    def test_fit(self, desk: OpenDesk, company: Company, staff: dict[str, Account], viewport: dict[str, int]) -> None:
        person = desk(viewport=viewport)
        page = person.page

        def look(name: str) -> None:
            expect(page.locator("[aria-busy=true]:visible")).to_have_count(0)
            person.look(name)

        person.open()
        look("sign-in")
        person.enter(staff["admin"])
        expect(page.locator(".chart canvas")).to_have_count(8)
        look("dashboard")
        page.get_by_text("All figures as a table").click()
        expect(page.locator("#figures tbody tr")).to_have_count(96)
        look("dashboard-figures")
        person.go("Users")
        expect(page.locator("#user-list tbody tr")).to_have_count(50)
        expect(page.locator("#user-total")).to_have_text(re.compile(r"^\d+ users$"))
        page.locator("#user-list tbody input").first.check()
        expect(page.locator("#chosen")).to_have_text("1 chosen")
        look("users")
        expect(page.get_by_role("table", name="Users", exact=True).get_by_role("row")).to_have_count(51)
        if viewport is not DESKTOP:
            fold = page.get_by_role("button", name="Filters")
            expect(page.get_by_label("Status")).to_be_hidden()
            fold.click()
            look("users-filters")
            page.get_by_label("Status").select_option("disabled")
            expect(page.locator("#user-list tbody tr")).to_have_count(1)
            expect(fold).to_have_text("Filters (1)")
            page.get_by_role("button", name="Clear").click()
            expect(page.locator("#user-list tbody tr")).to_have_count(50)
            fold.click()
            expect(fold).to_have_text("Filters")
            box, name = (page.locator(f"#user-list tbody {of}").first.bounding_box() for of in ("input", "strong"))
            assert box
            assert name
            assert box["y"] < name["y"] + name["height"]
            assert name["y"] < box["y"] + box["height"]
            assert name["y"] < 0.75 * viewport["height"]
            page.get_by_text("Choose all").click()
            expect(page.locator("#chosen")).to_have_text("50 chosen")
        expect(page.locator("#user-list").get_by_text("50 shown, and there are more")).to_be_attached()
        page.get_by_role("button", name="Invite a user").click()
        look("invite")
        page.keyboard.press("Escape")
        company.lock_out(staff["seen"])
        person.open_user(staff["seen"])
        expect(page.get_by_test_id("locked")).to_be_visible()
        look("user-locked")
        page.get_by_role("button", name="Unlock sign-in").click()
        look("unlock")
        person.answer("Unlock", reason="They called, and said their birthday.")
        expect(page.get_by_test_id("locked")).to_have_count(0)
        look("user")
        page.get_by_role("button", name="Change role").click()
        look("role")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Erase", exact=True).click()
        look("erase")
        page.keyboard.press("Escape")
        person.go("Access keys")
        page.get_by_label("Access key id").fill(staff["seen"].keys[0])
        page.get_by_role("button", name="Look up").click()
        expect(page.get_by_test_id("key-facts")).to_be_visible()
        page.get_by_label("Encoded authorization message").fill("qk0Zx")
        page.get_by_role("button", name="Decode").click()
        expect(page.locator("#decoded pre")).to_be_visible()
        look("keys")
        person.go("Audit")
        expect(page.locator("#audit-list tbody tr")).to_have_count(50)
        look("audit")
        if viewport is DESKTOP:
            page.get_by_label("Who did it").fill(staff["admin"].email)
            page.get_by_role("button", name="Show", exact=True).click()
            address = page.locator("#audit-list tbody td:nth-child(3) small").first
            expect(address).to_have_text(staff["admin"].email)
            assert address.evaluate("(text) => text.getClientRects().length * text.offsetHeight") < 30  # one line
