"""An embedded engine, and the ways in which tests reach into it."""

import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import urllib3
from botocore.config import Config

from app.engine import Engine, config, process

CLIENT = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})


def of_engine(engine: Engine) -> dict[str, Any]:
    """What `running_service` takes for the engine in the place of the canned STS."""
    return {
        "aws": engine.broker_session(),
        "AWS_REGION": engine.region,
        "sts_endpoint_url": engine.endpoint_url,
        "s3_endpoint_url": engine.endpoint_url,
        "s3_force_path_style": True,
        "bucket": engine.bucket,
        "role_arn": engine.role_arn,
    }


def owner_of(engine: Engine) -> Any:
    """S3 as whom the bucket belongs to."""
    return boto3.client(
        "s3",
        region_name=engine.region,
        endpoint_url=engine.endpoint_url,
        aws_access_key_id=engine.owner_access_key_id,
        aws_secret_access_key=engine.owner_secret_access_key,
        config=CLIENT,
    )


@dataclass(frozen=True)
class RunningEngine:
    engine: Engine
    data_dir: Path

    @property
    def ports(self) -> dict[str, int]:
        return config.ports(int(self.engine.endpoint_url.rpartition(":")[2]))

    @property
    def weed(self) -> psutil.Process:
        return psutil.Process(self.engine.pid)

    def as_owner(self, service: str) -> AbstractContextManager[Any]:
        return self._client(service, self.engine.owner_access_key_id, self.engine.owner_secret_access_key)

    def as_broker(self, service: str) -> AbstractContextManager[Any]:
        return self._client(service, self.engine.access_key_id, self.engine.secret_access_key)

    def as_holder(self, credentials: Mapping[str, str], service: str) -> AbstractContextManager[Any]:
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        return self._client(service, *(credentials[name] for name in names))

    def assume(self, **parameters: Any) -> dict[str, str]:
        """The credentials of an AssumeRole as the broker."""
        with self.as_broker("sts") as sts:
            answer = sts.assume_role(RoleArn=self.engine.role_arn, RoleSessionName="user.device", **parameters)
        return dict(answer["Credentials"])

    def _client(self, service: str, key: str, secret: str, token: str | None = None) -> AbstractContextManager[Any]:
        client = boto3.client(
            service,
            region_name=self.engine.region,
            endpoint_url=self.engine.endpoint_url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=CLIENT,
        )
        return closing(client)

    def shell(self, script: str, *, directory: Path, timeout: float = 10) -> str:
        """What `weed shell`, run in the directory, prints. TimeoutExpired if it does not get through."""
        ports = self.ports
        master = f"{config.HOST}:{ports['master.port']}.{ports['master.port.grpc']}"
        filer = f"{config.HOST}:{ports['filer.port']}.{ports['filer.port.grpc']}"
        answer = subprocess.run(
            [process.find_weed(), "shell", f"-master={master}", f"-filer={filer}"],
            cwd=directory,
            env={"HOME": str(directory)},
            input=f"{script}\nexit\n",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return answer.stdout


def preflight(running: RunningEngine, origin: str, path: str) -> Mapping[str, str]:
    """The headers of the answer; SeaweedFS gives none, and hangs up, to a strange origin at the root of the bucket."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,x-amz-date,x-amz-security-token",
    }
    try:
        return urllib3.request(
            "OPTIONS", f"{running.engine.endpoint_url}/{path}", headers=headers, retries=False
        ).headers
    except urllib3.exceptions.ProtocolError:
        return {}


def eventually(holds: Callable[[], bool], *, within: float = 30) -> bool:
    """Whether it holds in that time (seconds), asked every 50 ms."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
