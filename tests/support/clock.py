from datetime import UTC, datetime, timedelta


class ManualClock:
    """A clock that a test moves."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
        self._elapsed = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, **delta: float) -> None:
        step = timedelta(**delta)
        self._now += step
        self._elapsed += step.total_seconds()
