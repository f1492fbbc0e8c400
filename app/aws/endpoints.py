"""The Regions to call, in order. Each has a circuit breaker: a Region that fails gets no calls for a while."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from app.aws.transport import Endpoint
from app.platform.clock import Clock
from app.platform.metrics import Metrics

FAULTS_TO_OPEN = 5
"""Faults in a row that open the circuit breaker."""
OPEN_FOR = 5.0
"""Seconds without calls. Then one call tries whether the Region is back."""

DNS_SUFFIXES = {
    "aws-cn": "amazonaws.com.cn",
    "aws-eusc": "amazonaws.eu",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
}
"""By partition, unless it is amazonaws.com."""


def endpoint(region: str, *, partition: str, template: str | None) -> Endpoint:
    """AWS's regional endpoint, or the operator's `template` with the Region in place of `{region}`."""
    if template is not None:
        return Endpoint(region, template.replace("{region}", region))
    return Endpoint(region, f"https://sts.{region}.{dns_suffix(partition)}")


def dns_suffix(partition: str) -> str:
    """The domain of the partition's endpoints."""
    return DNS_SUFFIXES.get(partition, "amazonaws.com")


@dataclass
class _Breaker:
    faults: int = 0
    open_until: float = float("-inf")


@dataclass
class Endpoints:
    ordered: Sequence[Endpoint]
    clock: Clock
    metrics: Metrics
    _breakers: dict[str, _Breaker] = field(init=False)

    def __post_init__(self) -> None:
        self._breakers = {endpoint.region: _Breaker() for endpoint in self.ordered}

    def choose(self, tried: Collection[Endpoint]) -> Endpoint | None:
        """The first untried endpoint that takes calls, else the first that takes calls, else None."""
        usable = [endpoint for endpoint in self.ordered if self._takes_calls(self._breakers[endpoint.region])]
        untried = (endpoint for endpoint in usable if endpoint not in tried)
        chosen = next(untried, usable[0] if usable else None)
        if chosen is not None and (breaker := self._breakers[chosen.region]).faults >= FAULTS_TO_OPEN:
            breaker.open_until = self.clock.monotonic() + OPEN_FOR  # this call is the trial; others stay away
        return chosen

    def succeeded(self, endpoint: Endpoint) -> None:
        breaker = self._breakers[endpoint.region]
        if breaker.faults:
            breaker.faults, breaker.open_until = 0, float("-inf")
            self.metrics.sts_region_open.labels(endpoint.region).set(0)

    def failed(self, endpoint: Endpoint) -> None:
        breaker = self._breakers[endpoint.region]
        breaker.faults += 1
        if breaker.faults >= FAULTS_TO_OPEN:
            breaker.open_until = self.clock.monotonic() + OPEN_FOR
            self.metrics.sts_region_open.labels(endpoint.region).set(1)

    def _takes_calls(self, breaker: _Breaker) -> bool:
        return breaker.faults < FAULTS_TO_OPEN or self.clock.monotonic() >= breaker.open_until
