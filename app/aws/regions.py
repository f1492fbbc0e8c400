"""Refuses a mistyped Region of AWS, before every call fails by a host name that does not exist."""

import os
import re
from difflib import get_close_matches

import botocore.session

from app.platform.settings import PREFIX, Settings, SettingsError

LIKE_ONE = re.compile(
    r"(af|ap|ca|cn|eu|eu-isoe|eusc-de|il|me|mx|sa|us|us-gov|us-iso|us-isob|us-isof)"
    r"-(central|north|south|east|west|northeast|northwest|southeast|southwest)-\d"
)
"""How AWS names Regions. A test compares this with the SDK's list, which lacks Regions that are newer than the SDK."""
ALIKE = 0.8


def known() -> frozenset[str]:
    """Those of the SDK's list, where S3 is."""
    session = botocore.session.get_session()
    partitions = session.get_available_partitions()
    return frozenset(
        region for partition in partitions for region in session.get_available_regions("s3", partition_name=partition)
    )


def refuse_mistyped(settings: Settings) -> None:
    """Raises `SettingsError` for a name that is like a Region's and is none. Other engines name theirs as they like."""
    if settings.s3_endpoint_url or os.environ.keys() & {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"}:
        return
    named = [("AWS_REGION", settings.region), *((f"{PREFIX}STS_REGIONS", region) for region in settings.sts_regions)]
    wrong = [
        f"{name}: AWS has no Region {region}; did you mean {' or '.join(close)}?"
        for name, region in named
        if not LIKE_ONE.fullmatch(region) and (close := get_close_matches(region, sorted(known()), 2, ALIKE))
    ]
    if wrong:
        raise SettingsError("\n".join(wrong))
