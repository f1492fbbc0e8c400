"""All cryptography: keys derived from SECRET_KEY, the encryption of secrets at rest, password hashes, signed tokens.

No other module imports a hashing or JOSE library.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_bytes
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jose import jwk, jws
from jose.exceptions import JOSEError
from passlib.context import CryptContext
from passlib.exc import TokenError
from passlib.totp import TOTP

TOTP_PERIOD = 30
"""Seconds. With six digits and SHA-1 it is what every authenticator app knows (RFC 6238 §4)."""

ALGORITHM = "ES256"
MAX_TOKEN_LENGTH = 4096
MAX_ID_TOKEN_LENGTH = 8192
RSA_BITS = range(2048, 8193)

BCRYPT_SEES = 72
"""Bytes of a password; what is longer was cut there by the systems that such hashes come from."""
MOST_MEMORY = 256 * 1024
"""KiB that one verification may take, of as many at once as there are cores."""
MOST_ARGON2_WORK = 4 * MOST_MEMORY
"""KiB times rounds: what takes about a second of a core, as do bcrypt's cost, scrypt's work and PBKDF2's rounds."""
MOST_LANES = 16
MOST_BCRYPT_COST = 14
MOST_SCRYPT_WORK = 2**22
"""N times r times p."""
MOST_PBKDF2_ROUNDS = 3_000_000


_SCHEMES = CryptContext(
    schemes=["argon2", "bcrypt", "scrypt", "pbkdf2_sha256", "pbkdf2_sha512", "pbkdf2_sha1"],
    deprecated="auto",  # all but the first
    argon2__type="ID",
    argon2__memory_cost=19456,  # KiB
    argon2__time_cost=2,
    argon2__parallelism=1,
)
"""OWASP's least costly argon2id set (ASVS 5.0 appendix C). Hashes with less are upgraded at sign-in."""


def random_base32(size: int) -> str:
    """As many random bytes, a multiple of 5, as base32 (RFC 4648 §6): letters and 2–7, without padding."""
    return base64.b32encode(token_bytes(size)).decode("ascii")


class PasswordContext:
    """Hashes with argon2id. Verifies what other systems made too, once: such a hash is to be replaced by ours.

    `verify` and `needs_update` raise ValueError for a hash that is not of these schemes: see `is_supported_hash`.
    """

    def hash(self, password: str) -> str:
        return str(_SCHEMES.hash(password))

    def verify(self, password: str, password_hash: str) -> bool:
        if not password_hash.startswith("$2"):
            return bool(_SCHEMES.verify(password, password_hash))
        if "\0" in password:  # where bcrypt would stop reading
            return False
        return bool(_SCHEMES.verify(password.encode("utf-8", "surrogatepass")[:BCRYPT_SEES], password_hash))

    def needs_update(self, password_hash: str) -> bool:
        """Whether it is not one of today's: made by another system, or with other costs."""
        return bool(_SCHEMES.needs_update(password_hash))


PASSWORD_CONTEXT = PasswordContext()


# Most of those that come in millions; passlib takes a tenth of a thousandth of a second for each.
_BCRYPT = re.compile(rf"\$2[aby]\$(?:0[4-9]|1[0-{MOST_BCRYPT_COST - 10}])\$[./A-Za-z0-9]{{53}}")


def is_supported_hash(text: str) -> bool:
    """Whether passwords can be verified against this hash, in passlib's spelling, in about a second and 256 MiB.

    That is argon2, bcrypt (2a, 2b, 2y), scrypt (`$scrypt$`) and PBKDF2 with SHA-1, SHA-256 or SHA-512.
    """
    if _BCRYPT.fullmatch(text):
        return True
    scheme = _SCHEMES.identify(text)
    if scheme is None or len(text) > 255:  # its column
        return False
    try:
        parsed: Any = _SCHEMES.handler(scheme).from_string(text)
    except (ValueError, TypeError, AssertionError, NotImplementedError):  # all of these are passlib's
        return False
    return parsed.checksum is not None and _is_affordable(scheme, parsed)


def _is_affordable(scheme: str, parsed: Any) -> bool:
    rounds = int(parsed.rounds)
    if scheme == "argon2":
        memory = int(parsed.memory_cost)
        lanes = int(parsed.parallelism)  # each is a thread
        return lanes <= MOST_LANES and 8 * lanes <= memory <= MOST_MEMORY and memory * rounds <= MOST_ARGON2_WORK
    if scheme == "bcrypt":
        return str(parsed.ident) in ("$2a$", "$2b$", "$2y$") and rounds <= MOST_BCRYPT_COST
    if scheme == "scrypt":
        blocks = 2**rounds * int(parsed.block_size)
        memory, work = blocks // 8, blocks * int(parsed.parallelism)
        return str(parsed.ident) == "$scrypt$" and memory <= MOST_MEMORY and work <= MOST_SCRYPT_WORK
    return rounds <= MOST_PBKDF2_ROUNDS


