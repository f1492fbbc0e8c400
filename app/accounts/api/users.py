"""`/v1/users`: making accounts."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from app.accounts import registration
from app.limits import address_key
from app.passwords import MAX_LENGTH
from app.web import JsonRoute, OriginDep, PasswordText, PrintableText, RequestModel, ResponseModel, RuntimeDep

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=JsonRoute)


class RegisterRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]
    display_name: Annotated[PrintableText, Field(min_length=1, max_length=100)] | None = None


class RegisterResult(ResponseModel):
    status: Literal["active"]


@router.post("/users", status_code=201)
async def register_user(body: RegisterRequest, runtime: RuntimeDep, origin: OriginDep) -> RegisterResult:
    """Makes an account. Sign in next."""
    await runtime.limiter.hit("register", address_key(origin.address))
    await registration.register(
        runtime, origin, email=body.email, password=body.password.get_secret_value(), display_name=body.display_name
    )
    return RegisterResult(status="active")
