"""`/v1/admin/users/{user_id}/…`: how a user signs in, and what staff may end or remove of it."""

from uuid import UUID

from fastapi import APIRouter

from app.admin import ways_in
from app.api.admin.users import AdminUser, ReasonRequest, act_of, shown
from app.api.auth.identities import IdentityPage, linked_identity
from app.api.auth.passkeys import PasskeyPage, owned_passkey
from app.api.provided import PlatformDep
from app.http.guards import Admin, OriginDep, Support
from app.http.routes import JsonRoute

router = APIRouter(prefix="/v1/admin/users/{user_id}", tags=["admin"], route_class=JsonRoute)


@router.post("/sessions/{session_id}/sign-out")
async def sign_out_user_device(
    user_id: UUID, session_id: UUID, platform: PlatformDep, origin: OriginDep, *, actor: Support, body: ReasonRequest
) -> AdminUser:
    """Signs one of the user's devices out. A guest has no other way to sign in, and loses the account."""
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await platform.database.write(ways_in.sign_out_device, act, user_id, session_id))


@router.get("/passkeys")
async def list_user_passkeys(user_id: UUID, platform: PlatformDep, _actor: Support) -> PasskeyPage:
    """The user's passkeys, oldest first. One page has all of them."""
    owned = await platform.database.read(ways_in.list_passkeys, user_id)
    return PasskeyPage(items=[owned_passkey(passkey) for passkey in owned], next_cursor=None)


@router.post("/passkeys/{passkey_id}/remove")
async def remove_user_passkey(
    user_id: UUID, passkey_id: UUID, platform: PlatformDep, origin: OriginDep, *, actor: Admin, body: ReasonRequest
) -> AdminUser:
    """Removes a passkey, unless it is the user's last way to sign in, and tells the user by mail."""
    act = act_of(platform, origin, actor, body.reason)
    account = await platform.database.write(ways_in.remove_passkey, platform.vault, act, user_id, passkey_id)
    return await shown(platform, account)


@router.get("/identities")
async def list_user_identities(user_id: UUID, platform: PlatformDep, _actor: Support) -> IdentityPage:
    """The user's outside identities, oldest first. One page has all of them."""
    linked = await platform.database.read(ways_in.list_identities, user_id)
    return IdentityPage(items=[linked_identity(row) for row in linked], next_cursor=None)


@router.post("/identities/{identity_id}/unlink")
async def unlink_user_identity(
    user_id: UUID, identity_id: UUID, platform: PlatformDep, origin: OriginDep, *, actor: Admin, body: ReasonRequest
) -> AdminUser:
    """Removes an outside identity, unless it is the user's last way to sign in, and tells the user by mail."""
    act = act_of(platform, origin, actor, body.reason)
    account = await platform.database.write(ways_in.unlink_identity, platform.vault, act, user_id, identity_id)
    return await shown(platform, account)
