"""Tells apart why another server could not be reached, whichever library says so, with what an operator can do.

A library wraps what the system told it, each in its own way. So the chain of an exception's causes is searched.
"""

import errno
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["name", "refused", "silent", "certificate", "tls", "no_way", "hung_up"]


@dataclass(frozen=True)
class NetworkFault:
    kind: Kind
    text: str
    """What happened, as the end of a sentence about the server."""
    repair: str


NAME = NetworkFault(
    "name", "its host name is not in the DNS", "check the host name for a typing error, and the DNS of this machine"
)
REFUSED = NetworkFault(
    "refused", "the connection was refused", "check host and port, and that the server runs and listens there"
)
SILENT = NetworkFault(
    "silent",
    "it did not answer in time",
    "check the port, and firewalls, security groups and proxies between here and there",
)
CERTIFICATE = NetworkFault(
    "certificate",
    "its certificate is not trusted",
    "check the certificate's host name, its end and its authority; SSL_CERT_FILE can name a private authority",
)
TLS = NetworkFault("tls", "TLS failed", "check whether the server speaks TLS on that port, and the scheme of the URL")
NO_WAY = NetworkFault(
    "no_way", "there is no route to it", "check the address, and the routes of this machine's network"
)
HUNG_UP = NetworkFault(
    "hung_up", "it closed the connection", "check that another service does not have that port, and the server's log"
)

_NUMBERS = {
    errno.ECONNREFUSED: REFUSED,
    errno.ETIMEDOUT: SILENT,
    errno.EHOSTUNREACH: NO_WAY,
    errno.ENETUNREACH: NO_WAY,
    errno.EADDRNOTAVAIL: NO_WAY,
    errno.ECONNRESET: HUNG_UP,
    errno.EPIPE: HUNG_UP,
}


def network_fault(error: BaseException) -> NetworkFault | None:
    """The fault that the system told the library which raised `error`; None if it is no fault of the network."""
    chain = list(_chain(error))
    faults = (*map(_of_the_system, chain), *map(_of_a_library, chain))
    return next((fault for fault in faults if fault is not None), None)


_KINDS: tuple[tuple[type[BaseException], NetworkFault], ...] = (
    (socket.gaierror, NAME),
    (ssl.SSLCertVerificationError, CERTIFICATE),
    (ssl.SSLError, TLS),
    (TimeoutError, SILENT),
)
_NAMES = {"DNS": NAME, "NameResolution": NAME, "CertificateError": CERTIFICATE, "Disconnected": HUNG_UP}
"""By a part of the class's name, for libraries that hide what the system told them."""


def _of_the_system(error: BaseException) -> NetworkFault | None:
    known = next((fault for kind, fault in _KINDS if isinstance(error, kind)), None)
    return known or (_NUMBERS.get(error.errno or 0) if isinstance(error, OSError) else None)


def _of_a_library(error: BaseException) -> NetworkFault | None:
    return next((fault for part, fault in _NAMES.items() if part in type(error).__name__), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it was made of, the outermost first. Each once, for a chain can be a ring."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (one.__cause__, one.__context__, getattr(one, "os_error", None), getattr(one, "reason", None))
        waiting += [other for other in inner if isinstance(other, BaseException)]
