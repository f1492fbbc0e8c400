"""Checks passwords in the Amazon Cognito user pool from which users move here, once for each user.

It needs no AWS SDK, because InitiateAuth is not signed. It makes no second call, because a failure there would tell
that the password was right. The password goes only to Cognito, and the tokens are dropped at once.
"""

import json
from typing import Any

from app.auth.old_system import DOWN, Claimed, NoAnswer, OldSystem
from app.crypto.encoding import unb64url
from app.crypto.hashing import client_secret_hash
from app.crypto.strict_json import strict_object
from app.platform.clock import Clock
from app.platform.logs import log
from app.platform.metrics import Metrics
from app.records.models import COGNITO

CONNECT_WITHIN = 1.0
ANSWER_WITHIN = 2.0
"""Seconds, the same as for STS."""
WRONG = frozenset(
    {
        "NotAuthorizedException",
        "UserNotFoundException",
        "UserNotConfirmedException",
        "PasswordResetRequiredException",
        "UserLambdaValidationException",
        # Also for a password that Cognito's rules do not allow, and if the app client lacks USER_PASSWORD_AUTH.
        "InvalidParameterException",
        "InvalidPasswordException",  # of cognito-local, an emulator
    }
)


class UserPool(OldSystem):
    """A user pool, used through an app client that must allow USER_PASSWORD_AUTH."""

    brings = frozenset({COGNITO})

    def __init__(self, url: str, client_id: str, client_secret: str, clock: Clock, metrics: Metrics) -> None:
        super().__init__(clock, metrics, connect_within=CONNECT_WITHIN, within=CONNECT_WITHIN + ANSWER_WITHIN)
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret

    async def _ask(self, email: str, password: str) -> Claimed | None:
        """None also for an address that is not verified there, and for a challenge: a second factor, or a new password
        that is due. Such users come by a password reset.
        """
        parameters = {"USERNAME": email, "PASSWORD": password}
        if self._client_secret:
            parameters["SECRET_HASH"] = client_secret_hash(self._client_secret, self._client_id, email)
        body = {"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": self._client_id, "AuthParameters": parameters}
        result = (await self._initiate_auth(body)).get("AuthenticationResult")
        if not isinstance(result, dict):
            return None
        claims = _claims(result.get("IdToken"))
        verified = claims.get("email_verified") in (True, "true")
        return Claimed(str(claims.get("email", "")), verified=True) if verified else None

    async def _initiate_auth(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer, empty if Cognito says no. Raises `NoAnswer`."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
        }
        status, text = await self._post(self._url, json.dumps(body).encode(), headers)
        try:
            document = strict_object(text)
        except (ValueError, RecursionError) as error:
            raise NoAnswer(type(error).__name__, down=status in DOWN) from error
        if status == 200:
            return document
        kind = str(document.get("__type")).rpartition("#")[2]
        if status != 400 or kind not in WRONG:
            raise NoAnswer(f"{status} {kind[:64]}", down=status in DOWN)
        if kind == "InvalidParameterException":
            log.warning("user_pool_refused", kind=kind, mend="allow ALLOW_USER_PASSWORD_AUTH for the app client")
        return {}


def _claims(id_token: object) -> dict[str, Any]:
    """The token's claims, or {}. It came from its issuer over TLS, which is enough (OpenID Connect Core §3.1.3.7)."""
    try:
        return strict_object(unb64url(str(id_token).split(".")[1]))
    except (IndexError, ValueError, RecursionError):
        log.error("user_pool_not_understood", mend="let the app client read email and email_verified")
        return {}
