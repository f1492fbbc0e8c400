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
    """Signs `text` with AWS Signature Version 4. The scope is date, Region and service; the result is hexadecimal."""
    key = f"AWS4{secret}".encode()
    for part in (*scope, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def is_signed(
    certificate: bytes, signature: str, text: bytes, *, digest: Literal["SHA-1", "SHA-256"], at: datetime
) -> bool:
    """Whether the certificate (PEM) is valid at `at` and its RSA key made the signature (base64, PKCS #1 v1.5).

    The caller decides whether to trust the certificate. Raises ValueError for a malformed certificate or signature, and
    for a key that is not RSA of a usual size.
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
