"""Access tokens forged with the service's own key, or with none: no JWT library's strictness stands in the way."""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from app.auth import keys
from tests.support.service import Device

Part = bytes | Mapping[str, Any]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encoded(part: Part) -> str:
    return b64(part if isinstance(part, bytes) else json.dumps(part).encode())


class Forger:
    """Holds the signing key, a stolen one as it were, and an attacker's own."""

    def __init__(self, device: Device) -> None:
        runtime = device.service.runtime
        row = runtime.platform.database.run("read", keys.list_keys, "access")[-1]
        pem = runtime.platform.vault.decrypt(keys.SEALED_AS, row.private_key_encrypted, bound_to=row.kid)
        loaded = serialization.load_pem_private_key(pem, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self.key = loaded
        self.own_key = ec.generate_private_key(ec.SECP256R1())
        self.public_jwk: dict[str, Any] = dict(row.public_jwk)
        self.genuine = device.access_token
        self.session_id = device.session_id
        self.header: dict[str, Any] = {"alg": "ES256", "typ": "at+jwt", "kid": row.kid}
        issuer = runtime.platform.settings.public_url
        now = int(runtime.platform.clock.now().timestamp())
        self.now = now
        self.claims: dict[str, Any] = {
            "iss": issuer,
            "aud": f"{issuer}/v1",
            "sub": device.user_id,
            "sid": device.session_id,
            "client_id": "tokenvend-app",
            "iat": now,
            "exp": now + 900,
            "jti": str(uuid.uuid4()),
            "auth_time": now,
        }

    def token(
        self,
        header: Part | None = None,
        claims: Part | None = None,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> str:
        """A compact JWS with a right ES256 signature over whatever it is given."""
        signed = f"{encoded(header or self.header)}.{encoded(claims if claims is not None else self.claims)}"
        return f"{signed}.{b64(self.signature(signed, key or self.key))}"

    def headed(self, **members: Any) -> str:
        """The valid token with these header members changed or added."""
        return self.token({**self.header, **members})

    def claiming(self, **members: Any) -> str:
        """The valid token with these claims changed or added."""
        return self.token(claims={**self.claims, **members})

    def without(self, name: str) -> str:
        """The valid token without this claim."""
        return self.token(claims={key: value for key, value in self.claims.items() if key != name})

    def raw_claim(self, name: str, text: str) -> str:
        """The valid token with `text`, which need not be JSON, as the value of this claim."""
        members = {key: json.dumps(value) for key, value in self.claims.items()} | {name: text}
        return self.token(claims=("{" + ",".join(f'"{key}":{value}' for key, value in members.items()) + "}").encode())

    def hmacked(self, secret: bytes, *, alg: str = "HS256", **members: Any) -> str:
        """A token whose MAC takes a public value for the secret (RFC 8725 §2.1)."""
        signed = f"{encoded({**self.header, 'alg': alg, **members})}.{encoded(self.claims)}"
        digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[alg]
        return f"{signed}.{b64(hmac.new(secret, signed.encode(), digest).digest())}"

    def unsigned(self, alg: str, signature: str = "") -> str:
        return f"{encoded({**self.header, 'alg': alg})}.{encoded(self.claims)}.{signature}"

    def public_bytes(self, encoding: serialization.Encoding) -> bytes:
        return self.key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)

    def der_signed(self) -> str:
        signed = f"{encoded(self.header)}.{encoded(self.claims)}"
        return f"{signed}.{b64(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))}"

    def signature(self, signed: str, key: ec.EllipticCurvePrivateKey) -> bytes:
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def jwk_of_own_key(self) -> dict[str, str]:
        numbers = self.own_key.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": b64(numbers.x.to_bytes(32, "big")),
            "y": b64(numbers.y.to_bytes(32, "big")),
        }
