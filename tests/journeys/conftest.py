import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from httpx2 import HTTPError, get

from app import engine
from app.engine import Engine, config
from tests.conftest import DevServer
from tests.journeys.deployment import Deployment, Keys, Person, person
from tests.journeys.scene import Scene, set_scene
from tests.support.databases import PostgresDatabases
from tests.support.service import SECRET_KEY

PHOTOGRAPHS = Path(__file__).parent.parent / "photos"
READY_WITHIN = 20.0


@pytest.fixture(scope="session")
def on_this_machine(dev_server: DevServer) -> Deployment:
    """`tokenvend dev`: SQLite and the embedded engine."""
    kept = json.loads((dev_server.data_dir / "engine" / "engine.json").read_text(encoding="utf-8"))
    endpoint_url = config.endpoint_url(kept["first_port"])
    return Deployment(dev_server.url, endpoint_url, "photos", Keys(**kept["keys"]["owner"]))


@pytest.fixture(scope="session")
def on_postgresql(
    tmp_path_factory: pytest.TempPathFactory, postgres_databases: PostgresDatabases
) -> Iterator[Deployment]:
    """`tokenvend serve` as in production: settings from the environment, PostgreSQL, an engine that runs elsewhere."""
    directory = tmp_path_factory.mktemp("served")
    with engine.start(directory / "engine") as running:
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        with (directory / "stderr.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve", "--port", str(port)],
                stdout=log,
                stderr=log,
                env=_environment(running, url, postgres_databases.create()),
            )
        try:
            _wait_until_ready(process, url, directory / "stderr.log")
            owner = Keys(running.owner_access_key_id, running.owner_secret_access_key)
            yield Deployment(url, running.endpoint_url, running.bucket, owner)
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture(params=["on_this_machine", "on_postgresql"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    deployment: Deployment = request.getfixturevalue(request.param)
    return deployment


@pytest.fixture
def meet(deployment: Deployment) -> Iterator[Callable[[], Person]]:
    """`meet()` is somebody new, registered and signed in."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(person(deployment))


@pytest.fixture(scope="session")
def scene(on_this_machine: Deployment, china: bytes, flower: bytes) -> Iterator[Scene]:
    with person(on_this_machine) as ada, person(on_this_machine) as bob:
        scene = set_scene(on_this_machine, ada, bob, china, flower)
        yield scene
        place = {"Bucket": on_this_machine.bucket, "Key": f"{bob.prefix}photo.jpg"}
        assert on_this_machine.as_owner.get_object(**place)["Body"].read() == flower


@pytest.fixture
def left_alone(scene: Scene) -> Iterator[None]:
    """Nothing but Ada's own has changed when the test is over."""
    yield
    before, scene.last_seen = scene.last_seen, scene.look()
    assert scene.last_seen == before


@pytest.fixture(scope="session")
def china() -> bytes:
    return (PHOTOGRAPHS / "china.jpg").read_bytes()


@pytest.fixture(scope="session")
def flower() -> bytes:
    return (PHOTOGRAPHS / "flower.jpg").read_bytes()


@pytest.fixture(scope="session")
def panorama(china: bytes, flower: bytes) -> bytes:
    """More than 8 MB: a real photograph with others after its end marker, which every decoder ignores."""
    large = china + flower * 60
    assert len(large) > 8 * 1024 * 1024
    return large


def _environment(running: Engine, url: str, database_url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    return inherited | {
        "TOKENVEND_ENVIRONMENT": "production",
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_PUBLIC_URL": url,
        "TOKENVEND_EMAIL_VERIFICATION": "off",
        "TOKENVEND_SMTP_URL": "smtp://127.0.0.1:9",
        "TOKENVEND_MAIL_FROM": "photos@example.org",
        "TOKENVEND_BUCKET": running.bucket,
        "TOKENVEND_ROLE_ARN": running.role_arn,
        "TOKENVEND_STS_ENDPOINT_URL": running.endpoint_url,
        "TOKENVEND_S3_ENDPOINT_URL": running.endpoint_url,
        "TOKENVEND_S3_FORCE_PATH_STYLE": "true",
        "AWS_REGION": running.region,
        "AWS_ACCESS_KEY_ID": running.access_key_id,
        "AWS_SECRET_ACCESS_KEY": running.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(log.read_text()[-4000:])
