"""`tokenvend dev`: the whole service on this machine, with an engine of its own and nothing to set up."""

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from app import engine
from app.compose import build_runtime
from app.engine import EngineError
from app.engine.forwarding import forwarded
from app.http import server
from app.http.local import is_loopback
from app.main import create_app
from app.platform.environment import kept_secret, load_settings, names_given
from app.platform.logs import configure_logging
from app.platform.settings import PREFIX, Settings
from app.platform.urls import host_name, http_url, origin_of
from app.records.migrate import upgrade
from app.vending import identity_token

__all__ = ["EngineError", "run"]

HOST = "127.0.0.1"
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
OWN = (
    *("ENVIRONMENT", "DATABASE_URL", "DATABASE_IAM_AUTH", "DATABASE_POOLER", "SECRET_KEY", "BUCKET", "ROLE_ARN"),
    *("ROLE_POLICY", "STS_ENDPOINT_URL", "S3_ENDPOINT_URL", "S3_FORCE_PATH_STYLE"),
)
"""Settings that the engine and the data directory decide, whatever the operator's say."""


@dataclass(frozen=True)
class Place:
    """Where the service is reached: by this machine at `own_host`, by apps at `url`."""

    host: str
    """The address that it listens on."""
    port: int
    public_host: str
    """As in a URL."""

    @property
    def own_host(self) -> str:
        return HOST if self.host in WILDCARDS else _in_url(self.host)

    @property
    def url(self) -> str:
        return http_url(f"http://{self.public_host}:{self.port}")

    @property
    def origins(self) -> tuple[str, ...]:
        own = (f"http://{HOST}:{self.port}", f"http://localhost:{self.port}", self.url)
        return tuple(dict.fromkeys(map(origin_of, own)))


def run(*, host: str, public_host: str | None, port: int, data_dir: Path) -> None:
    """Serves until it is interrupted. Raises `EngineError`, `ServerError`, `SettingsError`."""
    data_dir = data_dir.resolve()
    with contextlib.ExitStack() as resources:
        listener = resources.enter_context(server.bind(host, port))
        place = Place(host, listener.getsockname()[1], _in_url(public_host or (HOST if host in WILDCARDS else host)))
        secret_key = kept_secret(data_dir / "secret_key")
        given = _load(secret_key, data_dir)
        _say_what_is_not_used()
        public_url = given.public_url if "public_url" in given.model_fields_set else place.url
        mode = given.vending_mode
        running = resources.enter_context(
            engine.start(
                data_dir / "engine",
                allowed_origins=tuple(dict.fromkeys((*place.origins, origin_of(public_url), *given.cors_origins))),
                exposed_headers=given.exposed_headers,
                web_identity=_web_identity(public_url, place) if mode == "web_identity" else None,
                federation=mode == "federation_token",
            )
        )
        engine_port = running.port
        if host != HOST:
            engine_port = running.spare_port
            resources.enter_context(forwarded(host, engine_port, running.port))
        engine_url = given.s3_public_endpoint_url or f"http://{place.public_host}:{engine_port}"
        settings = _settings(running, given, place, public_url, engine_url)
        configure_logging(settings.log_level)
        upgrade(settings.database_url)
        app = create_app(settings, build_runtime(settings, aws=running.broker_session()))
        server.run(
            server.make_config(app, host=host, port=place.port, keep_alive=settings.keep_alive),
            sock=listener,
            on_ready=lambda: print(f"ready {place.url}\nengine {engine_url}", flush=True),
        )


def _load(secret_key: str, data_dir: Path) -> Settings:
    database = URL.create("sqlite", database=str(data_dir / "tokenvend.db"))
    return load_settings(
        environment="development",
        database_url=database.render_as_string(hide_password=False),
        database_iam_auth=False,
        database_pooler="none",
        secret_key=secret_key,
        role_policy=None,
    )


def _say_what_is_not_used() -> None:
    own = {PREFIX + name for name in OWN} | {"AWS_REGION", "AWS_DEFAULT_REGION"}
    if unused := sorted(own & names_given()):
        print(
            f"`tokenvend dev` brings its own, and ignores these settings: {', '.join(unused)}",
            file=sys.stderr,
            flush=True,
        )


def _in_url(host: str) -> str:
    name = host_name(host)
    return f"[{name}]" if ":" in name else name


def _web_identity(public_url: str, place: Place) -> engine.WebIdentity:
    """The engine reads the keys on this machine, wherever the public URL leads."""
    keys_url = f"http://{place.own_host}:{place.port}{identity_token.ISSUER_PATH}/jwks.json"
    issuer = public_url + identity_token.ISSUER_PATH
    return engine.WebIdentity(issuer, keys_url, identity_token.SUBJECT, identity_token.AUDIENCE)


def _settings(running: engine.Engine, given: Settings, place: Place, public_url: str, engine_url: str) -> Settings:
    """What the engine and the place decide; the rest is the operator's, as for `serve`."""
    return load_settings(
        environment="development",
        development_remote=given.development_remote if is_loopback(place.host) else "on",
        database_url=given.database_url,
        database_iam_auth=False,
        database_pooler="none",
        secret_key=given.secret_key,
        public_url=public_url,
        allowed_hosts=(HOST, "localhost", place.own_host, place.public_host, *given.hosts),
        cors_origins=(*place.origins, *given.cors_origins),
        bucket=running.bucket,
        role_arn=running.role_arn,
        role_policy=json.dumps(running.role_policy),
        AWS_REGION=running.region,
        sts_endpoint_url=running.endpoint_url,
        s3_endpoint_url=running.endpoint_url,
        s3_public_endpoint_url=engine_url,
        s3_force_path_style=True,
    )
