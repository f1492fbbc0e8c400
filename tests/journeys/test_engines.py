"""What docs/operate/engines.md says was measured, of each engine that tests can start."""

import base64
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from app import engine
from tests.journeys.deployment import Deployment, Keys, Person, person
from tests.journeys.on_ceph import served_on_ceph
from tests.journeys.on_minio import served_on_minio
from tests.journeys.served import serving
from tests.support.ceph import ceph_node
from tests.support.databases import SqliteDatabases
from tests.support.minio import minio_node

pytestmark = pytest.mark.long

ORIGIN = "https://photos.example.org"
RULES = {"CORSRules": [{"AllowedOrigins": [ORIGIN], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}]}
NONE = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
PICTURE = b"a picture"
EVERYWHERE = {
    "put": 200,
    "put only where there is none": 412,
    "put only over what was read": 412,
    "right checksum": 200,
    "wrong checksum": 400,
    "tagged": 200,
    "made public": 200,
    "read by nobody": 403,
    "versions of the own folder": 403,
    "the bucket's Region": 403,
    "rules of CORS": 200,
    "no public access": 200,
    "read by nobody then": 403,
}
MEASURED = {
    "seaweedfs": EVERYWHERE | {"no public access": 501},
    "ceph": EVERYWHERE | {"wrong checksum": 200, "read by nobody": 200},
    "minio": EVERYWHERE | {"versions of the own folder": 200, "rules of CORS": 501, "no public access": 400},
}
"""The statuses of `answers`."""


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in MEASURED])
def engine_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def deployment(engine_name: str, tmp_path: Path, sqlite_databases: SqliteDatabases) -> Iterator[Deployment]:
    url = sqlite_databases.create(tmp_path)
    with ExitStack() as stack:
        if engine_name == "ceph":
            yield stack.enter_context(served_on_ceph(tmp_path, stack.enter_context(ceph_node()), url))
        elif engine_name == "minio":
            yield stack.enter_context(served_on_minio(tmp_path, stack.enter_context(minio_node()), url))
        else:
            running = stack.enter_context(engine.start(tmp_path / "engine"))
            served = stack.enter_context(serving(tmp_path, running, url))
            owner = Keys(running.owner_access_key_id, running.owner_secret_access_key)
            yield Deployment(served.url, running.endpoint_url, running.bucket, owner)


def test_answers_as_the_documents_say(deployment: Deployment, engine_name: str) -> None:
    with person(deployment) as ada:
        assert answers(deployment, ada) == MEASURED[engine_name]


def answers(deployment: Deployment, ada: Person) -> dict[str, int]:
    """Of requests with a vended credential; of its owner, where they are about the bucket's own rules."""
    keys, bucket, own = ada.keys(), f"/{deployment.bucket}", f"/{deployment.bucket}/{ada.prefix}a.jpg"

    def put(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return deployment.send(keys, "PUT", own, body=PICTURE, headers=named).status

    owner, place = deployment.as_owner, {"Bucket": deployment.bucket}
    return {
        "put": put(),
        "put only where there is none": put(If_None_Match="*"),
        "put only over what was read": put(If_Match=f'"{"0" * 32}"'),
        "right checksum": put(x_amz_checksum_crc32=checksum(PICTURE)),
        "wrong checksum": put(x_amz_checksum_crc32=checksum(b"another")),
        "tagged": put(x_amz_tagging="a=b"),
        "made public": put(x_amz_acl="public-read"),
        "read by nobody": deployment.send(None, "GET", own).status,
        "versions of the own folder": deployment.send(
            keys, "GET", f"{bucket}?versions&prefix={quote(ada.prefix, safe='')}"
        ).status,
        "the bucket's Region": deployment.send(keys, "GET", f"{bucket}?location").status,
        "rules of CORS": status(lambda: owner.put_bucket_cors(**place, CORSConfiguration=RULES)),
        "no public access": status(lambda: owner.put_public_access_block(**place, PublicAccessBlockConfiguration=NONE)),
        "read by nobody then": deployment.send(None, "GET", own).status,
    }


def checksum(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def status(call: Callable[[], Any]) -> int:
    try:
        answer = call()
    except ClientError as error:
        answer = error.response
    found: int = answer["ResponseMetadata"]["HTTPStatusCode"]
    return found
