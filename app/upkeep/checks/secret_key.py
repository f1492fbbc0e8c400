"""The secret key: whether all data are under it, and until when a previous one is needed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.platform.process import Platform
from app.platform.settings import Settings
from app.records import secret_keys
from app.records.secret_keys import MENDS, STATES, Left
from app.upkeep.checks.findings import Finding

NAME = "secret key"


async def check(platform: Platform) -> Finding:
    """Raises `DatabaseUnavailable`."""
    now = platform.clock.now()
    state = await platform.database.write(secret_keys.begin, platform.vault, now)
    if state != "settled":
        return Finding(NAME, "warning" if state in ("waiting", "unfinished") else "failed", STATES[state], MENDS[state])
    left = await platform.database.read(secret_keys.list_left, now, shared=shares_counts(platform.settings))
    fine = not left or bool(platform.settings.secret_key_previous)
    return Finding(NAME, "ok" if fine else "warning", verdict(platform.settings, left))


def verdict(settings: Settings, left: Sequence[Left]) -> str:
    """Whether a previous key is needed for what only digests are kept of, and until when."""
    name, has_previous = "TOKENVEND_SECRET_KEY_PREVIOUS", bool(settings.secret_key_previous)
    if not left:
        return f"{name} may be dropped now" if has_previous else "there is one key, and nothing is left under another"
    until = _time(max(one.until for one in left))
    those = ", ".join(one.what if one.rows is None else f"{one.what} ({one.rows:,})" for one in left)
    if has_previous:
        return f"{name} may be dropped after {until}; until then it is needed for: {those}"
    return f"{name} is not set, and is needed until {until} for: {those}; without it these do not work"


def shares_counts(settings: Settings) -> bool:
    """Whether replicas share counts of guesses, which outlive a restart."""
    return settings.rate_limits == "on" and settings.rate_limit_url != "memory://"


def _time(moment: datetime) -> str:
    """Rounded up, so that it is over by then."""
    return (moment + timedelta(seconds=1) - timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
