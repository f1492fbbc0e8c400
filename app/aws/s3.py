"""The bucket as a vended credential reaches it: what this service itself does there, which is little."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from app.aws.sts_client import StsCredential
from app.platform.settings import Settings

PAGE = 1000
"""Keys: S3's own limit of a list, and of a deletion of many."""


@dataclass(frozen=True)
class Page:
    """A piece of a list, in the order of keys."""

    objects: int
    bytes: int
    last: str | None
    """Key, after which the next piece begins."""
    more: bool
    old_bytes: int = 0
    """Of versions that were replaced or deleted."""
    last_version: str | None = None
    """Of the key `last`, after which the next piece begins; with versions alone."""


class S3Failed(Exception):
    """S3 refused or did not answer; the message is the kind of fault."""


def make_client(settings: Settings, credential: StsCredential) -> Any:
    return boto3.client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.s3_endpoint_url,
        aws_access_key_id=credential.access_key_id,
        aws_secret_access_key=credential.secret_access_key,
        aws_session_token=credential.session_token,
        config=Config(
            connect_timeout=2,
            read_timeout=5,
            retries={"total_max_attempts": 2},
            s3={"addressing_style": "path" if settings.s3_force_path_style else "auto"},
        ),
    )


def delete_some(client: Any, bucket: str, prefix: str) -> list[str]:
    """Deletes up to `PAGE` objects under the prefix and tells their keys: none when it is empty. Raises `S3Failed`."""
    with _faults():
        found = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE).get("Contents", [])
        keys = [entry["Key"] for entry in found]
        for key in _not_deleted_together(client, bucket, keys):
            client.delete_object(Bucket=bucket, Key=key)
    return keys


def list_some(client: Any, bucket: str, prefix: str, after: str | None) -> Page:
    """Up to `PAGE` objects under the prefix, those that follow the key `after`. Raises `S3Failed`."""
    begin = {} if after is None else {"StartAfter": after}
    with _faults():
        answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE, **begin)
    found = answer.get("Contents", [])
    last = found[-1]["Key"] if found else None
    return Page(len(found), sum(entry["Size"] for entry in found), last, bool(answer.get("IsTruncated")))


def list_some_versions(client: Any, bucket: str, prefix: str, after: str | None, after_version: str | None) -> Page:
    """Up to `PAGE` versions and marks of deletion under the prefix, those that follow the ones named.

    Raises `S3Failed`.
    """
    begin = {"KeyMarker": after, "VersionIdMarker": after_version}
    with _faults():
        answer = client.list_object_versions(
            Bucket=bucket, Prefix=prefix, MaxKeys=PAGE, **{name: mark for name, mark in begin.items() if mark}
        )
    current = [version["Size"] for version in answer.get("Versions", []) if version["IsLatest"]]
    old = [version["Size"] for version in answer.get("Versions", []) if not version["IsLatest"]]
    last, last_version = answer.get("NextKeyMarker"), answer.get("NextVersionIdMarker")
    return Page(len(current), sum(current), last, bool(answer.get("IsTruncated")), sum(old), last_version)


@contextmanager
def _faults() -> Iterator[None]:
    """Raises `S3Failed` for those of the SDK."""
    try:
        yield
    except ClientError as error:
        raise S3Failed(str(error.response.get("Error", {}).get("Code", "Unknown"))) from error
    except (BotoCoreError, ResponseParserError) as error:  # the latter: something answers that is no S3
        raise S3Failed(type(error).__name__) from error


def _not_deleted_together(client: Any, bucket: str, keys: list[str]) -> list[str]:
    """Those left after one call for all: Ceph allows it to no session policy, and XML holds no control character."""
    if not keys:
        return []
    try:
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
    except ClientError:
        return keys
    return [error["Key"] for error in answer.get("Errors", [])]
