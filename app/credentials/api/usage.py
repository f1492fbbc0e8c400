"""`/v1/me/usage`: what the caller stores, and how much it may be."""

from fastapi import APIRouter

from app.credentials import quota
from app.web import JsonRoute, ResponseModel, RuntimeDep, SignedIn, Timestamp

router = APIRouter(prefix="/v1", tags=["credentials"], route_class=JsonRoute)


class StorageUsage(ResponseModel):
    """As it was last counted. Users without a quota are not counted."""

    bytes: int
    objects: int
    old_bytes: int | None
    """Of versions that were replaced or deleted and are still stored; null where they are not counted."""
    quota_bytes: int | None
    """Null is no limit."""
    counted_at: Timestamp | None
    """Null is never."""


@router.get("/me/usage")
async def get_storage_usage(runtime: RuntimeDep, actor: SignedIn) -> StorageUsage:
    """What the caller stores, as it was last counted. Over quota, the `access` levels `write` and `read_write` are
    refused.
    """
    usage = await runtime.database.read(quota.find, actor.user_id)
    return StorageUsage(
        bytes=usage.bytes if usage else 0,
        objects=usage.objects if usage else 0,
        old_bytes=quota.old_bytes(runtime.settings, usage),
        quota_bytes=quota.effective(runtime.settings, actor.quota_bytes),
        counted_at=usage.counted_at if usage else None,
    )
