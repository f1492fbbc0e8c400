"""The sending side of a connection: a transport that ends the connection when the client stops reading.

A client that sends requests and never reads could otherwise hold the connection, the file that is being sent and two
buffers for ever: neither asyncio nor uvicorn has a deadline for writing.
"""

import asyncio
import logging
import socket
import struct
import sys

if sys.platform != "win32":
    import fcntl
    import termios

log = logging.getLogger(__name__)

LOOKS = 6
"""Checks within the time that a client has. One timer for regular checks costs less than a timer for each write."""


class Outflow:
    """An asyncio transport that aborts the connection if the client reads less than `pace` bytes in `seconds`.

    The rest of an answer may be smaller than `pace`. Only bytes that the client's side has acknowledged count. Bytes
    that the kernel has taken do not: its buffer holds megabytes, and frees space in large steps.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, *, seconds: float, pace: int
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._seconds = seconds
        self._pace = pace
        self._written = 0
        self._taken = 0
        """Bytes that the client had acknowledged at `_since`, when its time began."""
        self._since: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.is_closing = transport.is_closing
        self.close = transport.close
        self.abort = transport.abort
        self.write_eof = transport.write_eof
        self.get_extra_info = transport.get_extra_info

    def write(self, data: bytes) -> None:
        self._transport.write(data)
        self._written += len(data)
        if self._watch is None:
            self._look_later()

    def end(self) -> None:
        """Stops the checks, because the connection is lost."""
        if self._watch is not None:
            self._watch.cancel()

    def _look_later(self) -> None:
        self._watch = self._loop.call_later(self._seconds / LOOKS, self._look)

    def _look(self) -> None:
        self._watch = None
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self._since = None
            return
        now, taken = self._loop.time(), self._written - waiting - _unacknowledged(self.get_extra_info("socket"))
        if self._since is None or taken - self._taken >= self._pace:
            self._since, self._taken = now, taken
        elif now - self._since >= self._seconds * (LOOKS - 1) / LOOKS:  # the first look came one interval late
            log.info("slow reader: the connection is closed with %d bytes unsent", waiting)
            self._transport.abort()
            return
        self._look_later()


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes in the kernel's buffer that the other side has not acknowledged; 0 if the system cannot tell."""
    if sys.platform == "win32":
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", answer)[0])
