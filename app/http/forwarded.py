"""Finds the client's address of a request that came through proxies. Never believes a peer that is no trusted proxy."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, NamedTuple

from starlette.types import Scope

Network = IPv4Network | IPv6Network

_DIGITS = r"[0-9A-Fa-f.]{0,45}:[0-9A-Fa-f:.]{1,45}"
_ZONE = r"(?:%[\w.~-]{1,64})?"
_HOP = re.compile(rf"(?:\[({_DIGITS}){_ZONE}\]|([0-9.]{{7,15}}))(?::[0-9]{{1,5}})?|({_DIGITS}){_ZONE}", re.ASCII)
_SPACE = " \t"


class Client(NamedTuple):
    address: str
    fault: Literal["missing", "unreadable"] | None
    """What is wrong with X-Forwarded-For of a trusted proxy. Then `address` is that of the last proxy that was read."""


Read = Callable[[str, bytes], Client]
LONGEST_REMEMBERED = 200
"""Bytes of X-Forwarded-For: four IPv6 addresses with ports."""


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Raises ValueError for text that is neither an address nor a network."""
    return tuple(_without_mapping(ip_network(text, strict=False)) for text in texts)


def find_client(scope: Scope, read: Read) -> Client:
    """The last hop of X-Forwarded-For that is not a trusted proxy.

    If the peer is not a trusted proxy, the header is ignored (ASVS 15.3.4). `Forwarded` (RFC 7239) is never read: a
    proxy that writes one of the two headers passes on what a client put into the other.
    """
    peer = str(scope["client"][0]) if scope.get("client") else ""
    return read(peer, b",".join([value for name, value in scope["headers"] if name == b"x-forwarded-for"]))


def make_reader(trusted: Sequence[Network]) -> Read:
    """What finds the client of a peer's host and all values of X-Forwarded-For. It remembers those that come often."""
    anew = partial(_read, trusted=trusted)
    remembered = lru_cache(maxsize=4096)(anew)

    def read(peer: str, forwarded_for: bytes) -> Client:
        # Strangers send 16 KiB too, which are not worth their memory.
        return (remembered if len(forwarded_for) <= LONGEST_REMEMBERED else anew)(peer, forwarded_for)

    return read


def _read(peer: str, forwarded_for: bytes, *, trusted: Sequence[Network]) -> Client:
    nearest = _address(peer)
    if nearest is None:  # a UNIX socket
        return Client(peer, None)
    if not _is_within(nearest, trusted):
        return Client(str(nearest), None)
    fields = forwarded_for.decode("latin-1")
    hops = [hop for field in fields.split(",") if (hop := field.strip(_SPACE))]
    for hop in reversed(hops):
        address = _address(hop)
        if address is None:
            return Client(str(nearest), "unreadable")
        nearest = address
        if not _is_within(nearest, trusted):
            break
    return Client(str(nearest), None if hops else "missing")


def _address(hop: str) -> IPv4Address | IPv6Address | None:
    """The address of a hop as proxies write it: with or without port, brackets and quotes.

    A zone (RFC 4007) is dropped: it means something on the proxy alone. An IPv4 address that is mapped to IPv6 is the
    IPv4 address.
    """
    if len(hop) > 2 and hop[0] == hop[-1] == '"':
        hop = hop[1:-1]
    match = _HOP.fullmatch(hop)
    if match is None:
        return None
    try:
        address = ip_address(match[1] or match[2] or match[3])
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _is_within(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _without_mapping(network: Network) -> Network:
    """`::ffff:10.0.0.0/104` is 10.0.0.0/8, as peers and hops are compared without the mapping."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and (mapped := network.network_address.ipv4_mapped):
        return IPv4Network((mapped, network.prefixlen - 96))
    return network
