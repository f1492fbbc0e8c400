"""`tokenvend dev`: the whole service on this machine, with an engine of its own and nothing to set up."""

import json
from pathlib import Path

from app import engine
from app.compose import build_runtime
from app.engine import EngineError
from app.http import server
from app.main import create_app
from app.platform.environment import kept_secret, load_settings
from app.platform.logs import configure_logging
from app.platform.settings import Settings, SettingsError
from app.records.migrate import upgrade
from app.vending import identity_token

__all__ = ["EngineError", "run"]

HOST = "127.0.0.1"


def run(*, port: int, data_dir: Path) -> None:
    """Serves until it is interrupted. Raises `EngineError`, `ServerError`, `SettingsError`."""
    data_dir = data_dir.resolve()
    if "?" in str(data_dir):
        raise SettingsError(f"--data-dir {data_dir}: a path with `?` cannot be part of a database's URL")
    with server.bind(HOST, port) as listener:
        port = listener.getsockname()[1]
        origins = (f"http://{HOST}:{port}", f"http://localhost:{port}")
        secret_key = kept_secret(data_dir / "secret_key")
        given = load_settings(environment="development", secret_key=secret_key)
        mode = given.vending_mode
        with engine.start(
            data_dir / "engine",
            allowed_origins=origins,
            exposed_headers=given.exposed_headers,
            web_identity=_web_identity(f"http://{HOST}:{port}") if mode == "web_identity" else None,
            federation=mode == "federation_token",
        ) as running:
            settings = _settings(running, data_dir, secret_key, port, origins)
            configure_logging(settings.log_level)
            upgrade(settings.database_url)
            app = create_app(settings, build_runtime(settings, aws=running.broker_session()))
            server.run(
                server.make_config(app, host=HOST, port=port, keep_alive=settings.keep_alive),
                sock=listener,
                on_ready=lambda: print(f"ready http://{HOST}:{port}", flush=True),
            )


def _web_identity(public_url: str) -> engine.WebIdentity:
    issuer = public_url + identity_token.ISSUER_PATH
    return engine.WebIdentity(issuer, f"{issuer}/jwks.json", identity_token.SUBJECT, identity_token.AUDIENCE)


def _settings(running: engine.Engine, data_dir: Path, secret_key: str, port: int, origins: tuple[str, ...]) -> Settings:
    """What the engine and the port decide; the rest is the operator's, as for `serve`."""
    return load_settings(
        environment="development",
        database_url=f"sqlite:///{data_dir / 'tokenvend.db'}",
        secret_key=secret_key,
        public_url=f"http://{HOST}:{port}",
        allowed_hosts=(HOST, "localhost"),
        cors_origins=origins,
        bucket=running.bucket,
        role_arn=running.role_arn,
        role_policy=json.dumps(running.role_policy),
        AWS_REGION=running.region,
        sts_endpoint_url=running.endpoint_url,
        s3_endpoint_url=running.endpoint_url,
        s3_public_endpoint_url=running.endpoint_url,
        s3_force_path_style=True,
    )
