"""`/v1/users` and `/v1/me`."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from app.accounts import profile, registration
from app.credentials import policy
from app.limits import address_key
from app.models import User
from app.passwords import MAX_LENGTH
from app.web import (
    JsonRoute,
    OriginDep,
    PasswordText,
    PrintableText,
    RequestModel,
    ResponseModel,
    RuntimeDep,
    SignedIn,
    Timestamp,
)

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=JsonRoute)


class RegisterRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]
    display_name: Annotated[PrintableText, Field(min_length=1, max_length=100)] | None = None


class RegisterResult(ResponseModel):
    status: Literal["active"]


class Profile(ResponseModel):
    id: UUID
    email: str
    email_verified: bool
    display_name: str | None
    status: str
    role: str
    prefix: str
    mfa_enabled: bool
    created_at: Timestamp


@router.post("/users", status_code=201)
async def register_user(body: RegisterRequest, runtime: RuntimeDep, origin: OriginDep) -> RegisterResult:
    """Makes an account. Sign in next."""
    runtime.limiter.hit("register", address_key(origin.address))
    await registration.register(
        runtime, origin, email=body.email, password=body.password.get_secret_value(), display_name=body.display_name
    )
    return RegisterResult(status="active")


@router.get("/me")
async def get_profile(runtime: RuntimeDep, actor: SignedIn) -> Profile:
    """The caller's own account."""
    return _profile(await runtime.database.read(profile.get_user, actor.user_id))


def _profile(user: User) -> Profile:
    return Profile(
        id=user.id,
        email=user.email,
        email_verified=user.email_verified_at is not None,
        display_name=user.display_name,
        status=user.status,
        role=user.role,
        prefix=policy.user_prefix(user.id),
        mfa_enabled=False,
        created_at=user.created_at,
    )
