"""The administrators' console in a real browser: signing in, finding users, and what is done to them.

The page keeps these handles for tests. Ids: `sign-in`, `form-error`, `notice`, `nav`, `who`, `role`, `sign-out`; the
sections `dashboard`, `users`, `user`, `keys`, `audit`, `imports`; `search`, `user-list`, `actions`, `profile`,
`user-sessions`, `user-credentials`, `user-events`; `question` (its fields by name); `status`.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote_plus

import pytest
from playwright.sync_api import Route, expect

from tests.pages.desk import PRODUCTION, Account, Company, Desk, open_company
from tests.pages.test_passkeys import Lock
from tests.pages.visit import PASSWORD

pytestmark = pytest.mark.sampled(12)

OpenDesk = Callable[..., Desk]
WHY = "ticket 4711"
HOSTILE = '<img src=x onerror="globalThis.hacked = 1">'
SUPPORT_MAY = ["Send password reset", "Send verification", "Unlock sign-in", "Sign out everywhere"]


@pytest.fixture(scope="module")
def admin(company: Company) -> Account:
    return company.person("admin", name="Grace Hopper")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """In production: administrators need a second factor, and limits are on."""
    with open_company(tmp_path_factory.mktemp("strict"), **PRODUCTION) as opened:
        yield opened


def names(person: Desk) -> list[str]:
    return person.page.locator("#user-list tbody strong").all_inner_texts()


def search(person: Desk, query: str, expected: int) -> None:
    with person.page.expect_response(f"**/v1/admin/users?query={quote_plus(query)}*"):
        person.page.get_by_label("Search").fill(query)
    expect(person.page.locator("#user-list tbody tr")).to_have_count(expected)
    expect(person.page.locator("#user-list table")).to_have_attribute("aria-busy", "false")


class TestSignIn:
    @pytest.mark.sampled(1)
    def test_asks_for_the_second_factor(self, desk: OpenDesk, strict: Company) -> None:
        """AZ7: with password and code; a wrong password and a wrong code are told, and nothing is shown before."""
        chief = strict.person("admin").enable_mfa()
        person = desk(strict).open()
        person.excused |= {"/console/session/login", "/console/session/mfa"}
        person.give_password(chief, "not the password")
        expect(person.page.locator("#form-error")).to_contain_text("No account has this e-mail address")
        person.give_password(chief)
        person.answer("Sign in", code="000000" if chief.code() != "000000" else "000001")
        expect(person.dialog.locator("[data-part=error]")).to_contain_text("The code is wrong")
        assert not person.calls("GET", "/v1/admin")
        person.look("second-factor")
        person.answer("Sign in", code=chief.code())
        expect(person.page.locator("#dashboard")).to_be_visible()
        expect(person.page.locator("#role")).to_have_text("admin")
        expect(person.page.locator("#dashboard-heading")).to_be_focused()
        kept = person.kept()
        assert (kept["local"], kept["session"], kept["databases"], kept["cookie"]) == ({}, {}, [], "")
        (cookie,) = kept["cookies"]
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/console/session")
        assert cookie["expires"] == -1
        for secret in (person.access_token, cookie["value"]):
            assert secret not in person.exposed()

    @pytest.mark.sampled(1)
    def test_outlives_a_reload_in_every_tab(self, desk: OpenDesk, strict: Company) -> None:
        """TK9, TK22: the cookie renews the session, whatever is shown; a sign-out in one tab holds for the other."""
        chief = strict.person("admin").enable_mfa()
        person = desk(strict).open("#/users")
        person.give_password(chief)
        person.answer("Sign in", code=chief.code())
        expect(person.page.locator("#user-list tbody tr").first).to_be_visible()
        (before,) = person.kept()["cookies"]
        person.page.reload()
        expect(person.page.locator("#user-list tbody tr").first).to_be_visible()
        expect(person.page.locator("#users-heading")).to_be_focused()
        (after,) = person.kept()["cookies"]
        assert before["value"] != after["value"]
        other = person.context.new_page()
        other.goto(f"{person.url}/console#/audit")
        expect(other.locator("#audit-list tbody tr").first).to_be_visible()
        assert person.calls("POST", "/v1/auth/") == []
        person.excused.add("/v1/")
        other.get_by_role("button", name="Sign out").click()
        expect(other.get_by_label("Password")).to_be_visible()
        person.page.get_by_label("Search").fill("anybody")
        expect(person.page.locator("#notice")).to_have_text("Your session has ended. Sign in again.")
        assert person.kept()["cookies"] == []
        person.page.reload()
        expect(person.page.get_by_label("Password")).to_be_visible()
        expect(person.page.locator("#email")).to_be_focused()

    def test_helps_people_who_forgot_their_password(self, desk: OpenDesk, company: Company) -> None:
        """AU9, AU17: by the mail that everybody can ask for; the page says the same for an unknown address."""
        chief = company.person("admin")
        person = desk().open()
        for email in (chief.email, "nobody@example.org"):
            person.page.get_by_role("button", name="Forgot your password?").click()
            person.look("forgot-password")
            person.answer("Send the mail", email=email)
            expect(person.page.locator("#notice")).to_contain_text("If this address has an account")
        sent = company.sql("SELECT user_id FROM outbox WHERE kind = 'reset_password' AND recipient <> ''")
        assert sent == [(chief.hex,)]

    def test_takes_a_recovery_code(self, desk: OpenDesk, strict: Company) -> None:
        chief = strict.person("support").enable_mfa()
        person = desk(strict).open()
        person.give_password(chief)
        person.dialog.get_by_role("button", name="Use a recovery code").click()
        person.answer("Sign in", code=chief.recovery_codes[0])
        expect(person.page.locator("#role")).to_have_text("support")

    def test_leads_who_has_no_second_factor_through_setting_one_up(self, desk: OpenDesk, strict: Company) -> None:
        """AZ7: the API answers them nothing else; who gives up is signed out."""
        chief = strict.person("admin")
        person = desk(strict).open()
        person.excused.add("/v1/admin/users")
        person.give_password(chief)
        expect(person.dialog).to_contain_text("Add an authenticator app")
        person.dialog.get_by_role("button", name="Cancel").click()
        expect(person.page.locator("#form-error")).to_contain_text("Without a second factor")
        expect(person.page.locator("#nav")).to_be_hidden()
        person.give_password(chief)
        expect(person.dialog).to_be_visible()
        expect(person.dialog).to_contain_text("Administrators and support need a second factor.")
        secret = person.page.get_by_test_id("totp-secret").inner_text()
        expect(person.dialog.locator(".qr")).to_be_visible()
        person.look("enrolment")
        person.answer("Turn it on", code=chief.code_of(secret.replace(" ", "")))
        expect(person.page.get_by_test_id("recovery-codes").locator("code")).to_have_count(10)
        person.look("recovery-codes")
        person.answer("I have kept them")
        expect(person.page.locator("#dashboard")).to_be_visible()
        person.go("Users")
        expect(person.page.locator("#user-list tbody tr").first).to_be_visible()

    def test_takes_a_passkey(self, desk: OpenDesk, strict: Company) -> None:
        """It is two factors in one. It was added by the same ceremony, in this browser."""
        chief = strict.person("admin").enable_mfa()
        person = desk(strict).open()
        Lock(person)
        person.give_password(chief)
        person.answer("Sign in", code=chief.code())
        expect(person.page.locator("#dashboard")).to_be_visible()
        person.page.evaluate(
            """async () => {
              const { authorized } = await import("/console/shared/api.js");
              const { create } = await import("/console/shared/passkeys.js");
              const credential = await create(await authorized("POST", "/v1/me/passkeys/options"));
              await authorized("POST", "/v1/me/passkeys", { body: { credential } });
            }"""
        )
        person.page.get_by_role("button", name="Sign out").click()
        person.page.get_by_role("button", name="Sign in with a passkey").click()
        expect(person.page.locator("#dashboard")).to_be_visible()
        expect(person.page.locator("#who")).to_have_text("Admin of the tests")

    def test_turns_a_plain_user_away(self, desk: OpenDesk, company: Company) -> None:
        """AZ1: told so and signed out, with nothing asked of administration."""
        user = company.person()
        person = desk().open()
        person.give_password(user)
        expect(person.page.locator("#form-error")).to_contain_text("This account has no access to the console")
        expect(person.page.locator("#nav")).to_be_hidden()
        assert not person.calls("GET", "/v1/admin")
        assert person.calls("POST", "/console/session/logout")
        assert company.sql("SELECT count(*) FROM sessions WHERE user_id = :id AND ended_at IS NULL", id=user.hex) == [
            (0,)
        ]

    def test_ends_with_the_session(self, desk: OpenDesk, company: Company) -> None:
        """TK13: the next thing asked shows it; what was on the page is gone from it."""
        chief = company.person("admin")
        person = desk().enter(chief, "#/users")
        expect(person.page.locator("#user-list tbody tr")).to_have_count(50)
        company.sql("UPDATE sessions SET ended_at = created_at WHERE user_id = :id", id=chief.hex)
        person.excused |= {"/v1/", "/console/session/refresh"}
        person.page.get_by_label("Search").fill("person")
        expect(person.page.locator("#notice")).to_have_text("Your session has ended. Sign in again.")
        assert "many.example" not in person.page.content()


class TestSearch:
    def test_follows_what_is_typed(self, desk: OpenDesk, admin: Account) -> None:
        """Among three hundred: a few calls for many keys, and a late answer does not replace a newer one."""
        person = desk().enter(admin, "#/users")
        page = person.page
        expect(page.locator("#user-list tbody tr")).to_have_count(50)
        person.requests.clear()
        page.get_by_label("Search").press_sequentially("person 12", delay=20)
        expect(page.locator("#user-list tbody tr")).to_have_count(10)
        assert names(person) == [f"Person {number}" for number in range(120, 130)]
        assert len(person.calls("GET", "/v1/admin/users")) < len("person 12")

        held: list[Route] = []
        page.route("**/v1/admin/users?query=person+2*", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks it
        with page.expect_request("**/v1/admin/users?query=person+2*"):
            page.get_by_label("Search").fill("person 2")
        search(person, "person 101", 1)
        assert held
        with page.expect_response("**/v1/admin/users?query=person+2*"):
            for route in held:
                route.continue_()
        page.wait_for_timeout(100)
        assert names(person) == ["Person 101"]
        page.unroute("**/v1/admin/users?query=person+2*")
        page.get_by_label("Search").fill("nobody has this name")
        expect(page.locator("#user-list .empty")).to_have_text("No user matches.")

    @pytest.mark.sampled(1)
    def test_narrows_and_pages(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        company.sql(
            "UPDATE users SET status = 'disabled' WHERE email IN ('person007@many.example', 'person008@many.example')"
        )
        person = desk().enter(admin, "#/users")
        page = person.page
        page.get_by_label("Status").select_option("disabled")
        expect(page.locator("#user-list tbody tr")).to_have_count(2)
        page.get_by_label("Status").select_option("")
        page.get_by_label("Role").select_option("admin")
        expect(page.locator("#user-list tbody .badge.accent").first).to_have_text("admin")
        page.get_by_label("Role").select_option("")
        search(person, "person", 50)
        for expected in (100, 150, 200, 250, 300):
            page.locator("#user-list").get_by_role("button", name="Show more").click()
            expect(page.locator("#user-list tbody tr")).to_have_count(expected)
        expect(page.locator("#user-list .more")).to_be_hidden()
        assert len(set(names(person))) == 300

    def test_sorts_counts_and_acts_on_many(self, desk: OpenDesk, company: Company) -> None:
        """One reason for all, what is refused is told by name, and the address keeps what was looked for."""
        chief = company.person("admin", name="Bulk Chief")
        company.sql("UPDATE users SET role = 'user' WHERE role = 'admin' AND email <> :email", email=chief.email)
        people = [company.person(name=f"Bulk {letter}", email=f"{letter}@bulk.example") for letter in "bca"]
        person = desk().enter(chief, "#/users?query=bulk")
        page = person.page
        expect(page.locator("#user-total")).to_have_text("4 users")
        assert names(person) == ["Bulk a", "Bulk c", "Bulk b", "Bulk Chief"]
        page.get_by_role("button", name="User", exact=True).click()
        expect(page.locator("#user-list tbody tr").first).to_contain_text("Bulk a")
        expect(page.locator("#user-list th[aria-sort=ascending]")).to_have_text("User")
        expect(page.get_by_label("Sort by")).to_have_value("email asc")
        page.get_by_label("2-step").select_option("Off")
        expect(page).to_have_url(re.compile("mfa_enabled=false"))
        page.reload()
        expect(page.locator("#user-list tbody tr")).to_have_count(4)
        expect(page.get_by_label("2-step")).to_have_value("false")
        assert names(person) == ["Bulk a", "Bulk Chief", "Bulk b", "Bulk c"]
        page.get_by_label("Choose all that are shown").check()
        expect(page.locator("#chosen")).to_have_text("4 chosen")
        page.get_by_label("Choose Bulk b").uncheck()
        page.get_by_label("What to do with the chosen users").select_option("Disable")
        page.get_by_role("button", name="Go on…").click()
        person.answer("Disable", reason=" ")
        expect(person.dialog.locator("[data-part=error]")).to_contain_text("Say why")
        person.answer("Disable", reason=WHY)
        expect(person.dialog).to_contain_text("1 of 3 refused")
        expect(person.dialog).to_contain_text("Bulk Chief: This is the last administrator")
        person.answer("Close")
        expect(page.locator("#user-list .badge.bad")).to_have_count(2)
        expect(page.locator("#chosen")).to_have_text("None chosen")
        done = [company.audit_rows("user.disabled", one.id) for one in (*people, chief)]
        assert [[outcome for outcome, _ in rows] for rows in done] == [[], ["done"], ["done"], ["refused"]]
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download as CSV").click()
        assert re.fullmatch(r"users-\d{4}-\d\d-\d\d\.csv", waiting.value.suggested_filename)
        rows = list(csv.DictReader(waiting.value.path().read_text(encoding="utf-8").splitlines()))
        assert {row["email"] for row in rows} == {chief.email, *(one.email for one in people)}
        company.sql("UPDATE users SET role = 'admin' WHERE email LIKE 'admin-%'")

    def test_and_all_else_is_done_by_keyboard(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        """From sign-in to an act upon a user and out again, and what has the focus is seen."""
        target = company.person(name="Keyboard Target")
        person = desk().open()
        page, press = person.page, person.page.keyboard.press
        expect(page.get_by_label("E-mail")).to_be_focused()
        page.keyboard.type(admin.email)
        press("Tab")
        page.keyboard.type(PASSWORD)
        press("Enter")
        expect(page.locator("#dashboard-heading")).to_be_focused()
        press("/")
        expect(page.locator("#search")).to_be_focused()
        page.keyboard.type("keyboard tar")
        expect(page.locator("#user-list tbody tr")).to_have_count(1)
        press("ArrowDown")
        link = page.locator("#user-list tbody a").first
        expect(link).to_be_focused()
        expect(link).to_have_css("outline-style", "solid")
        press("ArrowUp")
        expect(page.locator("#search")).to_be_focused()
        press("ArrowDown")
        press("Enter")
        expect(page.locator("#user-heading")).to_be_focused()
        expect(page.locator("#user-heading")).to_have_text("Keyboard Target")
        disable = page.get_by_role("button", name="Disable", exact=True)
        expect(disable).to_be_visible()
        for _ in range(20):
            press("Tab")
            if disable.evaluate("(button) => button === document.activeElement"):
                break
        press("Enter")
        expect(person.dialog.get_by_label("Reason")).to_be_focused()
        press("Escape")
        expect(person.dialog).to_be_hidden()
        expect(disable).to_be_focused()
        press("Enter")
        page.keyboard.type(WHY)
        press("Enter")
        expect(page.locator("#user-badges")).to_contain_text("disabled")
        expect(page.locator("#user-heading")).to_be_focused()
        assert len(company.audit_rows("user.disabled", target.id)) == 1
        press("Shift+Tab")
        press("Shift+Tab")
        expect(page.get_by_role("button", name="Sign out", exact=True)).to_be_focused()
        press("Enter")
        expect(page.locator("#sign-in")).to_be_visible()


class TestUser:
    def test_shows_devices_credentials_and_events_by_pages(
        self, desk: OpenDesk, company: Company, admin: Account
    ) -> None:
        user = company.person(name="Ada Lovelace")
        user.sign_in_elsewhere("Ada’s phone")
        company.add_credentials(user.id, 13)
        person = desk().enter(admin, f"#/users/{user.id}")
        page = person.page
        expect(page.locator("#profile")).to_contain_text(f"users/{user.id}/")
        expect(page.locator("#user-sessions tbody tr")).to_have_count(1)
        expect(page.locator("#user-sessions")).to_contain_text("Ada’s phone")
        expect(page.locator("#user-credentials tbody tr")).to_have_count(10)
        page.locator("#user-credentials .more").click()
        expect(page.locator("#user-credentials tbody tr")).to_have_count(13)
        states = page.locator("#user-credentials tbody .badge").all_inner_texts()
        assert {state: states.count(state) for state in set(states)} == {"live": 5, "expired": 4, "revoked": 4}
        expect(page.locator("#user-events")).to_contain_text("session.started")

    def test_that_does_not_exist_is_said_to_be_absent(self, desk: OpenDesk, admin: Account) -> None:
        person = desk()
        person.excused.add("/v1/admin/users/")
        person.enter(admin, "#/users/00000000-0000-4000-8000-000000000000")
        expect(person.page.locator("#user-error")).to_contain_text("There is no such user.")
        for strange in ("not-an-id", "%E0%A4%A", "..%2f..%2fme"):
            with person.page.expect_response("**/v1/admin/users/*"):
                person.page.evaluate("(id) => { location.hash = `#/users/${id}`; }", strange)
            expect(person.page.locator("#user-error")).to_contain_text("There is no such user.")

    def test_with_a_hostile_name_is_text(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        """HT12: in every place that shows it; nothing is loaded, nothing runs."""
        user = company.person(name=HOSTILE)
        user.sign_in_elsewhere(HOSTILE)
        (key,) = company.add_credentials(user.id, 1)
        person = desk().enter(admin, "#/users")
        page = person.page
        search(person, "onerror", 1)
        assert names(person) == [HOSTILE]
        person.open_user(user)
        expect(page.locator("#user-heading")).to_have_text(HOSTILE)
        expect(page.locator("#user-sessions")).to_contain_text(HOSTILE)
        person.act("Disable", "Disable", reason=HOSTILE)
        expect(page.locator("#user-events")).to_contain_text(HOSTILE)
        page.locator("#user-credentials a").click()
        expect(page.get_by_test_id("key-facts")).to_contain_text(HOSTILE)
        person.go("Audit")
        expect(page.locator("#audit-list")).to_contain_text(HOSTILE)
        assert page.locator("img[src=x]").count() == 0
        assert page.evaluate("() => globalThis.hacked") is None
        assert key


class TestActions:
    """Each with its reason, which stands in the audit."""

    @pytest.mark.parametrize(
        "act",
        [
            ("Disable", "Disable", "user.disabled", "disabled"),
            ("Sign out everywhere", "Sign out", "user.signed_out", "active"),
            ("Revoke credentials", "Revoke", "credential.revoked", "active"),
            ("Send password reset", "Send the mail", "password.reset_requested", "active"),
            ("Unlock sign-in", "Unlock", "user.unlocked", "active"),
        ],
    )
    def test_are_done_with_a_reason(
        self, desk: OpenDesk, company: Company, admin: Account, act: tuple[str, str, str, str]
    ) -> None:
        button, submit, event, after = act
        user = company.person()
        user.sign_in_elsewhere("phone")
        person = desk().enter(admin, f"#/users/{user.id}")
        person.page.get_by_role("button", name=button, exact=True).click()
        person.answer(submit, reason="  ")
        expect(person.dialog.locator("[data-part=error]")).to_contain_text("Say why")
        assert company.audit_rows(event, user.id) == []
        person.answer(submit, reason=WHY)
        expect(person.dialog).to_be_hidden()
        expect(person.page.locator("#user-badges")).to_contain_text(after)
        expect(person.page.locator("#user-events")).to_contain_text(WHY)
        ((outcome, detail),) = company.audit_rows(event, user.id)
        assert outcome == "done"
        assert json.loads(detail)["reason"] == WHY

    def test_disabling_is_taken_back(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        user = company.person()
        person = desk().enter(admin, f"#/users/{user.id}")
        person.act("Disable", "Disable", reason=WHY)
        person.act("Enable", "Enable", reason=WHY)
        expect(person.page.locator("#user-badges")).to_contain_text("active")
        expect(person.page.locator("#status")).to_have_text("The user is enabled.")
        person.go("Users")
        expect(person.page.locator("#status")).to_be_empty(timeout=2000)
        assert len(company.audit_rows("user.enabled", user.id)) == 1

    def test_a_second_factor_is_reset(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        user = company.person().enable_mfa()
        person = desk().enter(admin, f"#/users/{user.id}")
        expect(person.page.locator("#profile")).to_contain_text("Authenticator app")
        person.act("Reset second factor", "Reset", reason=WHY)
        expect(person.page.locator("#profile")).to_contain_text("No authenticator app")
        assert len(company.audit_rows("mfa.reset", user.id)) == 1

    def test_name_and_role_are_changed(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        user = company.person(name="Old Name")
        person = desk().enter(admin, f"#/users/{user.id}")
        person.act("Change name", "Save", display_name="New Name", reason=WHY)
        expect(person.page.locator("#user-heading")).to_have_text("New Name")
        person.act("Change role", "Change it", role="support", reason=WHY)
        expect(person.page.locator("#user-badges")).to_contain_text("support")
        assert json.loads(company.audit_rows("user.profile_changed", user.id)[0][1])["reason"] == WHY
        changed = json.loads(company.audit_rows("user.role_changed", user.id)[0][1])
        assert (changed["former_role"], changed["role"], changed["reason"]) == ("user", "support", WHY)

    def test_a_quota_is_given_and_taken_away(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        user = company.person()
        person = desk().enter(admin, f"#/users/{user.id}")
        usage = person.page.get_by_test_id("usage")
        expect(usage).to_have_text("Counted only for users who have a quota")
        person.page.get_by_role("button", name="Change quota", exact=True).click()
        person.answer("Change it", quota="much", reason=WHY)
        expect(person.dialog.locator("[data-part=error]")).to_contain_text("A quota is a number")
        person.answer("Change it", quota="1.5", reason=WHY)
        expect(usage).to_have_text("Not counted yet; quota 1.5 MB")
        company.sql("UPDATE usage SET bytes = 1500000, objects = 3")
        detail = json.loads(company.audit_rows("user.quota_changed", user.id)[0][1])
        assert (detail["former_bytes"], detail["bytes"], detail["reason"]) == (None, 1_500_000, WHY)
        person.act("Change quota", "Change it", quota="", reason=WHY)
        expect(usage).to_have_text("1.5 MB in 3 objects; no quota")
        person.act("Change quota", "Change it", quota="1", reason=WHY)
        expect(usage).to_have_text("1.5 MB in 3 objects of 1.0 MB full")

    def test_erasing_wants_the_address_typed(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        user = company.person()
        person = desk().enter(admin, f"#/users/{user.id}")
        person.page.get_by_role("button", name="Erase", exact=True).click()
        person.answer("Erase for good", confirmation="somebody@else.example", reason=WHY)
        expect(person.dialog.locator("[data-part=error]")).to_contain_text("nothing was erased")
        assert person.calls("POST", f"/v1/admin/users/{user.id}/erasure") == []
        person.answer("Erase for good", confirmation=user.email, reason=WHY)
        expect(person.page.locator("#user-heading")).to_have_text("Erased user")
        expect(person.page.locator("#actions button")).to_have_count(0)
        assert json.loads(company.audit_rows("user.erasure_requested", user.id)[0][1])["reason"] == WHY

    def test_somebody_is_invited(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        person = desk().enter(admin, "#/users")
        person.excused.add("/v1/admin/users")
        page = person.page
        page.get_by_role("button", name="Invite a user").click()
        person.answer("Send the invitation", email=admin.email)
        expect(person.dialog.locator("[data-part=error]")).to_contain_text("Another account has this e-mail address")
        person.answer("Send the invitation", email="New.Person@example.org", display_name="New Person", role="support")
        expect(page.locator("#user-heading")).to_have_text("New Person")
        expect(page.locator("#status")).to_have_text("New.Person@example.org is invited.")
        expect(page.locator("#user-events")).to_contain_text("user.invited")
        assert company.sql("SELECT role, password_hash FROM users WHERE email = 'New.Person@example.org'") == [
            ("support", None)
        ]

    def test_the_last_administrator_stays(self, desk: OpenDesk, strict: Company) -> None:
        """AZ6: the page says so, and keeps what was typed."""
        strict.sql("UPDATE users SET role = 'user'")
        chief = strict.person("admin").enable_mfa()
        person = desk(strict).open(f"#/users/{chief.id}")
        person.excused.add("/v1/admin/users/")
        person.give_password(chief)
        person.answer("Sign in", code=chief.code())
        person.page.get_by_role("button", name="Disable", exact=True).click()
        person.answer("Disable", reason=WHY)
        expect(person.dialog.locator("[data-part=error]")).to_contain_text("This is the last administrator")
        expect(person.dialog.get_by_label("Reason")).to_have_value(WHY)

    def test_what_wants_a_fresh_sign_in_asks_for_one(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        """TK19: and is then done with what was typed before."""
        user = company.person()
        person = desk().enter(admin, f"#/users/{user.id}")
        person.excused.add("/disable")
        stale = {"status": 403, "code": "step_up_required", "title": "A fresh sign-in is needed", "detail": "…"}

        def refuse(route: Route) -> None:
            if person.calls("POST", "/console/session/step-up"):
                route.continue_()
            else:
                route.fulfill(status=403, content_type="application/problem+json", body=json.dumps(stale))

        person.page.route("**/disable", refuse)
        person.page.get_by_role("button", name="Disable", exact=True).click()
        person.answer("Disable", reason=WHY)
        expect(person.dialog).to_contain_text("Is it you?")
        person.answer("Go on", password=PASSWORD)
        expect(person.page.locator("#user-badges")).to_contain_text("disabled")
        assert json.loads(company.audit_rows("user.disabled", user.id)[0][1])["reason"] == WHY

    @pytest.mark.parametrize(
        "refusal",
        [
            (429, "rate_limited", {"Retry-After": "17"}, "Too many requests. Try again in 17 seconds."),
            (503, "database_unavailable", {"Retry-After": "1"}, "Try again in 1 second."),
            (403, "forbidden", {}, "Your role does not allow this. Ask an administrator."),
            (0, "", {}, "The service cannot be reached. Are you online?"),
        ],
    )
    def test_what_goes_wrong_is_said_with_what_to_do(
        self, desk: OpenDesk, company: Company, admin: Account, refusal: tuple[int, str, dict[str, str], str]
    ) -> None:
        status, code, headers, said = refusal
        user = company.person()
        person = desk().enter(admin, f"#/users/{user.id}")
        person.excused.add("/disable")
        body = json.dumps({"status": status, "code": code, "title": code, "detail": "It does not answer."})

        def answer(route: Route) -> None:
            if status:
                problem = {"Content-Type": "application/problem+json", **headers}
                route.fulfill(status=status, headers=problem, body=body)
            else:
                route.abort("internetdisconnected")

        person.page.route("**/disable", answer)
        person.page.get_by_role("button", name="Disable", exact=True).click()
        person.answer("Disable", reason=WHY)
        expect(person.dialog.locator("[data-part=error]")).to_contain_text(said)
        expect(person.dialog.get_by_label("Reason")).to_have_value(WHY)
        person.page.unroute("**/disable")
        person.answer("Disable", reason=WHY)
        expect(person.page.locator("#user-badges")).to_contain_text("disabled")


class TestSupport:
    def test_sees_what_it_may_do_alone(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        clerk, user = company.person("support"), company.person()
        company.add_credentials(user.id, 1)
        person = desk().enter(clerk, f"#/users/{user.id}")
        page = person.page
        expect(page.locator("#actions button")).to_have_count(len(SUPPORT_MAY))
        assert page.locator("#actions button").all_inner_texts() == SUPPORT_MAY
        person.act("Sign out everywhere", "Sign out", reason=WHY)
        assert len(company.audit_rows("user.signed_out", user.id)) == 1
        page.locator("#user-credentials a").click()
        expect(page.get_by_test_id("key-facts")).to_be_visible()
        expect(page.get_by_test_id("revoke-key")).to_have_count(0)
        person.open_user(admin)
        expect(page.locator("#actions")).to_have_text("Nothing that your role may do.")
        person.go("Users")
        expect(page.get_by_role("button", name="Invite a user")).to_be_hidden()
        person.go("Audit")
        expect(page.locator("#audit-list tbody tr").first).to_be_visible()
        expect(page.get_by_role("button", name="Download as NDJSON")).to_be_hidden()
        expect(page.locator("#nav").get_by_role("link", name="Imports")).to_be_hidden()
        page.evaluate("() => { location.hash = '#/imports'; }")
        expect(page.locator("#dashboard")).to_be_visible()
        expect(page.locator("#imports")).to_be_hidden()
