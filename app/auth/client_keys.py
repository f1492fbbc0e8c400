"""Speaks to a provider as the app itself, with a secret that it signs anew each time: Sign in with Apple's REST API.

`POST /auth/token` exchanges an authorization code, and `POST /auth/revoke` takes an authorization back (developer.apple
.com, "Token validation", "Token revocation", "Creating a client secret"). Both are under the issuer's address.
"""

import re
from datetime import datetime
from typing import Any

from app.crypto import identity_keys, jws, strict_json
from app.platform.fetcher import Fetcher
from app.platform.settings import OidcProvider, SettingsError

SECRET_LIVES = 300
"""Seconds. Apple takes secrets of up to six months."""
RETRIED = {"invalid_client", "unauthorized_client", "server_error", "temporarily_unavailable"}
"""Refusals that the operator, or time, can end."""


class Refused(Exception):
    """The provider refused. `reason` is its error code; `for_good`: another try would get the same answer."""

    def __init__(self, reason: str, *, for_good: bool) -> None:
        super().__init__(reason)
        self.reason, self.for_good = reason, for_good


class ClientKey:
    """The private key that the provider gave to the operator's team."""

    def __init__(self, name: str, terms: OidcProvider, fetcher: Fetcher) -> None:
        """Raises `SettingsError` if the key cannot be read."""
        self._issuer = terms.issuer
        self._team_id, self._key_id = terms.team_id, terms.key_id
        self._fetcher = fetcher
        wrong = f"TOKENVEND_OIDC_PROVIDERS: the private key of {name} must be the .p8 file that Apple gave"
        try:
            pem = terms.private_key_file.read_bytes() if terms.private_key_file else None
            self._key = jws.foreign_signing_key(pem or terms.private_key.get_secret_value().encode())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{wrong} ({type(error).__name__})") from None

    async def exchange(self, code: str, *, client_id: str, subject: str, now: datetime) -> str:
        """The refresh token of the code, if that is of the subject. Raises `Refused`, `providers.FETCH_FAULTS`."""
        form = {"grant_type": "authorization_code", "code": code}
        answer = await self._post("token", form, client_id=client_id, now=now)
        token, id_token = answer.get("refresh_token"), answer.get("id_token")
        # The answer came from the provider itself, over TLS: no signature need be verified (OIDC Core §3.1.3.7).
        try:
            claims = identity_keys.unverified_claims(id_token if isinstance(id_token, str) else "")
        except jws.TokenRejected:
            claims = {}
        if claims.get("sub") != subject:
            raise Refused("code_of_another_user", for_good=True)
        if not isinstance(token, str) or not token:
            raise Refused("no_refresh_token", for_good=True)
        return token

    async def revoke(self, token: str, *, client_id: str, now: datetime) -> None:
        """Raises `Refused`, `providers.FETCH_FAULTS`."""
        form = {"token": token, "token_type_hint": "refresh_token"}
        await self._post("revoke", form, client_id=client_id, now=now)

    async def _post(self, call: str, form: dict[str, str], *, client_id: str, now: datetime) -> dict[str, Any]:
        who = {"client_id": client_id, "client_secret": self._secret(now, client_id)}
        status, body = await self._fetcher.post(f"{self._issuer.rstrip('/')}/auth/{call}", who | form)
        try:
            answer = strict_json.strict_object(body) if body.strip() else {}
        except (ValueError, RecursionError):
            answer = {}
        if status == 200:
            return answer
        error = answer.get("error")
        code = error if isinstance(error, str) and re.fullmatch(r"[a-z_]{1,40}", error) else f"status_{status}"
        raise Refused(code, for_good=status == 400 and code not in RETRIED)

    def _secret(self, now: datetime, client_id: str) -> str:
        issued_at = int(now.timestamp())
        claims = {"iss": self._team_id, "iat": issued_at, "exp": issued_at + SECRET_LIVES}
        claims |= {"aud": self._issuer, "sub": client_id}
        return jws.sign_token(claims, key=self._key, kid=self._key_id, typ="JWT")
