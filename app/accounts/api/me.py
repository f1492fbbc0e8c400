"""`/v1/me`: a user's own account."""

from uuid import UUID

from fastapi import APIRouter

from app.accounts import profile
from app.credentials import policy
from app.models import User
from app.web import Enrolling, JsonRoute, ResponseModel, RuntimeDep, Timestamp

router = APIRouter(prefix="/v1/me", tags=["accounts"], route_class=JsonRoute)


class Profile(ResponseModel):
    id: UUID
    email: str | None
    email_verified: bool
    display_name: str | None
    status: str
    role: str
    prefix: str
    mfa_enabled: bool
    created_at: Timestamp


@router.get("")
async def get_profile(runtime: RuntimeDep, actor: Enrolling) -> Profile:
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
