from collections.abc import Iterator

import pytest

from app import engine
from tests.support.engine import RunningEngine, eventually

ORIGIN = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """One engine for all that only looks at it, started by somebody whose environment would lead it astray."""
    data_dir = tmp_path_factory.mktemp("engine") / "made" / "by start"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "AKIAFROMENVIRONMENT")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "from-environment")
        environment.setenv("AWS_PROFILE", "there-is-none")
        environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        environment.setenv("http_proxy", "http://127.0.0.1:9")
        environment.setenv("WEED_JWT_SIGNING_READ_KEY", "known-to-others")
        environment.delenv("NO_PROXY", raising=False)
        environment.delenv("no_proxy", raising=False)
        started = engine.start(data_dir, allowed_origins=[ORIGIN])
    with started:
        running = RunningEngine(started, data_dir)
        # The maintenance servers come up after S3 and STS.
        assert eventually(lambda: listening(running) >= set(running.ports.values()))
        yield running


def listening(running: RunningEngine) -> set[int]:
    return {c.laddr.port for c in running.weed.net_connections("inet") if c.status == "LISTEN"}
