"""What only this machine may reach: development's conveniences, which would open every account to anybody else."""

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

PROXY_HEADERS = frozenset(
    {
        *(b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip"),
        *(b"x-original-forwarded-for", b"x-cluster-client-ip", b"x-envoy-external-address", b"x-amzn-trace-id"),
    }
)
"""Beside `X-Forwarded-…`: what proxies and tunnels add to a request that they pass on."""


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or an address of the loopback. Another name is not: it may be any address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def has_local_peer(scope: Mapping[str, Any]) -> bool:
    """Whether the other end of an ASGI connection is this machine. A UNIX socket is not: a proxy is behind it."""
    client = scope.get("client")
    return client is not None and is_loopback(str(client[0]))


def is_local(scope: Mapping[str, Any]) -> bool:
    """Whether a person or program on this machine sent an ASGI request itself.

    A proxy on this machine is a loopback peer too, so a request that shows traces of one is not local, whatever it
    says about its client. nginx adds no header unless it is told to, but then it speaks HTTP/1.0. No browser does.
    """
    if not has_local_peer(scope) or scope.get("http_version") == "1.0":
        return False
    return not any(name in PROXY_HEADERS or name.startswith(b"x-forwarded") for name, _ in scope["headers"])
