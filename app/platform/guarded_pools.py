"""Connections of urllib3 that are checked by their address, before they are made.

A name is resolved once, and the connection goes to an address that was checked. So no change of the DNS in between
leads anywhere else.
"""

import socket
from collections.abc import Mapping
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from app.platform.reach import Reach


class AddressRefused(HTTPError):
    """None of the addresses of the host may be connected to."""


def guarded_pools(reach: Reach) -> Mapping[str, type[HTTPConnectionPool]]:
    """Pools of connections, by scheme, that connect to what `reach` permits. They raise `AddressRefused`."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, reach, tls=False)

    class Tls(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, reach, tls=True)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


def _connect(connection: HTTPConnection, reach: Reach, *, tls: bool) -> socket.socket:
    """What urllib3 does, with a check between the name and the connection."""
    host, port = connection.host, connection.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise NameResolutionError(host, connection, socket.gaierror(str(error))) from error
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
    permitted = [address for address in addresses if reach.permits(address, tls=tls)]
    if not permitted:
        raise AddressRefused("the address is not allowed")
    failure: OSError | None = None
    for address in permitted:
        try:
            options: Any = connection.socket_options
            return create_connection((address, port), connection.timeout, socket_options=options)
        except OSError as error:
            failure = error
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, "no connection in time") from failure
    raise NewConnectionError(connection, "no connection") from failure
