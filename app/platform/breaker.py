"""A circuit breaker: a server that failed several times in a row gets no calls for a while."""

from app.platform.clock import Clock

FAULTS_TO_OPEN = 5
"""Faults in a row that open the circuit breaker."""
OPEN_FOR = 5.0
"""Seconds without calls. Then one call tries whether the server is back."""


class Breaker:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._faults = 0
        self._open_until = float("-inf")

    @property
    def takes_calls(self) -> bool:
        return self._faults < FAULTS_TO_OPEN or self._clock.monotonic() >= self._open_until

    def begin(self) -> None:
        """A call begins. If it is the one that tries whether the server is back, others stay away meanwhile."""
        if self._faults >= FAULTS_TO_OPEN:
            self._open_until = self._clock.monotonic() + OPEN_FOR

    def succeeded(self) -> bool:
        """Returns whether there had been faults before."""
        had_faults = self._faults > 0
        self._faults, self._open_until = 0, float("-inf")
        return had_faults

    def failed(self) -> bool:
        """Returns whether the breaker is open now."""
        self._faults += 1
        if self._faults < FAULTS_TO_OPEN:
            return False
        self._open_until = self._clock.monotonic() + OPEN_FOR
        return True
