"""Recognizes requests from this machine. Only they may use development's conveniences, which open every account."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

PROXY_HEADERS = frozenset(
    {
        *(b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip"),
        *(b"x-original-forwarded-for", b"x-cluster-client-ip", b"x-envoy-external-address", b"x-amzn-trace-id"),
    }
)
"""Headers that proxies and tunnels add to a request, besides `X-Forwarded-…`."""


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a loopback address. Another name could resolve to any address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def has_local_peer(scope: Mapping[str, Any]) -> bool:
    """Whether the peer of an ASGI connection is this machine. A UNIX socket does not count: a proxy uses it."""
    client = scope.get("client")
    return client is not None and is_loopback(str(client[0]))


def is_local(scope: Mapping[str, Any]) -> bool:
    """Whether a person or program on this machine sent an ASGI request itself.

    A proxy on this machine is a loopback peer too. So a request with traces of a proxy is not local, whatever it says
    about its client. By default nginx adds no header, but it uses HTTP/1.0, which no browser does.
    """
    if not has_local_peer(scope) or scope.get("http_version") == "1.0":
        return False
    return not any(name in PROXY_HEADERS or name.startswith(b"x-forwarded") for name, _ in scope["headers"])
