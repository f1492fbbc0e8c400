"""MinIO's community server: S3 and STS at one port of loopback, in a folder that is gone with the block.

It is built from its Go module, which takes minutes, and kept under `build/`. Its licence is the AGPL: it is a program
of its own that tests start, and no part of this project.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from botocore.config import Config
from minio import MinioAdmin
from minio.credentials import StaticProvider

from app.engine.config import HOST, OBJECT_ACTIONS, REGION, KeyPair
from tests.support.engine import eventually
from tests.support.ports import free_port

VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
"""The last one, of February 2026: its repository is no longer maintained."""
PROGRAM = Path(__file__).parent.parent.parent / "build" / "minio" / VERSION / "minio"
CLIENT = Config(s3={"addressing_style": "path"}, signature_version="s3v4")
BROKER = "broker"
ROLE_ARN = "arn:aws:iam::000000000000:role/tokenvend-vending"
"""There are no roles: a session has what the user may who asked for it, and every ARN is accepted."""


@dataclass(frozen=True)
class MinioNode:
    endpoint_url: str
    """Of S3, STS and the administration alike."""
    bucket: str
    owner: KeyPair
    """The bucket's, and the server's: MinIO calls it root."""
    broker: KeyPair
    """A user that may reach `users/*` and nothing else, which is the most that its sessions may."""

    @property
    def admin(self) -> MinioAdmin:
        return admin(self.endpoint_url, self.owner.access_key_id, self.owner.secret_access_key)

    def s3(self, keys: KeyPair) -> Any:
        return boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            config=CLIENT,
        )


def admin(endpoint_url: str, access_key_id: str, secret_access_key: str, token: str | None = None) -> MinioAdmin:
    """The administration of that server by anybody's keys."""
    provider = StaticProvider(access_key_id, secret_access_key, token)
    return MinioAdmin(endpoint=endpoint_url.partition("//")[2], credentials=provider, region=REGION, secure=False)


@contextmanager
def minio_node(*, bucket: str = "photos") -> Iterator[MinioNode]:
    """Starts it on a free port of the loopback interface. Skips the test without Go."""
    build()
    owner, broker = KeyPair.random(), KeyPair(BROKER, KeyPair.random().secret_access_key)
    port = free_port()
    node = MinioNode(f"http://{HOST}:{port}", bucket, owner, broker)
    with tempfile.TemporaryDirectory(prefix="tv-minio-") as name:
        directory = Path(name)
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig=KILL", str(PROGRAM), "server", str(directory / "data")),
                    *("--address", f"{HOST}:{port}", "--certs-dir", str(directory / "certs")),
                ],
                env={
                    "HOME": name,
                    "PATH": os.environ["PATH"],
                    "MINIO_ROOT_USER": owner.access_key_id,
                    "MINIO_ROOT_PASSWORD": owner.secret_access_key,
                    "MINIO_REGION": REGION,
                    "MINIO_BROWSER": "off",
                    "MINIO_UPDATE": "off",
                    "MINIO_CI_CD": "on",  # takes a folder on the machine's own disk
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            if not eventually(lambda: process.poll() is not None or _answers(node)) or process.poll() is not None:
                raise AssertionError((directory / "log").read_text(errors="replace")[-4000:])
            _set_up(node)
            yield node
        finally:
            process.kill()
            process.wait()


def build() -> None:
    """Once for this version. Go tells what it lacks where it is too old to fetch the Go that the module wants."""
    if PROGRAM.exists():
        return
    if shutil.which("go") is None:
        pytest.skip("Go is missing: MinIO is built with it")
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["go", "install", f"github.com/minio/minio@{VERSION}"],
        env=os.environ | {"GOBIN": str(PROGRAM.parent), "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def _answers(node: MinioNode) -> bool:
    try:
        ready = urllib3.request("GET", f"{node.endpoint_url}/minio/health/ready", timeout=1.0, retries=False)
    except urllib3.exceptions.HTTPError:
        return False
    return bool(ready.status == 200)


def _set_up(node: MinioNode) -> None:
    node.s3(node.owner).create_bucket(Bucket=node.bucket)
    node.admin.policy_add("users", policy={"Version": "2012-10-17", "Statement": _permissions(node.bucket)})
    node.admin.user_add(node.broker.access_key_id, node.broker.secret_access_key)
    node.admin.policy_set("users", BROKER)


def _permissions(bucket: str) -> list[dict[str, Any]]:
    return [
        {"Effect": "Allow", "Action": list(OBJECT_ACTIONS), "Resource": [f"arn:aws:s3:::{bucket}/users/*"]},
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:ListBucketVersions"],
            "Resource": [f"arn:aws:s3:::{bucket}"],
            "Condition": {"StringLike": {"s3:prefix": ["users/*"]}},
        },
    ]
