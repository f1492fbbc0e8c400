"""The sample app at `/demo` in a real browser, against `tokenvend dev` with its real engine.

The page keeps these handles for tests.

Ids: `email`, `password`, `display_name`, `<field>-error`, `form-error`, `notice`, `mode-login`, `mode-register`,
`submit`; `album`, `files`, `uploads`, `grid`, `empty`, `count`, `refresh`; `viewer` (`data-state` loading, shown or
failed), `previous`, `next`, `download`, `copy-key`, `delete`, `confirm-delete`, `cancel-delete`, `close-viewer`;
`panel`, `access`, `countdown`, `foreign`, `try-foreign`, `verdict`, `devices`, `sign-out`, `status`.
Test ids: `photo` (`data-key`; `data-state` shown or failed), `upload` (`data-state` waiting, sending, done or failed),
`refusal` (`data-outcome` opened, refused or unclear), `device`, `viewer-key`.
"""

import hashlib
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.pages.visit import DENIED, DESKTOP, PHONE, Visit, rendition_of

pytestmark = pytest.mark.sampled(3)

OpenVisit = Callable[..., Visit]
LINES = """(element) => {
  const words = document.createRange();
  words.selectNodeContents(element);
  return words.getClientRects().length;
}"""


class TestPictures:
    @pytest.mark.sampled(1)
    def test_go_up_with_progress_come_back_identical_and_can_be_deleted(
        self, visit: OpenVisit, china: Path, flower: Path, panorama: Path
    ) -> None:
        person = visit().register()
        page = person.page
        expect(page.locator("#empty")).to_be_visible()

        person.watch_progress()
        person.slow_down(8_000_000)
        page.locator("#files").set_input_files([china, flower, panorama])
        large = page.get_by_test_id("upload").filter(has_text="panorama.jpg")
        expect(large).to_contain_text(re.compile(r"of 11\.6 MB · [1-9]\d %"))
        person.screenshot("uploading-desktop")
        expect(page.locator("[data-testid=photo][data-state=shown]")).to_have_count(3)
        expect(page.locator("#count")).to_contain_text("3 ·")
        person.slow_down(-1)

        seen = person.seen_progress()
        assert set(seen) == {"china.jpg", "flower.jpg", "panorama.jpg"}
        for values in seen.values():
            assert values[0] == 0
            assert values[-1] == 1
            assert all(before < after for before, after in pairwise(values))
        assert len(seen["panorama.jpg"]) > 4
        assert len(person.calls("POST", "?uploads")) == 1
        assert len(person.calls("PUT", "partNumber=")) == 3

        expect(page.locator("#uploads")).to_be_hidden()  # no row goes away under the pointer any more
        for original in (china, flower, panorama):
            person.view(original.name)
            name, content = person.download()
            assert name == original.name
            assert hashlib.sha256(content).digest() == hashlib.sha256(original.read_bytes()).digest()
            page.locator("#close-viewer").click()

        key = person.view("flower.jpg")
        page.locator("#delete").click()
        page.locator("#cancel-delete").click()
        expect(page.locator("#viewer")).to_be_visible()
        page.locator("#delete").click()
        page.locator("#confirm-delete").click()
        expect(page.get_by_test_id("photo")).to_have_count(2)
        expect(page.locator("#viewer")).not_to_be_visible()
        assert [urlsplit(call.url).path for call in person.calls("DELETE", "flower.jpg")] == [
            f"/photos/{gone}" for gone in (rendition_of(key), key)
        ]
        page.locator("#refresh").click()
        expect(page.locator("#grid")).to_have_attribute("aria-busy", "false")
        expect(page.get_by_role("button", name="flower.jpg")).to_have_count(0)

    def test_never_pass_through_the_service(self, visit: OpenVisit, china: Path) -> None:
        person = visit().register()
        person.upload(china)
        service = urlsplit(person.url).netloc
        to_service = [request for request in person.requests if urlsplit(request.url).netloc == service]
        assert {request.method for request in to_service} == {"GET", "POST"}
        assert all(len(request.post_data_buffer or b"") < 2_000 for request in to_service)
        (put,) = person.originals("PUT", "china.jpg")
        assert put.url.startswith(f"{person.credential['endpoint_url']}/photos/{person.credential['prefix']}")

    def test_are_there_again_after_signing_in_again(self, visit: OpenVisit, china: Path) -> None:
        person = visit().register()
        person.upload(china)
        person.open().sign_in()
        # The session of the page that was left went with it.
        expect(person.page.get_by_test_id("device")).to_have_count(1)
        expect(person.page.locator("[data-testid=photo][data-state=shown]")).to_have_count(1)
        assert person.view("china.jpg").startswith(person.credential["prefix"])

    def test_keep_their_type_and_a_plain_name(self, visit: OpenVisit, china: Path) -> None:
        # A type that the name does not suggest, so that no guess of the engine can pass for it.
        person = visit().register()
        person.page.locator("#files").set_input_files(
            {"name": "Été à la plage (1)#?.jpg", "mimeType": "image/png", "buffer": china.read_bytes()}
        )
        expect(person.page.locator("[data-testid=photo][data-state=shown]")).to_have_count(1)
        with person.page.expect_response(
            lambda answer: answer.request.method == "GET" and ".jpg" in answer.url
        ) as waiting:
            key = person.view("Été-à-la-plage-1-.jpg")
        assert waiting.value.headers["content-type"] == "image/png"
        assert key.endswith("-Été-à-la-plage-1-.jpg")

    def test_can_be_stopped_on_their_way(self, visit: OpenVisit, panorama: Path) -> None:
        person = visit().register()
        page = person.page
        person.slow_down(1_000_000)
        page.locator("#files").set_input_files(panorama)
        expect(page.get_by_test_id("upload")).to_contain_text(re.compile(r"of 11\.6 MB · [1-9]"))  # it has begun
        with page.expect_response(lambda answer: answer.request.method == "DELETE") as withdrawal:
            page.get_by_role("button", name="Cancel panorama.jpg").click()
        assert withdrawal.value.status == 204
        assert "uploadId=" in withdrawal.value.url
        expect(page.locator("#uploads")).to_be_hidden()
        expect(page.get_by_test_id("photo")).to_have_count(0)

    def test_are_walked_by_keyboard(self, visit: OpenVisit, china: Path, flower: Path) -> None:
        person = visit().register()
        person.upload(china)
        person.upload(flower)
        page = person.page
        page.get_by_role("button", name="flower.jpg").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("viewer-key")).to_contain_text("flower.jpg")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_test_id("viewer-key")).to_contain_text("china.jpg")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_test_id("viewer-key")).to_contain_text("china.jpg")
        page.keyboard.press("Escape")
        expect(page.locator("#viewer")).not_to_be_visible()


