"""Password hashes: ours, and those that other systems made. The cost of verifying one is known beforehand."""

import base64
import functools
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from app.crypto import foreign_hashes
from app.crypto.foreign_hashes import Drupal
from app.crypto.prehashes import Prehash, divided
from app.crypto.respelling import respell

if TYPE_CHECKING:
    from passlib.context import CryptContext

BCRYPT_SEES = 72
"""Bytes of a password. The systems that made the bcrypt hashes cut longer passwords there."""

MOST_STORED = 255
"""Characters: what the column holds."""

MOST_MEMORY = 256 * 1024
"""KiB that one verification may take."""
MOST_LANES = 16
"""Lanes of argon2. Each lane is a thread."""
HIGHEST_PRICE = 42.0
"""The most that one verification may cost, in verifications of our own argon2id: about a second of a core. The hashes
that real systems store cost no more: bcrypt cost 14, Django's PBKDF2 of 1,500,000 rounds, scrypt N=2^17 r=8, argon2
with 64 MiB."""

MEMORY, ROUNDS = 19456, 2
"""KiB and rounds of our own argon2id. It has one lane."""
# Measured as CPU time on x86-64, each relative to our own hash. On a slower machine our own hash is slower too.
CACHED_MEMORY = 32 * 1024
"""KiB. A round over more memory is twice as slow because the memory does not fit the processor's cache."""
LANE_ROUNDS = 256
"""Rounds times lanes whose threads cost as much to start as one of our own hashes. Argon2 with more than one lane
starts four threads a lane in each round."""
BCRYPT_ROUNDS = 450
SCRYPT_BLOCKS = 64_000
"""N times r times p."""
ROUNDS_FOR_ONE = {
    "pbkdf2_sha1": 70_000,
    "pbkdf2_sha256": 70_000,
    "pbkdf2_sha384": 27_000,
    "pbkdf2_sha512": 27_000,
    "drupal": 21_000,
    "sha256_crypt": 26_000,
    "sha512_crypt": 21_000,
    "sha1_crypt": 30_000,
    "fshp": 60_000,
}
"""Rounds that cost as much as one of our own hashes, of a password of up to `LONGEST_FOR_OLD` bytes."""
DOUBLINGS_FOR_ONE = {"bcrypt_sha256": BCRYPT_ROUNDS, "django_bcrypt_sha256": BCRYPT_ROUNDS, "phpass": 28_000}
"""The same, for those that store the logarithm of their rounds."""
CHEAP = {
    "md5_crypt": 0.1,
    "apr_md5_crypt": 0.1,
    "ldap_salted_md5": 0.01,
    "ldap_salted_sha1": 0.01,
    "ldap_salted_sha256": 0.01,
    "ldap_salted_sha512": 0.01,
    "django_salted_sha1": 0.01,
}
"""What those of fixed work cost, in our own hashes."""
OLD = frozenset({*CHEAP, Drupal.scheme, "sha256_crypt", "sha512_crypt", "sha1_crypt", "phpass", "fshp"})
"""Schemes that are no longer good enough, but of which a right password makes one of ours."""
LONGEST_FOR_OLD = 256
"""Bytes of a password. Some of `OLD` take longer for longer ones, and no system that had them took any."""


@functools.cache
def _schemes() -> "CryptContext":
    """OWASP's least costly argon2id set (ASVS 5.0 appendix C). Hashes with less are upgraded at sign-in."""
    from passlib.context import CryptContext  # noqa: PLC0415 - a process may never see a password

    return CryptContext(
        schemes=[
            *("argon2", "bcrypt", "scrypt", "pbkdf2_sha256", "pbkdf2_sha512", "pbkdf2_sha1"),
            *("bcrypt_sha256", "django_bcrypt_sha256"),
            *sorted(OLD - {Drupal.scheme}),
        ],
        deprecated="auto",  # all but the first
        argon2__type="ID",
        argon2__memory_cost=MEMORY,
        argon2__time_cost=ROUNDS,
        argon2__parallelism=1,
    )


