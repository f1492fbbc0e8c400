"""The pages this service serves: where links in mails lead, `/album` for links to albums, the administrators'
`/console`, and `/docs`; in development the start page `/`, the sample app `/demo` and the guides too.

Static files, no build step. `shared/` is what pages have in common, `pictures/` what those have that show pictures. All
addresses in them are relative, because the service may have a path on its host.

Each page's Content-Security-Policy names what it may load and reach; nothing comes from another host but S3 itself.
"""

from collections.abc import Awaitable, Callable, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.http.local import is_local
from app.http.provided import find
from app.mail.postman import Postman
from app.mail.transport import ConsoleTransport
from app.pages import guides, shell
from app.pages.starting import Start, start_of
from app.platform.problems import LocalOnly, NotFound
from app.platform.process import Platform
from app.platform.settings import Settings
from app.records.audit import Event

Send = Callable[[Request], Awaitable[Response]]

HERE = Path(__file__).parent
ACCOUNT_PAGES = ("verify-email", "reset-password", "change-email")
DEMO_LIBRARIES = ("aws4fetch", "uqr")
STRICT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'self'"


def install(app: FastAPI, settings: Settings, start: Start | None = None) -> None:
    """Adds the pages that the settings allow. `start` is what the start page says; by default, what settings tell."""
    _serve_account(app)
    reach = f"style-src 'self'; connect-src 'self' {_bucket_origin(settings)}"
    _serve(app, "album", f"{STRICT}; {reach}; img-src 'self' blob:", vendored=("aws4fetch",), pictures=True)
    app.add_route("/console/events.json", _events, include_in_schema=False)
    app.add_route("/console/links.json", _links_for_staff, include_in_schema=False)
    _serve(app, "console", f"{STRICT}; style-src 'self'; img-src 'self'; connect-src 'self'", vendored=("uplot", "uqr"))
    if settings.environment == "development":
        csp = f"{STRICT}; {reach}; manifest-src 'self'; worker-src 'self'; img-src 'self' blob: data:"
        app.add_route("/demo/mailbox", _mailbox, include_in_schema=False)
        app.add_route("/demo/settings.json", _demo_settings, include_in_schema=False)
        app.add_route("/demo/shell.json", _shell("demo", DEMO_LIBRARIES), include_in_schema=False)
        app.add_route("/demo/service-worker.js", _worker("demo", csp), include_in_schema=False)
        _serve(app, "demo", csp, vendored=DEMO_LIBRARIES, pictures=True)
        _serve_start(app, start or start_of(settings))
    if settings.docs_on:
        csp = f"{STRICT}; style-src 'self'; img-src 'self' data:; connect-src 'self'"
        links = guides.links() if settings.environment == "development" else ""
        _serve(app, "docs", csp, index=_with_guides("docs", csp, links))


