"""The path that the service has on a shared host, such as `/tokens` of `https://api.example.org/tokens`.

Some proxies cut it off before they pass a request on, and some leave it. The rest of the service never sees it.
"""

from collections.abc import Iterable

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class Prefix:
    """Cuts `path` off each request that has it and goes on with an address of the service.

    So an address of the service that begins with the same name, such as `/v1/me` under `/v1`, is not mistaken for it.
    """

    def __init__(self, app: ASGIApp, *, path: str, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._path = path
        self._own = {_first_segment(getattr(route, "path", "")) for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(f"{self._path}/"):
            rest = scope["path"].removeprefix(self._path)
            if _first_segment(rest) in self._own:
                scope = {**scope, "path": rest}
        await self._app(scope, receive, send)


def _first_segment(path: str) -> str:
    return path.split("/", 2)[1] if "/" in path else ""