class PasswordContext:
    """Hashes with argon2id. Also verifies hashes of other systems, which the caller then replaces with ours.

    `verify` and `needs_update` raise ValueError for a hash of an unknown scheme. `hash_price` tells which are known.
    """

    def hash(self, password: str) -> str:
        return str(_schemes().hash(password))

    def verify(self, password: str, password_hash: str) -> bool:
        data = password.encode("utf-8", "surrogatepass")
        if password_hash.startswith(WORDPRESS):
            data = base64.b64encode(hmac.digest(b"wp-sha384", data, "sha384"))
            password_hash = password_hash.removeprefix(WORDPRESS)
        elif password_hash.startswith(MD5_FIRST):
            data = hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
            password_hash = password_hash[1:]
        if password_hash.startswith("$2"):
            return b"\0" not in data and bool(_schemes().verify(data[:BCRYPT_SEES], password_hash))
        foreign = foreign_hashes.read(password_hash)
        scheme = _schemes().identify(password_hash) if foreign is None else foreign.scheme
        if scheme in OLD and (b"\0" in data or len(data) > LONGEST_FOR_OLD):  # some would stop reading at a NUL
            return False
        return bool(_schemes().verify(data, password_hash)) if foreign is None else foreign.verify(data)

    def needs_update(self, password_hash: str) -> bool:
        """Whether the hash is not as `hash` makes them: another system made it, or its costs differ."""
        if password_hash.startswith((WORDPRESS, *MD5_FIRST)) or foreign_hashes.read(password_hash) is not None:
            return True
        return bool(_schemes().needs_update(password_hash))


PASSWORD_CONTEXT = PasswordContext()


class UnusableHash(Exception):
    """No password can be verified against the hash. The message says why, to the caller who sent the hash.

    The message holds no part of the hash.
    """


UNKNOWN = "The password hash is of no kind that is supported."
TOO_MUCH_MEMORY = "The password hash takes more than 256 MiB of memory to verify."
TOO_MANY_LANES = f"The argon2 hash has more than {MOST_LANES} lanes, or less memory than its lanes need."

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
"""Imports have millions of these, and passlib takes 0.1 ms to parse each. The expression is faster."""


def _base64(of: str) -> str:
    """Base64 of those characters without padding, and without stray bits at its end."""
    return rf"((?:[{of}]{{4}})*(?:[{of}][AQgw]|[{of}]{{2}}[AEIMQUYcgkosw048])?)"


_ARGON2, _SCRYPT = r"argon2(?:id|i|d)\$v=19\$m=\d+,t=\d+,p=\d+", r"scrypt\$ln=\d+,r=\d+,p=\d+"
_SHAPED = (
    re.compile(rf"(\$(?:{_ARGON2}|{_SCRYPT})\$){_base64('A-Za-z0-9+/')}\${_base64('A-Za-z0-9+/')}"),
    re.compile(rf"(\$pbkdf2(?:-sha256|-sha512)?\$\d+\$){_base64('A-Za-z0-9./')}\${_base64('A-Za-z0-9./')}"),
)
"""What stands before salt and key of the kinds of which imports have millions, and these two."""
_CRYPTS = ("$1$", "$5$", "$6$", "$apr1$")
_CRYPT = re.compile(r"\$\w+\$(?:rounds=\d+\$)?(?!rounds=)[^$]*\$[^$]+")
CLEAN_ENDS = ".Oeu", ".CGKOSWaeimquy26"
"""Characters at the end of bcrypt's salt and digest whose unused bits, four and two, are zero."""
_BCRYPT_ENDS = re.compile(r"(?<=\$)([./A-Za-z0-9]{22})(\$?)([./A-Za-z0-9]{31})$")
"""Salt and digest, which passlib's own kind divides by a dollar."""


