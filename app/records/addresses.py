"""E-mail addresses: which text is one, which spellings belong to the same account, and how mail is addressed to one.

A domain may be of a private network (`local`, `internal`, `home.arpa`, `test`), where a mail server of its own serves
it. Domains that can have no mail at all (`localhost`, `invalid`, `onion`, the rest of `arpa`) are refused (RFC 6761,
RFC 8375).
"""

import functools
import re
import unicodedata
from dataclasses import dataclass

import email_validator
from email_validator import EmailNotValidError, validate_email

from app.platform.problems import FieldError, InvalidRequest

# The way of the library to say this; its own list has `local`, `test` and all of `arpa` too.
email_validator.SPECIAL_USE_DOMAIN_NAMES[:] = ["localhost", "invalid", "onion"]

MAX_LENGTH = 254
MAX_KEY_LENGTH = 1024
"""The length of the column. NFKC can turn one character into eighteen (U+FDFA); a longer key is refused."""


@dataclass(frozen=True)
class Address:
    """Mail goes to `text`. `key` is equal for all spellings of one account."""

    text: str
    key: str


def parse(text: str) -> Address:
    """The address. Raises `InvalidRequest`.

    The key folds case and compatibility forms (NFKC) and the spelling of the domain (IDNA). It keeps dots and `+tag`:
    only the mail provider knows whether they matter, and dropping them could give one person another's account.
    """
    address = find(text)
    if address is None:
        raise InvalidRequest(errors=[FieldError("body.email", "invalid_email", "This is not an e-mail address.")])
    return address


def find(text: str) -> Address | None:
    """The address, or None where `text` is not one. White space and invisible marks around it are no part of it.

    Full-width letters and signs are those of ASCII: keyboards for Chinese, Japanese and Korean type them, and no mail
    reaches them.
    """
    text = trimmed(text)
    if not text.isascii():
        text = text.translate(_WIDE)
    if len(text) > MAX_LENGTH:
        return None
    if (plain := _PLAIN.fullmatch(text)) and "xn--" not in text.lower():
        local, domain = plain.groups()
        known = _domain(domain)
        return known and Address(f"{local}@{known.text}", f"{local.lower()}@{known.key}")
    return _find(text)


# Keyboards add a space, and what is pasted brings line ends, a byte order mark, or marks of the writing direction.
_MARGIN = "".join(filter(str.isspace, map(chr, range(0x3001)))) + (
    "\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)


_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


def trimmed(text: str) -> str:
    """What was typed, without white space and invisible marks around it."""
    return text.strip(_MARGIN)


# The form of most addresses. The library takes 0.5 ms for an address, nearly all of it for the domain.
_PLAIN = re.compile(r"(?=.{1,64}@)([A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")


@functools.lru_cache(maxsize=4096)
def _domain(text: str) -> Address | None:
    """The domain of a plain address: `text` for mail, `key` for the key."""
    found = _find(f"a@{text}")
    return found and Address(found.text[2:], found.key[2:])


def quoted(address: str) -> str:
    """The address as an envelope and a header have it: an odd local part needs quotation marks (RFC 5321 §4.1.2)."""
    local, _, domain = address.rpartition("@")
    return address if not _odd(local) else f'"{local}"@{domain}'


# docomo and au gave away addresses with dots in a row, or before the `@`, and deliver mail to them.
_OF_CARRIERS = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9_.+/?-]{0,63})@((?:[A-Za-z0-9-]+\.)*(?:docomo\.ne\.jp|ezweb\.ne\.jp|au\.com))",
    re.IGNORECASE,
)


def _odd(local: str) -> bool:
    return ".." in local or local.endswith(".")


def _find(text: str) -> Address | None:
    if (match := _OF_CARRIERS.fullmatch(text)) and _odd(match[1]):
        local, domain = match[1], match[2].lower()
        return Address(f"{local}@{domain}", f"{local.lower()}@{domain}")
    try:
        valid = validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return None
    if re.fullmatch(r"(?!home\.arpa$|.*\.home\.arpa$).*\.arpa", valid.ascii_domain or ""):
        return None
    key = f"{fold(valid.local_part)}@{fold(valid.ascii_domain or valid.domain)}"
    return Address(valid.normalized, key) if len(key) <= MAX_KEY_LENGTH else None


def fold(text: str) -> str:
    """NFKC case folding. The second round composes characters that the first one made composable."""
    for _ in range(2):
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return text