FIREBASE = "$firebase-scrypt$"
_FIREBASE = re.compile(r"\$firebase-scrypt\$([A-Za-z0-9+/]{1,86}={0,2})\$([A-Za-z0-9+/]{86}==)")
_PHC = re.compile(
    r"\$(pbkdf2(?:-sha1|-sha256|-sha512)?)\$i=(\d{1,9})(?:,l=\d{1,4})?\$([A-Za-z0-9+/]{1,128})\$([A-Za-z0-9+/]{1,128})"
)

_VISIBLE = re.compile(r"[!-~]+")


def supported_hash(text: str) -> str | None:
    """The hash as it is stored, if `is_supported_hash` or Firebase's. PBKDF2 may be spelt as PHC does (`$i=…,l=…$`)."""
    if _FIREBASE.fullmatch(text):
        return text
    if match := _PHC.fullmatch(text):
        name, rounds, salt, checksum = match.groups()
        name = name.removesuffix("-sha1")
        text = f"${name}${rounds}${salt.replace('+', '.')}${checksum.replace('+', '.')}"
    # passlib looks past white space within base64.
    return text if _VISIBLE.fullmatch(text) and is_supported_hash(text) else None


@dataclass(frozen=True)
class FirebaseScrypt:
    """Firebase's variant of scrypt (github.com/firebase/scrypt), with the parameters of one project.

    scrypt's key encrypts the project's signer key; what comes out is the hash. So a stored hash, which is salt and hash
    alone (standard base64), tells nothing to who does not have the signer key.
    """

    signer_key: bytes = field(repr=False)
    """64 bytes."""
    salt_separator: bytes
    rounds: int
    mem_cost: int

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
    """What an export by `firebase auth:export` says of a password, as one hash; None where it is of another kind.

    Both are base64, in either alphabet.
    """
    ordinary = str.maketrans("-_", "+/")
    salt, checksum = salt.translate(ordinary), checksum.translate(ordinary)
    text = f"{FIREBASE}{salt}${checksum}"
    match = _FIREBASE.fullmatch(text)
    return text if match and len(salt) % 4 == 0 else None


