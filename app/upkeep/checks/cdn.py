"""The CDN as this machine sees it: it refuses what is not signed, and takes what this service signs.

It is asked for an object of a user who does not exist. CloudFront refuses by documents of its own; S3's refusals have
the id of the request in them.
"""

import uuid
from datetime import timedelta

from app.auth.providers import FETCH_FAULTS
from app.platform.fetcher import Fetcher, Unusable
from app.platform.network_faults import network_fault
from app.platform.problems import Problem
from app.platform.process import Platform
from app.platform.settings import PREFIX
from app.policy import session_policy
from app.upkeep.checks.findings import Finding
from app.vending.downloads import Downloads

NAME = "CDN"
UNSIGNED = b"MissingKey"
"""What CloudFront says to a request without a signature, where it asks for one."""
FROM_S3 = (b"<RequestId>", b"<HostId>")
_OPEN = (
    "STOP: without a signature everybody reads everything: give each behaviour of the distribution the key group, as "
    "deploy/aws/cdn.yaml does"
)
_KEY = (
    "TOKENVEND_CDN_KEY_PAIR_ID must be the id of the newest key, as `tokenvend keys show --purpose cdn` prints it, in "
    "a key group that the distribution trusts"
)


async def check(platform: Platform, signing: Downloads, fetcher: Fetcher) -> list[Finding]:
    """Nothing where there is no CDN."""
    settings = platform.settings
    missing = [name for name in ("cdn_url", "cdn_key_pair_id") if getattr(settings, name) is None]
    if len(missing) == 2:
        return []
    if missing:
        return [Finding(NAME, "warning", f"off: {PREFIX}{missing[0].upper()} is not set")]
    try:
        return [await _ask(platform, signing, fetcher)]
    except FETCH_FAULTS as error:
        fault = network_fault(error)
        said = fault.text if fault else str(error) if isinstance(error, Unusable) else type(error).__name__
        return [Finding(NAME, "warning", f"nothing answers at {settings.cdn_url} from here: {said}")]
    except Problem as problem:
        return [Finding(NAME, "failed", f"nothing can be signed: {problem.cause or problem.code}", _KEY)]


async def _ask(platform: Platform, signing: Downloads, fetcher: Fetcher) -> Finding:
    """Raises `FETCH_FAULTS` and what `CdnKeys.current` raises."""
    prefix, until = session_policy.user_prefix(uuid.uuid4()), platform.clock.now() + timedelta(minutes=1)
    made = await signing.sign_unrecorded(prefix, until)
    url = f"{made.base_url}absent"
    status, body = await fetcher.request("GET", url)
    if status != 403:
        return Finding(NAME, "failed", f"it answers what is not signed with status {status}", _OPEN)
    if UNSIGNED not in body:
        return Finding(NAME, "failed", "it passes on to S3 what is not signed", _OPEN)
    status, body = await fetcher.request("GET", f"{url}?{made.query}")
    id_ = made.parameters["Key-Pair-Id"]
    if status == 403 and not any(mark in body for mark in FROM_S3):
        return Finding(NAME, "failed", f"it refuses what is signed as {id_}", _KEY)
    return Finding(NAME, "ok", f"{platform.settings.cdn_url} refuses what is not signed, and takes what {id_} signs")
