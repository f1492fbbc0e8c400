"""`tokenvend serve` with Ceph's gateway as its S3, STS and IAM, and how soon that refuses what was revoked."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from tests.journeys.deployment import REGION, Deployment, Keys
from tests.journeys.served import started
from tests.support.ceph import CLIENT, ROLE_ARN, CephNode

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
    with started(directory, settings_on_ceph(node, database_url) | dict(settings or {})) as served:
        owner = Keys(node.owner.access_key_id, node.owner.secret_access_key)
        yield OnCeph(served.url, node.endpoint_url, node.bucket, owner)


def settings_on_ceph(node: CephNode, database_url: str) -> dict[str, str]:
    return {
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_RATE_LIMITS": "off",
        "TOKENVEND_BUCKET": node.bucket,
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "TOKENVEND_STS_ENDPOINT_URL": node.endpoint_url,
        "TOKENVEND_S3_ENDPOINT_URL": node.endpoint_url,
        "TOKENVEND_IAM_ENDPOINT_URL": node.endpoint_url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": node.broker.access_key_id,
        "AWS_SECRET_ACCESS_KEY": node.broker.secret_access_key,
    }


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
