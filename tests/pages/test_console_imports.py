"""Users of another system, imported at the console in a real browser: checked first, and with a report by row.

Ids: `import-source`, `import-file`, `check-import`, `run-import`, `stop-import`, `import-error`, `import-facts`,
`import-problems`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.admin.test_formats import SAMPLES
from tests.pages.desk import Account, Company, Desk, open_company
from tests.pages.visit import PHONE

pytestmark = pytest.mark.sampled(3)

OpenDesk = Callable[..., Desk]


BCRYPT = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
UNSUPPORTED = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"
REPORTED = (
    "email,email_verified,display_name,status,created_at,password_hash\n"
    f"ada@report.example,true,Ada Lovelace,active,2024-01-31T12:00:00Z,{BCRYPT}\n"
    f"grace@report.example,false,,disabled,,{BCRYPT.replace('$10$', '$12$')}\n"
    f"alan@report.example,,Alan Turing,active,,{UNSUPPORTED}\n"
    "nobody,,,,,\n"
)


@pytest.fixture(scope="module")
def mailing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A service that has a mail server."""
    mail = {"smtp_url": "smtp://127.0.0.1:9", "mail_from": "photos@example.org"}
    with open_company(tmp_path_factory.mktemp("mailing"), **mail) as opened:
        yield opened


@pytest.fixture(scope="module")
def admin(company: Company) -> Account:
    return company.person("admin", name="Grace Hopper")


def choose(page: Page, text: str, name: str = "users.csv") -> None:
    page.get_by_label("File", exact=True).set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": text.encode()}
    )


def check(page: Page) -> None:
    page.get_by_role("button", name="Check the file").click()
    expect(page.locator("#import-report")).to_be_visible()


def fact(page: Page, name: str) -> str:
    return page.locator("#import-facts div").filter(has=page.get_by_text(name, exact=True)).locator("dd").inner_text()


def number_of(company: Company, pattern: str) -> Any:
    return company.sql("SELECT count(*) FROM users WHERE email LIKE :pattern", pattern=pattern)[0][0]


