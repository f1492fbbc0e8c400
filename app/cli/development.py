"""`tokenvend dev`: the whole service on this machine, with an engine of its own and nothing to set up."""

import contextlib
import json
import os
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app import engine
from app.cli import local_stack, polling
from app.cli.opening import PORT, VAR
from app.compose import Runtime, build_runtime
from app.engine import EngineError
from app.engine.forwarding import forwarded
from app.http import server
from app.http.local import is_loopback
from app.main import create_app
from app.pages.starting import Row, Start
from app.platform.environment import kept_secret, load_settings, names_given
from app.platform.jobs import Job
from app.platform.logs import configure_logging
from app.platform.settings import PREFIX, Settings, SettingsError
from app.platform.urls import host_name, http_url, origin_of
from app.records.migrate import upgrade
from app.vending import identity_token

__all__ = ["EngineError", "run"]

HOST = "127.0.0.1"
NAME = "localhost"
"""What people and browsers call it: passkeys belong to a name."""
EMULATOR = "10.0.2.2"
"""What Android's emulator calls the loopback of the machine that it runs on."""
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
YOU = "you@example.org"
ENGINE_PORT = 8333
"""SeaweedFS's own default."""
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
    def is_here(self) -> bool:
        """Whether this machine reaches it by `localhost`."""
        return self.host in (HOST, NAME, *WILDCARDS)

    @property
    def own_host(self) -> str:
        return HOST if self.host in WILDCARDS else _in_url(self.host)

    @property
    def own_url(self) -> str:
        """For people on this machine."""
        return f"http://{NAME}:{self.port}" if self.is_here else self.url

    @property
    def url(self) -> str:
        return http_url(f"http://{self.public_host}:{self.port}")

    @property
    def origins(self) -> tuple[str, ...]:
        own = (f"http://{HOST}:{self.port}", f"http://{NAME}:{self.port}", self.url)
        return tuple(dict.fromkeys(map(origin_of, own)))

    def engine_url(self, port: int) -> str:
        """By its address even on this machine: clients look for `photos.localhost` where they are told a name."""
        return http_url(f"http://{HOST if self.public_host == NAME else self.public_host}:{port}")


def run(*, host: str, public_host: str | None, port: int, engine_port: int | None, data_dir: Path) -> None:
    """Serves until it is interrupted. Raises `EngineError`, `ServerError`, `SettingsError`.

    `engine_port`: 0 for any; with None the usual one, or any if `port` is 0.
    """
    data_dir = data_dir.resolve()
    wanted = (ENGINE_PORT if port else 0) if engine_port is None else engine_port
    with contextlib.ExitStack() as resources:
        other = f"`make run PORT={port + 1}`" if _is_by_make() else "--port"
        listener = resources.enter_context(server.bind(host, port, other=other))
        place = Place(host, listener.getsockname()[1], _in_url(public_host or _public_host(host)))
        secret_key = kept_secret(data_dir / "secret_key")
        given = _load(secret_key, data_dir)
        _refuse_contradiction(place, given)
        _say_what_is_not_used()
        if given.development_remote == "on" or not is_loopback(host):
            _say("Other machines may use the service and S3: development has fewer guards than production.")
        public_url = given.public_url if "public_url" in given.model_fields_set else place.url
        mode = given.vending_mode
        if mode == "saml":
            raise SettingsError(
                f"{PREFIX}VENDING_MODE: the embedded engine knows no AssumeRoleWithSAML: leave saml out, or set "
                "web_identity, which needs no keys and lasts as long"
            )
        running = resources.enter_context(
            engine.start(
                data_dir / "engine",
                allowed_origins=tuple(dict.fromkeys((*place.origins, origin_of(public_url), *given.cors_origins))),
                exposed_headers=given.exposed_headers,
                web_identity=_web_identity(public_url, place) if mode == "web_identity" else None,
                federation=mode == "federation_token",
                port=wanted or None,
                aside=host != HOST,
            )
        )
        if wanted and running.first_port != wanted:
            _say(f"Port {wanted} or one of the nine after it is taken: S3 has port {running.first_port}.")
        if host != HOST:
            resources.enter_context(forwarded(host, running.first_port, running.port))
        engine_url = given.s3_public_endpoint_url or place.engine_url(running.first_port)
        settings = _settings(running, given, place, public_url, engine_url)
        configure_logging(settings.log_level)
        upgrade(settings.database_url)
        resources.enter_context(local_stack.noted(data_dir, settings, place.own_url))
        start = _start(settings, place, engine_url, running.first_port, _again(place.port, engine_port, data_dir))
        runtime = build_runtime(settings, aws=running.broker_session())
        app = create_app(settings, runtime, jobs=_jobs(runtime, running), start=start)
        server.run(
            server.make_config(app, host=host, port=place.port, keep_alive=settings.keep_alive),
            sock=listener,
            on_ready=lambda: print(start.banner(), flush=True),
        )


def _jobs(runtime: Runtime, running: engine.Engine) -> Sequence[Job]:
    if runtime.courier is None:
        return runtime.jobs
    client = running.owner_session().client("s3", endpoint_url=running.endpoint_url)
    poller = polling.Poller(runtime.platform, client)
    return (*runtime.jobs, Job("objects", poller.look, every=polling.EVERY))


