"""`/v1/me/usage`: what the caller stores, and how much it may be."""

from fastapi import APIRouter

from app.api.provided import PlatformDep
from app.http.guards import SignedIn
from app.http.routes import JsonRoute
from app.http.wire import ResponseModel, Timestamp
from app.storage import quota

router = APIRouter(prefix="/v1", tags=["credentials"], route_class=JsonRoute)


class StorageUsage(ResponseModel):
    """As it was last counted. Users without a quota are not counted."""

    bytes: int
    objects: int
    old_bytes: int | None
    quota_bytes: int | None
    """How much the user may store. In bytes. Null if there is no limit."""
    counted_at: Timestamp | None


@router.get("/me/usage")
async def get_storage_usage(platform: PlatformDep, actor: SignedIn) -> StorageUsage:
    """What the caller stores, as it was last counted. Over quota, the `access` levels `write` and `read_write` are
    refused.
    """
    usage = await platform.database.read(quota.find, actor.user_id)
    return StorageUsage(
        bytes=usage.bytes if usage else 0,
        objects=usage.objects if usage else 0,
        old_bytes=quota.old_bytes(platform.settings, usage),
        quota_bytes=quota.effective(platform.settings, actor.quota_bytes),
        counted_at=usage.counted_at if usage else None,
    )
