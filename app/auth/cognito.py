"""Checks passwords in the Amazon Cognito user pool from which users move here, once for each user.

It needs no AWS SDK, because InitiateAuth is not signed. It makes no second call, because a failure there would tell
that the password was right. The password goes only to Cognito, and the tokens are dropped at once.
"""

import asyncio
import json
import random
from collections import deque
from collections.abc import Mapping
from typing import Any

import aiohttp
import structlog

from app.crypto.encoding import unb64url
from app.crypto.hashing import client_secret_hash
from app.crypto.strict_json import strict_object
from app.platform.clock import Clock
from app.platform.problems import UserPoolUnavailable
from app.records import addresses
from app.records.addresses import Address

log = structlog.get_logger("tokenvend.cognito")

CONNECT_WITHIN = 1.0
ANSWER_WITHIN = 2.0
"""Seconds, the same as for STS."""
LONGEST_ANSWER = 64 * 1024
RETRY_AFTER = 5
REMEMBERED = 100
"""How many response times are remembered."""
WRONG = frozenset(
    {
        "NotAuthorizedException",
        "UserNotFoundException",
        "UserNotConfirmedException",
        "PasswordResetRequiredException",
        "UserLambdaValidationException",
        # Also for a password that Cognito's rules do not allow, and if the app client lacks USER_PASSWORD_AUTH.
        "InvalidParameterException",
    }
)


class UserPool:
    """A user pool, used through an app client that must allow USER_PASSWORD_AUTH."""

    def __init__(self, url: str, client_id: str, client_secret: str, clock: Clock) -> None:
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._taken: deque[float] = deque([0.1], maxlen=REMEMBERED)

    async def verified_address(self, email: str, password: str) -> Address | None:
        """The address as the user verified it in the pool, or None unless the password is right there.

        A challenge (a second factor, or a new password that is due) gives None: such users come by a password reset. A
        right password whose answer lacks the address gives None too, so that it looks like a wrong one.
        Raises `UserPoolUnavailable`.
        """
        parameters = {"USERNAME": email, "PASSWORD": password}
        if self._client_secret:
            parameters["SECRET_HASH"] = client_secret_hash(self._client_secret, self._client_id, email)
        started = self._clock.monotonic()
        answer = await self._call(
            "InitiateAuth",
            {"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": self._client_id, "AuthParameters": parameters},
        )
        self._taken.append(self._clock.monotonic() - started)
        result = answer.get("AuthenticationResult")
        if not isinstance(result, dict):
            return None
        claims = _claims(result.get("IdToken"))
        there, here = (addresses.find(str(text)) for text in (claims.get("email", ""), email))
        same = there is not None and here is not None and there.key == here.key
        return there if same and claims.get("email_verified") in (True, "true") else None

    async def linger(self) -> None:
        """Waits as long as one of the last answers took, so that a refusal without a call looks like any other."""
        await asyncio.sleep(random.choice(self._taken))  # noqa: S311 - no secret

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _call(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, empty if Cognito says no. Raises `UserPoolUnavailable`."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AWSCognitoIdentityProviderService.{operation}",
        }
        try:
            async with self._open().post(
                self._url, data=json.dumps(body).encode(), headers=headers, allow_redirects=False
            ) as response:
                text = b""
                while not response.content.at_eof() and len(text) <= LONGEST_ANSWER:
                    text += await response.content.read(LONGEST_ANSWER)
                document = strict_object(text)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            raise self._unavailable(f"{operation}: {type(error).__name__}") from error
        if response.status == 200:
            return document
        kind = str(document.get("__type")).rpartition("#")[2]
        if response.status != 400 or kind not in WRONG:
            raise self._unavailable(f"{operation}: {response.status} {kind[:64]}")
        if kind == "InvalidParameterException":
            log.warning("user_pool_refused", kind=kind, mend="allow ALLOW_USER_PASSWORD_AUTH for the app client")
        return {}

    def _unavailable(self, cause: str) -> UserPoolUnavailable:
        return UserPoolUnavailable(retry_after=RETRY_AFTER, cause=cause)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:  # made within the event loop that uses it
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity", "User-Agent": "tokenvend"},
                timeout=aiohttp.ClientTimeout(
                    total=CONNECT_WITHIN + ANSWER_WITHIN, sock_connect=CONNECT_WITHIN, sock_read=ANSWER_WITHIN
                ),
                trust_env=True,
            )
        return self._session


def _claims(id_token: object) -> dict[str, Any]:
    """The token's claims, or {}. It came from its issuer over TLS, which is enough (OpenID Connect Core §3.1.3.7)."""
    try:
        return strict_object(unb64url(str(id_token).split(".")[1]))
    except (IndexError, ValueError, RecursionError):
        log.error("user_pool_not_understood", mend="let the app client read email and email_verified")
        return {}
