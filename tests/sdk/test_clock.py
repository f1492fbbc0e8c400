"""A phone whose clock is two hours off uploads in parts, and vends anew between them neither too early nor too late."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import DevServer
from tests.journeys.deployment import Deployment
from tests.sdk.conftest import HERE, NODE_TOOLS, PHOTOGRAPH, SDK, TOOLS, Kotlin, run
from tests.sdk.unreliable import Unreliable, later, unreliable_way_to

OFF = pytest.mark.parametrize("hours", [2, -2, 0])


@dataclass
class ShortLived(Unreliable):
    """Keys that are vended first are about to expire, the second have five minutes until they are, the rest an hour."""

    def spoil(self, path: str, status: int, answer: bytes) -> tuple[int, bytes] | None:
        left = {1: 100, 2: 600}.get(len(self.sent("POST", "/v1/credentials")))
        if path != "/v1/credentials" or b"access_key_id" not in answer or left is None:
            return status, answer
        vended = json.loads(answer)
        vended |= {"expires_in": left, "expiration": later(vended["server_time"], timedelta(seconds=left))}
        return status, json.dumps(vended).encode()


@pytest.fixture
def way(dev_server: DevServer) -> Iterator[ShortLived]:
    with unreliable_way_to(dev_server.url, ShortLived) as way:
        assert isinstance(way, ShortLived)
        yield way


@pytest.fixture
def uploads(way: ShortLived, bucket: Deployment) -> Callable[..., dict[str, Any]]:
    """Runs an app on a device whose clock is so many hours ahead, and looks at what it did."""

    def upload(hours: int, *command: str | Path) -> dict[str, Any]:
        seen: dict[str, Any] = json.loads(run(*command, way.url, PHOTOGRAPH, str(hours), timeout=60))
        stored = bucket.as_owner.get_object(Bucket=bucket.bucket, Key=seen["key"])["Body"].read()
        assert len(stored) == seen["size"]
        assert stored.startswith(PHOTOGRAPH.read_bytes())
        # The first ones were about to expire, the second did for the first part, the third for all the rest.
        assert len(way.sent("POST", "/v1/credentials")) == 3
        assert len(set(seen["used"])) == 2
        return seen

    return upload


class TestClock:
    @OFF
    def test_in_python(
        self, uploads: Callable[..., dict[str, Any]], hours: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", str(SDK / "python"))
        seen = uploads(hours, TOOLS / "python", HERE / "clock.py")
        assert len(httpx2.get(seen["link"]).content) == seen["size"]

    @OFF
    def test_in_typescript(self, uploads: Callable[..., dict[str, Any]], typescript: Path, hours: int) -> None:
        uploads(hours, "node", typescript / "clock.js")

    @pytest.mark.long
    @OFF
    def test_in_kotlin(self, uploads: Callable[..., dict[str, Any]], kotlin: Kotlin, hours: int) -> None:
        uploads(hours, *kotlin, "ClockKt")


@pytest.fixture(scope="module")
def typescript() -> Path:
    shutil.copy(HERE / "clock.ts", SDK / "typescript" / "src")
    run(NODE_TOOLS / "tsc", "--project", SDK / "typescript")
    return SDK / "typescript" / "dist"