def client_secret_hash(client_secret: str, client_id: str, username: str) -> str:
    """What Cognito calls SECRET_HASH: base64 of HMAC-SHA256."""
    mac = hmac.new(client_secret.encode(), (username + client_id).encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode("ascii")


def signature_v4(secret: str, scope: Sequence[str], text: str) -> str:
    """AWS's signature of `text`, in hexadecimal; the scope is date, Region and service (Signature Version 4)."""
    key = f"AWS4{secret}".encode()
    for part in (*scope, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def is_signed(
    certificate: bytes, signature: str, text: bytes, *, digest: Literal["SHA-1", "SHA-256"], at: datetime
) -> bool:
    """Whether the RSA key of the certificate (PEM), valid at that time, made the signature (base64, PKCS #1 v1.5).

    Who vouches for the certificate is the caller's to know. Raises ValueError for one that is none.
    """
    read = x509.load_pem_x509_certificate(certificate)
    key = read.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in RSA_BITS:
        raise ValueError("not an RSA key of a usual size")
    if not read.not_valid_before_utc <= at <= read.not_valid_after_utc:
        return False
    kind = hashes.SHA1() if digest == "SHA-1" else hashes.SHA256()  # noqa: S303 - what SNS calls version 1
    try:
        key.verify(base64.b64decode(signature, validate=True), text, padding.PKCS1v15(), kind)
    except InvalidSignature:
        return False
    return True


def b64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64url(text: str) -> bytes:
    """The inverse of `b64url`. Raises ValueError for any spelling that `b64url` would not have given."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


def sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class DecryptionFailed(Exception):
    """The ciphertext was made with another SECRET_KEY or for another purpose, or it was changed."""


class Vault:
    """Keys derived from SECRET_KEY, one for each purpose, so that no value serves two."""

    def __init__(self, secret_key: str) -> None:
        self._root = secret_key.encode()
        self._keys: dict[str, bytes] = {}

    def digest(self, purpose: str, *parts: bytes) -> bytes:
        """HMAC-SHA256 (32 bytes) of `parts`, each preceded by its length so that no two lists collide."""
        mac = hmac.new(self._key(purpose), digestmod=hashlib.sha256)
        for part in parts:
            mac.update(len(part).to_bytes(4, "big") + part)
        return mac.digest()

    def encrypt(self, purpose: str, plaintext: bytes, *, bound_to: str) -> bytes:
        """AES-256-GCM: nonce (12 bytes) and ciphertext. It opens only for the same purpose and `bound_to`."""
        nonce = token_bytes(12)
        return nonce + AESGCM(self._key(purpose)).encrypt(nonce, plaintext, bound_to.encode())

    def decrypt(self, purpose: str, ciphertext: bytes, *, bound_to: str) -> bytes:
        """The plaintext. Raises `DecryptionFailed`."""
        try:
            return AESGCM(self._key(purpose)).decrypt(ciphertext[:12], ciphertext[12:], bound_to.encode())
        except (InvalidTag, ValueError) as error:
            raise DecryptionFailed from error

    def _key(self, purpose: str) -> bytes:
        if purpose not in self._keys:
            derivation = HKDF(hashes.SHA256(), length=32, salt=None, info=f"tokenvend:{purpose}".encode())
            self._keys[purpose] = derivation.derive(self._root)
        return self._keys[purpose]


@dataclass(frozen=True)
class KeyPair:
    """An ES256 key pair: PKCS #8 PEM, the public JWK (RFC 7517), and its thumbprint (RFC 7638) as `kid`."""

    kid: str
    private_pem: bytes
    public_jwk: dict[str, Any]


def generate_key_pair() -> KeyPair:
    private_key = ec.generate_private_key(ec.SECP256R1())
    numbers = private_key.public_key().public_numbers()
    members = {
        "crv": "P-256",
        "kty": "EC",
        "x": b64url(numbers.x.to_bytes(32, "big")),
        "y": b64url(numbers.y.to_bytes(32, "big")),
    }
    kid = b64url(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(kid, pem, {**members, "use": "sig", "alg": ALGORITHM, "kid": kid})


def signing_key(private_pem: bytes) -> Any:
    """A key object for `sign_token`; parsing it once is what makes signing fast."""
    return jwk.construct(private_pem.decode(), ALGORITHM)


def verification_key(public_jwk: Mapping[str, Any]) -> Any:
    """A key object for `verify_token`."""
    return jwk.construct({k: public_jwk[k] for k in ("kty", "crv", "x", "y")}, ALGORITHM)


def sign_token(claims: Mapping[str, Any], *, key: Any, kid: str, typ: str) -> str:
    """A compact JWS of `claims`."""
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return str(jws.sign(payload, key, headers={"typ": typ, "kid": kid}, algorithm=ALGORITHM))


class TokenRejected(Exception):
    """The token is not one of ours. The message says why, for the log alone."""


_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")


def verify_token(token: str, *, keys: Mapping[str, Any], typ: str) -> dict[str, Any]:
    """The claims of a token that one of `keys` (by kid) signed. Raises `TokenRejected`, and nothing else.

    Stricter than python-jose (RFC 8725 §3): the length is capped before anything is parsed; the header has exactly
    the members this service writes, so `crit`, `jku`, `jwk`, `x5u` or another algorithm never reach the library; each
    part has its one canonical spelling; no member stands twice.
    """
    if len(token) > MAX_TOKEN_LENGTH or not _COMPACT.match(token):
        raise TokenRejected("not a compact JWS")
    try:
        header, claims, signature = (unb64url(part) for part in token.split("."))
        head = strict_object(header)
        kid = head.get("kid")
        if head != {"alg": ALGORITHM, "typ": typ, "kid": kid} or not isinstance(kid, str) or kid not in keys:
            raise TokenRejected("not a header of this service")
        if len(signature) != 64:
            raise TokenRejected("not an ES256 signature")
        jws.verify(token, keys[kid], [ALGORITHM])
        return strict_object(claims)
    except (JOSEError, ValueError, RecursionError) as error:
        raise TokenRejected(type(error).__name__) from error


class UnknownKey(TokenRejected):
    """No key that was given has the `kid` of the token's header."""


@dataclass(frozen=True)
class IdentityKey:
    """A provider's public key, and the one algorithm that it verifies."""

    algorithm: str
    key: Any


class _PssKey:
    """PS256 (RFC 7518 §3.5), which python-jose does not have."""

    _PADDING = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256().digest_size)

    def __init__(self, public_key: Any) -> None:
        self._public_key = public_key

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            self._public_key.verify(signature, message, self._PADDING, hashes.SHA256())
        except InvalidSignature:
            return False
        return True


def identity_keys(document: bytes) -> dict[str, IdentityKey]:
    """By kid, the keys of a provider's JWK set (RFC 7517 §5) that verify ID tokens; others are left out.

    So is every key whose kid stands twice: none is better than a guess. Raises ValueError for what is no JWK set.
    """
    try:
        entries = strict_object(document)["keys"]
    except (KeyError, RecursionError) as error:
        raise ValueError("not a JWK set") from error
    if not isinstance(entries, list):
        raise ValueError("not a JWK set")
    found: dict[str, list[IdentityKey]] = {}
    for entry in entries:
        key = _identity_key(entry) if isinstance(entry, dict) else None
        if key is not None and isinstance(kid := entry.get("kid"), str) and kid:
            found.setdefault(kid, []).append(key)
    return {kid: keys[0] for kid, keys in found.items() if len(keys) == 1}


def _identity_key(entry: Mapping[str, Any]) -> IdentityKey | None:
    """RS256 or ES256 by the key's type; PS256 only where the key says so. Nothing else is ever verified."""
    operations = entry.get("key_ops", ["verify"])
    usable = entry.get("use") in (None, "sig") and isinstance(operations, list) and "verify" in operations
    kind = (entry.get("kty"), entry.get("crv"), entry.get("alg"))
    algorithm: str | None = None
    if kind in (("RSA", None, None), ("RSA", None, "RS256")):
        algorithm = "RS256"
    elif kind == ("RSA", None, "PS256"):
        algorithm = "PS256"
    elif kind in (("EC", "P-256", None), ("EC", "P-256", "ES256")):
        algorithm = "ES256"
    numbers = {name: entry.get(name) for name in (("x", "y") if algorithm == "ES256" else ("n", "e"))}
    if not usable or algorithm is None or not all(isinstance(number, str) for number in numbers.values()):
        return None
    try:
        if algorithm == "ES256":
            return IdentityKey(algorithm, jwk.construct({"kty": "EC", "crv": "P-256", **numbers}, algorithm))
        key: Any = jwk.construct({"kty": "RSA", **numbers}, "RS256")
    except (JOSEError, ValueError):
        return None
    if key.prepared_key.key_size not in RSA_BITS:
        return None
    return IdentityKey(algorithm, _PssKey(key.prepared_key) if algorithm == "PS256" else key)


_OF_ANOTHER_KEY = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64"})
"""OpenID Connect Core §2: an ID token does not bring its key. Extensions that we do not know are refused."""


def verify_identity_token(token: str, *, keys: Mapping[str, IdentityKey]) -> dict[str, Any]:
    """The claims of an ID token that one of `keys` signed, by the key that its `kid` names and that key's algorithm.

    As strict as `verify_token`, but a provider's header may have members of its own. What the claims say is for the
    caller to judge. Raises `UnknownKey`, `TokenRejected`, and nothing else.
    """
    if len(token) > MAX_ID_TOKEN_LENGTH or not _COMPACT.match(token):
        raise TokenRejected("not a compact JWS")
    signed, _, _ = token.rpartition(".")
    try:
        header, claims, signature = (unb64url(part) for part in token.split("."))
        head = strict_object(header)
        kid, typ = head.get("kid"), head.get("typ", "JWT")
        if not _OF_ANOTHER_KEY.isdisjoint(head) or not isinstance(typ, str) or typ.upper() != "JWT":
            raise TokenRejected("not the header of an ID token")
        if not isinstance(kid, str) or kid not in keys:
            raise UnknownKey("an unknown kid")
        if head.get("alg") != keys[kid].algorithm:
            raise TokenRejected("not the algorithm of its key")
        if not keys[kid].key.verify(signed.encode(), signature):
            raise TokenRejected("not signed by its key")
        return strict_object(claims)
    except (JOSEError, ValueError, RecursionError) as error:
        raise TokenRejected(type(error).__name__) from error


def strict_object(data: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 in which no member stands twice. Raises ValueError, RecursionError."""
    value = json.loads(data.decode("utf-8"), object_pairs_hook=unique_members, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` that refuses a member that stands twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def totp_uri(secret: str, *, issuer: str, account: str) -> str:
    """What a QR code for authenticator apps holds (Key URI Format). A colon would end the issuer, so none is kept."""
    totp = TOTP(key=secret, format="base32", period=TOTP_PERIOD)
    return str(totp.to_uri(label=account.replace(":", " "), issuer=issuer.replace(":", " ")))


def match_totp(secret: str, code: str, at: datetime) -> int | None:
    """The time step (RFC 6238 §4.2: periods since 1970) that the six digits belong to; None for all other text.

    The steps before and after that of `at` are taken too, for clocks that differ and people who type.
    """
    try:
        matched = TOTP(key=secret, format="base32", period=TOTP_PERIOD).match(code, at.timestamp(), window=TOTP_PERIOD)
    except TokenError:
        return None
    return int(matched.counter)
