"""Clients cheap enough that hundreds of them ask at once from one process."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.wire import Wire
from tests.storms.deployment import Device


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


def vend(device: Device, **wish: Any) -> bytes:
    """The whole request."""
    body = json.dumps(wish).encode()
    head = (
        "POST /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {device.access_token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(Wire):
    """One connection, which asks one thing after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._answer: asyncio.Future[Answer] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Raises `ConnectionResetError` where the connection ends before a whole answer has come."""
        if self.transport.is_closing():
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def message(self, head: bytes, body: bytes) -> None:
        if self._answer is not None:
            self._answer.set_result(Answer(int(head[9:12]), body))

    def connection_lost(self, _error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def close(self) -> None:
        self.transport.close()


async def connect(ports: Sequence[int], count: int) -> list[Client]:
    """That many clients, dealt to the ports in turn."""
    loop = asyncio.get_running_loop()
    return [
        (await loop.create_connection(Client, "127.0.0.1", ports[number % len(ports)]))[1] for number in range(count)
    ]
