"""Just enough of HTTP/1.1 for one end that trusts the other: messages with a Content-Length, kept alive."""

import asyncio
import re

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Wire(asyncio.Protocol):
    """Calls `message` for each message that has come whole."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._pending = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._pending + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(data, 0, end + 2)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(data) < size:
                break
            self.message(data[:end], data[end + 4 : size])
            data = data[size:]
        self._pending = data

    def message(self, head: bytes, body: bytes) -> None:
        raise NotImplementedError
