"""Where STS and S3 are, and the Regions to call, in order. A Region that fails gets no calls for a while."""

import functools
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from app.aws.base_credentials import default_session
from app.aws.transport import Endpoint
from app.platform.clock import Clock
from app.platform.metrics import Metrics
from app.platform.settings import PREFIX, SettingsError

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


def sts_endpoints(regions: Sequence[str], template: str | None, session: boto3.Session) -> list[Endpoint]:
    """The operator's `template` with each Region in place of `{region}`, or else what the SDK's configuration says.

    Raises `SettingsError` if the SDK cannot say, or knows one address for several Regions.
    """
    if template is not None:
        return [Endpoint(region, template.replace("{region}", region)) for region in regions]
    found = [Endpoint(region, _address(session, "sts", region)) for region in regions]
    if len({endpoint.url for endpoint in found}) < len(found):
        raise SettingsError(
            f"{PREFIX}STS_REGIONS: the SDK's configuration has one address for all of them ({found[0].url}): set "
            f"{PREFIX}STS_ENDPOINT_URL with {{region}} in it, or name one Region"
        )
    return found


@functools.cache
def s3_address(region: str) -> str:
    """Where S3 is in the Region, by the SDK's configuration. Raises `SettingsError` if the SDK cannot say."""
    return _address(default_session(region), "s3", region)


def _address(session: boto3.Session, service: str, region: str) -> str:
    """What the SDK itself would call: it knows FIPS, dual stack, `AWS_ENDPOINT_URL…` and the configuration file."""
    # Made anew: botocore writes what it finds for one client into this.
    config = Config(signature_version=UNSIGNED, s3={"us_east_1_regional_endpoint": "regional"})
    try:
        with closing(session.client(service, region_name=region, config=config)) as client:
            return str(client.meta.endpoint_url)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"AWS: {error}") from error


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
