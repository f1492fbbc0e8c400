import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app import engine
from app.engine import config
from tests.conftest import DevServer
from tests.journeys.deployment import Deployment, Keys, Person, person
from tests.journeys.scene import Scene, set_scene
from tests.journeys.served import serving
from tests.support.databases import PostgresDatabases

PHOTOGRAPHS = Path(__file__).parent.parent / "photos"
READY_WITHIN = 60.0


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
    with (
        engine.start(directory / "engine") as running,
        serving(directory, running, postgres_databases.create()) as served,
    ):
        owner = Keys(running.owner_access_key_id, running.owner_secret_access_key)
        yield Deployment(served.url, running.endpoint_url, running.bucket, owner)


@pytest.fixture(params=["on_this_machine", pytest.param("on_postgresql", marks=pytest.mark.all)])
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
