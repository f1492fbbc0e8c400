"""Clients that `make sdk` generated, and apps made of them."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.engine import config
from tests.conftest import DevServer
from tests.journeys.deployment import Deployment, Keys
from tests.sdk.unreliable import Unreliable, unreliable_way_to

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build"
SDK = BUILD / "sdk"
TOOLS = BUILD / "tools" / "bin"
NODE_TOOLS = BUILD / "node_modules" / ".bin"
GUIDE = (ROOT / "deploy" / "sdk" / "README.md").read_text(encoding="utf-8")
CODE: dict[str, str] = dict(re.findall(r"```(\w+(?: \w+)?)\n(.*?)```", GUIDE, re.DOTALL))
"""By what stands behind the fence."""
PHOTOGRAPH = HERE.parent / "photos" / "china.jpg"


def run(
    *command: str | Path,
    timeout: float = 600,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> str:
    """What it printed; its complaints where it failed."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment,
        cwd=directory,
    )
    said = (text[-6000:] for text in map(_without_long_lines, (done.stdout, done.stderr)))
    assert done.returncode == 0, "".join(said)
    return done.stdout


@pytest.fixture(autouse=True, scope="session")
def generated() -> None:
    assert (SDK / "typescript" / "src").is_dir(), "generate the clients first: make sdk"


def _without_long_lines(text: str) -> str:
    return "\n".join(line[:300] for line in text.splitlines())


KOTLIN = BUILD / "kotlin"
"""What `make` fetched and compiled."""
Kotlin = tuple[str, ...]
"""The command that runs an app, but for the name of its class."""


@pytest.fixture(scope="session")
def kotlin() -> Kotlin:
    """Apps with AWS's SDK and the generated client, and the guide's code."""
    assert (KOTLIN / "compiled").exists(), "compile the client first: make build/kotlin/compiled"
    path = [*sorted((KOTLIN / "app").glob("*.jar")), KOTLIN / "client", KOTLIN / "apps"]
    return ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", os.pathsep.join(map(str, path)))


@pytest.fixture
def way(dev_server: DevServer) -> Iterator[Unreliable]:
    with unreliable_way_to(dev_server.url) as way:
        yield way


@pytest.fixture
def bucket(dev_server: DevServer) -> Deployment:
    """As its owner sees it."""
    kept = json.loads((dev_server.data_dir / "engine" / "engine.json").read_text(encoding="utf-8"))
    return Deployment(dev_server.url, config.endpoint_url(kept["first_port"]), "photos", Keys(**kept["keys"]["owner"]))


@pytest.fixture
def travels(way: Unreliable, bucket: Deployment) -> Callable[..., None]:
    """Runs an app over the unreliable way, and looks at what it says and did."""

    def travel(*command: str | Path) -> None:
        seen: dict[str, Any] = json.loads(run(*command, way.url, PHOTOGRAPH, timeout=60))
        assert seen["refused"] == "email_taken"
        assert (seen["email"].partition("@")[2], seen["role"]) == ("example.org", "user")
        for key in seen["keys"]:
            stored = bucket.as_owner.get_object(Bucket=bucket.bucket, Key=key)["Body"].read()
            assert stored == PHOTOGRAPH.read_bytes()
        # Wrong ones, some about to expire, good ones; then those by a clock that is a day behind.
        assert len(way.sent("POST", "/v1/credentials")) == 4
        assert 3500 < seen["seconds_left"] <= 3600
        # Ten asked for one that is not spent; the first answer never came, the second was a gateway's.
        assert seen["tokens"] == 1
        lost, again, once_more, *_ended = way.sent("POST", "/v1/auth/refresh")
        assert lost == again == once_more
        assert seen["saved"] == [True, True, False]
        assert (seen["ended"], seen["signed_out"]) == (True, True)
        assert seen.get("in_order", True)  # of TypeScript, where whoever keeps it may take their time

    return travel
