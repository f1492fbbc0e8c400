"""RSA keys, for what verifies no elliptic curve: CloudFront, and STS where it reads assertions."""

import base64
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from app.crypto.encoding import b64url
from app.crypto.jws import KeyPair, thumbprint

BITS = 2048
"""What CloudFront takes, and more than IAM asks of a SAML provider (1,024)."""
CERTIFIED_FOR = timedelta(days=3650)
"""IAM looks at no date in the certificate of a SAML provider. Other readers of the metadata may."""
CLOCKS_APART = timedelta(days=1)
_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def generate_key_pair() -> KeyPair:
    """An RSA key pair, named by the thumbprint of its public JWK (RFC 7638)."""
    return _named(rsa.generate_private_key(public_exponent=65_537, key_size=BITS))


def generate_certified_key_pair(now: datetime) -> KeyPair:
    """The same with a certificate as the JWK's `x5c` (RFC 7517 §4.7).

    The certificate is signed by its own key: who reads it in SAML's metadata trusts those, and not a name in it.
    """
    private_key = rsa.generate_private_key(public_exponent=65_537, key_size=BITS)
    pair = _named(private_key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokenvend")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(now + CERTIFIED_FOR)
        .add_extension(_SIGNS, critical=True)
        .sign(private_key, hashes.SHA256())
    )
    encoded = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode("ascii")
    return KeyPair(pair.kid, pair.private_pem, {**pair.public_jwk, "x5c": [encoded]})


def signing_key(private_pem: bytes, *, is_own: bool = False) -> rsa.RSAPrivateKey:
    """A key object that signs. Raises ValueError for a key of another kind.

    `is_own`: this service made and sealed it, so its primes are not examined again, which takes 65 ms.
    """
    key = serialization.load_pem_private_key(private_pem, password=None, unsafe_skip_rsa_key_validation=is_own)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")
    return key


def _named(private_key: rsa.RSAPrivateKey) -> KeyPair:
    numbers = private_key.public_key().public_numbers()
    members: dict[str, Any] = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
    kid = thumbprint(members)
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(kid, pem, {**members, "use": "sig", "kid": kid})


def _number(value: int) -> str:
    return b64url(value.to_bytes((value.bit_length() + 7) // 8))
