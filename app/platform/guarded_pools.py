"""Connections of urllib3 that are checked by their address, before they are made, and that can be ended at any time.

A name is resolved once, and the connection goes to an address that was checked. So no change of the DNS in between
leads anywhere else. A time limit of urllib3 is for each piece that is read. So it does not bound an answer that drips.
"""

import socket
import threading
from contextlib import suppress
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from app.platform.reach import Reach


class AddressRefused(HTTPError):
    """None of the addresses of the host may be connected to."""


class CallEnded(HTTPError):
    """Nobody waits for the answer any more."""


class Call:
    """One call, which its thread makes and any other thread can end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: _Endable | None = None
        self._over = False

    def begin(self) -> None:
        """Makes this the call of the present thread."""
        _present.call = self

    def uses(self, connection: "_Endable") -> None:
        """Raises `CallEnded`."""
        with self._lock:
            if self._over:
                raise CallEnded("nobody waits for the answer")
            self._connection = connection
            connection.used_by = self

    def leave(self) -> None:
        """Its connection may serve another call."""
        with self._lock:
            self._connection = None

    def end(self) -> None:
        """Whoever reads from its connection finds it closed."""
        with self._lock:
            self._over = True
            connection = self._connection
            if connection is None or connection.used_by is not self:
                return
            if isinstance(connection.sock, socket.socket):
                with suppress(OSError):  # Not what `SSLSocket` makes of it, which takes the session from the reader.
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


_present = threading.local()
"""`call`: that of the present thread."""


class _Endable(HTTPConnection):
    used_by: Call | None = None

    def request(self, *arguments: Any, **more: Any) -> None:
        _present.call.uses(self)
        super().request(*arguments, **more)

    def getresponse(self) -> Any:
        _present.call.uses(self)  # if it was ended before there was a socket
        return super().getresponse()


class _EndableTls(_Endable, HTTPSConnection):
    pass


def pools(reach: Reach | None) -> dict[str, type[HTTPConnectionPool]]:
    """Pools of connections, by scheme, each used by the present `Call`. They connect to what `reach` permits.

    They raise `AddressRefused` and `CallEnded`. Without `reach` they connect to any address.
    """

    class Plain(_Endable):
        def _new_conn(self) -> socket.socket:
            return super()._new_conn() if reach is None else _connect(self, reach, tls=False)

    class Tls(_EndableTls):
        def _new_conn(self) -> socket.socket:
            return super()._new_conn() if reach is None else _connect(self, reach, tls=True)

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
