"""`POST /v1/auth/step-up`: a signed-in user is seen anew."""

from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import Field, model_validator

from app.accounts.passwords import MAX_LENGTH
from app.api.auth.wire import TokenSet, token_set
from app.api.provided import HasherDep, PlatformDep, TokensDep
from app.auth import codes, step_up
from app.auth.mfa import CodeMethod
from app.http.guards import Enrolling, OriginDep
from app.http.routes import JsonRoute
from app.http.wire import PasswordText, RequestModel
from app.platform.limits import address_key

router = APIRouter(prefix="/v1/auth", tags=["auth"], route_class=JsonRoute)


class StepUpRequest(RequestModel):
    """Either `password`, or `method` and `code`."""

    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)] | None = None
    """The account's password. Left out, or null, if `method` and `code` are sent."""
    method: CodeMethod | None = None
    """Which code it is: of the authenticator app (`totp`), or a `recovery_code`. Left out, or null, if `password` is
    sent."""
    code: Annotated[str, Field(max_length=codes.MAX_LENGTH, examples=["123 456"])] | None = None
    """The code. Spaces, hyphens and case do not matter. Left out, or null, if `password` is sent."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = (self.password is not None, self.method is not None, self.code is not None)
        if given not in ((True, False, False), (False, True, True)):
            raise ValueError("send either password, or method and code")
        return self


@router.post("/step-up")
async def step_up_session(
    body: StepUpRequest,
    *,
    platform: PlatformDep,
    hasher: HasherDep,
    tokens: TokensDep,
    origin: OriginDep,
    actor: Enrolling,
) -> TokenSet:
    """Renews the session's `auth_time` with the password, or with a code if the user has a second factor.

    If the answer is lost, the previous refresh token still works. Once one of the two was used, the other is worthless.
    """
    await platform.limiter.hit("mfa", address_key(origin.address))
    if body.password is not None:
        grant = await step_up.by_password(platform, hasher, origin, actor, password=body.password.get_secret_value())
    else:
        assert body.method is not None
        assert body.code is not None
        grant = await step_up.by_code(platform, origin, actor, method=body.method, code=body.code)
    return token_set(platform, tokens, grant)
