"""The pages this service serves: the sample app `/demo` (development only) and `/docs`. Static files, no build step.

Each page's Content-Security-Policy names what it may load and reach; nothing comes from another host but S3 itself.
"""

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.settings import Settings

HERE = Path(__file__).parent
STRICT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'self'"


def install(app: FastAPI, settings: Settings) -> None:
    """Adds the pages that the settings allow."""
    if settings.environment == "development":
        reach = f"img-src 'self' blob: data:; connect-src 'self' {_bucket_origin(settings)}"
        csp = f"{STRICT}; style-src 'self'; {reach}"
        _serve(app, "demo", csp)
    if settings.docs_on:
        # Swagger UI writes style attributes.
        csp = f"{STRICT}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
        _serve(app, "docs", csp)


def _serve(app: FastAPI, name: str, csp: str) -> None:
    async def index(_request: Request) -> Response:
        return FileResponse(HERE / name / "index.html", headers={"Content-Security-Policy": csp})

    app.add_route(f"/{name}", index, include_in_schema=False)
    app.mount(f"/{name}/vendor", PageFiles(HERE / "vendor", csp))
    app.mount(f"/{name}", PageFiles(HERE / name, csp, html=True))


class PageFiles(StaticFiles):
    """Files of one page, each with the page's policy."""

    def __init__(self, directory: Path, csp: str, *, html: bool = False) -> None:
        super().__init__(directory=directory, html=html)
        self._csp = csp

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = self._csp
        response.headers["Cache-Control"] = "no-cache"
        return response


def _bucket_origin(settings: Settings) -> str:
    """Where the browser finds the bucket: by path at an engine of one host, else at a host name of its own."""
    endpoint = urlsplit(
        settings.s3_public_endpoint_url or settings.s3_endpoint_url or f"https://s3.{settings.region}.amazonaws.com"
    )
    host = endpoint.netloc if settings.s3_force_path_style else f"{settings.bucket}.{endpoint.netloc}"
    return f"{endpoint.scheme}://{host}"
