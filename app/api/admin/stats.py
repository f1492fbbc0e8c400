"""`GET /v1/admin/stats`: how many, over time."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from app.admin import stats
from app.admin.stats import Bucket, Window
from app.api.provided import PlatformDep
from app.http.guards import Support
from app.http.routes import JsonRoute
from app.http.wire import ResponseModel, Timestamp

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=JsonRoute)


class StatsBucket(ResponseModel):
    start: Timestamp
    """When the bucket begins."""
    sign_ups: int
    """Accounts that their owners made, guests too."""
    sign_ins: int
    """Sessions that began."""
    failures: int
    """Sign-ins that were refused, for whatever reason."""
    mfa_failures: int
    """Those refused sign-ins whose code was wrong."""
    vends_issued: int
    """New credentials that STS issued for users."""
    vends_cached: int
    """Cached credentials that were handed out again."""
    vends_refused: int
    """Credentials that were refused because the quota was reached, or because their session ended meanwhile."""
    revocations: int
    """Credentials that were revoked."""
    sts_calls: int
    """Calls to STS."""
    sts_errors: int
    """Calls to STS that failed."""
    sts_slow: int
    """Calls to STS that took longer than a second."""
    sts_mean_ms: float | None
    """How long a call to STS took on average. In milliseconds. Null without a call."""
    users: int | None
    """How many users there were at the end of the bucket, or are now. Null where nobody counted."""
    live_credentials: int | None
    """How many credentials were alive at the end of the bucket, or are now. Null where nobody counted."""


class Stats(ResponseModel):
    window: Window
    """How far back the counts reach."""
    bucket_seconds: int
    """How long a bucket is. In seconds."""
    generated_at: Timestamp
    """When this was asked."""
    counted_until: Timestamp
    """Until when everything is counted. If it is earlier than `generated_at`, the tally is behind, and later events may
    be missing."""
    buckets: list[StatsBucket]
    """The counts, the oldest first, aligned to UTC. The last bucket is not over."""


@router.get("/stats")
async def get_stats(
    platform: PlatformDep,
    _actor: Support,
    window: Annotated[Window, Query(description="How far back the counts reach: `1h`, `24h`, `7d` or `30d`.")] = "24h",
) -> Stats:
    """Counts over time. Cached vends and STS calls are counted after some seconds, everything else at once."""
    now = platform.clock.now()
    longest = timedelta(seconds=platform.settings.longest_ttl)
    found = await platform.database.read(stats.read, now, window, longest=longest)
    return Stats(
        window=window,
        bucket_seconds=int(found.length.total_seconds()),
        generated_at=now,
        counted_until=found.counted_until,
        buckets=[_bucket(bucket) for bucket in found.buckets],
    )


def _bucket(bucket: Bucket) -> StatsBucket:
    counts = dict(bucket.counts)
    milliseconds, calls = counts.pop("sts_milliseconds"), counts["sts_calls"]
    return StatsBucket(
        start=bucket.start,
        sts_mean_ms=round(milliseconds / calls, 1) if calls else None,
        users=bucket.users,
        live_credentials=bucket.live_credentials,
        **counts,
    )
