"""Signatures as AWS makes and reads them."""

import base64
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from app.crypto.identity_keys import RSA_BITS


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
