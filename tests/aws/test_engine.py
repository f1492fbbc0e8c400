"""An STS that checks signatures itself takes those of both transports."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import engine
from app.aws.transport import Fault, Keys, Transport
from app.engine import Engine
from tests.aws.test_transports import TRANSPORTS, send

pytestmark = [pytest.mark.xdist_group("sts engine"), pytest.mark.all]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory: Path = tmp_path_factory.mktemp("engine")
    with engine.start(directory) as started:
        yield started


@pytest.fixture(params=TRANSPORTS)
def make(request: pytest.FixtureRequest) -> Callable[[], Transport]:
    return TRANSPORTS[request.param]


def broker(running: Engine) -> Keys:
    return Keys(running.access_key_id, running.secret_access_key, None)


class TestEngine:
    def test_takes_long_lived_and_temporary_keys(self, make: Callable[[], Transport], running: Engine) -> None:
        url = running.endpoint_url
        parameters = {"RoleArn": running.role_arn, "RoleSessionName": "user.device", "DurationSeconds": 900}
        texts = send(make, url, "AssumeRole", parameters, broker(running)).texts
        vended = Keys(texts["AccessKeyId"], texts["SecretAccessKey"], texts["SessionToken"])
        arn = send(make, url, keys=vended).texts["Arn"]
        assert arn.endswith(":assumed-role/tokenvend-vending/user.device")

    def test_refuses_another_secret(self, make: Callable[[], Transport], running: Engine) -> None:
        wrong = Keys(running.access_key_id, "another", None)
        with pytest.raises(Fault) as refused:
            send(make, running.endpoint_url, keys=wrong)
        assert refused.value.kind in ("refused", "expired")  # by the code, where it can be read
        assert refused.value.code in ("SignatureDoesNotMatch", "Unknown")  # boto3 cannot read this engine's error
