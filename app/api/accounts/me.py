"""`/v1/me`: a user's own account."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy.orm import Session

from app.accounts import profile
from app.accounts.passwords import MAX_LENGTH
from app.admin.user_filters import Role, Status
from app.api.provided import HasherDep, PlatformDep
from app.http.guards import Enrolling, OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import PasswordText, PrintableText, RequestModel, ResponseModel, Timestamp
from app.lifecycle import erasure
from app.platform.limits import address_key
from app.platform.process import Platform
from app.policy import session_policy
from app.records import users
from app.records.actor import Actor

router = APIRouter(prefix="/v1/me", tags=["accounts"], route_class=JsonRoute)


class Profile(ResponseModel):
    id: UUID
    """The user's id, which never changes."""
    email: str | None
    email_verified: bool
    guest: bool
    display_name: str | None
    status: Status
    role: Role
    prefix: str
    """Where the user's objects are in the bucket: `users/<id>/`."""
    mfa_enabled: bool
    created_at: Timestamp


class UpdateProfileRequest(RequestModel):
    """An empty name removes the name, because many clients cannot send null."""

    display_name: Annotated[PrintableText, Field(max_length=100)] | None = None
    """The new name. Null or an empty text removes it. Left out, the name stays."""


class EraseAccountRequest(RequestModel):
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)] | None = None
    """The account's password. Left out, or null, where a fresh step-up or sign-in takes its place."""


@router.get("")
async def get_profile(platform: PlatformDep, actor: Enrolling) -> Profile:
    """The caller's own account."""
    return await read_profile(platform, actor)


@router.patch("")
async def update_profile(
    platform: PlatformDep, origin: OriginDep, actor: SignedIn, body: UpdateProfileRequest
) -> Profile:
    """Changes the members that are sent. A name that is null or empty is removed."""
    if "display_name" in body.model_fields_set:
        name = body.display_name or None
        await platform.database.write(profile.rename, origin, platform.clock.now(), actor, display_name=name)
    return await read_profile(platform, actor)


@router.delete("", status_code=202, response_class=Response)
async def erase_account(
    platform: PlatformDep,
    hasher: HasherDep,
    origin: OriginDep,
    actor: SignedIn,
    body: EraseAccountRequest | None = None,
) -> None:
    """Erases the account for good. The account is gone at once, and its pictures shortly after.

    Send the password, or step up within the last five minutes and send no body: some proxies drop it. An account
    without a password needs a sign-in within the last five minutes instead. An account with a second factor needs a
    step-up by that factor within the last five minutes.
    """
    await platform.limiter.hit("mfa", address_key(origin.address))
    password = body.password.get_secret_value() if body and body.password else None
    await erasure.erase(platform, hasher, origin, actor, password=password)


async def read_profile(platform: Platform, actor: Actor) -> Profile:
    def read(session: Session) -> Profile:
        user = users.get_user(session, actor.user_id)
        return Profile(
            id=user.id,
            email=user.email,
            email_verified=user.email_verified_at is not None,
            guest=actor.guest,
            display_name=user.display_name,
            status=user.status,
            role=user.role,
            prefix=session_policy.user_prefix(user.id),
            mfa_enabled=users.mfa_enabled(session, user.id),
            created_at=user.created_at,
        )

    return await platform.database.read(read)
