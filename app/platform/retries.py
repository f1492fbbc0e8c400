"""When what failed is tried again: at growing intervals, which chance spreads, until it is given up."""

import random
from datetime import datetime, timedelta

FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(days=1)


def next_try(now: datetime, *, attempts: int, give_up_at: datetime) -> datetime | None:
    """When to try again after `attempts` tries; None if that would be too late."""
    exponent = min(attempts - 1, 30)
    delay = min(FIRST_DELAY * 2**exponent, LONGEST_DELAY) * random.uniform(0.75, 1.25)  # noqa: S311 - it spreads
    return now + delay if now + delay <= give_up_at else None
