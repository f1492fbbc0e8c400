"""The cookie in which the console keeps its refresh token, and the pages that may use it.

No script can read the cookie (HttpOnly), no other site can have it sent (SameSite=Strict), and it is sent to the
console's session alone (Path). It opens nothing else. An exact comparison of Origin keeps out the pages of sibling
hosts, which count as the same site (OWASP's CSRF guide, "Verifying Origin").
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response

from app.platform.problems import OriginNotAllowed
from app.platform.settings import LOOPBACK, Settings
from app.platform.urls import origin_of

PATH = "/console/session"
NAME = "tokenvend-console"
SECURE_NAME = f"__Secure-{NAME}"
"""Browsers keep a cookie of this name only if it is Secure and came over TLS."""


class ConsoleCookie:
    """The cookie of one request, whose page was checked. Raises `OriginNotAllowed` for a page of another origin."""

    def __init__(self, settings: Settings, headers: Headers) -> None:
        origin = _own_origin(settings, headers)
        parts = urlsplit(origin)
        plain = parts.scheme == "http" and parts.hostname in LOOPBACK and settings.environment == "development"
        self._is_secure = not plain
        self._path = settings.path + PATH
        self._headers = headers

    @property
    def _name(self) -> str:
        return SECURE_NAME if self._is_secure else NAME

    def read(self) -> str | None:
        """The refresh token. None if there is none, or several: a sibling host can add one, but cannot read ours."""
        pairs = [pair.strip().partition("=") for field in self._headers.getlist("cookie") for pair in field.split(";")]
        values = [value for name, _, value in pairs if name == self._name]
        return values[0] if len(values) == 1 and values[0] else None

    def keep(self, response: Response, refresh_token: str) -> None:
        """It has no lifetime of its own, so the browser forgets it when it closes."""
        response.set_cookie(
            self._name, refresh_token, path=self._path, secure=self._is_secure, httponly=True, samesite="strict"
        )

    def clear(self, response: Response) -> None:
        response.delete_cookie(self._name, path=self._path, secure=self._is_secure, httponly=True, samesite="strict")


def _own_origin(settings: Settings, headers: Headers) -> str:
    """The origin of the page that asks, which is this service's own: the public one, or that of the Host it asked for.

    The edge has refused every other Host.
    """
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    public = origin_of(settings.public_url)
    scheme = urlsplit(public).scheme
    if len(origins) != 1 or any(site != "same-origin" for site in sites):
        raise OriginNotAllowed("Only the console of this service may use this address.")
    try:
        own = {public, origin_of(f"{scheme}://{headers.get('host', '')}")}
    except ValueError:
        own = {public}
    if origins[0] not in own:
        raise OriginNotAllowed("Only the console of this service may use this address.")
    return origins[0]
