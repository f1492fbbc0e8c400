"""Albums and tiles of the sample app: what is loaded for them, and what goes along when a picture moves or is shared.

Ids: `albums`, `new-album`, `album-name`, `move`, `upload-summary`. Test id: `photo` (`data-state` shown, plain or
failed).
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.pages.test_demo_sharing import share
from tests.pages.visit import DESKTOP, PHONE, Visit, rendition_of

pytestmark = pytest.mark.sampled(4)

OpenVisit = Callable[..., Visit]
TILES = "[data-testid=photo]"
QUARTER_TURN = bytes.fromhex(
    "ffe10022457869660000" + "4d4d002a00000008" + "0001" + "011200030000000100060000" + "00000000"
)
"""Exif of a JPEG file that says: the camera was held upright, turn me clockwise."""
WORDS = """(element) => {
  const words = document.createRange();
  words.selectNodeContents(element);
  return words.getBoundingClientRect().toJSON();
}"""
"""Where the text of an element stands."""
SHAPE = """(image) => [image.naturalWidth, image.naturalHeight]"""


def turned(photograph: Path) -> bytes:
    content = photograph.read_bytes()
    return content[:2] + QUARTER_TURN + content[2:]


def bucket_of(person: Visit) -> Any:
    """Another app of the same person, with the credential that the page holds."""
    held = person.credential
    return boto3.client(
        "s3",
        endpoint_url=held["endpoint_url"],
        region_name=held["region"],
        aws_access_key_id=held["access_key_id"],
        aws_secret_access_key=held["secret_access_key"],
        aws_session_token=held["session_token"],
    )


def stored(person: Visit) -> list[str]:
    """All keys, without the part that is the same for all."""
    held = person.credential
    listed = bucket_of(person).list_objects_v2(Bucket=held["bucket"], Prefix=held["prefix"])
    return sorted(found["Key"].removeprefix(held["prefix"]) for found in listed.get("Contents", []))


def put(person: Visit, pictures: Mapping[str, bytes]) -> None:
    held, bucket = person.credential, bucket_of(person)
    for path, content in pictures.items():
        bucket.put_object(Bucket=held["bucket"], Key=held["prefix"] + path, Body=content)


def make_album(page: Page, name: str) -> None:
    page.locator("#new-album").click()
    page.locator("#question [name=name]").fill(name)
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("#question")).to_be_hidden()


def got(person: Visit) -> list[Request]:
    """The requests for objects."""
    return [request for request in person.calls("GET", "/photos/users/") if "list-type" not in request.url]


class TestAlbum:
    @pytest.mark.sampled(1)
    def test_is_made_filled_left_and_shared_with_its_renditions(
        self, visit: OpenVisit, china: Path, flower: Path
    ) -> None:
        owner, other = visit().register(), visit().register()
        page = owner.page
        make_album(page, "Été 2026 / Süd?")
        expect(page.locator("#album-name")).to_have_text("Été 2026 Süd")
        assert stored(owner) == ["albums/Été 2026 Süd/"]
        owner.upload(flower)
        page.locator("#files").set_input_files(
            {"name": "turned.jpg", "mimeType": "image/jpeg", "buffer": turned(china)}
        )
        tile = page.locator(f"{TILES}[data-state=shown]").filter(has_text="turned.jpg").locator("img")
        wide, high = tile.evaluate(SHAPE)
        assert (wide, high) == (320, 480)  # of 640 × 427, upright
        owner.look_at_both("album-chosen")
        keys = stored(owner)
        pictures = [key for key in keys if "/.renditions/" not in key and key.endswith(".jpg")]
        assert len(pictures) == 2
        assert {*keys} == {"albums/Été 2026 Süd/", *pictures, *map(rendition_of, pictures)}

        # Shared with its renditions: who looks at the tiles reads no original.
        page.locator("#share").click()
        expect(page.locator("#share-album")).to_have_value("albums/Été 2026 Süd/")
        page.locator("#share-email").fill(other.email)
        page.locator("#share-now").click()
        expect(page.get_by_test_id("grant")).to_contain_text("Été 2026 Süd")
        page.locator("#close-sharing").click()
        other.page.locator("#refresh").click()
        other.page.get_by_role("button", name="Accept Été 2026 Süd").click()
        expect(other.page.locator(f"{TILES}[data-state=shown]")).to_have_count(2)
        assert len(got(other)) == 2
        assert all("/.renditions/" in request.url for request in got(other))

        # Moved with its rendition, and Back closes the picture instead of leaving.
        key = owner.view("flower.jpg")
        page.go_back()
        expect(page.locator("#viewer")).to_be_hidden()
        expect(page.locator("#album")).to_be_visible()
        owner.view("flower.jpg")
        page.locator("#move").click()
        owner.look_at_both("move")
        page.locator("#question [name=path]").select_option("")
        page.get_by_role("button", name="Move it").click()
        expect(page.locator("#question-title")).to_have_text("A new album")
        page.locator("#question [name=name]").fill("Garden")
        page.get_by_role("button", name="Make it").click()
        expect(page.locator("#status")).to_have_text("flower.jpg is in Garden now.")
        moved = f"albums/Garden/{key.rpartition('/')[2]}"
        assert {moved, rendition_of(moved)} < {*stored(owner)}
        assert key.removeprefix(owner.credential["prefix"]) not in stored(owner)
        expect(page.locator("#count")).to_contain_text("1 ·")
        page.get_by_role("button", name="All pictures").click()
        expect(page.locator(f"{TILES}:visible")).to_have_count(2)

        # Deleted with its rendition, and the focus stays where the picture was.
        owner.view("turned.jpg")
        page.locator("#delete").click()
        page.locator("#confirm-delete").click()
        expect(page.locator("#viewer")).to_be_hidden()
        expect(page.get_by_role("button", name="flower.jpg")).to_be_focused()
        assert [key for key in stored(owner) if key.endswith(".jpg")] == sorted([moved, rendition_of(moved)])

    @pytest.mark.long
    def test_gets_another_name_under_which_it_is_shared_too(self, visit: OpenVisit, china: Path, flower: Path) -> None:
        """Pictures, renditions and shares move along. What fails is tried again from the same question."""
        owner, other = visit().register(), visit().register()
        page = owner.page
        expect(page.locator("#rename-album")).to_be_hidden()
        make_album(page, "Winter")
        owner.upload(china, flower)
        share(owner, other.email)
        page.locator("#close-sharing").click()
        before = stored(owner)
        put(owner, {"albums/2026-02/china.jpg": china.read_bytes()})
        page.locator("#refresh").click()
        expect(page.locator("#albums")).to_contain_text("February 2026")

        owner.excused.add("flower.jpg")
        page.route("**/albums/Spring/*flower.jpg", lambda route: route.fulfill(status=403), times=1)
        page.locator("#rename-album").click()
        owner.look_at_both("album-renamed")
        for taken in ("Winter", "February 2026"):
            page.locator("#question [name=name]").fill(taken)
            page.get_by_role("button", name="Rename it").click()
            expect(page.locator("#question [data-part=error]")).to_have_text("An album has this name already.")
            page.locator("#question [data-part=error]").evaluate("(said) => { said.textContent = ''; }")
        page.locator("#question [name=name]").fill("Spring")
        page.get_by_role("button", name="Rename it").click()
        expect(page.locator("#question [data-part=error]")).to_contain_text("The policies allow it")
        assert any(key.startswith("albums/Winter/") for key in stored(owner))
        page.get_by_role("button", name="Rename it").click()
        expect(page.locator("#status")).to_have_text("It is called Spring now.")
        expect(page.locator("#album-name")).to_have_text("Spring")
        expect(page.locator("#albums")).not_to_contain_text("Winter")
        expect(page.locator(f"{TILES}:visible")).to_have_count(2)
        renamed = [key.replace("albums/Winter/", "albums/Spring/") for key in before]
        assert [key for key in stored(owner) if "/2026-02/" not in key] == renamed

        other.page.locator("#refresh").click()
        folders = other.page.get_by_test_id("received-folder")
        expect(folders).to_have_count(1)
        expect(folders).to_contain_text("Spring")
        other.page.get_by_role("button", name="Accept Spring").click()
        expect(folders.locator("[data-testid=photo][data-state=shown]")).to_have_count(2)

    @pytest.mark.long
    def test_that_is_removed_is_shared_no_more(self, visit: OpenVisit) -> None:
        owner, other = visit().register(), visit().register()
        page = owner.page
        make_album(page, "Winter")
        share(owner, other.email)
        page.locator("#close-sharing").click()
        page.get_by_role("button", name="Remove this album").click()
        expect(page.locator("#status")).to_have_text("Winter is removed, and nobody else has it any more.")
        make_album(page, "Winter")
        page.locator("#share").click()
        expect(page.locator("#no-grants")).to_be_visible()

    @pytest.mark.long
    def test_goes_if_it_has_no_picture(self, visit: OpenVisit, china: Path) -> None:
        person = visit().register()
        page = person.page
        remove = page.get_by_role("button", name="Remove this album")
        expect(remove).to_be_hidden()
        make_album(page, "Winter")
        picture = china.read_bytes()
        put(person, {"albums/Winter/.renditions/lost.jpg": picture, "albums/Winter 2/there.jpg": picture})
        person.look_at_both("album-empty")
        remove.click()
        expect(page.locator("#status")).to_have_text("Winter is removed.")
        expect(page.locator("#albums")).not_to_contain_text("Winter")
        assert stored(person) == ["albums/Winter 2/there.jpg"]
        make_album(page, "Spring")
        put(person, {"albums/Spring/late.jpg": picture})
        remove.click()
        expect(page.locator("#status")).to_have_text("There are pictures in it by now. Refresh to see them.")
        assert "albums/Spring/late.jpg" in stored(person)
        page.locator("#refresh").click()
        expect(remove).to_be_hidden()


class TestTiles:
    def test_of_twenty_pictures_are_light_and_ask_again_where_one_failed(
        self, visit: OpenVisit, china: Path, flower: Path
    ) -> None:
        """Bytes, not time: 20 tiles in under 600 kB, and the first 12 in what a line of 200 kB/s carries in 2 s."""
        person = visit().register()
        page = person.page
        names = [f"{number:02}.jpg" for number in range(20)]
        page.locator("#files").set_input_files(
            [
                {"name": name, "mimeType": "image/jpeg", "buffer": (china, flower)[place % 2].read_bytes()}
                for place, name in enumerate(names)
            ]
        )
        expect(page.locator("#upload-summary")).to_contain_text("of 20 pictures")
        assert page.locator("#uploads").evaluate("(list) => list.offsetHeight") <= DESKTOP["height"] / 2
        person.look_at_both("twenty-uploads")
        expect(page.locator(f"{TILES}[data-state=shown]")).to_have_count(20)
        expect(page.locator("#status")).to_have_text("20 pictures are uploaded.")
        assert got(person) == []  # what was just added is here already

        person.excused.add(".renditions")
        failing: list[Route] = []

        def fail_once(route: Route) -> None:
            if failing or route.request.method != "GET":
                route.continue_()
            else:
                failing.append(route)
                route.fulfill(status=403, headers={"Access-Control-Allow-Origin": person.url})

        page.route("**/.renditions/*-07.jpg", fail_once)
        person.requests.clear()
        person.open().sign_in()
        expect(page.locator(f"{TILES}[data-state=shown]")).to_have_count(19)
        failed = page.locator(f"{TILES}[data-state=failed]")
        expect(failed).to_have_count(1)
        expect(failed.locator("[data-part=name]")).to_be_visible()
        page.locator("#refresh").click()
        expect(page.locator(f"{TILES}[data-state=shown]")).to_have_count(20)
        loaded = [request for request in got(person) if request.response() and request.response().status == 200]
        assert len(loaded) == 20
        sizes = [int(request.response().headers["content-length"]) for request in loaded]
        assert min(sizes) > 1_000
        assert sum(sizes) < 500_000
        assert max(sizes) <= 24_000  # so twelve have less than 0.3 MB, whatever is on them
        assert all("/.renditions/" in request.url for request in loaded)

    def test_of_other_apps_pictures_are_made_once_within_a_budget(
        self, visit: OpenVisit, china: Path, flower: Path
    ) -> None:
        person = visit().register()
        page = person.page
        stale = "albums/2025-12/stale.jpg"
        put(person, {rendition_of(stale): flower.read_bytes()})
        page.wait_for_timeout(1100)  # S3 tells times in whole seconds
        put(
            person,
            {
                stale: china.read_bytes(),
                "albums/2025-12/small.jpg": china.read_bytes(),
                "albums/2025-12/huge.jpg": flower.read_bytes() + bytes(30_000_000),
                "albums/2025-12/IMG_0001.HEIC": b"\0\0\0\x18ftypheic",
            },
        )
        page.locator("#refresh").click()
        expect(page.locator(f"{TILES}[data-state=shown]")).to_have_count(2)
        plain = page.locator(f"{TILES}[data-state=plain]")
        expect(plain).to_have_count(2)
        expect(plain.filter(has_text="IMG_0001.HEIC").locator("[data-part=format]")).to_have_attribute(
            "data-format", "HEIC"
        )
        expect(plain.filter(has_text="IMG_0001.HEIC").locator("[data-part=name]")).to_be_visible()
        read = {request.url.rpartition("/")[2] for request in got(person)}
        assert read == {"small.jpg", "stale.jpg"}
        assert {rendition_of("albums/2025-12/small.jpg"), rendition_of(stale)} < {*stored(person)}
        person.look_at_both("plain-tiles")
        page.get_by_role("button", name="IMG_0001.HEIC").click()
        expect(page.locator("#viewer[data-state=failed]")).to_contain_text(
            "This browser cannot show HEIC pictures. Safari"
        )
        person.look_at_both("heic")
        page.locator("#close-viewer").click()

        person.requests.clear()
        person.open().sign_in()
        expect(page.locator(f"{TILES}[data-state=shown]")).to_have_count(2)
        assert all("/.renditions/" in request.url for request in got(person))

    def test_of_a_file_that_is_no_picture_says_so(self, visit: OpenVisit, china: Path) -> None:
        """Not that the browser could not show such pictures. A phone's buttons lie beside the words too."""
        person = visit().register()
        page = person.page
        put(person, {"albums/2025-12/broken.jpg": b"no picture", "albums/2025-12/china.jpg": china.read_bytes()})
        page.locator("#refresh").click()
        page.get_by_role("button", name="broken.jpg").click()
        note = page.locator("#viewer[data-state=failed]").locator("[data-part=reason]")
        expect(note).to_have_text("The file is damaged, or it is no JPG picture. You can download it.")
        page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        words = note.evaluate(WORDS)
        previous, following = (page.locator(f"#{name}").bounding_box() for name in ("previous", "next"))
        assert previous
        assert following
        assert previous["x"] + previous["width"] <= words["left"]
        assert words["right"] <= following["x"]
        person.look_at_both("damaged")
        page.locator("#close-viewer").click()
        page.locator("#files").set_input_files(
            [
                {"name": name, "mimeType": kind, "buffer": china.read_bytes()}
                for name, kind in (("a.jpg", "image/jpeg"), ("b.jpg", "image/jpeg"), ("notes.txt", "text/plain"))
            ]
        )
        expect(page.locator("#upload-summary [data-part=words]")).to_have_text(
            re.compile(r"^\d of 2 pictures · \d+ kB of \d+ kB · 1 file is no picture and stays on this device\.$")
        )
        expect(page.locator("#upload-summary [data-part=words]")).to_have_text(
            "1 file is no picture and stays on this device."
        )