class TestForm:
    def test_says_what_is_wrong_beside_the_field(self, visit: OpenVisit) -> None:
        person = visit().open()
        person.excused.add("/v1/users")
        page = person.page
        page.locator("#email").fill(person.email)
        page.locator("#password").fill("short")
        page.locator("#submit").click()
        expect(page.locator("#password-error")).to_have_text("This is too short. A few unrelated words do well.")
        expect(page.locator("#password")).to_have_attribute("aria-invalid", "true")
        expect(page.locator("#email-error")).to_be_empty()
        page.locator("#reveal").click()
        person.look_at_both("complaint")

    def test_says_when_the_password_is_wrong_or_the_address_is_taken(self, visit: OpenVisit) -> None:
        person = visit().register()
        person.excused.update({"/v1/users", "/v1/auth/login"})
        page = person.page
        page.locator("#sign-out").click()
        page.locator("#email").fill(person.email)
        page.locator("#password").fill("quite another one")
        page.locator("#submit").click()
        expect(page.locator("#form-error")).to_contain_text("No account has this e-mail address with this password.")
        page.get_by_label("I am new").check()
        page.locator("#submit").click()
        expect(page.locator("#form-error")).to_contain_text("Sign in instead")


class TestLook:
    def test_fits_the_screen(self, visit: OpenVisit, china: Path, flower: Path) -> None:
        person = visit().open()
        page = person.page
        person.look_at_both("welcome")
        page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        expect(page.get_by_role("heading", name="Create your account")).to_be_visible()
        promise = page.get_by_text("Reload the page and it is forgotten.").bounding_box()
        button = page.locator("#submit").bounding_box()
        assert promise
        assert button
        assert promise["y"] > button["y"]
        page.get_by_label("I have an account").check()
        assert page.get_by_text("I have an account").evaluate(LINES) == 1
        page.get_by_label("I am new").check()
        page.set_viewport_size({"width": DESKTOP["width"], "height": DESKTOP["height"]})
        person.register()
        person.look_at_both("empty")
        person.upload(china, flower)
        page.locator("#verify").click()
        expect(page.locator("#open-mailbox")).to_be_visible()
        person.look_at_both("album")
        page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        assert page.locator(".bar").evaluate("(bar) => bar.offsetHeight") < 70  # one line
        page.set_viewport_size({"width": DESKTOP["width"], "height": DESKTOP["height"]})
        person.view("china.jpg")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#viewer[data-state=shown]")).to_be_visible()
        viewer = page.locator("#viewer").bounding_box()
        assert viewer
        picture = page.locator("#viewer img").bounding_box()
        assert picture
        for step in (page.locator("#previous").bounding_box(), page.locator("#next").bounding_box()):
            assert step
            assert step["x"] + step["width"] <= picture["x"] or picture["x"] + picture["width"] <= step["x"]
            assert viewer["x"] <= step["x"]
            assert step["x"] + step["width"] <= viewer["x"] + viewer["width"]
        person.look_at_both("viewer")
        page.locator("#close-viewer").click()
        person.excused.add("users")
        page.locator("#try-foreign").click()
        assert person.refusals() == DENIED
        expect(page.locator("#verdict")).to_be_in_viewport()
        person.look_at_both("refusal")
