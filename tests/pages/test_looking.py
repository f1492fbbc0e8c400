"""That `Visit.look` finds what it is there to find: faults in a page that has nothing else."""

import pytest
from playwright.sync_api import Browser

from tests.pages.visit import BY_DAY, BY_NIGHT, violations

pytestmark = pytest.mark.sampled(3)

WHOLE = """<!doctype html><html lang="en"><title>Letters</title><meta name="viewport" content="width=device-width">
<style>@media (prefers-color-scheme: dark) { body { background: #222; color: #ddd } p { color: #333 } }</style>
<main><h1>Letters</h1>{}</main>"""


@pytest.mark.parametrize(
    ("content", "by_day", "by_night"),
    [
        ("<input aria-label='Name'>", [], []),
        ("<input>", ["label"], []),
        ("<button></button>", ["button-name"], []),
        ("<p style='color: #999'>Pale</p>", ["color-contrast"], []),
        ("<p>Dark on dark</p>", [], ["color-contrast"]),
        ("<button style='padding: 0; height: 9px'>i</button><button>j</button>", ["target-size"] * 2, []),
        ("<button aria-label='Send'>Go</button>", ["label-content-name-mismatch"], []),
    ],
    ids=["nothing", "label", "name", "pale", "night", "small", "mismatch"],
)
def test_faults_are_found(browser: Browser, content: str, by_day: list[str], by_night: list[str]) -> None:
    with browser.new_page(color_scheme="light") as page:
        page.set_content(WHOLE.replace("{}", content))
        assert [found.partition(":")[0] for found in violations(page, BY_DAY)] == by_day
        page.emulate_media(color_scheme="dark")
        assert [found.partition(":")[0] for found in violations(page, BY_NIGHT)] == by_night