class TestLine:
    def test_that_breaks_off_an_upload_is_waited_for(self, visit: OpenVisit, panorama: Path, flower: Path) -> None:
        """Parts that arrived are not sent again, and nobody presses a button."""
        person = visit().register()
        page = person.page
        person.excused |= {"/photos/users/", "/demo/", "/v1/"}
        arrived: list[str] = []

        def cut(route: Route) -> None:
            part = re.search(r"partNumber=(\d)", route.request.url)
            if part and part[1] == "3":
                page.context.set_offline(True)
                route.abort("internetdisconnected")
            else:
                route.continue_()

        def note(request: Request) -> None:
            if request.method == "PUT" and "partNumber" in request.url:
                arrived.append(request.url)

        page.route("**/photos/users/**", cut)
        page.on("requestfinished", note)
        page.locator("#files").set_input_files(panorama)
        failed = page.locator("[data-testid=upload][data-state=failed]")
        expect(failed).to_contain_text("It goes on by itself when the line is back.", timeout=60_000)
        person.look_at_both("line-broken")
        page.unroute("**/photos/users/**")
        before = {*arrived}
        person.requests.clear()
        page.context.set_offline(False)
        expect(page.locator(f"{TILES}[data-state=shown]")).to_have_count(1)
        sent = [request.url for request in person.calls("PUT", "partNumber=")]
        assert any("partNumber=3" in url for url in sent)
        assert not before & {*sent}
        assert person.view("panorama.jpg")
        _, content = person.download()
        assert content == panorama.read_bytes()
        assert not person.calls("POST", "?uploads")
