"""`GET /v1/admin/stats`: how many, over time."""

from datetime import timedelta

from fastapi import APIRouter

from app.admin import stats
from app.admin.stats import Bucket, Window
from app.api.provided import PlatformDep
from app.http.guards import Support
from app.http.routes import JsonRoute
from app.http.wire import ResponseModel, Timestamp

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=JsonRoute)


class StatsBucket(ResponseModel):
    start: Timestamp
    sign_ups: int
    """Accounts that their owners made, guests too."""
    sign_ins: int
    failures: int
    """Sign-ins that were refused, for whatever reason."""
    mfa_failures: int
    """Those of them whose code was wrong."""
    vends_issued: int
    vends_cached: int
    vends_refused: int
    """Credentials that were not handed out, because their session ended meanwhile."""
    revocations: int
    """Credentials that were revoked."""
    sts_calls: int
    sts_errors: int
    sts_slow: int
    """Calls that took a second or more."""
    sts_mean_ms: float | None
    """Null without a call."""
    users: int | None
    """At the end of the bucket, or now, as `live_credentials`; null where nobody counted."""
    live_credentials: int | None


class Stats(ResponseModel):
    window: Window
    bucket_seconds: int
    generated_at: Timestamp
    counted_until: Timestamp
    """Later events may be missing: the tally is behind where this is not `generated_at`."""
    buckets: list[StatsBucket]
    """The oldest first, aligned to UTC, and as many for each window; the last one is not over."""


@router.get("/stats")
async def get_stats(platform: PlatformDep, _actor: Support, window: Window = "24h") -> Stats:
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