def _serve_start(app: FastAPI, start: Start) -> None:
    """The start page, and the guides where this is a clone."""
    csp = f"{STRICT}; style-src 'self'; img-src 'self' data:; connect-src 'self'"

    async def send(request: Request) -> Response:
        return _html(start.page(is_local=is_local(request.scope)), csp)

    async def send_guide(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in guides.files():
            raise NotFound
        if kind := guides.KINDS.get(Path(name).suffix):
            return FileResponse(guides.files()[name], media_type=kind)
        return _html(guides.page(name), csp)

    app.add_route("/", send, include_in_schema=False)
    app.mount("/start/shared", PageFiles(HERE / "shared", csp))
    app.mount("/start", PageFiles(HERE / "start", csp))
    app.add_route("/guides/{name:path}", send_guide, include_in_schema=False)


def _html(text: str, csp: str) -> Response:
    return HTMLResponse(text, headers={"Content-Security-Policy": csp, "Cache-Control": "no-cache"})


def _serve_account(app: FastAPI) -> None:
    """Links in mails lead to these, unless the app has its own."""
    csp = f"{STRICT}; style-src 'self'; img-src 'self'; connect-src 'self'"
    for page in ACCOUNT_PAGES:
        app.add_route(f"/account/{page}", _page("account", page, csp), include_in_schema=False)
    app.mount("/account/shared", PageFiles(HERE / "shared", csp))
    app.mount("/account", PageFiles(HERE / "account", csp))


async def _events(_request: Request) -> Response:
    """The names of audit events, for the console to choose from."""
    return JSONResponse(get_args(Event))


async def _links_for_staff(request: Request) -> Response:
    """Where the console leads for more, as far as this service serves it."""
    settings = find(request, Platform).settings
    known = guides.FOR_STAFF if settings.environment == "development" else {}
    links = [{"title": title, "href": f"guides/{name}"} for name, title in known.items() if name in guides.files()]
    if settings.docs_on:
        links.append({"title": "The API", "href": "docs"})
    return JSONResponse(links)


async def _demo_settings(request: Request) -> Response:
    """What the sample page offers, as far as the operator decides it."""
    return JSONResponse({"guests": find(request, Platform).settings.guests == "on"})


async def _mailbox(request: Request) -> Response:
    """The mails that were printed instead of sent, newest first: for the sample page.

    Their links open accounts, so whoever is not on this machine gets `LocalOnly`.
    """
    if not is_local(request.scope):
        raise LocalOnly
    transport = find(request, Postman).transport
    kept = reversed(transport.kept) if isinstance(transport, ConsoleTransport) else ()
    mails = [
        {
            "to": message["To"].addresses[0].addr_spec,
            "subject": str(message["Subject"]),
            "sent_at": message["Date"].datetime.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "text": _content(message, "plain"),
            "html": _content(message, "html"),
        }
        for message in kept
    ]
    return JSONResponse(mails)


def _content(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part else ""


def _with_guides(name: str, csp: str, links: str) -> Send:
    text = (HERE / name / "index.html").read_text(encoding="utf-8").replace("<!-- guides -->", links)

    async def send(_request: Request) -> Response:
        return _html(text, csp)

    return send


def _page(name: str, page: str, csp: str) -> Send:
    headers = {"Content-Security-Policy": csp, "Cache-Control": "no-cache"}

    async def send(_request: Request) -> Response:
        return FileResponse(HERE / name / f"{page}.html", headers=headers)

    return send


def _shell(name: str, libraries: Sequence[str]) -> Send:
    folders = {"": HERE / name} | {f"{folder}/": HERE / folder for folder in ("shared", "pictures")}
    folders |= {f"vendor/{library}/": HERE / "vendor" / library for library in libraries}
    described = shell.describe(HERE / name / "index.html", folders)

    async def send(_request: Request) -> Response:
        return JSONResponse(described, headers={"Cache-Control": "no-cache"})

    return send


def _worker(name: str, csp: str) -> Send:
    """The service worker, which may look after the page itself: its address is above the worker's folder."""
    headers = {
        "Content-Security-Policy": csp,
        "Cache-Control": "no-cache",
        "Service-Worker-Allowed": f"../{name}",  # relative: a proxy may have cut a path off
    }

    async def send(_request: Request) -> Response:
        return FileResponse(HERE / name / shell.WORKER, headers=headers)

    return send


def _leave_slash(name: str) -> Send:
    async def redirect(_request: Request) -> Response:
        return RedirectResponse(f"../{name}")  # relative: a proxy may have cut a path off

    return redirect


def _serve(
    app: FastAPI,
    name: str,
    csp: str,
    *,
    vendored: Sequence[str] = (),
    pictures: bool = False,
    index: Send | None = None,
) -> None:
    app.add_route(f"/{name}", index or _page(name, "index", csp), include_in_schema=False)
    app.add_route(f"/{name}/", _leave_slash(name), include_in_schema=False)
    for library in vendored:
        app.mount(f"/{name}/vendor/{library}", PageFiles(HERE / "vendor" / library, csp))
    for folder in ("shared", "pictures") if pictures else ("shared",):
        app.mount(f"/{name}/{folder}", PageFiles(HERE / folder, csp))
    app.mount(f"/{name}", PageFiles(HERE / name, csp))


class PageFiles(StaticFiles):
    """Files of one page, each with the page's policy."""

    def __init__(self, directory: Path, csp: str) -> None:
        super().__init__(directory=directory)
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
