"""The short way for plain addresses says what the library says."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.records import addresses
from tests.tiers import up_to

LOCAL = st.text("aZ0_+-.", min_size=1, max_size=70)
LABEL = st.text("aZ9-x", max_size=66)
DOMAIN = st.lists(LABEL, min_size=1, max_size=5).map(".".join)
TOP = st.sampled_from(["", ".org", ".ORG", ".test", ".local", ".localhost", ".invalid", ".1", ".c-m", ".xn--p1ai", "."])


@given(LOCAL, DOMAIN, TOP)
@example("a", "x" * 63, ".org")
@example("a", "x" * 64, ".org")
@example("a" * 64, "example", ".org")
@example("a" * 65, "example", ".org")
@example("a", ".".join(["x" * 60] * 4), ".org")
@example("a", "xn--bcher-kva", ".org")
@example("A.b+c", "EXAMPLE", ".Org")
@up_to(1_000)
def test_a_plain_address_is_read_as_any_other(local: str, domain: str, top: str) -> None:
    """HT5"""
    text = f"{local}@{domain}{top}"
    if len(text) <= addresses.MAX_LENGTH:
        assert addresses.find(text) == addresses._find(text)


@pytest.mark.parametrize("text", ["Ada.Lovelace+x@Mail.Example.ORG", "a_b-c@example.org"])
def test_most_addresses_are_plain(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = addresses.find(text)
    assert expected
    monkeypatch.setattr(addresses, "_find", None)
    assert addresses.find(text) == expected
