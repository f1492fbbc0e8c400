"""`POST /v1/auth/step-up`: a signed-in user is seen anew."""

from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import Field, model_validator

from app.auth import codes, step_up
from app.auth.api.wire import TokenSet, token_set
from app.auth.mfa import CodeMethod
from app.limits import address_key
from app.passwords import MAX_LENGTH
from app.web import Enrolling, JsonRoute, OriginDep, PasswordText, RequestModel, RuntimeDep

router = APIRouter(prefix="/v1/auth", tags=["auth"], route_class=JsonRoute)


class StepUpRequest(RequestModel):
    """Either `password`, or `method` and `code`."""

    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)] | None = None
    method: CodeMethod | None = None
    code: Annotated[str, Field(max_length=codes.MAX_LENGTH, examples=["123 456"])] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = (self.password is not None, self.method is not None, self.code is not None)
        if given not in ((True, False, False), (False, True, True)):
            raise ValueError("send either password, or method and code")
        return self


@router.post("/step-up")
async def step_up_session(body: StepUpRequest, runtime: RuntimeDep, origin: OriginDep, actor: Enrolling) -> TokenSet:
    """Renews the session's `auth_time` with the password, or with a code if the user has a second factor.

    If the answer is lost, the previous refresh token still works. Once one of the two was used, the other is worthless.
    """
    await runtime.limiter.hit("mfa", address_key(origin.address))
    if body.password is not None:
        grant = await step_up.by_password(runtime, origin, actor, password=body.password.get_secret_value())
    else:
        assert body.method is not None
        assert body.code is not None
        grant = await step_up.by_code(runtime, origin, actor, method=body.method, code=body.code)
    return token_set(runtime, grant)
