"""What happened over time, for charts: from the tally and, for the latest minutes, from the tables themselves.

Both are bounded, however much there is: thousands of rows of the tally, and half an hour of audit and ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.admin import tally
from app.admin.tally import STEP
from app.records.models import Activity

Window = Literal["1h", "24h", "7d", "30d"]
BUCKETS: dict[Window, tuple[timedelta, int]] = {
    "1h": (timedelta(minutes=5), 12),
    "24h": (timedelta(minutes=15), 96),
    "7d": (timedelta(hours=2), 84),
    "30d": (timedelta(hours=6), 120),
}
"""The length of a bucket and their number. The last bucket is not over yet."""
COUNTED_LIVE = timedelta(minutes=30)
"""The longest time that is counted from the tables. If the tally is further behind, charts have a gap."""
SUMMED = (
    *("sign_ups", "sign_ins", "failures", "mfa_failures", "vends_issued", "vends_refused", "vends_cached"),
    *("revocations", "sts_calls", "sts_errors", "sts_slow", "sts_milliseconds"),
)
STATES = ("users", "live_credentials")
NAMES = ("started_at", *SUMMED, *STATES)
Step = tuple[Any, ...]
"""Five minutes of counts, with a value for each of `NAMES`."""


@dataclass
class Bucket:
    start: datetime
    counts: dict[str, int]
    """By the names of `SUMMED`."""
    users: int | None = None
    live_credentials: int | None = None
    """`users` and this are counted at the end of the bucket, or now; None if nobody counted them."""


@dataclass(frozen=True)
class Stats:
    length: timedelta
    counted_until: datetime
    """Now, or earlier if the tally is behind. Later counts may be missing."""
    buckets: list[Bucket]


def read(session: Session, now: datetime, window: Window, *, longest: timedelta) -> Stats:
    """The window's buckets, oldest first, aligned to UTC, including empty ones.

    `longest`: the longest life of a credential.
    """
    length, number = BUCKETS[window]
    first = tally.floor(now, length) - (number - 1) * length
    buckets = [Bucket(first + place * length, dict.fromkeys(SUMMED, 0)) for place in range(number)]
    rows = select(*(getattr(Activity, name) for name in NAMES)).where(Activity.started_at >= first)
    found: list[Step] = [tuple(row) for row in session.execute(rows.order_by(Activity.started_at))]
    tallied_until = tally.tallied_until(session, now)
    live_from = max(tallied_until, tally.floor(now - COUNTED_LIVE))
    behind = live_from > tallied_until
    for steps in (found, _live(session, live_from, now, longest=longest, behind=behind)):
        for place, group in groupby(steps, lambda step: (step[0] - first) // length):
            if 0 <= place < number:
                _put(buckets[place], list(group))
    return Stats(length, tallied_until if behind else now, buckets)


def _live(session: Session, start: datetime, now: datetime, *, longest: timedelta, behind: bool) -> list[Step]:
    """Counts from the tables what the tally has not reached, in the same steps."""
    found: list[Step] = []
    users = tally.users_at(session, start)
    if users is None and not behind:  # nothing was ever tallied: the service is young
        users = tally.count_users(session, start)
    while start <= now:
        end = min(start + STEP, now + timedelta(microseconds=1))
        counts = tally.count(session, start, end, longest=longest)
        erasures = counts.pop("erasures")
        if users is not None:
            users = tally.users_after(session, users, start, end, erasures)
        values: dict[str, Any] = {"started_at": start, "users": users, **counts}
        found.append(tuple(values.get(name, 0) for name in NAMES))
        start += STEP
    return found


def _put(bucket: Bucket, steps: Sequence[Step]) -> None:
    columns = dict(zip(NAMES, zip(*steps, strict=True), strict=True))
    for name in SUMMED:
        bucket.counts[name] += sum(columns[name])
    for name in STATES:
        known = [value for value in columns[name] if value is not None]
        if known:
            setattr(bucket, name, known[-1])
