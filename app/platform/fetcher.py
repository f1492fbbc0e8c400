"""Fetches documents over HTTPS from outside, with a bounded size and time and without following redirects."""

from collections.abc import Mapping

import aiohttp

FETCH_WITHIN = 3.0
"""Seconds for one fetch, and for a provider's discovery document and keys together."""


LONGEST_ANSWER = 256 * 1024


class Unusable(Exception):
    """The answer is not usable. The message is only for the log. `status`: of the answer, if that is the matter."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Fetcher:
    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str) -> bytes:
        """The body of an answer with status 200. Raises `Unusable`, aiohttp's errors, OSError, ValueError."""
        async with self._open().get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise Unusable(f"status {response.status}", status=response.status)
            return await _whole(response)

    async def post(self, url: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer to a form. Raises what `get` raises."""
        async with self._open().post(url, data=dict(form), allow_redirects=False) as response:
            if response.status >= 500:
                raise Unusable(f"status {response.status}", status=response.status)
            return response.status, await _whole(response)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:  # made in the event loop that uses it
            self._session = aiohttp.ClientSession(
                auto_decompress=False,  # a small compressed answer could unpack to a huge one
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "tokenvend"},
                timeout=aiohttp.ClientTimeout(total=FETCH_WITHIN),
                trust_env=True,
            )
        return self._session


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    while not response.content.at_eof():
        body += await response.content.read(LONGEST_ANSWER)
        if len(body) > LONGEST_ANSWER:
            raise Unusable("too long an answer")
    return body
