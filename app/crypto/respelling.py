"""Spells the hashes that other systems store as passlib does, which takes no password.

Some systems keep a longer key of scrypt or PBKDF2 than passlib. Both make a key block by block, so the beginning of the
longer key is the shorter one (RFC 8018 §5.2, RFC 7914 §6). A key of PBKDF2 that is shorter than passlib's is spelt as
`foreign_hashes.py` reads it.
"""

import base64
import binascii
import re
import struct
from collections.abc import Callable
from re import Match

from app.crypto.foreign_hashes import BLOCK, LEAST_KEY, Pbkdf2

PASSLIBS = {"sha1": "pbkdf2", "sha256": "pbkdf2-sha256", "sha512": "pbkdf2-sha512"}
"""What passlib calls PBKDF2 with a key of one block, by digest."""
SCRYPT_KEY = 32
"""Bytes of a key of scrypt as passlib has it."""
LEAST_SALT = 16
"""Bytes of ASP.NET's."""
LONGEST = 1_200
"""Characters of any of these hashes: Payload's older ones have 1,089."""


def respell(text: str) -> str:
    """The hash as passlib spells it; the text itself if it is of no kind that is known here."""
    if text.startswith(("$2", "$argon2")) or len(text) > LONGEST:  # of which imports have millions
        return text
    if match := _PREFIXED.fullmatch(text):
        return match[1]
    for pattern, spell in _KINDS:
        if match := pattern.fullmatch(text):
            try:
                return spell(match)
            except (ValueError, binascii.Error):
                return text
    return text


_PREFIXED = re.compile(
    r"(?:argon2(?=\$argon2)"  # Django
    r"|bcrypt\$(?=\$2)"
    r"|[123]\|(?=\$)"  # Nextcloud
    r"|\{(?:bcrypt|argon2|argon2@SpringSecurity_v5_8)\}(?=\$)"  # Spring
    r"|\{(?:CRYPT|ARGON2)\}(?=\$))"  # LDAP
    r"([!-~]+)"
)


def _django_pbkdf2(found: Match[str]) -> str:
    digest, rounds, salt, key = found.groups()
    return _pbkdf2(digest, rounds, salt.encode(), _b64(key))


def _django_scrypt(found: Match[str]) -> str:
    n, salt, r, p, key = found.groups()
    return _scrypt(_log2(n), r, p, salt.encode(), _b64(key))


def _werkzeug_pbkdf2(found: Match[str]) -> str:
    digest, rounds, salt, key = found.groups()
    return _pbkdf2(digest, rounds, salt.encode(), bytes.fromhex(key))


def _werkzeug_scrypt(found: Match[str]) -> str:
    n, r, p, salt, key = found.groups()
    return _scrypt(_log2(n), r, p, salt.encode(), bytes.fromhex(key))


def _oslo(found: Match[str]) -> str:
    """The salt is the text in hexadecimal, not the bytes that it stands for."""
    return _scrypt(14, 16, 1, found[1].encode(), bytes.fromhex(found[2]))


def _payload(found: Match[str]) -> str:
    return _pbkdf2("sha256", 600_000 if found[2] else 25_000, found[1].encode(), bytes.fromhex(found[3]))


def _payload_2(found: Match[str]) -> str:
    """It says what it was made with, because Cloudflare's workers allow fewer rounds."""
    salt, rounds, size, key = found.groups()
    if len(key) != 2 * int(size):
        raise ValueError("a key of another length")
    return _pbkdf2("sha256", rounds, salt.encode(), bytes.fromhex(key))


def _dlitz(found: Match[str]) -> str:
    """The salt is all that stands before the key. It has no rounds where there are 400."""
    rounds = int(found[1] or "190", 16)
    salt = f"$p5k2${'' if rounds == 400 else f'{rounds:x}'}${found[2]}"
    return _pbkdf2("sha1", rounds, salt.encode(), _ab64(found[3]))


def _cta(found: Match[str]) -> str:
    """Of cryptacular."""
    salt, key = (base64.urlsafe_b64decode(part) for part in found.group(2, 3))
    return _pbkdf2("sha1", int(found[1], 16), salt, key)


def _spring_pbkdf2(found: Match[str]) -> str:
    made = bytes.fromhex(found[2])
    if found[1]:  # of Spring Security 5.8
        return _pbkdf2("sha256", 310_000, made[:16], made[16:])
    return _pbkdf2("sha1", 185_000, made[:8], made[8:])


def _spring_scrypt(found: Match[str]) -> str:
    terms = int(found[1], 16)
    return _scrypt(terms >> 16, terms >> 8 & 255, terms & 255, _b64(found[2]), _b64(found[3]))


def _ldap_pbkdf2(found: Match[str]) -> str:
    digest, rounds, salt, key = found.groups()
    return _pbkdf2((digest or "sha1").lower(), rounds, _ab64(salt), _ab64(key))


def _grub(found: Match[str]) -> str:
    return _pbkdf2("sha512", found[1], bytes.fromhex(found[2]), bytes.fromhex(found[3]))


def _atlassian(found: Match[str]) -> str:
    made = _b64(found[1])
    return _pbkdf2("sha1", 10_000, made[:16], made[16:])


def _identity(found: Match[str]) -> str:
    """ASP.NET Core Identity (dotnet/aspnetcore, PasswordHasher.cs), version 2 or 3. It refuses a short salt too."""
    made = _b64(found[0])
    if made[0] == 0:
        return _pbkdf2("sha1", 1_000, made[1:17], made[17:])
    digest, rounds, size = struct.unpack(">III", made[1:13])
    if size < LEAST_SALT:
        raise ValueError("a short salt")
    return _pbkdf2(("sha1", "sha256", "sha512")[digest], rounds, made[13 : 13 + size], made[13 + size :])


