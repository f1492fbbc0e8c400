"""What a connection sends: its transport, which ends the connection when the client stops taking it.

A client that asks and never reads would otherwise keep the connection, the file that is being sent and two buffers for
as long as it likes: neither asyncio nor uvicorn has a deadline for writing.
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
"""In the time that a client has. One timer that looks now and then costs less than one for each write."""


class Outflow:
    """An asyncio transport that is aborted when its client is slower than `pace` bytes in `seconds`.

    The rest of an answer may be smaller than `pace`. What counts is what the client's side has acknowledged, not what
    the kernel has taken: its buffer holds megabytes, and makes room for more in large steps.
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
        """Bytes that the client had when its time began, at `_since`."""
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
        """The connection is lost."""
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
    """Bytes in the kernel's buffer that the other side has not acknowledged; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", answer)[0])
