"""The application: routers, handlers, the edge, and what runs as long as it does."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from urllib.parse import unquote

from fastapi import FastAPI

from app import pages
from app.api import accounts as accounts_api
from app.api import admin as admin_api
from app.api import auth as auth_api
from app.api import credentials as credentials_api
from app.api import ops
from app.api.credentials.shortcuts import ContainerVend, Vend
from app.api.openapi import DescribedApi
from app.auth.keys import Keyring
from app.compose import Runtime, build_runtime
from app.http.cors import Cors
from app.http.door import Door
from app.http.edge import Edge
from app.http.prefix import Prefix
from app.http.rendering import install_problem_handlers
from app.http.routes import Direct
from app.http.shortcuts import Shortcuts
from app.pages.starting import Start
from app.platform.database_faults import unmigrated
from app.platform.db import SAID_EVERY, Database
from app.platform.environment import keep_secret, load_settings
from app.platform.jobs import Job, keep_working
from app.platform.logs import configure_logging, log
from app.platform.metrics import Metrics
from app.platform.problems import Problem
from app.platform.settings import Settings
from app.records.migrate import is_migrated
from app.records.secret_keys import Watch

TAGS = [
    {"name": "accounts", "description": "Registration, profile and devices."},
    {"name": "auth", "description": "Sign-in, refresh and sign-out."},
    {"name": "credentials", "description": "Temporary AWS keys for the caller's own prefix."},
    {"name": "admin", "description": "Users, audit and access keys, for the people who run the app."},
    {"name": "ops", "description": "Health, and the keys that verify access tokens."},
]

ROUTERS = (
    *accounts_api.ROUTERS,
    *auth_api.ROUTERS,
    *credentials_api.ROUTERS,
    *admin_api.ROUTERS,
    ops.router,
)


ADMINISTRATION = ("/console", "/v1/admin")

VERSION = version("tokenvend")


def create_api(*, docs: bool = True, path: str = "") -> FastAPI:
    """The routes alone, which is all that the OpenAPI document needs. `path`: the service's own on its host."""
    api = DescribedApi(
        routers=ROUTERS,
        path=path,
        title="tokenvend",
        version=VERSION,
        summary="Short-lived S3 credentials for each user's own prefix",
        openapi_tags=TAGS,
        openapi_url="/openapi.json" if docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # It would keep bodies and raw validation input in its context, and log exceptions with their messages.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    install_problem_handlers(api, [route for router in ROUTERS for route in router.routes])
    return api


def create_app(
    settings: Settings,
    runtime: Runtime | None = None,
    *,
    jobs: Sequence[Job] | None = None,
    start: Start | None = None,
) -> FastAPI:
    """The whole service. It connects to nothing before it is started. `jobs`: those of `runtime` without it.

    With `start`, which is what `tokenvend dev` tells a developer, administration is for this machine alone.
    """
    runtime = runtime or build_runtime(settings)
    app = create_api(docs=settings.docs_on, path=settings.path)
    app.state.runtime = runtime
    app.state.provided = runtime.provided
    app.state.jobs = runtime.jobs if jobs is None else jobs
    app.state.draining = threading.Event()  # the server's own, where there is one
    app.router.lifespan_context = _lifespan
    pages.install(app, settings, start)
    # Each goes around those before it.
    app.add_middleware(Direct, routes=[route for router in ROUTERS for route in router.routes])
    app.state.cors = Cors(settings.cors_origins)  # the server answers some requests by itself
    door = Door(
        hosts=settings.hosts,
        trusted_proxies=settings.trusted_proxies,
        cors=app.state.cors,
        https=settings.public_url.startswith("https://"),
        clock=runtime.platform.clock,
        metrics=runtime.platform.metrics,
        tracing=runtime.tracing,
        local_only=settings.answers_this_machine_alone,
        local_paths=ADMINISTRATION if start else (),
        names_settings=settings.environment == "development",
    )
    app.add_middleware(Edge, door=door)
    if settings.otlp_endpoint is None:  # a trace shows a request's way through the application
        app.state.shortcuts = Shortcuts(
            door,
            runtime.tokens,
            runtime.session_states,
            runtime.platform,
            shortcuts=(Vend(runtime.platform, runtime.vending), ContainerVend(runtime.vending)),
            path=unquote(settings.path),
        )
    if settings.path:
        app.add_middleware(Prefix, path=unquote(settings.path), routes=list(app.routes))
    return app


def create_app_from_environment() -> FastAPI:
    """What each worker of `tokenvend serve` runs."""
    settings = keep_secret(load_settings(needs_engine=True))
    configure_logging(settings.log_level)
    if settings.environment == "development" and settings.development_remote == "on":
        log.warning("development_answers_other_machines")
    return create_app(settings)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    runtime: Runtime = app.state.runtime
    watched: tuple[Watch | Keyring, ...] = (runtime.secret_key, *runtime.keyrings)
    for one in (*watched, runtime.downloads.keys):
        await one.try_load()
    background = [asyncio.create_task(one.keep_loaded()) for one in watched]
    background.append(
        asyncio.create_task(keep_working(app.state.jobs, runtime.platform.database, runtime.platform.metrics))
    )
    background.append(asyncio.create_task(_wait_for_migrations(runtime.platform.database)))
    background.append(asyncio.create_task(_warn(runtime)))
    background.append(asyncio.create_task(_look(runtime.platform.metrics)))
    try:
        yield
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        with contextlib.suppress(Problem):
            await runtime.own_work.add(runtime.platform.database, runtime.platform.clock.now())
        with contextlib.suppress(Problem):
            await runtime.secret_key.leave()
        await runtime.close()


async def _look(metrics: Metrics) -> None:
    """Lets the other workers see every second what this one's gauges are."""
    while metrics.are_shared:
        metrics.look()
        await asyncio.sleep(1)


async def _wait_for_migrations(database: Database) -> None:
    """Says at start, and once a minute, that the database has not this version's tables, until it has."""
    while True:
        try:
            if await database.read(is_migrated):
                return
            database.complain(unmigrated())
        except Problem as problem:
            database.complain(problem)
        await asyncio.sleep(SAID_EVERY)


async def _warn(runtime: Runtime) -> None:
    """Says at start what the operator should know of the settings and the base credentials; faults are `/readyz`'s to
    tell.
    """
    if runtime.platform.settings.secret_key_is_untidy:
        log.warning("secret_key_ends_in_white_space", mend="keep the key as it is: without its end nothing decrypts")
    if runtime.platform.settings.environment == "development":
        return
    with contextlib.suppress(Problem):
        for warning in await runtime.vending.broker.warnings(runtime.platform.settings.credential_max_ttl):
            log.warning("base_credentials", warning=warning)