def hash_price(text: str) -> float:
    """The cost of verifying a password against this hash, in verifications of our own argon2id.

    The hash is in passlib's format, in WordPress's, or in one of `foreign_hashes.py`. The price covers memory, rounds,
    lanes and threads. Raises `UnusableHash` for other hashes and for a price that is too high.
    """
    if match := _BCRYPT.fullmatch(text.removeprefix(WORDPRESS)):
        return _allowed(2 ** int(match[1]) / BCRYPT_ROUNDS)
    if text.startswith(("$2", WORDPRESS)) or len(text) > MOST_STORED - len(IMPORTED):  # passlib would warn of some
        raise UnusableHash(UNKNOWN)
    if match := _SHAPED[0].fullmatch(text) or _SHAPED[1].fullmatch(text):
        head, salt, key = match.groups()
        return _price_of_shape(head, len(salt), len(key))
    return parsed_price(text)


@functools.lru_cache(maxsize=1024)
def _price_of_shape(head: str, salt: int, key: int) -> float:
    """The price of a hash with so many characters of salt and key. Which characters they are changes nothing.

    passlib takes 0.1 ms to parse a hash, and imports have millions of few shapes.
    """
    return parsed_price(f"{head}{'A' * salt}${'A' * key}")


def parsed_price(text: str) -> float:
    """`hash_price` of a hash other than bcrypt, by all that is in it."""
    if text.startswith(_CRYPTS) and not _CRYPT.fullmatch(text):  # of a salt alone, passlib would warn
        raise UnusableHash(UNKNOWN)
    if text.startswith(MD5_FIRST):
        text = text[1:]
    if (foreign := foreign_hashes.read(text)) is not None:
        return _allowed(foreign.rounds / ROUNDS_FOR_ONE[foreign.scheme])
    scheme = _schemes().identify(text)
    if scheme is None:
        raise UnusableHash(UNKNOWN)
    try:
        parsed: Any = _schemes().handler(scheme).from_string(text)
    except (ValueError, TypeError, AssertionError, NotImplementedError):  # passlib raises all of these
        raise UnusableHash(UNKNOWN) from None
    if parsed.checksum is None:
        raise UnusableHash(UNKNOWN)
    return _price(scheme, parsed)


def scheme_of(text: str) -> str:
    """The name of the scheme of a hash that has a price, such as `bcrypt` or `argon2id`."""
    if text.startswith("$2"):
        return "bcrypt"
    if text.startswith("$argon2"):
        return text.split("$")[1]
    text = text.removeprefix("U")
    foreign = foreign_hashes.read(text)
    return (_schemes().identify(text) or "unknown") if foreign is None else foreign.scheme


def _price(scheme: str, parsed: Any) -> float:
    if scheme in CHEAP:
        return CHEAP[scheme]
    rounds = int(parsed.rounds)
    if scheme == "argon2":
        return _argon2_price(int(parsed.memory_cost), rounds, int(parsed.parallelism))
    if scheme == "scrypt" and str(parsed.ident) == "$scrypt$":
        return scrypt_price(rounds, int(parsed.block_size), int(parsed.parallelism))
    if scheme in ROUNDS_FOR_ONE:
        return _allowed(rounds / ROUNDS_FOR_ONE[scheme])
    if scheme in DOUBLINGS_FOR_ONE:
        return _allowed(2**rounds / DOUBLINGS_FOR_ONE[scheme])
    raise UnusableHash(UNKNOWN)  # other formats of bcrypt and scrypt


def _argon2_price(memory: int, rounds: int, lanes: int) -> float:
    if lanes > MOST_LANES or memory < 8 * lanes:
        raise UnusableHash(TOO_MANY_LANES)
    if memory > MOST_MEMORY:
        raise UnusableHash(TOO_MUCH_MEMORY)
    filling = memory * rounds / (MEMORY * ROUNDS) * (2 if memory > CACHED_MEMORY else 1)
    starting = rounds * lanes / LANE_ROUNDS if lanes > 1 else 0
    return _allowed(filling + starting)


def scrypt_price(log_n: int, r: int, p: int) -> float:
    """The price of one scrypt with N = 2^`log_n`, as `hash_price` counts it. Raises `UnusableHash`."""
    if log_n > 30 or 2**log_n * r // 8 > MOST_MEMORY:  # 128 bytes each
        raise UnusableHash(TOO_MUCH_MEMORY)
    return _allowed(2**log_n * r * p / SCRYPT_BLOCKS)


