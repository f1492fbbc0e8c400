"""The public URL as this machine sees it: whether its name resolves, TLS holds, and this very service answers there.

A machine behind a load balancer may not reach its own public address. So no answer is a warning, and a wrong one fails.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Collection
from urllib.parse import urlsplit

from app.auth.providers import FETCH_FAULTS
from app.crypto import strict_json
from app.platform.clock import Clock
from app.platform.fetcher import Fetcher, Unusable
from app.platform.network_faults import network_fault
from app.platform.settings import LOOPBACK, Settings
from app.upkeep.checks.findings import Finding

NAME = "public URL"
SETTING = "TOKENVEND_PUBLIC_URL"
LEAST_DAYS = 14
"""That a certificate should still last: renewals are tried earlier."""
DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/.well-known/jwks.json"
_PROXY = f"let {SETTING} and the proxy in front lead to this service, path and host unchanged"


async def check(
    settings: Settings, fetcher: Fetcher, clock: Clock, own_kids: Collection[str], *, within: float
) -> list[Finding]:
    """`own_kids`: of the keys that this service publishes. `within`: seconds for each question."""
    url = settings.public_url
    try:
        async with asyncio.timeout(within):
            issuer = strict_json.strict_object(await fetcher.get(url + DISCOVERY)).get("issuer")
        async with asyncio.timeout(within):
            kids = _kids(strict_json.strict_object(await fetcher.get(url + JWKS)).get("keys"))
    except FETCH_FAULTS as error:
        return [_silent(url, error)]
    if issuer != url:
        return [Finding(NAME, "failed", f"another service answers at {url}", _PROXY)]
    if own_kids and kids.isdisjoint(own_kids):
        said = f"a service with other keys answers at {url}, such as one with another database"
        return [Finding(NAME, "failed", said, _PROXY)]
    return [Finding(NAME, "ok", f"this service answers at {url}"), *await certificate(url, clock, within)]


def _kids(keys: object) -> set[str]:
    if not isinstance(keys, list):
        return set()
    return {key["kid"] for key in keys if isinstance(key, dict) and isinstance(key.get("kid"), str)}


def _silent(url: str, error: BaseException) -> Finding:
    if isinstance(error, Unusable) and error.status is not None:
        said = f"{url}{DISCOVERY} answers with status {error.status}"
        return Finding(NAME, "failed" if error.status < 500 else "warning", said, _PROXY)
    fault = network_fault(error)
    if fault is None:
        return Finding(NAME, "failed", f"something that is not this service answers at {url}", _PROXY)
    if fault.kind in ("name", "certificate", "tls"):
        said = f"apps cannot reach {url}: {fault.text}"
        return Finding(NAME, "failed", said, f"{fault.repair}; {SETTING} names the host")
    said = f"nothing answers at {url} from here: {fault.text}"
    loopback = urlsplit(url).hostname in LOOPBACK
    elsewhere = "" if loopback else "; if this machine cannot reach its own public address, run `deploy/smoke` outside"
    return Finding(NAME, "warning", said, f"start the service, or correct {SETTING}{elsewhere}")


async def certificate(url: str, clock: Clock, within: float) -> list[Finding]:
    """How long it lasts. Behind a proxy of this machine's nobody can tell, and nothing is said."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return []
    try:
        async with asyncio.timeout(within):
            context = ssl.create_default_context()
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=context)
            try:
                ends = writer.get_extra_info("peercert")["notAfter"]
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return []
    days = (ssl.cert_time_to_seconds(ends) - clock.now().timestamp()) / 86_400
    said = f"the certificate ends in {days:.0f} days"
    return [Finding("certificate", "ok", said) if days >= LEAST_DAYS else _ends(said)]


def _ends(said: str) -> Finding:
    return Finding("certificate", "warning", said, "see to its renewal, which should have been tried by now")
