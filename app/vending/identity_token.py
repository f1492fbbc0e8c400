"""The tokens that identify the user to STS in `web_identity` mode. This service is their OIDC issuer.

STS ignores `typ`, and a holder of such a token can assume the role without a session policy. So the token has an
issuer, keys and an audience of its own, which no client's token has. It is made for one call, lives a minute, and is
sent to STS alone.
"""

import uuid
from typing import Any

from app.auth.keys import Keyring
from app.crypto import jws
from app.platform.clock import Clock
from app.vending.orders import Order

ISSUER_PATH = "/sts"
AUDIENCE = "sts.amazonaws.com"
SUBJECT = "tokenvend"
"""The role's trust policy requires exactly this audience and subject."""
TTL = 60
"""Seconds."""


class IdentityTokens:
    def __init__(self, keyring: Keyring, clock: Clock, *, public_url: str) -> None:
        self.issuer = public_url + ISSUER_PATH
        self.keyring = keyring
        self._clock = clock

    def mint(self, order: Order) -> str:
        """Raises `KeysUnavailable`."""
        key = self.keyring.current()
        now = int(self._clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": SUBJECT,
            "iat": now,
            "exp": now + TTL,
            "jti": str(uuid.uuid4()),
        }
        if order.terms.source_identity:
            claims["https://aws.amazon.com/source_identity"] = str(order.user_id)
        if order.tags:
            claims["https://aws.amazon.com/tags"] = {
                "principal_tags": {key: [value] for key, value in order.tags.items()},
                "transitive_tag_keys": list(order.terms.transitive_tag_keys),
            }
        return jws.sign_token(claims, key=key.private, kid=key.kid, typ="JWT")
