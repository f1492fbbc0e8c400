"""An app whose keys are revoked: it asks for new ones once, and not for each of what it is refused anyway."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DevServer
from tests.journeys.deployment import Deployment
from tests.sdk.conftest import HERE, NODE_TOOLS, PHOTOGRAPH, SDK, TOOLS, Kotlin, run
from tests.sdk.revoking import Revoking, revoking_front_of
from tests.sdk.unreliable import unreliable_way_to


@pytest.fixture
def way(dev_server: DevServer, bucket: Deployment) -> Iterator[Revoking]:
    with revoking_front_of(bucket.endpoint_url) as front, unreliable_way_to(dev_server.url, Revoking) as way:
        assert isinstance(way, Revoking)
        way.front = front
        yield way


@pytest.fixture
def survives(way: Revoking, bucket: Deployment) -> Callable[..., dict[str, Any]]:
    """Runs an app, and looks at what it did; the answer says how often it asked for keys."""

    def survive(*command: str | Path) -> dict[str, Any]:
        seen: dict[str, Any] = json.loads(run(*command, way.url, PHOTOGRAPH, timeout=60))
        assert len(seen["keys"]) == 6
        for key in seen["keys"]:
            stored = bucket.as_owner.get_object(Bucket=bucket.bucket, Key=key)["Body"].read()
            assert stored == PHOTOGRAPH.read_bytes()
        assert seen["denied"] == ["AccessDenied"] * 3
        assert seen["paused"] == "AccessDenied"
        assert way.front.revoked <= way.vended
        return seen | {"asked": len(way.sent("POST", "/v1/credentials"))}

    return survive


class TestRevocation:
    """The first keys; others for five pictures at once; the same for what the user may not do; others after a pause."""

    def test_in_python(self, survives: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(SDK / "python"))
        seen = survives(TOOLS / "python", HERE / "revocation.py")
        assert (seen["asked"], seen["read"]) == (4, [None, None, None])

    def test_in_typescript(self, survives: Callable[..., dict[str, Any]]) -> None:
        shutil.copy(HERE / "revocation.ts", SDK / "typescript" / "src")
        run(NODE_TOOLS / "tsc", "--project", SDK / "typescript")
        seen = survives("node", SDK / "typescript" / "dist" / "revocation.js")
        assert (seen["asked"], seen["read"]) == (4, [None, None, None])

    @pytest.mark.long
    def test_in_kotlin(self, survives: Callable[..., dict[str, Any]], kotlin: Kotlin) -> None:
        """Whose clock does not move for a test, so that nothing is asked after the pause."""
        assert survives(*kotlin, "RevocationKt")["asked"] == 3
