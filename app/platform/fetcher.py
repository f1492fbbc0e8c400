"""Fetches documents over HTTPS from outside, with a bounded size and time and without following redirects.

These calls are rare, so each takes a thread, and urllib3, which the AWS SDK has loaded anyway.
"""

import asyncio
import functools
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.util import Timeout

from app.platform.guarded_pools import Call, pools
from app.platform.reach import Reach

FETCH_WITHIN = 3.0
"""Seconds for one fetch, and for a provider's discovery document and keys together."""
THREADS = 32
LONGEST_ANSWER = 256 * 1024
PIECE = 16_384
"""Bytes that are read at once."""


class Unusable(Exception):
    """The answer is not usable. The message is only for the log. `status`: of the answer, if that is the matter."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Fetcher:
    def __init__(
        self,
        *,
        within: float = FETCH_WITHIN,
        connect_within: float | None = None,
        reach: Reach | None = None,
        keeps: int | None = None,
    ) -> None:
        """`within`: seconds for a whole call; `connect_within`: for a connection, if that is less.

        `reach`: where it may connect to, without a proxy; anywhere if it is None. `keeps`: how many bytes of an answer
        are read, whatever follows; otherwise an answer that is too long is not usable.
        """
        self._within = within
        self._connect_within = connect_within or within
        self._uses_proxies = reach is None
        self._classes = pools(reach)
        self._keeps = keeps
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        """By proxy."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")

    async def get(self, url: str) -> bytes:
        """The body of an answer with status 200. Raises `Unusable`, TimeoutError."""
        status, body = await self.request("GET", url, accept="application/json")
        if status != 200:
            raise Unusable(f"status {status}", status=status)
        return body

    async def post(self, url: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer to a form. Raises what `get` raises."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, body = await self.request(
            "POST", url, accept="application/json", body=urlencode(form).encode(), headers=headers
        )
        if status >= 500:
            raise Unusable(f"status {status}", status=status)
        return status, body

    async def request(
        self,
        method: str,
        url: str,
        *,
        accept: str = "*/*",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of any answer. Raises `Unusable`, TimeoutError."""
        # A small compressed answer could unpack to a huge one.
        fields = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "tokenvend", **(headers or {})}
        call = Call()
        work = functools.partial(self._request, call, method, url, fields, body)
        try:
            async with asyncio.timeout(self._within):  # waiting for a thread counts
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            call.end()  # or the thread would read for as long as something comes

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for pool in self._pools.values():
            pool.clear()

    def _request(
        self, call: Call, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        deadline = time.monotonic() + self._within
        call.begin()
        try:
            response = self._pool(url).request(
                method,
                url,
                headers=headers,
                body=body,
                timeout=Timeout(total=self._within, connect=self._connect_within),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                whole = b""
                while piece := response.read1(PIECE):
                    whole += piece
                    if self._keeps is not None and len(whole) >= self._keeps:
                        break
                    if len(whole) > LONGEST_ANSWER:
                        raise Unusable("too long an answer")
                    if time.monotonic() > deadline:
                        raise Unusable("too slow an answer")
                return response.status, whole
            finally:
                if not response.closed:  # not read to its end
                    response.close()
                call.leave()
                response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Unusable(type(error).__name__) from error
        finally:
            call.leave()

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = _proxy_for(url) if self._uses_proxies else None
        if proxy not in self._pools:
            manager = (
                urllib3.ProxyManager(proxy, maxsize=THREADS, ssl_context=_tls())
                if proxy
                else urllib3.PoolManager(maxsize=THREADS, ssl_context=_tls())
            )
            manager.pool_classes_by_scheme = self._classes
            self._pools[proxy] = manager
        return self._pools[proxy]


def _proxy_for(url: str) -> str | None:
    """By HTTPS_PROXY and NO_PROXY, as the SDK reads them: also one without a scheme. Raises ValueError."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
