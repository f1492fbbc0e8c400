"""The page `/album`: whoever has a link looks at an album, without an account, and at nothing else.

Ids: `album`, `locked`, `nowhere`, `password`, `unlock`, `report`, `report-now`. Test id: `photo`.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.pages.test_demo_sharing import authorization
from tests.pages.visit import Visit
from tests.upkeep.test_erased_objects import as_holder

OpenVisit = Callable[..., Visit]
WORD = "open sesame 58"


def make_link(owner: Visit) -> str:
    page = owner.page
    page.locator("#share").click()
    page.locator("#make-link").click()
    expect(page.locator("#link-made")).to_be_visible()
    return page.locator("#link").input_value()


def open_album(viewer: Visit, link: str) -> None:
    viewer.page.goto("about:blank")  # a change after `#` alone loads nothing
    viewer.page.goto(link)


def api_link(owner: Visit, **members: Any) -> str:
    form = {"path": "albums/", **members}
    answer = owner.page.request.post(f"{owner.url}/v1/links", data=form, headers=authorization(owner))
    assert answer.status == 201, answer.text()
    return str(answer.json()["url"])


def test_a_link_is_made_opened_and_taken_back(visit: OpenVisit, china: Path, flower: Path) -> None:
    owner, viewer = visit().register(), visit()
    owner.upload(flower)
    owner.upload(china)
    link = make_link(owner)
    assert link.startswith(f"{owner.url}/album#tvl_")
    owner.look_at_both("link-made")
    expect(owner.page.get_by_test_id("grant")).to_contain_text("Whoever has the link")

    open_album(viewer, link)
    page = viewer.page
    expect(page.locator("[data-testid=photo][data-state=shown]")).to_have_count(2)
    viewer.look_at_both("album")
    page.get_by_role("button", name="china.jpg").click()
    expect(page.locator("#viewer[data-state=shown]")).to_be_visible()
    viewer.look_at_both("album-picture")
    assert viewer.download() == ("china.jpg", china.read_bytes())
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    secret = link.partition("#")[2]
    sent = [request for request in viewer.requests if secret in request.url.partition("#")[0]]
    assert not sent, "the secret is in no address that leaves the browser"
    assert not [request for request in viewer.requests if request.headers.get("referer")]
    assert not viewer.kept()["local"]
    opened = viewer.answered("/v1/links/open")[0]["credentials"]
    assert opened["prefix"].startswith(owner.credential["prefix"])
    assert opened["secret_access_key"] not in viewer.exposed()

    owner.page.get_by_test_id("grant").get_by_role("button").click()
    expect(owner.page.get_by_test_id("grant")).to_have_count(0)
    late = visit()
    late.excused.add("/v1/links/open")
    open_album(late, link)
    expect(late.page.locator("#nowhere")).to_contain_text("was taken back")
    expect(late.page.locator("#again")).to_be_hidden()
    late.look_at_both("album-nowhere")


@pytest.mark.long
def test_a_password_is_asked_for(visit: OpenVisit, flower: Path) -> None:
    owner, viewer = visit().register(), visit()
    owner.upload(flower)
    link = api_link(owner, password=WORD)
    viewer.excused.add("/v1/links/open")
    open_album(viewer, link)
    page = viewer.page
    expect(page.locator("#password")).to_be_focused()
    viewer.look_at_both("album-locked")
    page.locator("#password").fill("something else")
    page.locator("#unlock").click()
    expect(page.locator("#password-error")).to_have_text("That is not the password.")
    page.locator("#password").fill(WORD)
    page.locator("#password").press("Enter")
    expect(page.locator("[data-testid=photo][data-state=shown]")).to_have_count(1)
    assert WORD not in "".join(request.url for request in viewer.requests)


@pytest.mark.long
def test_an_album_is_reported(visit: OpenVisit) -> None:
    owner, viewer = visit().register(), visit()
    open_album(viewer, api_link(owner))
    page = viewer.page
    expect(page.locator("#empty")).to_be_visible()
    page.locator("#report").click()
    viewer.look_at_both("album-report")
    page.locator("#report-now").click()
    expect(page.locator("#status")).to_contain_text("will look at the album")
    assert viewer.calls("POST", "/v1/links/report")


def test_people_add_pictures_by_a_link_and_stay_who_they_are(visit: OpenVisit, china: Path, flower: Path) -> None:
    owner, viewer = visit().register(), visit()
    owner.upload(flower)
    link = api_link(owner, access="contribute")
    open_album(viewer, link)
    page = viewer.page
    expect(page.locator("[data-testid=photo][data-state=shown]")).to_have_count(1)
    page.locator("#add").click()
    expect(page.locator("#naming")).to_be_visible()
    viewer.look_at_both("album-naming")
    page.locator("#contributor-name").fill("Grandma")
    page.locator("#join").click()
    expect(page.locator("#adding-state")).to_contain_text("Now choose your pictures")
    page.locator("#files").set_input_files(china)
    expect(page.locator("[data-testid=photo][data-state=shown]")).to_have_count(2)
    expect(page.locator("#adding-state")).to_contain_text("1 picture added")
    viewer.look_at_both("album-filled")

    viewer.answers.clear()
    open_album(viewer, link)
    expect(page.locator("[data-testid=photo][data-state=shown]")).to_have_count(2)
    with page.expect_file_chooser() as choosing:
        page.locator("#add").click()
    choosing.value.set_files(flower)
    expect(page.locator("[data-testid=photo][data-state=shown]")).to_have_count(3)
    listed = owner.page.request.get(f"{owner.url}/v1/links", headers=authorization(owner)).json()["items"]
    (contributor,) = listed[0]["contributors"]
    assert contributor["name"] == "Grandma"
    shown = page.get_by_test_id("photo").evaluate_all("tiles => tiles.map(({ dataset }) => dataset.key)")
    assert sorted(f"/by/{contributor['id']}/" in key for key in shown) == [False, True, True]


@pytest.mark.long
def test_a_link_that_is_only_looked_at_offers_no_adding(visit: OpenVisit, china: Path) -> None:
    owner, viewer = visit().register(), visit()
    owner.upload(china)
    open_album(viewer, api_link(owner))
    expect(viewer.page.locator("[data-testid=photo][data-state=shown]")).to_have_count(1)
    expect(viewer.page.locator("#adding")).to_be_hidden()


def test_what_a_browser_would_run_is_only_downloaded(visit: OpenVisit) -> None:
    """Whoever fills an album chooses the type of what they put there, and of its rendition."""
    owner, viewer = visit().register(), visit()
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    held = owner.credential
    with closing(as_holder(held)) as bucket:
        for name in ("a.svg", ".renditions/a.svg"):
            key = f"{held['prefix']}albums/{name}"
            bucket.put_object(Bucket=held["bucket"], Key=key, Body=drawing, ContentType="image/svg+xml")
    open_album(viewer, api_link(owner))
    page = viewer.page
    expect(page.locator("[data-testid=photo][data-state=plain]")).to_have_count(1)
    page.get_by_test_id("photo").get_by_role("button").click()
    expect(page.locator("#viewer[data-state=failed]")).to_contain_text("cannot show SVG pictures")
    assert viewer.download() == ("a.svg", drawing)
