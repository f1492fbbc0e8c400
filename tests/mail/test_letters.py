"""What the mails say, and what a mail server gets of them."""

import re
import uuid
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from typing import get_args

import pytest

from app.mail import letters
from app.mail.bounds import Kind
from app.mail.letters import LETTERS

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
MAIL_ID = uuid.UUID("7c0f5a3e-6f0c-4a5f-9c58-2a4d1d1f6b11")
TOKEN = "tvs_0123456789-abcdef_ABCDEF"
BASE = "https://app.example.org/account"
WITH_LINK = sorted(kind for kind, letter in LETTERS.items() if letter.page)
WITHOUT_LINK = sorted(set(LETTERS) - set(WITH_LINK))


def compose(kind: Kind = "verify_email", **changes: object) -> EmailMessage:
    values: dict[str, object] = {
        "mail_id": MAIL_ID,
        "sender": "Photos <photos@example.org>",
        "recipient": "ada@example.org",
        "token": TOKEN if LETTERS[kind].page else None,
        "link_base": BASE,
        "at": NOW,
    }
    return letters.compose(kind, **(values | changes))  # type: ignore[arg-type]


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content())


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    return parser.seen


class TestLetters:
    def test_there_is_one_for_each_kind(self) -> None:
        assert set(LETTERS) == set(get_args(Kind))
        assert [
            *("change_email", "guest_upgrade", "invitation", "reset_password", "verify_email", "verify_new_email")
        ] == WITH_LINK

    @pytest.mark.parametrize("kind", WITH_LINK)
    def test_one_with_a_token_has_one_link_in_either_part(self, kind: Kind) -> None:
        message = compose(kind)
        pages = {"invitation": "reset-password", "guest_upgrade": "verify-email", "verify_new_email": "verify-email"}
        page = pages.get(kind, kind.replace("_", "-"))
        link = f"{BASE}/{page}#token={TOKEN}"
        assert part(message, "plain").split().count(link) == 1
        assert len(re.findall(r"://", part(message, "plain"))) == 1
        links = [attributes for tag, attributes in tags(part(message, "html")) if tag == "a"]
        assert [attributes["href"] for attributes in links] == [link]
        assert part(message, "html").count(TOKEN) == 1

    @pytest.mark.parametrize("kind", WITHOUT_LINK)
    def test_any_other_has_none(self, kind: Kind) -> None:
        message = compose(kind)
        assert "://" not in part(message, "plain") + part(message, "html")
        assert "a" not in [tag for tag, _ in tags(part(message, "html"))]

    @pytest.mark.parametrize("kind", sorted(LETTERS))
    def test_each_says_what_to_do_if_it_was_not_you(self, kind: Kind) -> None:
        message = compose(kind)
        for text in (part(message, "plain"), part(message, "html")):
            assert re.search(r"If (you did not|that was not you)", text)

    @pytest.mark.parametrize("kind", sorted(LETTERS))
    def test_nothing_in_it_loads_or_runs(self, kind: Kind) -> None:
        for tag, attributes in tags(part(compose(kind), "html")):
            assert tag in {"html", "head", "meta", "title", "body", "div", "h1", "p", "a"}
            assert not {name for name in attributes if name.startswith("on") or name in ("src", "srcset")}

    def test_the_link_may_lead_into_an_app(self) -> None:
        assert f"photos://account/verify-email#token={TOKEN}" in part(compose(link_base="photos://account"), "plain")

    def test_html_is_escaped(self) -> None:
        message = compose(link_base='https://a"><script>', sender='"<b>&" <photos@example.org>')
        assert "<script>" not in part(message, "html")
        assert "<b>" not in part(message, "html")


class TestHeaders:
    def test_are_those_of_an_automatic_mail(self) -> None:
        message = compose()
        assert message["From"] == "Photos <photos@example.org>"
        assert message["To"] == "ada@example.org"
        assert message["Date"] == "Mon, 01 Jun 2026 12:00:00 +0000"
        assert message["Message-ID"] == f"<{MAIL_ID}@example.org>"
        assert message["Auto-Submitted"] == "auto-generated"

    def test_a_foreign_domain_is_written_in_ascii(self) -> None:
        message = compose(recipient="ada@straße.example.org")
        assert message["To"].addresses[0].addr_spec == "ada@xn--strae-oqa.example.org"
        bytes(message).decode("ascii")

    @pytest.mark.parametrize(
        "recipient",
        [
            "a" * 64 + "@" + ".".join(["b" * 60] * 3) + ".org",
            "'or'1'='1@example.org",
            "*?{{7*7}}@example.org",
            "a/../b`id`@example.org",
        ],
    )
    def test_any_address_survives_the_wire(self, recipient: str) -> None:
        read = message_from_bytes(bytes(compose(recipient=recipient)), policy=default)
        assert read["To"].addresses[0].addr_spec == recipient

    def test_a_local_part_that_is_not_ascii_needs_smtputf8(self) -> None:
        message = compose(recipient="jörg@example.org")
        wire = message.as_bytes(policy=message.policy.clone(utf8=True)).decode()
        assert "\nTo: jörg@example.org\r\n" in wire
