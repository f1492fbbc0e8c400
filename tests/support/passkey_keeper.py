"""A phone's keeper of passkeys in software, and the browser around it: well-behaved until a test tells it not to be."""

import copy
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from app.crypto.encoding import b64url, unb64url

PRESENT, VERIFIED, MAY_BE_BACKED_UP, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40
ES256 = -7


@dataclass
class Authenticator:
    """Holds one passkey, once it was asked to make one.

    `lies` replaces members of what the browser says (`type`, `challenge`, `origin`, `crossOrigin`); the rest is the
    authenticator's own: flags, counter, the RP ID that it hashes, the user handle.
    """

    origin: str = "http://testserver"
    lies: Mapping[str, Any] = field(default_factory=dict)
    flags: int = PRESENT | VERIFIED
    counter: int = 0
    rp_id: str | None = None
    user_handle: str | None = None
    silent: bool = False
    """Says nothing of whose the passkey is."""
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    algorithm: int = ES256
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def but(self, **changes: Any) -> "Authenticator":
        """The same passkey in other hands."""
        other = copy.copy(self)
        for name, value in changes.items():
            assert hasattr(other, name)
            setattr(other, name, value)
        return other

    def create(self, options: Mapping[str, Any], *, attested_id: bytes | None = None) -> dict[str, Any]:
        """What `credential.toJSON()` gives after `navigator.credentials.create`."""
        self.user_handle = options["user"]["id"]
        numbers = self.key.public_key().public_numbers()
        public_key = {
            1: 2,
            3: self.algorithm,
            -1: 1,
            -2: numbers.x.to_bytes(32, "big"),
            -3: numbers.y.to_bytes(32, "big"),
        }
        attested_id = attested_id or self.credential_id
        attested = bytes(16) + len(attested_id).to_bytes(2, "big") + attested_id + cbor2.dumps(public_key)
        data = self._data(options["rp"]["id"], self.flags | ATTESTED) + attested
        response = {
            "clientDataJSON": self._client_data("webauthn.create", options),
            "attestationObject": b64url(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
            "authenticatorData": b64url(data),
            "transports": ["internal", "hybrid"],
            "publicKeyAlgorithm": ES256,
        }
        return self._credential(response)

    def get(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What `credential.toJSON()` gives after `navigator.credentials.get`. The counter grows where it counts."""
        if self.counter:
            self.counter += 1
        data = self._data(options["rpId"], self.flags)
        client_data = self._client_data("webauthn.get", options)
        signed = data + hashlib.sha256(unb64url(client_data)).digest()
        response = {
            "clientDataJSON": client_data,
            "authenticatorData": b64url(data),
            "signature": b64url(self.key.sign(signed, ec.ECDSA(SHA256()))),
            "userHandle": None if self.silent else self.user_handle,
        }
        return self._credential(response)

    def _data(self, rp_id: str, flags: int) -> bytes:
        hashed = hashlib.sha256((self.rp_id or rp_id).encode()).digest()
        return hashed + bytes([flags]) + self.counter.to_bytes(4, "big")

    def _client_data(self, kind: str, options: Mapping[str, Any]) -> str:
        said = {"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False}
        return b64url(json.dumps({**said, **self.lies}).encode())

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": b64url(self.credential_id),
            "rawId": b64url(self.credential_id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {"credProps": {"rk": True}},
            "response": response,
        }
