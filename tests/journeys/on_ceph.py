"""`tokenvend serve` with Ceph's gateway as its S3, STS and IAM, and how soon that refuses what was revoked."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from httpx2 import Client, HTTPError

from tests.journeys.deployment import REGION, Deployment, Keys
from tests.support.ceph import CLIENT, ROLE_ARN, CephNode
from tests.support.ports import free_port
from tests.support.service import SECRET_KEY

SERVING_WITHIN = 60.0
REFUSED_WITHIN = 60.0
"""Seconds: who waits longer has found that nothing was revoked."""


class OnCeph(Deployment):
    def s3(self, keys: Keys) -> Any:
        return boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
            config=CLIENT,
        )


@contextmanager
def served_on_ceph(
    directory: Path, node: CephNode, database_url: str, settings: Mapping[str, str] | None = None
) -> Iterator[Deployment]:
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", directory / "stderr.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(port)],
            stdout=stream,
            stderr=stream,
            env=environment(node, url, database_url) | dict(settings or {}),
        )
    try:
        _wait_until_serving(process, url, log)
        yield OnCeph(url, node.endpoint_url, node.bucket, Keys(node.owner.access_key_id, node.owner.secret_access_key))
    finally:
        process.terminate()
        process.wait(timeout=60)


def environment(node: CephNode, url: str, database_url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    return inherited | {
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_PUBLIC_URL": url,
        "TOKENVEND_RATE_LIMITS": "off",
        "TOKENVEND_BUCKET": node.bucket,
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "TOKENVEND_STS_ENDPOINT_URL": node.endpoint_url,
        "TOKENVEND_S3_ENDPOINT_URL": node.endpoint_url,
        "TOKENVEND_IAM_ENDPOINT_URL": node.endpoint_url,
        "TOKENVEND_S3_FORCE_PATH_STYLE": "true",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": node.broker.access_key_id,
        "AWS_SECRET_ACCESS_KEY": node.broker.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _wait_until_serving(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + SERVING_WITHIN
    with Client(base_url=url, timeout=2) as http:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if http.get("/readyz").status_code == 200:
                    return
            except HTTPError:
                pass
            time.sleep(0.05)
    raise AssertionError(log.read_text()[-4000:])


def put(deployment: Deployment, keys: Keys, prefix: str) -> int:
    """The engine's answer to a small upload."""
    return deployment.send(keys, "PUT", f"/{deployment.bucket}/{prefix}picture.jpg", body=b"a picture").status


def seconds_until_refused(deployment: Deployment, keys: Keys, prefix: str) -> float:
    """From now to the first upload that the engine refuses; from then on it refuses all."""
    started = time.perf_counter()
    while put(deployment, keys, prefix) == 200:
        assert time.perf_counter() - started < REFUSED_WITHIN, "nothing was revoked"
        time.sleep(0.005)
    seconds = time.perf_counter() - started
    assert [put(deployment, keys, prefix) for _ in range(5)] == [403] * 5
    return seconds
