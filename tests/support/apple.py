"""Sign in with Apple's REST API on loopback, as Apple documents it: codes, refresh tokens, and their revocation.

"Token validation", "Token revocation", "Creating a client secret" and TN3194 (developer.apple.com).
"""

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from app.platform.clock import Clock
from tests.support.issuer import CLIENT_ID, Issuer

TEAM_ID, KEY_ID = "A1B2C3D4E5", "F6G7H8J9K0"
LONGEST_SECRET = 15_777_000
"""Seconds: six months."""
CODE_LIVES = 300


@dataclass
class Code:
    subject: str
    client_id: str
    made_at: float


class Apple(Issuer):
    """`refresh_tokens` are those that work, by subject. `error`: what every call is answered instead."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.codes: dict[str, Code] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.revoked: list[str] = []
        self.error: tuple[int, object] | None = None
        self.calls: list[str] = []

    @property
    def private_key(self) -> str:
        """The .p8 file."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def terms(self, **changes: Any) -> dict[str, Any]:
        key = {"team_id": TEAM_ID, "key_id": KEY_ID, "private_key": self.private_key}
        return {"issuer": self.url, "client_ids": (CLIENT_ID,), **key, **changes}

    def code(self, subject: str = "1234567890", client_id: str = CLIENT_ID) -> str:
        """What the app gets together with an ID token."""
        made = f"c{secrets.token_hex(16)}.0.srtqs"
        self.codes[made] = Code(subject, client_id, self.clock.now().timestamp())
        return made

    def posted(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, object]:
        self.calls.append(path)
        if self.error is not None:
            return self.error
        if headers.get("Content-Type") != "application/x-www-form-urlencoded":
            return 400, {"error": "invalid_request"}
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if not self._is_client(form):
            return 400, {"error": "invalid_client"}
        if path == "/auth/token":
            return self._exchange(form)
        if path == "/auth/revoke":
            return self._revoke(form)
        return 404, {}

    def _is_client(self, form: Mapping[str, str]) -> bool:
        try:
            token = jwt.decode(form.get("client_secret", ""), ECKey.import_key(self.key), algorithms=["ES256"])
        except (JoseError, ValueError):
            return False
        now, claims = self.clock.now().timestamp(), token.claims
        return (
            token.header.get("kid") == KEY_ID
            and claims.get("iss") == TEAM_ID
            and claims.get("aud") == self.url
            and claims.get("sub") == form.get("client_id") == CLIENT_ID
            and claims["iat"] <= now + 1 < claims["exp"] <= now + LONGEST_SECRET
        )

    def _exchange(self, form: Mapping[str, str]) -> tuple[int, object]:
        code = self.codes.pop(form.get("code", ""), None)
        now = self.clock.now().timestamp()
        if form.get("grant_type") != "authorization_code" or code is None or now - code.made_at > CODE_LIVES:
            return 400, {"error": "invalid_grant", "error_description": "The code has expired or has been revoked."}
        refresh_token = f"r{secrets.token_hex(16)}.0.srtqs"
        self.refresh_tokens[refresh_token] = code.subject
        claims = {"iss": self.url, "aud": code.client_id, "sub": code.subject}
        header, payload = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "RS256"}, claims)
        )
        return 200, {
            "access_token": f"a{secrets.token_hex(16)}",
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": refresh_token,
            "id_token": f"{header}.{payload}.AAAA",
        }

    def _revoke(self, form: Mapping[str, str]) -> tuple[int, object]:
        """200 for a token that never worked too."""
        if "token" not in form:
            return 400, {"error": "invalid_request"}
        if (subject := self.refresh_tokens.pop(form["token"], None)) is not None:
            self.revoked.append(subject)
        return 200, None


@contextmanager
def running_apple(clock: Clock) -> Iterator[Apple]:
    apple = Apple(clock)
    try:
        yield apple
    finally:
        apple.close()