def _phc_pbkdf2(found: Match[str]) -> str:
    digest, rounds, salt, key = found.groups()
    return _pbkdf2(digest or "sha1", rounds, _b64(salt), _b64(key))


def _phc_scrypt(found: Match[str]) -> str:
    return _scrypt(found[1], found[2], found[3], _b64(found[4]), _b64(found[5]))


_B64 = r"[A-Za-z0-9+/]{1,700}={0,2}"
_AB64 = r"[A-Za-z0-9./]{1,700}"
_SALT = r"[!-#%-~]{1,64}"
"""Text."""
_KINDS: tuple[tuple[re.Pattern[str], Callable[[Match[str]], str]], ...] = tuple(
    (re.compile(pattern), spell)
    for pattern, spell in (
        (rf"pbkdf2_(sha1|sha256)\$(\d{{1,9}})\$({_SALT})\$({_B64})", _django_pbkdf2),
        (rf"scrypt\$(\d{{1,9}})\$({_SALT})\$(\d{{1,4}})\$(\d{{1,4}})\$({_B64})", _django_scrypt),
        (rf"pbkdf2:(sha1|sha256|sha384|sha512):(\d{{1,9}})\$({_SALT})\$([0-9a-f]+)", _werkzeug_pbkdf2),
        (rf"scrypt:(\d{{1,9}}):(\d{{1,4}}):(\d{{1,4}})\$({_SALT})\$([0-9a-f]+)", _werkzeug_scrypt),
        (r"(?:s2:)?([0-9a-f]{32}):([0-9a-f]{128})", _oslo),
        (r"([0-9a-f]{64}):(pbkdf2-sha256-v1:)([0-9a-f]{64})", _payload),
        (r"([0-9a-f]{64}):()([0-9a-f]{1024})", _payload),
        (r"([0-9a-f]{64}):pbkdf2-sha256-v2-i(\d{1,9})-l(\d{1,4}):([0-9a-f]+)", _payload_2),
        (r"\$p5k2\$([1-9a-f][0-9a-f]{0,7})?\$([A-Za-z0-9./]{1,64})\$([A-Za-z0-9./]{32})", _dlitz),
        (r"\$p5k2\$([1-9a-f][0-9a-f]{0,7})\$([A-Za-z0-9_-]{1,700}={0,2})\$([A-Za-z0-9_-]{27}=)", _cta),
        (r"\{pbkdf2(@SpringSecurity_v5_8)\}([0-9a-f]{96})", _spring_pbkdf2),
        (r"\{pbkdf2()\}([0-9a-f]{80})", _spring_pbkdf2),
        (rf"\{{scrypt(?:@SpringSecurity_v5_8)?\}}\$([0-9a-f]{{5,6}})\$({_B64})\$({_B64})", _spring_scrypt),
        (rf"\{{PBKDF2(?:-(SHA1|SHA256|SHA512))?\}}(\d{{1,9}})\$({_AB64})\$({_AB64})", _ldap_pbkdf2),
        (r"grub\.pbkdf2\.sha512\.(\d{1,9})\.([0-9A-F]+)\.([0-9A-F]+)", _grub),
        (r"\{PKCS5S2\}([A-Za-z0-9+/]{64})", _atlassian),
        (r"AQAAAA[A-L][A-Za-z0-9+/]{40,400}={0,2}|A[A-P][A-Za-z0-9+/]{64}==", _identity),
        (
            rf"\$pbkdf2(?:-(sha1|sha256|sha384|sha512))?\$i=(\d{{1,9}})(?:,l=\d{{1,4}})?\$({_B64})\$({_B64})",
            _phc_pbkdf2,
        ),
        (rf"\$scrypt\$ln=(\d{{1,2}}),r=(\d{{1,4}}),p=(\d{{1,4}})\$({_B64})\$({_B64})", _phc_scrypt),
    )
)


def _pbkdf2(digest: str, rounds: str | int, salt: bytes, key: bytes) -> str:
    """Raises ValueError for a key that is too short."""
    if len(key) < LEAST_KEY or not salt:
        raise ValueError("a short key")
    if digest in PASSLIBS and len(key) >= BLOCK[digest]:
        return f"${PASSLIBS[digest]}${int(rounds)}${_to_ab64(salt)}${_to_ab64(key[: BLOCK[digest]])}"
    return str(Pbkdf2(digest, int(rounds), salt, key[: BLOCK[digest]]))


def _scrypt(log_n: str | int, r: str | int, p: str | int, salt: bytes, key: bytes) -> str:
    if len(key) < SCRYPT_KEY:
        raise ValueError("a short key")
    return f"$scrypt$ln={int(log_n)},r={int(r)},p={int(p)}${_to_b64(salt)}${_to_b64(key[:SCRYPT_KEY])}"


def _log2(n: str) -> int:
    """Raises ValueError unless it is a power of two."""
    number = int(n)
    if number < 2 or number & number - 1:
        raise ValueError("not a power of two")
    return number.bit_length() - 1


def _b64(text: str) -> bytes:
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


def _ab64(text: str) -> bytes:
    return _b64(text.replace(".", "+"))


def _to_b64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _to_ab64(data: bytes) -> str:
    return _to_b64(data).replace("+", ".")
