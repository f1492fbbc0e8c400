"""CORS: pages of which origins may call the service and read its answers, refusals included (Fetch standard §3.2)."""

import re
from collections.abc import Iterable, Sequence

from starlette.types import Scope

from app.platform.problems import OriginNotAllowed

Headers = list[tuple[bytes, bytes]]

METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
EXPOSED = b"X-Request-ID, Retry-After, WWW-Authenticate"
MAX_AGE = b"600"
"""Seconds for which a browser keeps the answer to a preflight."""

_NAME = re.compile(rb"[\w!#$%&'*+.^`|~-]+", re.ASCII)


class Cors:
    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers_for(self, request: Sequence[tuple[bytes, bytes]]) -> Headers:
        """What an answer has to carry, by the headers of its request. Caches learn that answers differ by Origin."""
        if not self._origins:
            return []
        varies = (b"vary", b"Origin")
        origin = _only(request, b"origin")
        if origin not in self._origins:
            return [varies]
        return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED), varies]

    def answer_preflight(self, scope: Scope) -> Headers | None:
        """What to answer beside `headers_for`; None if the request is no preflight. Raises `OriginNotAllowed`.

        A page of an allowed origin may send any header. Its monitoring adds some that nobody here has heard of, and a
        list would protect nothing: a program outside a browser sends what it likes, and no cookie opens the API.
        """
        request = scope["headers"]
        if scope["method"] != "OPTIONS" or not self._origins or not _only(request, b"access-control-request-method"):
            return None
        if _only(request, b"origin") not in self._origins:
            raise OriginNotAllowed
        asked = b",".join(value for name, value in request if name == b"access-control-request-headers")
        names = [name for part in asked.split(b",") if _NAME.fullmatch(name := part.strip(b" \t"))]
        answer = [(b"access-control-allow-methods", METHODS), (b"access-control-max-age", MAX_AGE)]
        return [*answer, (b"access-control-allow-headers", b", ".join(names))] if names else answer


def _only(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The value of a field that stands once; empty otherwise."""
    values = [value for given, value in headers if given == name]
    return values[0] if len(values) == 1 else b""
