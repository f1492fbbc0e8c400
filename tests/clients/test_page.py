"""The page about clients has what the last runs saw, of each client of the table."""

from tests.clients import page
from tests.clients.tools import TOOLS
from tests.support.documents import ROOT, links


def test_has_each_client_of_the_table_and_no_other() -> None:
    assert sorted(page.seen()) == sorted(tool.name for tool in TOOLS), "run: make clients"


def test_says_what_the_last_runs_saw() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.written(page.seen()), "run: make clients"


def test_is_in_the_index() -> None:
    assert ("app/clients.md", "") in links(ROOT / "docs" / "index.md")
