"""What the key and the session of the sample app may do, and that both end. Its handles: see `test_demo.py`."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from httpx2 import post
from playwright.sync_api import Request, Route, expect

from tests.conftest import DevServer
from tests.pages.visit import DENIED, PASSWORD, Visit

pytestmark = pytest.mark.sampled(8)

OpenVisit = Callable[..., Visit]


def set_quota(server: DevServer, email: str, quota: int | None) -> None:
    with closing(sqlite3.connect(server.data_dir / "tokenvend.db", timeout=10)) as database, database:
        database.execute("UPDATE users SET quota_bytes = ? WHERE email = ?", (quota, email))


class TestKey:
    def test_is_described_but_never_shown(self, visit: OpenVisit) -> None:
        person = visit().register()
        panel = person.page.locator("#panel")
        key_id = person.credential["access_key_id"]
        expect(panel.locator("[data-part=prefix]")).to_have_text(person.credential["prefix"])
        expect(panel.locator("[data-part=bucket]")).to_have_text(person.credential["bucket"])
        expect(panel.locator("[data-part=key-id]")).to_have_text(f"{key_id[:4]}…{key_id[-4:]}")
        expect(panel.locator("[data-part=clock]")).to_have_text("agrees with the service")
        first = panel.locator("#countdown").inner_text()
        expect(panel.locator("#countdown")).not_to_have_text(first)
        granted = {
            right.get_attribute("data-right"): right.get_attribute("data-granted")
            for right in panel.locator("[data-right]").all()
        }
        assert granted == {"look": "true", "add": "true", "remove": "true", "foreign": "false"}

    @pytest.mark.long
    def test_does_only_what_was_asked_for(self, visit: OpenVisit, china: Path) -> None:
        person = visit().register()
        person.excused.add("china.jpg")
        with person.page.expect_response("**/v1/credentials"):
            person.page.locator("#access").select_option("read")
        expect(person.page.locator("[data-right=add]")).to_have_attribute("data-granted", "false")
        person.page.locator("#files").set_input_files(china)
        failed = person.page.locator("[data-testid=upload][data-state=failed]")
        expect(failed).to_contain_text("The policy of this credential does not allow it. AccessDenied")
        expect(person.page.get_by_test_id("photo")).to_have_count(0)

    def test_of_who_is_over_quota_looks_and_makes_room(
        self, visit: OpenVisit, dev_server: DevServer, china: Path, flower: Path
    ) -> None:
        person = visit().register()
        page, key_id = person.page, "[data-part=key-id]"
        person.upload(china)
        set_quota(dev_server, person.email, 0)
        person.excused |= {"/v1/credentials", "flower.jpg"}
        before = page.locator(key_id).inner_text()
        page.locator("#access").select_option("write")
        expect(page.locator(key_id)).not_to_have_text(before)
        expect(page.locator("#full")).to_contain_text("Your storage is full")
        page.locator("#refresh").click()
        expect(page.locator("[data-part=storage]")).to_contain_text(" of 0 bytes")
        expect(page.locator("#usage")).to_have_attribute("value", "1")
        expect(page.locator("#access")).to_have_value("read_delete")
        expect(page.locator("[data-right=add]")).to_have_attribute("data-granted", "false")
        page.locator("#files").set_input_files(flower)
        expect(page.locator("[data-testid=upload][data-state=failed]")).to_contain_text("quota_exceeded")
        person.look_at_both("full")
        person.view("china.jpg")
        page.locator("#close-viewer").click()

        set_quota(dev_server, person.email, None)
        page.get_by_role("button", name="Try again").first.click()
        expect(page.locator("#full")).to_be_hidden()
        expect(page.locator("[data-testid=upload]")).to_have_count(0)

    @pytest.mark.sampled(1)
    def test_does_not_open_somebody_elses_picture(self, visit: OpenVisit, china: Path) -> None:
        owner = visit().register()
        owner.upload(china)
        key = owner.view("china.jpg")

        stranger = visit().register()
        page = stranger.page
        stranger.excused.add("users")
        expect(page.locator("#empty")).to_be_visible()
        expect(page.get_by_test_id("photo")).to_have_count(0)
        page.locator("#try-foreign").click()
        assert stranger.refusals() == DENIED
        for theirs in (key, owner.credential["prefix"], owner.credential["prefix"].split("/")[1]):
            page.locator("#foreign").fill(theirs)
            page.locator("#try-foreign").click()
            expect(page.locator("#try-foreign")).to_be_enabled()
            assert stranger.refusals() == DENIED
            expect(page.locator("#verdict")).to_contain_text("Refused by the storage engine")
            for row in page.get_by_test_id("refusal").all()[1:]:
                why = row.locator("[data-part=why]")
                expect(why).to_contain_text(
                    "The policy of this credential does not allow it. The key is outside the user's own"
                )
                expect(why).not_to_contain_text("`")
                expect(why.locator("code").last).to_have_text("session_policy")

        # The same button on one's own picture opens it, so a refusal is not all it can say.
        owner.page.locator("#close-viewer").click()
        owner.page.locator("#foreign").fill(key)
        owner.page.locator("#try-foreign").click()
        assert owner.refusals() == {"List yours": "200 OK", "Open theirs": "200 OK", "List theirs": "200 OK"}

    @pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId"])
    def test_is_renewed_once_when_the_engine_calls_it_outdated(self, visit: OpenVisit, china: Path, code: str) -> None:
        person = visit().register()
        person.excused.add("china.jpg")
        refused: list[Request] = []

        # Not with `times=1`: the browser's preflight may come by here too.
        def refuse(route: Route) -> None:
            if route.request.method != "PUT" or refused:
                route.continue_()
                return
            refused.append(route.request)
            allowed = {"Access-Control-Allow-Origin": person.url}
            route.fulfill(status=403, headers=allowed, body=f"<Error><Code>{code}</Code></Error>")

        person.page.route("**/photos/users/**", refuse)
        vended = len(person.calls("POST", "/v1/credentials"))
        person.upload(china)
        assert len(refused) == 1
        assert len(person.originals("PUT", "china.jpg")) == 2
        assert len(person.calls("POST", "/v1/credentials")) == vended + 1

    def test_is_replaced_where_it_was_revoked(self, visit: OpenVisit, china: Path) -> None:
        """The engine denies it as it denies a foreign folder; this one stands in for an engine that is told."""
        person = visit().register()
        person.excused.add("china.jpg")
        token = person.answered("/v1/auth/login")[-1]["tokens"]["access_token"]
        refused: list[Request] = []

        def refuse(route: Route) -> None:
            if route.request.method != "PUT" or refused:
                route.continue_()
                return
            refused.append(route.request)
            answer = post(f"{person.url}/v1/credentials/revoke", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 202
            allowed = {"Access-Control-Allow-Origin": person.url}
            route.fulfill(status=403, headers=allowed, body="<Error><Code>AccessDenied</Code></Error>")

        person.page.route("**/photos/users/**", refuse)
        revoked = person.credential["access_key_id"]
        person.upload(china)
        assert person.credential["access_key_id"] != revoked
        assert len(person.originals("PUT", "china.jpg")) == 2

    def test_is_renewed_in_time_even_where_the_clock_is_wrong(self, visit: OpenVisit, china: Path) -> None:
        person = visit()
        person.page.clock.install()
        person.register()
        vended = len(person.calls("POST", "/v1/credentials"))
        person.page.clock.fast_forward("57:00")
        expect(person.page.locator("[data-part=clock]")).to_contain_text("57 minutes ahead of the service")
        assert len(person.calls("POST", "/v1/credentials")) == vended + 1
        # The access token would have ended too, and was exchanged without a refused request.
        assert len(person.calls("POST", "/v1/auth/refresh")) == 1
        person.upload(china)


class TestSession:
    def test_refreshes_once_for_all_who_wait(self, visit: OpenVisit) -> None:
        person = visit()
        waiting = ("/v1/me", "/v1/credentials")
        person.excused.update(waiting)
        expired = {"code": "invalid_token", "detail": "The access token has expired."}
        for path in waiting:
            person.page.route(person.url + path, lambda route: route.fulfill(status=401, json=expired), times=1)
        person.register()
        assert len(person.calls("POST", "/v1/auth/refresh")) == 1
        for path in waiting:
            refused, granted = (call for call in person.requests if call.url == person.url + path)
            assert refused.headers["authorization"] != granted.headers["authorization"]

    def test_keeps_nothing_in_the_browser(self, visit: OpenVisit, china: Path) -> None:
        person = visit().register()
        person.upload(china)
        secrets = {*person.secrets(), PASSWORD}
        assert len(secrets) == 5
        exposed = person.exposed()
        assert person.credential["prefix"] in exposed
        assert not [secret for secret in secrets if secret in exposed]
        kept = person.kept()
        assert not any(kept.values()), kept

    def test_ends_with_nothing_left_on_the_page(self, visit: OpenVisit, china: Path) -> None:
        person = visit().register()
        person.upload(china)
        prefix = person.credential["prefix"]
        with person.page.expect_response("**/v1/auth/logout") as farewell:
            person.page.locator("#sign-out").click()
        assert farewell.value.status == 204
        expect(person.page.locator("#welcome")).to_be_visible()
        expect(person.page.locator("#album")).to_be_hidden()
        expect(person.page.get_by_test_id("photo")).to_have_count(0)
        content = person.exposed().split("\n")[0]
        assert prefix not in content
        assert "china" not in content
        assert person.email not in content
        (logout,) = person.calls("POST", "/v1/auth/logout")
        refresh = person.page.request.post(f"{person.url}/v1/auth/refresh", data=logout.post_data_json)
        assert refresh.status == 401

    def test_of_another_device_can_be_ended(self, visit: OpenVisit) -> None:
        person = visit().register()
        other = visit()
        other.email = person.email
        other.excused.add("/v1/")
        other.open().sign_in()
        page = other.page
        expect(page.get_by_test_id("device")).to_have_count(2)
        person.excused.add("/v1/")
        here = page.get_by_test_id("device").filter(has_text="This device")
        expect(here).to_have_count(1)
        page.get_by_test_id("device").filter(has_not_text="This device").get_by_role("button").click()
        expect(page.get_by_test_id("device")).to_have_count(1)
        person.page.locator("#access").select_option("read")
        expect(person.page.locator("#notice")).to_have_text("Your session has ended. Please sign in again.")
        expect(person.page.locator("#album")).to_be_hidden()
