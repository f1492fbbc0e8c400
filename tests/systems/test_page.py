"""The page about imported hashes says what the last run saw, and that everybody signs in."""

from tests.support.documents import ROOT, links
from tests.systems import page


def test_says_what_the_last_run_saw() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.written(page.seen()), "run: make test-long LONG=systems"


def test_has_nobody_who_does_not_sign_in() -> None:
    assert [name for name, row in page.seen().items() if False in row["came"].values()] == []


def test_is_in_the_index() -> None:
    assert ("reference/imported-hashes.md", "") in links(ROOT / "docs" / "index.md")