class TestImport:
    @pytest.mark.sampled(1)
    def test_is_checked_first_and_then_done_with_a_report_by_row(
        self, desk: OpenDesk, company: Company, admin: Account
    ) -> None:
        person = desk().enter(admin, "#/imports")
        page, token = person.page, person.access_token
        expect(page.locator("#import-problems")).to_be_hidden()
        person.look("imports-before")
        page.get_by_role("button", name="Check the file").click()
        expect(page.locator("#import-error")).to_have_text("Choose the file first.")
        wrong = "".join(f"nobody{number}\n" for number in range(60))
        choose(page, f"email\nada@import.example\n{admin.email}\n{wrong}grace@import.example\n")
        check(page)
        counts = ("Rows", "Would be new", "Known already", "Not taken")
        assert [fact(page, name) for name in counts] == ["63", "2", "1", "60"]
        assert number_of(company, "%@import.example") == 0
        rows = page.locator("#import-problems tbody tr")
        expect(rows).to_have_count(50)
        expect(rows.first).to_contain_text("no_password")
        expect(rows.nth(1)).to_contain_text("invalid_email")
        page.get_by_role("button", name="Show more").click()
        expect(rows).to_have_count(62)
        person.look("imports")
        page.get_by_role("button", name="Import 2 new users").click()
        expect(person.dialog).to_contain_text(
            "2 accounts are made, each with a prefix of its own. 1 row has one already"
        )
        person.answer("Import")
        expect(page.locator("#import-facts")).to_contain_text("Imported")
        assert [fact(page, name) for name in ("State", "New", "Known already", "Not taken")] == [
            *("completed", "2", "1", "60")
        ]
        expect(page.locator("#run-import")).to_be_hidden()
        assert number_of(company, "%@import.example") == 2
        expect(page.locator("#past-imports tbody tr")).to_have_count(2)
        page.reload()
        expect(page.locator("#import-problems tbody tr")).to_have_count(50)
        assert [fact(page, name) for name in ("State", "File", "New")] == ["completed", "–", "2"]
        page.locator("#past-imports tbody tr").nth(1).get_by_role("link").first.click()
        expect(page.locator("#import-facts")).to_contain_text("Checked: nobody was added")
        person.look("imports-past")
        assert all(token not in request.url for request in person.requests)

    def test_of_another_file_is_checked_anew(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        page = desk().enter(admin, "#/imports").page
        choose(page, '{"email": "mary@other.example"}\n', "users.ndjson")
        check(page)
        expect(page.get_by_role("button", name="Import 1 new user", exact=True)).to_be_visible()
        choose(page, '{"email": "jane@other.example"}\n', "users.ndjson")
        expect(page.locator("#run-import")).to_be_hidden()
        assert number_of(company, "%@other.example") == 0

    def test_that_broke_off_goes_on(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        person = desk().enter(admin, "#/imports")
        person.excused.add("/user-imports")
        page = person.page
        choose(page, "email\nlinus@broken.example\n")
        check(page)
        page.route("**/user-imports?*dry_run=false*", lambda route: route.abort("connectionreset"), times=1)
        page.get_by_role("button", name="Import 1 new user").click()
        person.answer("Import")
        expect(page.locator("#import-error")).to_contain_text("The service cannot be reached")
        page.get_by_role("button", name="Go on with the import").click()
        expect(page.locator("#import-facts")).to_contain_text("Imported")
        posts = [r.url for r in person.requests if r.method == "POST" and "dry_run=false" in r.url]
        assert len(posts) == 2
        assert len(set(posts)) == 1  # the same id
        assert number_of(company, "%@broken.example") == 1

    @pytest.mark.long
    def test_is_stopped_and_goes_on(self, desk: OpenDesk, company: Company, admin: Account) -> None:
        person = desk().enter(admin, "#/imports")
        person.excused.add("/user-imports")
        page = person.page
        choose(page, "email\nbarbara@stopped.example\n")
        check(page)
        page.route("**/user-imports?*dry_run=false*", lambda _route: None, times=1)  # it never arrives
        page.get_by_role("button", name="Import 1 new user").click()
        person.answer("Import")
        expect(page.locator("#import-words")).to_have_text("Importing users.csv (30 bytes)…")
        expect(page.locator("#import-progress")).to_be_visible()
        expect(page.get_by_role("button", name="Check the file")).to_be_disabled()
        person.look("imports-progress")
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#status")).to_contain_text("Stopped.")
        expect(page.locator("#import-error")).to_be_empty()
        page.get_by_role("button", name="Go on with the import").click()
        expect(page.locator("#import-facts")).to_contain_text("Imported")
        assert number_of(company, "%@stopped.example") == 1

    def test_that_cannot_be_done_says_why(self, desk: OpenDesk, admin: Account) -> None:
        person = desk().enter(admin, "#/imports")
        person.excused.add("/user-imports")
        page = person.page
        choose(page, "name;mail\n")
        page.get_by_role("button", name="Check the file").click()
        expect(page.locator("#import-error")).not_to_be_empty()
        expect(page.locator("#import-facts")).to_contain_text("failed")
        page.get_by_label("Source", exact=True).select_option("keycloak")
        page.get_by_role("button", name="Check the file").click()
        expect(page.locator("#import-error")).to_contain_text("The chosen source does not write files of this kind.")
        page.get_by_label("Source", exact=True).select_option("firebase")
        choose(page, '{"users": []}', "users.json")
        page.get_by_role("button", name="Check the file").click()
        expect(page.locator("#import-error")).to_contain_text("the password hash parameters of your Firebase project")
        expect(page.get_by_role("button", name="Check the file")).to_be_enabled()

    @pytest.mark.long
    def test_of_another_source_names_the_right_one(self, desk: OpenDesk, admin: Account) -> None:
        """Whether the chosen source has files of that kind or not."""
        person = desk().enter(admin, "#/imports")
        person.excused.add("/user-imports")
        page = person.page
        source = page.get_by_label("Source", exact=True)
        for chosen, name, title in (
            ("tokenvend", "auth0.ndjson", "Auth0 (JSON, NDJSON, CSV)"),
            ("tokenvend", "keycloak.json", "Keycloak (JSON)"),
            ("django", "directory.ldif", "A directory: LDAP (LDIF)"),
        ):
            source.select_option(chosen)
            choose(page, (SAMPLES / name).read_text(), name)
            page.get_by_role("button", name="Check the file").click()
            expect(page.locator("#import-error")).to_contain_text(f"Choose “{title}”, and check it again.")
        source.select_option("ldif")
        check(page)
        expect(page.locator("#import-error")).to_be_empty()

    @pytest.mark.sampled(1)
    def test_shows_its_first_rows_what_sign_ins_cost_and_whom_it_invites(
        self, desk: OpenDesk, mailing: Company
    ) -> None:
        person = desk(mailing).enter(mailing.person("admin"), "#/imports")
        page = person.page
        choose(page, REPORTED)
        check(page)
        rows = page.locator("#import-rows tbody tr")
        expect(rows).to_have_count(4)
        for row, texts in enumerate(
            (
                ("1", "ada@report.example", "Ada Lovelace", "Yes", "2024", "active", "the password works as before"),
                ("2", "grace@report.example", "No", "disabled", "the password works as before"),
                ("3", "not taken", "The password hash"),
                ("4", "not taken", "This is not an e-mail address."),
            )
        ):
            for text in texts:
                expect(rows.nth(row)).to_contain_text(text)
        costs = page.locator("#import-hashes tbody tr")
        expect(costs).to_have_count(1)
        expect(costs).to_contain_text("bcrypt")
        assert costs.locator("td").all_inner_texts()[1:] == ["2", "5.7", "9.1"]
        assert BCRYPT not in page.content()
        expect(page.get_by_role("button", name="Import 2 new users")).to_be_visible()
        page.get_by_label("Invite users whose hash is not supported").check()
        expect(page.locator("#run-import")).to_be_hidden()  # it was checked without invitations
        check(page)
        expect(rows.nth(2)).to_contain_text("a mail lets the user choose a password")
        assert [fact(page, name) for name in ("Would be new", "Of them invited", "Not taken")] == ["3", "1", "1"]
        expect(page.locator("#import-problems tbody tr").first).to_contain_text("invited")
        for width, height in ((390, 844), (1280, 800)):
            page.set_viewport_size({"width": width, "height": height})
            person.look(f"imports-report-{width}")
        assert mailing.sql("SELECT count(*) FROM outbox")[0][0] == 0
        page.get_by_role("button", name="Import 3 new users").click()
        expect(person.dialog).to_contain_text("1 user gets a mail with a link to choose a password.")
        person.answer("Import")
        expect(page.locator("#import-facts")).to_contain_text("Imported")
        expect(page.locator("#import-preview")).to_be_hidden()
        expect(page.locator("#import-costs")).to_be_hidden()
        invited = [tuple(row) for row in mailing.sql("SELECT kind, recipient FROM outbox")]
        assert invited == [("invitation", "alan@report.example")]

    def test_without_a_mail_server_invites_nobody(self, desk: OpenDesk, admin: Account) -> None:
        person = desk().enter(admin, "#/imports")
        person.excused.add("/user-imports")
        page = person.page
        choose(page, REPORTED)
        page.get_by_label("Invite users whose hash is not supported").check()
        page.get_by_role("button", name="Check the file").click()
        expect(page.locator("#import-error")).to_contain_text("this service has no mail server")

    def test_says_what_each_column_becomes(self, desk: OpenDesk, admin: Account) -> None:
        page = desk().enter(admin, "#/imports").page
        columns = page.locator("#import-columns")
        expect(columns).to_contain_text("password_hash")
        for option in page.locator("#import-source option").all():
            page.get_by_label("Source", exact=True).select_option(option.get_attribute("value"))
            expect(columns.locator("dt").first).not_to_be_empty()
            assert columns.locator("dt").count() > 3
        page.get_by_label("Source", exact=True).select_option("supabase")
        expect(columns).to_contain_text("encrypted_password")

    @pytest.mark.long
    def test_fits_a_phone_and_is_forgotten_with_the_session(self, desk: OpenDesk, admin: Account) -> None:
        person = desk(viewport=PHONE).enter(admin, "#/imports")
        page = person.page
        choose(page, "email\nada@phone.example\nnobody\n")
        check(page)
        expect(page.locator("#import-problems tbody tr")).to_have_count(2)
        links = page.locator("#nav a").all()
        assert len({link.bounding_box()["y"] for link in links}) == 1  # type: ignore[index]
        person.look("imports")
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("#imports")).to_be_hidden()
        assert page.locator("#import-facts").inner_html() == ""
        assert page.locator("#import-problems tbody tr").count() == 0
