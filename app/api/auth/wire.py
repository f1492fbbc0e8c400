"""What every way to sign in answers with."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from app.auth.mfa import CHALLENGE_TTL, Challenge, Factor
from app.auth.rotation import SessionTokens
from app.auth.tokens import ACCESS_TOKEN_TTL, AccessTokens
from app.http.wire import ResponseModel
from app.platform.process import Platform

AuthorizationCode = Annotated[str, Field(min_length=1, max_length=2048)]
"""What a provider gave to the app together with an ID token."""

LoginStatus = Literal["complete", "mfa_required"]


class TokenSet(ResponseModel):
    token_type: Literal["Bearer"]
    """Always `Bearer`: send the access token as `Authorization: Bearer …`."""
    access_token: str
    """The access token (a JWT), which opens the API."""
    expires_in: int
    """How long the access token works. In seconds."""
    refresh_token: str
    """The refresh token. It works once, for the next access token and the next refresh token."""
    refresh_expires_in: int
    """How long the refresh token works, if it is not used. In seconds."""
    session_id: UUID


class MfaChallenge(ResponseModel):
    mfa_token: str
    methods: list[Factor]
    """What the user may answer with: a code of the authenticator app (`totp`), a `recovery_code`, or a `passkey`."""
    expires_in: int
    """How long the sign-in waits. In seconds."""


class LoginResult(ResponseModel):
    status: LoginStatus
    """`complete`: the device is signed in. `mfa_required`: the sign-in waits for a second factor."""
    tokens: TokenSet | None
    """The tokens of the new session. Null if `status` is `mfa_required`."""
    mfa: MfaChallenge | None
    """How to go on. Null if `status` is `complete`."""


def login_result(platform: Platform, tokens: AccessTokens, outcome: SessionTokens | Challenge) -> LoginResult:
    if isinstance(outcome, SessionTokens):
        return LoginResult(status="complete", tokens=token_set(platform, tokens, outcome), mfa=None)
    expires_in = int(CHALLENGE_TTL.total_seconds())
    challenge = MfaChallenge(mfa_token=outcome.mfa_token, methods=list(outcome.methods), expires_in=expires_in)
    return LoginResult(status="mfa_required", tokens=None, mfa=challenge)


def token_set(platform: Platform, tokens: AccessTokens, grant: SessionTokens) -> TokenSet:
    access_token = tokens.mint(
        user_id=grant.user_id, session_id=grant.session_id, authenticated_at=grant.authenticated_at
    )
    remaining = grant.refresh_expires_at - platform.clock.now()
    return TokenSet(
        token_type="Bearer",  # noqa: S106 - the name of a scheme
        access_token=access_token,
        expires_in=ACCESS_TOKEN_TTL,
        refresh_token=grant.refresh_token,
        refresh_expires_in=int(remaining.total_seconds()),
        session_id=grant.session_id,
    )
