"""Calls of other servers: a call ends in time, and its thread with it, whatever the server sends."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from app.platform.fetcher import Fetcher, Unusable
from app.platform.guarded_pools import Call, pools
from app.platform.reach import Reach

WITHIN = 0.3


@pytest.fixture
def dripping() -> Iterator[str]:
    """A server that sends the head of its answer byte by byte, and never ends."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(WITHIN / 6):
                connection.sendall(b"x")

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


async def threads_end(fetcher: Fetcher) -> bool:
    """Whether its threads end once it is closed. One that still reads does not."""
    threads = list(fetcher._threads._threads)
    await fetcher.close()
    for thread in threads:
        await asyncio.to_thread(thread.join, 2)
    return bool(threads) and not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("reach", [None, Reach(private=True, plain=True)])
class TestAnswerThatDrips:
    """OP10: another server that is odd must not keep threads of this one, of which there are few."""

    def test_is_not_read_when_the_time_is_over(self, dripping: str, reach: Reach | None) -> None:
        async def ask() -> None:
            fetcher = Fetcher(within=WITHIN, reach=reach)
            for _ in range(2):
                with pytest.raises((Unusable, TimeoutError)):
                    await fetcher.request("POST", dripping, body=b"{}")
            assert await threads_end(fetcher)

        asyncio.run(ask())

    def test_is_not_read_when_nobody_awaits_it(self, dripping: str, reach: Reach | None) -> None:
        async def ask() -> None:
            fetcher = Fetcher(within=30, reach=reach)
            waiting = asyncio.create_task(fetcher.request("GET", dripping))
            await asyncio.sleep(WITHIN)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await threads_end(fetcher)

        asyncio.run(ask())


def test_a_call_that_ends_leaves_its_connection_to_a_later_one() -> None:
    """A connection that failed goes back to its pool, where another thread may take it at once."""
    here, there = socket.socketpair()
    with here, there:
        connection = pools(None)["http"].ConnectionCls("127.0.0.1")
        connection.sock = here
        first, later = Call(), Call()
        first.uses(connection)
        later.uses(connection)
        first.end()
        there.sendall(b"x")
        assert here.recv(1) == b"x"
        later.end()
        assert here.recv(1) == b""