def _allowed(price: float) -> float:
    if price > HIGHEST_PRICE:
        raise UnusableHash(
            f"Verifying the password hash takes {price:.3g} times the work of the service's own; "
            f"at most {HIGHEST_PRICE:.0f} times is allowed."
        )
    return price


FIREBASE = "$firebase-scrypt$"
_FIREBASE = re.compile(r"\$firebase-scrypt\$([A-Za-z0-9+/]{1,86}={0,2})\$([A-Za-z0-9+/]{86}==)")

WORDPRESS = "$wp"
"""Stands before bcrypt of the password's HMAC, in Base64 (WordPress 6.8, wp_hash_password)."""
MD5_FIRST = ("U$S$", "U$P$", "U$H$")
"""Before phpass of the password's MD5, in hexadecimal: what Drupal 7 made of the hashes of Drupal 6."""
IMPORTED = "$imported"
"""Stands before argon2 of another system, which may have our own parameters and yet be of another spelling."""

KEY_ELSEWHERE = "The hash is of a password and a key that the file does not hold. Give the key: --prehash."

_VISIBLE = re.compile(r"[!-~]+")
_PREHASHED = re.compile(r"\$(2[aby]\$|argon2|pbkdf2|scrypt\$|5\$|6\$)")
"""Begins a hash that systems with a prehash make."""


def stored_spelling(text: str) -> str:
    """The hash as it is stored: in passlib's format, or in Firebase's. `respelling.py` has what else is understood.

    It keeps the marks of our own exports: `IMPORTED` and those of `prehashes.py`. `hash_price` and `PasswordContext`
    take none. Raises `UnusableHash`, like `hash_price`.
    """
    if text.startswith("$prehash="):
        prehash, text = divided(text)
        if prehash is None or not _PREHASHED.match(text):
            raise UnusableHash(UNKNOWN)
        return _that_fits(f"{prehash}{stored_spelling(text)}")
    if _FIREBASE.fullmatch(text):
        return text
    if text.startswith(SUPABASE):
        supabase_scrypt(text)
        return text
    mark, text = (IMPORTED, text.removeprefix(IMPORTED)) if text.startswith(IMPORTED) else ("", text)
    text = respell(text)
    if text.startswith(("$2", WORDPRESS, "bcrypt_sha256$", "$bcrypt-sha256$")) and not _is_clean(text):
        text = _BCRYPT_ENDS.sub(_cleaned, text)
    if not _VISIBLE.fullmatch(text):  # passlib ignores white space within base64
        raise UnusableHash(UNKNOWN)
    hash_price(text)
    return mark + text


def _is_clean(text: str) -> bool:
    """Whether it ends as bcrypt without stray bits does, which is much faster than to clean it."""
    return text[-1:] in CLEAN_ENDS[1] and text[-32:-31] in CLEAN_ENDS[0]


def _cleaned(ends: re.Match[str]) -> str:
    """Salt and digest of bcrypt without stray bits at their ends, of which passlib would warn at each sign-in."""
    from passlib.utils.binary import bcrypt64  # noqa: PLC0415

    repair = cast(Callable[[str], str], bcrypt64.repair_unused)
    return f"{repair(ends[1])}{ends[2]}{repair(ends[3])}"


def marked(stored: str, prehash: Prehash | None, *, is_own_export: bool) -> str:
    """What `stored_spelling` gave, with the mark that it needs. `prehash` is what is known of the file's hashes.

    Those of our own export have their marks. One with a key has its id in another database, so `prehash` replaces it.
    Raises `UnusableHash`.
    """
    own, text = divided(stored)
    if own is not None and own.key_id:
        if prehash is None or prehash.kind != own.kind:
            raise UnusableHash(KEY_ELSEWHERE)
        return f"{prehash}{text}"
    if own is not None or is_own_export:
        return stored
    if prehash is None:
        return f"{IMPORTED}{stored}" if stored.startswith("$argon2") else stored
    if not _PREHASHED.match(stored):
        raise UnusableHash(UNKNOWN)
    return _that_fits(f"{prehash}{stored}")


