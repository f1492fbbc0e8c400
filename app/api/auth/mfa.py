"""`POST /v1/auth/mfa`: the second factor of a sign-in, by a code."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from app.api.auth.wire import LoginResult, login_result
from app.api.provided import PlatformDep, TokensDep
from app.auth import codes, mfa
from app.auth.mfa import CodeMethod
from app.http.guards import OriginDep
from app.http.routes import JsonRoute
from app.http.wire import RequestModel
from app.platform.limits import address_key

router = APIRouter(prefix="/v1/auth", tags=["auth"], route_class=JsonRoute)


class MfaRequest(RequestModel):
    mfa_token: str
    method: CodeMethod
    """Which code it is: of the authenticator app (`totp`), or a `recovery_code`."""
    code: Annotated[str, Field(max_length=codes.MAX_LENGTH, examples=["123 456"])]
    """The code. Spaces, hyphens and case do not matter."""


@router.post("/mfa")
async def answer_mfa_challenge(
    body: MfaRequest, platform: PlatformDep, tokens: TokensDep, origin: OriginDep
) -> LoginResult:
    """Completes a sign-in that answered `mfa_required`, with a code of the authenticator app or a recovery code.

    There are five tries within five minutes. Spaces, hyphens and case do not matter. A code works once.
    """
    await platform.limiter.hit("mfa", address_key(origin.address))
    grant = await mfa.answer(platform, origin, mfa_token=body.mfa_token, method=body.method, code=body.code)
    return login_result(platform, tokens, grant)
