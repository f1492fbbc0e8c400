"""`/v1/me/identities`: the outside identities that a user may sign in with."""

from uuid import UUID

from fastapi import APIRouter, Response

from app.auth import identities
from app.limits import address_key
from app.models import Identity
from app.web import JsonRoute, OriginDep, RequestModel, ResponseModel, RuntimeDep, SignedIn, SteppedUp, Timestamp

router = APIRouter(prefix="/v1/me/identities", tags=["accounts"], route_class=JsonRoute)


class LinkIdentityRequest(RequestModel):
    provider: str
    id_token: str


class LinkedIdentity(ResponseModel):
    identity_id: UUID
    provider: str
    email: str | None
    created_at: Timestamp
    last_used_at: Timestamp


class IdentityPage(ResponseModel):
    items: list[LinkedIdentity]
    next_cursor: str | None


@router.get("")
async def list_identities(runtime: RuntimeDep, actor: SignedIn) -> IdentityPage:
    """The caller's outside identities."""
    linked = await runtime.database.read(identities.list_linked, user_id=actor.user_id)
    return IdentityPage(items=[_linked(row) for row in linked], next_cursor=None)


@router.post("", status_code=201)
async def link_identity(
    body: LinkIdentityRequest, runtime: RuntimeDep, origin: OriginDep, actor: SteppedUp
) -> LinkedIdentity:
    """Links an outside identity to the caller. The answer is the same if the caller has it already. A guest stops being
    a guest.
    """
    await runtime.limiter.hit("oidc", address_key(origin.address))
    return _linked(await identities.link(runtime, origin, actor, provider=body.provider, id_token=body.id_token))


@router.delete("/{identity_id}", status_code=204, response_class=Response)
async def unlink_identity(identity_id: UUID, runtime: RuntimeDep, origin: OriginDep, actor: SteppedUp) -> None:
    """Removes one of the caller's outside identities, unless it is the last way to sign in."""
    await runtime.database.write(
        identities.unlink, runtime.vault, origin, runtime.clock.now(), actor=actor, identity_id=identity_id
    )


def _linked(row: Identity) -> LinkedIdentity:
    return LinkedIdentity(
        identity_id=row.id,
        provider=row.provider,
        email=row.email,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
    )
