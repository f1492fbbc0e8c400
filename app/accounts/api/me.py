"""`/v1/me`: a user's own account."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy.orm import Session

from app.accounts import erasure, profile
from app.actor import Actor
from app.admin.users import Role, Status
from app.credentials import policy
from app.limits import address_key
from app.passwords import MAX_LENGTH
from app.runtime import Runtime
from app.web import (
    Enrolling,
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

router = APIRouter(prefix="/v1/me", tags=["accounts"], route_class=JsonRoute)


class Profile(ResponseModel):
    id: UUID
    email: str | None
    email_verified: bool
    display_name: str | None
    status: Status
    role: Role
    prefix: str
    mfa_enabled: bool
    created_at: Timestamp


class UpdateProfileRequest(RequestModel):
    """An empty name removes the name, because many clients cannot send null."""

    display_name: Annotated[PrintableText, Field(max_length=100)] | None = None


class EraseAccountRequest(RequestModel):
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)] | None = None


@router.get("")
async def get_profile(runtime: RuntimeDep, actor: Enrolling) -> Profile:
    """The caller's own account."""
    return await read_profile(runtime, actor)


@router.patch("")
async def update_profile(
    runtime: RuntimeDep, origin: OriginDep, actor: SignedIn, body: UpdateProfileRequest
) -> Profile:
    """Changes the members that are sent. A name that is null or empty is removed."""
    if "display_name" in body.model_fields_set:
        name = body.display_name or None
        await runtime.database.write(profile.rename, origin, runtime.clock.now(), actor, display_name=name)
    return await read_profile(runtime, actor)


@router.delete("", status_code=202, response_class=Response)
async def erase_account(
    runtime: RuntimeDep, origin: OriginDep, actor: SignedIn, body: EraseAccountRequest | None = None
) -> None:
    """Erases the account for good. The account is gone at once, and its pictures shortly after.

    Send the password. An account without a password needs a sign-in within the last five minutes instead. An account
    with a second factor needs a step-up by that factor within the last five minutes.
    """
    await runtime.limiter.hit("mfa", address_key(origin.address))
    password = body.password.get_secret_value() if body and body.password else None
    await erasure.erase(runtime, origin, actor, password=password)


async def read_profile(runtime: Runtime, actor: Actor) -> Profile:
    def read(session: Session) -> Profile:
        user = profile.get_user(session, actor.user_id)
        return Profile(
            id=user.id,
            email=user.email,
            email_verified=user.email_verified_at is not None,
            display_name=user.display_name,
            status=user.status,
            role=user.role,
            prefix=policy.user_prefix(user.id),
            mfa_enabled=profile.mfa_enabled(session, user.id),
            created_at=user.created_at,
        )

    return await runtime.database.read(read)
