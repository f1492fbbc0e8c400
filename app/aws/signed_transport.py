"""The fast transport: botocore's signature, and a pool of kept-alive connections on the event loop.

A call takes about a third of the generated client's CPU time, and no thread.
"""

import functools
import hashlib
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote_plus, urlsplit
from xml.etree import ElementTree

import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from app.aws.transport import CONNECT_TIMEOUT, READ_TIMEOUT, USER_AGENT, Answer, Endpoint, Fault, Keys, fault

API_VERSION = "2011-06-15"
HEADERS = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)
LONGEST_ANSWER = 65_536
_ESCAPES = {code: quote_plus(chr(code)) for code in range(128)}
KEPT_ALIVE = 15.0
"""Seconds after which an idle connection is no longer used. STS closes it a little later."""


class SignedTransport:
    def __init__(self, *, connections: int, ca_file: str | None) -> None:
        self._connections = connections
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[str, str | None] = {}
        """By the address that is called."""

    async def send(self, endpoint: Endpoint, action: str, parameters: Mapping[str, Any], keys: Keys | None) -> Answer:
        body = _form(action, parameters)
        request = AWSRequest("POST", endpoint.url, headers={"Host": _host(endpoint.url), **HEADERS}, data=body)
        if keys is not None:
            credentials = ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.token)
            _Signature(credentials, "sts", endpoint.region).add_auth(request)
        try:
            async with self._open().post(
                endpoint.url,
                data=body,
                headers=dict(request.headers.items()),
                allow_redirects=False,
                proxy=self._proxy(endpoint.url),
            ) as response:
                content = await response.content.read(LONGEST_ANSWER)
                while not response.content.at_eof() and len(content) < LONGEST_ANSWER:
                    content += await response.content.read(LONGEST_ANSWER)
                return _answer(response.status, content, response.headers.get("Date"))
        except TimeoutError as error:  # aiohttp's timeouts are both; the caller's own deadline passes unchanged
            if isinstance(error, aiohttp.ClientError):
                raise Fault("unavailable", "Timeout") from error
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Fault("unavailable", type(error).__name__) from error

    def _proxy(self, url: str) -> str | None:
        """The proxy by HTTPS_PROXY and NO_PROXY, as the SDK reads them: also one without a scheme.

        aiohttp would read them for each call, which takes a tenth of a vend.
        """
        if url not in self._proxies:
            self._proxies[url] = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
        return self._proxies[url]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:  # made in the event loop that uses it
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections,
                    keepalive_timeout=KEPT_ALIVE,
                    ssl=_tls(self._ca_file),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": USER_AGENT},
                timeout=TIMEOUT,
            )
        return self._session


class _Signature(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's signature, except that botocore would prepare the request a second time to get its body."""

    def payload(self, request: AWSRequest) -> str:
        return hashlib.sha256(request.data).hexdigest()


@functools.cache
def _tls(ca_file: str | None) -> ssl.SSLContext:
    """One for each process: to read the authorities takes as long as ten calls."""
    return ssl.create_default_context(cafile=ca_file)


@functools.cache
def _host(url: str) -> str:
    """The value of the `Host` field. botocore would parse the URL for it twice in each call."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2].removesuffix(":443" if parts.scheme == "https" else ":80")


def _form(action: str, parameters: Mapping[str, Any]) -> bytes:
    """The body as `application/x-www-form-urlencoded`. `urlencode` would take twice the time for a policy."""
    fields = [("Action", action), ("Version", API_VERSION), *_fields("", parameters)]
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in fields).encode()


def _quoted(text: str) -> str:
    return text.translate(_ESCAPES) if text.isascii() else quote_plus(text)


def _fields(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Names and values as AWS's query protocol has them: `Tags.member.1.Key`."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _fields(f"{prefix}.{name}" if prefix else name, inner)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value, start=1):
            yield from _fields(f"{prefix}.member.{number}", inner)
    else:
        yield prefix, str(value)


def _answer(status: int, content: bytes, date: str | None) -> Answer:
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - we trust STS, and expat limits expansion
    except (ElementTree.ParseError, LookupError, ValueError):  # the latter two for unknown encodings
        raise Fault("unavailable", "GarbledAnswer", date) from None
    texts = {element.tag.rpartition("}")[2]: element.text or "" for element in root.iter()}
    if status == 200:
        return Answer(texts, date)
    raise fault(status, texts.get("Code", "Unknown"), date)
