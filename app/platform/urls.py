"""The one spelling of hosts, origins and URLs: that in which browsers and other clients send them.

It has no white space around it. Host names are in lower case and in ASCII (IDNA with the mapping of browsers, UTS 46),
IP addresses are in their short form, and a default port is left out. Whatever cannot be spelt so raises `ValueError`,
which says what is wrong with it.
"""

import base64
import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urlsplit

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}
APK_KEY_HASH = "android:apk-key-hash:"

_SUCH_AS = "must be an address such as https://tokens.example.org"
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_NOT_IN_URLS = re.compile(r"[\s\x00-\x1f\x7f\"'<>\\^`|]")
_PLACEHOLDER = re.compile(r"[{}<>]")
_IN_PATHS = "/%:@!$&()*+,;=~"


def host_name(text: str) -> str:
    """`Bücher.example` as `xn--bcher-kva.example`, `[::1]` as `::1`. It has no port."""
    text = text.strip()
    if ":" in text and "%" not in text:
        return str(IPv6Address(text.removeprefix("[").removesuffix("]")))
    name = text if text.isascii() else _ascii(text)
    name = name.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise ValueError("must have a host such as tokens.example.org")
    if name.rpartition(".")[2].isdigit():
        return str(IPv4Address(name))
    return name


def is_address(host: str) -> bool:
    """Whether a host, spelt as `host_name` does, is an IP address."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def http_url(text: str, *, placeholder: str = "", with_user: bool = False) -> str:
    """An address of `http` or `https`, without the slash at its end.

    `placeholder` may stand in it, such as `{region}`. `with_user` lets a user name and a password stand in it.
    """
    text = text.strip()
    stand_in = "placeholder"
    if placeholder:
        text = text.replace(placeholder, stand_in)
    if _PLACEHOLDER.search(text):
        raise ValueError("must be whole: put the value in the place of what stands in {…} or <…>")
    scheme, user, netloc = _parts(text)
    parts = urlsplit(text)
    if scheme not in DEFAULT_PORTS or parts.query or parts.fragment:
        raise ValueError(_SUCH_AS)
    if user and not with_user:
        raise ValueError("must have no user name or password in it")
    path = quote(parts.path, safe=_IN_PATHS).rstrip("/")
    if {".", "..", ""} & set(path.split("/")[1:]):
        raise ValueError("must have no empty segment, `.` or `..` in its path")
    url = f"{scheme}://{user}{netloc}{path}"
    return url.replace(stand_in, placeholder) if placeholder else url


def origin(text: str) -> str:
    """A scheme, a host and a port (RFC 6454), such as `https://app.example.org` or `capacitor://localhost`."""
    text = text.strip()
    scheme, user, netloc = _parts(text)
    if user or urlsplit(text).path.strip("/") or "?" in text or "#" in text:
        raise ValueError(f"must have neither user nor path nor query, as in {scheme}://{netloc}")
    return f"{scheme}://{netloc}"


def origin_of(url: str) -> str:
    """The origin of a page at `url`."""
    scheme, _user, netloc = _parts(url.strip())
    return f"{scheme}://{netloc}"


def with_plain_host(text: str) -> str:
    """Any URL with a host, such as that of a mail server, with the host's one spelling. All else stays as it is."""
    text = text.strip()
    scheme, user, netloc = _parts(text)
    return f"{scheme}://{user}{netloc}{text.partition('://')[2].removeprefix(urlsplit(text).netloc)}"


def passkey_origin(text: str) -> str:
    """What may stand as the origin of a passkey's ceremony: that of a page, an extension or an app."""
    if text.startswith(APK_KEY_HASH):
        return APK_KEY_HASH + _apk_key_hash(text.removeprefix(APK_KEY_HASH))
    if re.fullmatch(r"(android|ios):[\w:.-]+", text):
        return text
    try:
        sent = origin(text)
    except ValueError:
        sent = ""
    if not re.fullmatch(r"https://.+|http://localhost(:\d+)?|[a-z-]+-extension://.+", sent):
        raise ValueError("must be origins such as https://app.example.org, or android:apk-key-hash:…")
    return sent


def _apk_key_hash(text: str) -> str:
    """The SHA-256 of the certificate that signs the app, as phones send it: 43 characters of base64url.

    Also reads it in keytool's hex, and in base64.
    """
    digits = text.replace(":", "")
    try:
        digest = bytes.fromhex(digits) if len(digits) in (40, 64) else base64.urlsafe_b64decode(_base64url(text) + "=")
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ValueError(
            "must have the SHA-256 of the app's signing certificate behind android:apk-key-hash:, as 64 hex digits "
            "(`keytool -list -v`) or as 43 characters of base64url"
        )
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _base64url(text: str) -> str:
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    if not re.fullmatch(r"[\w-]{43}", plain, re.ASCII):
        raise ValueError
    return plain


def _parts(text: str) -> tuple[str, str, str]:
    """Scheme, user with `@`, and host with a port that is not the default."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(_SUCH_AS) from None
    user, at, place = parts.netloc.rpartition("@")
    if _NOT_IN_URLS.search(text.replace(user + at, "", 1)):
        raise ValueError("must have no white space, quotes or other characters in it that no address has")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("must have a port of 1 to 65535, or none") from None
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) or not parts.hostname or port == 0:
        raise ValueError(_SUCH_AS)
    # Only the web's own schemes have host names: a browser sends others, such as an extension's id, as they are.
    host = host_name(parts.hostname) if parts.scheme in (*DEFAULT_PORTS, "smtp", "smtps") else _opaque(place)
    shown = f"[{host}]" if ":" in host else host
    return parts.scheme, user + at, shown if port in (None, DEFAULT_PORTS.get(parts.scheme)) else f"{shown}:{port}"


def _opaque(place: str) -> str:
    host = re.sub(r":\d*$", "", place)
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", host):
        raise ValueError("must have a host of letters, digits, `.`, `_` and `-`")
    return host


def _ascii(text: str) -> str:
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"must have a host name that IDNA allows: {error}") from error
