"""Where STS and S3 are, and the Regions to call, in order. A Region that fails gets no calls for a while."""

import functools
import os
import re
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from app.aws.base_credentials import default_session
from app.aws.transport import Endpoint
from app.platform.breaker import Breaker
from app.platform.clock import Clock
from app.platform.metrics import Metrics
from app.platform.settings import PREFIX, SettingsError

DNS_SUFFIXES = {
    "aws-cn": "amazonaws.com.cn",
    "aws-eusc": "amazonaws.eu",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
}
"""By partition, unless it is amazonaws.com."""


def sts_endpoints(regions: Sequence[str], template: str | None, session: Session) -> list[Endpoint]:
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


def _address(session: Session, service: str, region: str) -> str:
    """What the SDK itself would call: it knows FIPS, dual stack, `AWS_ENDPOINT_URL…` and the configuration file."""
    try:
        if _is_plain(session) and (suffix := _suffix(session, region)):
            return f"https://{service}.{region}.{suffix}"
    except BotoCoreError as error:
        raise SettingsError(f"AWS: {error}") from error
    # Made anew: botocore writes what it finds for one client into this.
    config = Config(signature_version=UNSIGNED, s3={"us_east_1_regional_endpoint": "regional"})
    try:
        with closing(session.create_client(service, region_name=region, config=config)) as client:
            return str(client.meta.endpoint_url)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"AWS: {error}") from error


def _is_plain(session: Session) -> bool:
    """Whether nothing tells the SDK another address than the Region's own.

    To make a client only to hear that would read the endpoints of all services: 8 MB, which stay with the process.
    """
    profile, told = session.get_scoped_config(), session.get_config_variable
    return (
        not any(name.startswith("AWS_ENDPOINT_URL") for name in os.environ)
        and profile.keys().isdisjoint({"endpoint_url", "services", "s3"})
        and not told("use_fips_endpoint")
        and not told("use_dualstack_endpoint")
        and told("sts_regional_endpoints") == "regional"
    )


def _suffix(session: Session, region: str) -> str | None:
    """The domain of the partition that has such Regions, by the SDK's own short list. None if none has."""
    for partition in session.get_component("data_loader").load_data("partitions")["partitions"]:
        if re.fullmatch(partition["regionRegex"].removeprefix("^").removesuffix("$"), region):
            return str(partition["outputs"]["dnsSuffix"])
    return None


def dns_suffix(partition: str) -> str:
    """The domain of the partition's endpoints."""
    return DNS_SUFFIXES.get(partition, "amazonaws.com")


@dataclass
class Endpoints:
    ordered: Sequence[Endpoint]
    clock: Clock
    metrics: Metrics
    _breakers: dict[str, Breaker] = field(init=False)

    def __post_init__(self) -> None:
        self._breakers = {endpoint.region: Breaker(self.clock) for endpoint in self.ordered}

    def choose(self, tried: Collection[Endpoint]) -> Endpoint | None:
        """The first untried endpoint that takes calls, else the first that takes calls, else None."""
        usable = [endpoint for endpoint in self.ordered if self._breakers[endpoint.region].takes_calls]
        untried = (endpoint for endpoint in usable if endpoint not in tried)
        chosen = next(untried, usable[0] if usable else None)
        if chosen is not None:
            self._breakers[chosen.region].begin()
        return chosen

    def succeeded(self, endpoint: Endpoint) -> None:
        if self._breakers[endpoint.region].succeeded():
            self.metrics.sts_region_open.labels(endpoint.region).set(0)

    def failed(self, endpoint: Endpoint) -> None:
        if self._breakers[endpoint.region].failed():
            self.metrics.sts_region_open.labels(endpoint.region).set(1)
