"""The OpenID providers: whether the discovery document and the keys of each can be read from here."""

import asyncio

from app.auth.providers import FETCH_FAULTS, Misconfigured, Provider, Providers
from app.platform.fetcher import Unusable
from app.platform.network_faults import network_fault
from app.upkeep.checks.findings import Finding


async def check(providers: Providers) -> list[Finding]:
    return await asyncio.gather(*map(_try, providers.list_all()))


async def _try(provider: Provider) -> Finding:
    name = f"provider {provider.name}"
    try:
        return Finding(name, "ok", f"{provider.issuer} has {await provider.try_out()} keys")
    except Misconfigured as error:
        return Finding(name, "failed", str(error))
    except FETCH_FAULTS as error:
        repair = f"check that this machine reaches {provider.issuer}, perhaps through HTTPS_PROXY"
        if (fault := network_fault(error)) is not None:
            cause, repair = fault.text, f"{repair}; {fault.repair}"
        else:
            cause = str(error) if isinstance(error, Unusable) else type(error).__name__
        return Finding(name, "failed", f"its keys cannot be read ({cause})", repair)