def _that_fits(stored: str) -> str:
    if len(stored) > MOST_STORED:
        raise UnusableHash(UNKNOWN)
    return stored


@dataclass(frozen=True)
class FirebaseScrypt:
    """Firebase's variant of scrypt (github.com/firebase/scrypt), with the parameters of one project.

    The key that scrypt derives encrypts the project's signer key, and the ciphertext is the hash. A stored hash is only
    salt and hash (standard base64). Without the signer key nobody can test a password against it.
    """

    signer_key: bytes = field(repr=False)
    """64 bytes."""
    salt_separator: bytes
    rounds: int
    mem_cost: int

    @property
    def price(self) -> float:
        """The price of one verification, as `hash_price` counts it."""
        return scrypt_price(self.mem_cost, self.rounds, 1)

    def verify(self, password: str, password_hash: str) -> bool:
        match = _FIREBASE.fullmatch(password_hash)
        if match is None:
            return False
        salt, expected = (base64.b64decode(part) for part in match.groups())
        key = hashlib.scrypt(
            password.encode("utf-8", "surrogatepass"),
            salt=salt + self.salt_separator,
            n=1 << self.mem_cost,
            r=self.rounds,
            p=1,
            maxmem=64 * 2**20,
            dklen=32,
        )
        encryptor = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        return hmac.compare_digest(encryptor.update(self.signer_key), expected)


def firebase_hash(salt: str, checksum: str) -> str | None:
    """One hash from the salt and hash that `firebase auth:export` writes for a user; None if they have another form.

    Both are base64, in either alphabet.
    """
    ordinary = str.maketrans("-_", "+/")
    salt, checksum = salt.translate(ordinary), checksum.translate(ordinary)
    text = f"{FIREBASE}{salt}${checksum}"
    match = _FIREBASE.fullmatch(text)
    return text if match and len(salt) % 4 == 0 else None


SUPABASE = "$fbscrypt$"
_SUPABASE = re.compile(
    r"\$fbscrypt\$v=1,n=(\d{1,2}),r=(\d{1,2}),p=1(?:,ss=([A-Za-z0-9+/_-]{0,86}={0,2}))?,sk=([A-Za-z0-9+/_-]{86}==)"
    r"(\$[A-Za-z0-9+/_-]{1,86}={0,2}\$[A-Za-z0-9+/_-]{86}==)"
)
_URL_SAFE = str.maketrans("+/", "-_")
MOST_SCRYPT_MEMORY = 32 * 1024
"""KiB of Firebase's scrypt. Its projects use half of that."""


def supabase_scrypt(text: str) -> tuple[FirebaseScrypt, str]:
    """The scrypt of a Firebase project and a hash of it, as Supabase writes both in one for users who came from there.

    `$fbscrypt$v=1,n=14,r=8,p=1,ss=…,sk=…$salt$hash` (supabase/auth, internal/crypto/password.go). Raises
    `UnusableHash`.
    """
    match = _SUPABASE.fullmatch(text)
    if match is None or len(text) > MOST_STORED:
        raise UnusableHash(UNKNOWN)
    cost, rounds = int(match[1]), int(match[2])
    stored = firebase_hash(*match[5].split("$")[1:])
    if stored is None or not cost or not rounds:
        raise UnusableHash(UNKNOWN)
    if 2**cost * rounds // 8 > MOST_SCRYPT_MEMORY:
        raise UnusableHash(TOO_MUCH_MEMORY)
    try:
        signer_key, separator = (
            base64.urlsafe_b64decode((part or "").translate(_URL_SAFE)) for part in (match[4], match[3])
        )
    except ValueError:
        raise UnusableHash(UNKNOWN) from None
    scrypt = FirebaseScrypt(signer_key, separator, rounds=rounds, mem_cost=cost)
    _allowed(scrypt.price)
    return scrypt, stored
