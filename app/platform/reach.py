"""Which addresses an operator's URL may lead to. `guarded_pools.py` checks each connection by it, before it is made."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

NEVER = tuple(
    map(
        ip_network,
        (
            *("169.254.0.0/16", "fe80::/10"),  # link-local: most clouds have their metadata there
            "fd00:ec2::/32",  # of AWS, over IPv6
            "fd20:ce::/32",  # of Google, over IPv6
            "100.100.100.200/32",  # of Alibaba
            "168.63.129.16/32",  # of Azure
            "192.0.0.192/32",  # of Oracle
            *("0.0.0.0/8", "::/128"),  # this very host, by another name
        ),
    )
)
"""No setting opens these: whoever may ask there gets the credentials of the machine."""
NAT64 = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48")))
"""Addresses of IPv6 that lead to the IPv4 address in their last 32 bits."""


@dataclass(frozen=True)
class Reach:
    private: bool
    """Whether private addresses may be connected to, loopback too."""
    plain: bool
    """Whether `http` may go to any address. Otherwise it may go to private ones alone."""

    def permits(self, text: str, *, tls: bool) -> bool:
        """Whether a connection to the address may be made."""
        try:
            address = _innermost(text)
        except ValueError:
            return False
        if _is_forbidden(address):
            return False
        return (tls or self.plain) if address.is_global else self.private


def _innermost(text: str) -> IPv4Address | IPv6Address:
    """The address where the packets end. Raises ValueError."""
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return address
    if (inner := address.ipv4_mapped or address.sixtofour) is not None:
        return inner
    if any(address in network for network in NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_forbidden(address: IPv4Address | IPv6Address) -> bool:
    """Whether no setting may open this address."""
    if any(address in network for network in NEVER):
        return True
    return address.is_multicast or (isinstance(address, IPv4Address) and address.is_reserved)
