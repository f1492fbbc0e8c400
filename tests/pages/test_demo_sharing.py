"""Sharing an album in the sample app: one person shares, another sees it, and no more once it is taken back.

What one key has no room for is opened by another, which the page then holds instead.

Ids: `share`, `share-email`, `share-album`, `share-days`, `share-contribute`, `share-now`, `close-sharing`, `received`.
Test ids: `grant`, `received-folder` (`data-prefix`), which is accepted or declined first.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.pages.visit import Visit

OpenVisit = Callable[..., Visit]


def share(owner: Visit, email: str, days: str = "", *, to_fill: bool = False) -> None:
    page = owner.page
    page.locator("#share").click()
    page.locator("#share-email").fill(email)
    page.locator("#share-days").select_option(days)
    page.locator("#share-contribute").set_checked(to_fill)
    page.locator("#share-now").click()
    expect(page.get_by_test_id("grant")).to_contain_text(email)


def accept(other: Visit, count: int = 1) -> None:
    """So many of what waits for an answer, the newest first."""
    page = other.page
    page.locator("#refresh").click()
    buttons = page.get_by_test_id("received-folder").get_by_role("button", name="Accept")
    expect(buttons).to_have_count(count)
    for left in range(count, 0, -1):
        buttons.first.click()
        expect(buttons).to_have_count(left - 1)


def authorization(person: Visit) -> dict[str, str]:
    (login,) = person.answered("/v1/auth/login")
    return {"Authorization": f"Bearer {login['tokens']['access_token']}"}


def crowd(stranger: Visit, other: Visit, count: int) -> None:
    """Shares so many folders with long names, of which a key has room for three, and has them accepted."""
    request = stranger.page.request
    for number in range(count):
        form = {"grantee_email": other.email, "path": f"{number}{'x' * 180}/"}
        answer = request.post(f"{stranger.url}/v1/grants", data=form, headers=authorization(stranger))
        assert answer.status == 201
        accepted = f"{stranger.url}/v1/grants/received/{answer.json()['grant_id']}/accept"
        assert request.post(accepted, headers=authorization(other)).status == 204


def test_an_album_is_shared_seen_and_taken_back(visit: OpenVisit, china: Path, flower: Path) -> None:
    owner, other = visit().register(), visit().register()
    owner.page.locator("#share").click()
    expect(owner.page.locator("#nothing-to-share")).to_be_visible()
    owner.page.locator("#close-sharing").click()
    owner.upload(flower)
    owner.upload(china)  # the newest, which has a next one
    share(owner, other.email)
    owner.look_at_both("sharing")

    page = other.page
    expect(page.locator("#received")).to_be_hidden()
    page.locator("#refresh").click()
    folder = page.get_by_test_id("received-folder")
    expect(folder).to_contain_text("From Ada Lovelace")
    expect(folder.get_by_test_id("photo")).to_have_count(0)
    assert other.credential["shared_prefixes"] == []
    other.look_at_both("offered")
    accept(other)
    expect(folder.locator("[data-testid=photo][data-state=shown]")).to_have_count(2)
    assert folder.get_attribute("data-prefix") == other.credential["shared_prefixes"][0]
    other.look_at_both("received")
    key = other.view("china.jpg")
    assert key.startswith(owner.credential["prefix"])
    expect(page.locator("#viewer [data-part=facts]")).to_contain_text("Shared by Ada Lovelace")
    other.look_at_both("shared-picture")
    expect(page.locator("#delete")).to_be_hidden()
    expect(page.locator("#next:enabled, #previous:enabled")).to_have_count(1)  # two were uploaded, in any order
    page.locator("#close-viewer").click()

    owner.page.get_by_test_id("grant").get_by_role("button").click()
    expect(owner.page.locator("#status")).to_contain_text("No new credential opens it")
    expect(owner.page.get_by_test_id("grant")).to_have_count(0)
    expect(owner.page.locator("#close-sharing")).to_be_focused()
    page.locator("#refresh").click()
    expect(page.locator("#received")).to_be_hidden()
    expect(page.get_by_test_id("received-folder")).to_have_count(0)


@pytest.mark.long
@pytest.mark.parametrize("accepted", [False, True], ids=["offered", "accepted"])
def test_who_does_not_want_it_removes_it(visit: OpenVisit, china: Path, accepted: bool) -> None:
    owner, other = visit().register(), visit().register()
    owner.upload(china)
    share(owner, other.email, "7")
    if accepted:
        accept(other)
    else:
        other.page.locator("#refresh").click()
    name = "Remove" if accepted else "Decline"
    other.page.get_by_test_id("received-folder").get_by_role("button", name=name).click()
    if accepted:
        expect(other.page.locator("#question")).to_contain_text("Only Ada Lovelace can share it with you again")
        other.look_at_both("leave")
        other.page.get_by_role("button", name="Remove it").click()
    expect(other.page.locator("#received")).to_be_hidden()
    owner.page.locator("#close-sharing").click()
    owner.page.locator("#share").click()
    expect(owner.page.get_by_test_id("grant")).to_have_count(1)  # whether anybody wants it is not the owner's to know


@pytest.mark.long
def test_what_a_key_has_no_room_for_is_opened_by_another(visit: OpenVisit, china: Path, flower: Path) -> None:
    stranger, owner, other = visit().register(), visit().register(), visit().register()
    crowd(stranger, other, 4)
    owner.upload(china, flower)
    share(owner, other.email)
    page = other.page
    accept(other)
    folders = page.get_by_test_id("received-folder")
    expect(folders).to_have_count(5)
    prefix = owner.credential["prefix"]
    wanted = page.locator(f"[data-testid=received-folder][data-prefix^='{prefix}']")
    first = folders.last  # the newest are shown first
    opened = page.locator("[data-testid=received-folder][data-state=open]")
    expect(opened).to_have_count(3)
    expect(wanted).to_have_attribute("data-state", "shut")
    wanted.scroll_into_view_if_needed()
    other.look_at_both("received-shut")

    wanted.get_by_role("button", name="Open").click()
    expect(wanted.locator("[data-testid=photo][data-state=shown]")).to_have_count(2)
    expect(opened).to_have_count(1)
    assert other.credential["shared_prefixes"] == [wanted.get_attribute("data-prefix")]
    first.get_by_role("button", name="Open").click()
    expect(first).to_contain_text("Nothing in it yet.")
    expect(opened).to_have_count(2)
    expect(wanted.locator("[data-testid=photo][data-state=shown]")).to_have_count(2)
    assert len(other.credential["shared_prefixes"]) == 2
    wanted.scroll_into_view_if_needed()
    other.look_at_both("received-opened")
    assert other.view("china.jpg").startswith(prefix)


@pytest.mark.long
def test_an_album_is_filled_by_whoever_may(visit: OpenVisit, china: Path, flower: Path) -> None:
    owner, other = visit().register(), visit().register()
    owner.upload(flower)
    share(owner, other.email, to_fill=True)
    expect(owner.page.get_by_test_id("grant")).to_contain_text("may add pictures")
    owner.look_at_both("sharing-to-fill")

    accept(other)
    folder = other.page.get_by_test_id("received-folder")
    expect(folder.locator("[data-testid=photo][data-state=shown]")).to_have_count(1)
    with other.page.expect_file_chooser() as choosing:
        folder.get_by_role("button", name="Add pictures").click()
    choosing.value.set_files(china)
    expect(folder.locator("[data-testid=photo][data-state=shown]")).to_have_count(2)
    other.look_at_both("received-filled")
    (place,) = other.credential["write_prefixes"]
    assert other.view("china.jpg").startswith(place)

    owner.page.locator("#close-sharing").click()
    owner.page.locator("#refresh").click()
    expect(owner.page.locator("#grid [data-testid=photo]")).to_have_count(2)
    owner.view("china.jpg")
    owner.page.locator("#delete").click()
    owner.page.locator("#confirm-delete").click()
    expect(owner.page.locator("#grid [data-testid=photo]")).to_have_count(1)
