"""A small ASGI application that tells what reached it, for the tests of what lies in front of the real one."""

import asyncio
import gc
import json
import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import psutil
from starlette.types import Receive, Scope, Send

from app.crypto.password_hashes import PASSWORD_CONTEXT

SLOW = 0.4
IMPORTED_BY = os.getpid()
seen: list[str] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    seen.append(path)
    answer: dict[str, Any] = {"method": scope["method"], "path": path, "client": scope["client"], "pid": os.getpid()}
    answer |= {"imported_by": IMPORTED_BY, "collects_garbage": gc.isenabled()}
    if path == "/sleep-first":
        await asyncio.sleep(SLOW)
    if path == "/hashes":
        answer["grown"] = await asyncio.to_thread(_grown_by_hashing)
    if path not in ("/unread", "/begun"):
        answer["length"] = await _length(receive)
    if path == "/sleep":
        await asyncio.sleep(SLOW)
    answer["query"] = scope["query_string"].decode()
    answer["headers"] = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    answer["draining"] = state.draining is not None and state.draining.is_set()
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/begun":
        await _length(receive)
    await send({"type": "http.response.body", "body": body})


def _grown_by_hashing() -> int:
    """By how many bytes the process is larger after a few threads have hashed passwords."""
    PASSWORD_CONTEXT.hash("violet tractor")  # imports what it needs
    before = psutil.Process().memory_info().rss
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(PASSWORD_CONTEXT.hash, ["violet tractor"] * 12))
    return int(psutil.Process().memory_info().rss - before)


async def _length(receive: Receive) -> int | None:
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        length += len(message["body"])
        more = message["more_body"]
    return length


state = SimpleNamespace(draining=None)
"""As an application has it that wants to know when the server drains."""
app.state = state  # type: ignore[attr-defined]


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