def _is_by_make() -> bool:
    return "MAKELEVEL" in os.environ


def _public_host(host: str) -> str:
    if host in WILDCARDS:
        return _address_in_network() or NAME
    return NAME if host == HOST else host


def _address_in_network() -> str | None:
    """This machine's address in its network. Nothing is sent: it is the one that a packet would have."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        try:
            unused.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(unused.getsockname()[0])
    return None if is_loopback(address) else address


def _command() -> str:
    return shlex.quote(os.path.relpath(Path(sys.executable).with_name("tokenvend")))


def _again(port: int, engine_port: int | None, data_dir: Path) -> str:
    """The command that was typed, less what says by which address the service is reached."""
    if _is_by_make():
        return "make run" + (f" PORT={port}" if port != PORT else "")
    options = {
        "--port": port if port != PORT else None,
        "--engine-port": engine_port,
        "--data-dir": shlex.quote(os.path.relpath(data_dir)) if data_dir != VAR.resolve() else None,
    }
    return " ".join([_command(), "dev", *(f"{name} {value}" for name, value in options.items() if value is not None)])


def _start(settings: Settings, place: Place, engine_url: str, engine_port: int, again: str) -> Start:
    """Its commands work as pasted where this one was typed. `again`: the command that starts it on this machine."""
    admin = f"make admin EMAIL={YOU}"
    if not _is_by_make():
        database = shlex.quote(f"{PREFIX}DATABASE_URL={settings.database_url}")
        admin = f"env {database} {_command()} admin create --email {YOU}"
    return Start(
        url=place.own_url,
        engine_url=engine_url,
        bucket=settings.bucket,
        keeps_mails=not settings.smtp_url.get_secret_value(),
        administrator=admin,
        devices=tuple(_devices(place, engine_port, again)),
        shut="" if is_loopback(place.host) or place.is_here else f"not at this address: {again} {_open_to_all()}",
    )


def _open_to_all() -> str:
    return "HOST=0.0.0.0" if _is_by_make() else "--host 0.0.0.0"


def _devices(place: Place, engine_port: int, again: str) -> list[Row]:
    """Three lines. USB and emulators lead to 127.0.0.1, whatever apps are told."""
    address = _address_in_network() or "ADDRESS-OF-THIS-MACHINE"
    wifi = f"{again} {_open_to_all()}, then http://{address}:{place.port} in your app"
    by_usb = [
        Row("" if number else "USB, emulator", f"adb reverse tcp:{port} tcp:{port}")
        for number, port in enumerate((place.port, engine_port))
    ]
    if not place.is_here:
        return [
            Row("apps" if is_loopback(place.host) else "phone by Wi-Fi", f"{place.url} in your app"),
            Row("USB, emulator", f"not at this address: {again}"),
            Row("all of these", f"{again} {_open_to_all()}"),
        ]
    if is_loopback(urlsplit(place.url).hostname or ""):
        return [*by_usb, Row("phone by Wi-Fi", wifi)]
    if not is_loopback(place.host):
        return [*by_usb, Row("phone by Wi-Fi", f"{place.url} in your app")]
    return [
        Row("emulator" if place.public_host == EMULATOR else "apps", f"{place.url} in your app"),
        Row("phone by USB", f"{again}, without --public-host"),
        Row("phone by Wi-Fi", wifi),
    ]


def _refuse_contradiction(place: Place, given: Settings) -> None:
    keeps_out = "development_remote" in given.model_fields_set and given.development_remote == "off"
    if keeps_out and not is_loopback(place.host):
        raise SettingsError(
            f"--host {place.host} lets other machines in, and {PREFIX}DEVELOPMENT_REMOTE=off keeps them out: "
            "leave one of them out"
        )


def _load(secret_key: str, data_dir: Path) -> Settings:
    return load_settings(
        environment="development",
        database_url=local_stack.database_url(data_dir),
        database_iam_auth=False,
        database_pooler="none",
        secret_key=secret_key,
        role_policy=None,
    )


def _say_what_is_not_used() -> None:
    own = {PREFIX + name for name in OWN} | {"AWS_REGION", "AWS_DEFAULT_REGION"}
    if unused := sorted(own & names_given()):
        _say(f"`tokenvend dev` brings its own, and ignores these settings: {', '.join(unused)}")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


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
        allowed_hosts=_hosts(place, public_url, given),
        cors_origins=(*place.origins, *given.cors_origins),
        bucket=running.bucket,
        role_arn=running.role_arn,
        role_policy=json.dumps(running.role_policy),
        AWS_REGION=running.region,
        sts_endpoint_url=running.endpoint_url,
        s3_endpoint_url=running.endpoint_url,
        s3_public_endpoint_url=engine_url,
        s3_force_path_style=True,
        log_level=given.log_level if "log_level" in given.model_fields_set else "warning",
    )


def _hosts(place: Place, public_url: str, given: Settings) -> tuple[str, ...]:
    own = (HOST, NAME, EMULATOR, place.own_host, place.public_host, urlsplit(public_url).hostname or "")
    here = (_address_in_network() or HOST,) if place.host in WILDCARDS else ()
    return tuple(dict.fromkeys((*own, *here, *given.hosts)))
