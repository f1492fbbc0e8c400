"""What is fetched from outside by HTTPS: bounded in size and time, following no redirect."""

import aiohttp

FETCH_WITHIN = 3.0
"""Seconds for discovery document and keys together."""


LONGEST_ANSWER = 256 * 1024


class Unusable(Exception):
    """What the provider answered. The message is for the log alone."""


class Fetcher:
    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str) -> bytes:
        """The body of a 200. Follows no redirect. Raises `Unusable`, aiohttp's errors, OSError, ValueError."""
        async with self._open().get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise Unusable(f"status {response.status}")
            body = b""
            while not response.content.at_eof():
                body += await response.content.read(LONGEST_ANSWER)
                if len(body) > LONGEST_ANSWER:
                    raise Unusable("too long an answer")
            return body

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:  # within the loop that will use it
            self._session = aiohttp.ClientSession(
                auto_decompress=False,  # nobody sends us a small answer that is a large one
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "tokenvend"},
                timeout=aiohttp.ClientTimeout(total=FETCH_WITHIN),
                trust_env=True,
            )
        return self._session
