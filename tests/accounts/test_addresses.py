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


@pytest.mark.parametrize("domain", ["docomo.ne.jp", "ezweb.ne.jp", "hi.ezweb.ne.jp", "au.com", "DOCOMO.ne.jp"])
@pytest.mark.parametrize("local", ["a..b", "abc.", "A...b/c-d?."])
def test_two_carriers_gave_away_odd_dots(local: str, domain: str) -> None:
    """HT5: their users have these addresses, and get mail there."""
    address = addresses.find(f"{local}@{domain}")
    assert address == addresses.Address(f"{local}@{domain.lower()}", f"{local}@{domain}".lower())
    assert addresses.find(address.text) == address
    assert addresses.quoted(address.text) == f'"{local}"@{domain.lower()}'
    assert addresses.quoted("ada.lovelace@example.org") == "ada.lovelace@example.org"


@pytest.mark.parametrize(
    "text",
    [
        "a..b@example.org",
        "abc.@example.org",
        "a..b@notdocomo.ne.jp",
        "a..b@docomo.ne.jp.example.org",
        ".a@docomo.ne.jp",
        "..@docomo.ne.jp",
        'a"..b@docomo.ne.jp',
        "a b..@docomo.ne.jp",
        "a\r\n..b@docomo.ne.jp",
        "x" * 63 + "..@docomo.ne.jp",
    ],
    ids=ascii,
)
def test_odd_dots_are_a_slip_elsewhere(text: str) -> None:
    assert addresses.find(text) is None


@pytest.mark.parametrize(
    ("domain", "taken"),
    [
        ("photos.internal", True),
        ("corp.local", True),
        ("home.arpa", True),
        ("nas.home.arpa", True),
        ("example.test", True),
        ("localhost", False),
        ("mail.localhost", False),
        ("example.invalid", False),
        ("example.onion", False),
        ("10.in-addr.arpa", False),
        ("arpa", False),
        ("myhome.arpa", False),
        ("local", False),
        ("127.0.0.1", False),
    ],
)
def test_a_private_network_may_have_addresses(domain: str, taken: bool) -> None:
    assert (addresses.find(f"ada@{domain}") is not None) == taken


@pytest.mark.parametrize("text", ["Ada.Lovelace+x@Mail.Example.ORG", "a_b-c@example.org"])
def test_most_addresses_are_plain(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = addresses.find(text)
    assert expected
    monkeypatch.setattr(addresses, "_find", None)
    assert addresses.find(text) == expected
