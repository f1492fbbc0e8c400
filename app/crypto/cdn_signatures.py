"""Signatures that Amazon CloudFront verifies, and their spelling.

RSA with 2,048 bits, PKCS #1 v1.5 and SHA-1 is what every SDK signs and CloudFront assumes. The same text has the same
signature always, which ECDSA would not give. A weakness of SHA-1 needs a text of the attacker's choice, and what is
signed here is percent-encoded JSON.
"""

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from app.crypto.encoding import unb64url

_IN_URLS = str.maketrans("+=/", "-_~")


def sign(text: str, key: rsa.RSAPrivateKey) -> str:
    """The signature of a policy, as it stands in a URL or a cookie."""
    return in_urls(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA1()))  # noqa: S303 - see above


def in_urls(data: bytes) -> str:
    """Base64 with the characters that CloudFront reads in the place of those that mean something in a URL."""
    return base64.b64encode(data).decode("ascii").translate(_IN_URLS)


def public_pem(public_jwk: Mapping[str, Any]) -> str:
    """The public key in the form that CloudFront takes (SubjectPublicKeyInfo, PEM)."""
    e, n = (int.from_bytes(unb64url(public_jwk[name])) for name in ("e", "n"))
    key = rsa.RSAPublicNumbers(e, n).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode("ascii")
