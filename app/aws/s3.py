"""The few calls to S3 that this service itself makes, with a vended credential."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from app.aws.sts_client import StsCredential
from app.platform.settings import Settings

PAGE = 1000
"""Keys: S3's limit for one list, and for one deletion of several objects."""


@dataclass(frozen=True)
class Page:
    """A page of a list, in the order of keys."""

    objects: int
    bytes: int
    last: str | None
    """The key after which the next page begins."""
    more: bool
    old_bytes: int = 0
    """The size of replaced and deleted versions."""
    last_version: str | None = None
    """The version of the key `last` after which the next page begins; only in a list of versions."""


@dataclass(frozen=True)
class Listed:
    """An object as a list has it."""

    key: str
    size: int
    etag: str
    modified_at: str


class S3Failed(Exception):
    """S3 refused or did not answer. The message is the kind of fault."""


def make_client(settings: Settings, credential: StsCredential) -> Any:
    import boto3  # noqa: PLC0415 - with the first of these calls: many services never make one

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
    """Deletes up to `PAGE` objects under the prefix and returns their keys; none if it is empty. Raises `S3Failed`."""
    with _faults():
        found = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE).get("Contents", [])
        keys = [entry["Key"] for entry in found]
        for key in _not_deleted_together(client, bucket, keys):
            client.delete_object(Bucket=bucket, Key=key)
    return keys


def list_some(client: Any, bucket: str, prefix: str, after: str | None) -> Page:
    """Up to `PAGE` objects under the prefix after the key `after`. Raises `S3Failed`."""
    begin = {} if after is None else {"StartAfter": after}
    with _faults():
        answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE, **begin)
    found = answer.get("Contents", [])
    last = found[-1]["Key"] if found else None
    return Page(len(found), sum(entry["Size"] for entry in found), last, bool(answer.get("IsTruncated")))


def list_objects(client: Any, bucket: str, prefix: str, *, most: int) -> Sequence[Listed] | None:
    """All objects under the prefix; None if there are more than `most`. Raises `S3Failed`."""
    found: list[Listed] = []
    with _faults():
        for answer in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            found += (
                Listed(one["Key"], one["Size"], one["ETag"].strip('"'), one["LastModified"].isoformat())
                for one in answer.get("Contents", ())
            )
            if len(found) > most:
                return None
    return found


def list_some_versions(client: Any, bucket: str, prefix: str, after: str | None, after_version: str | None) -> Page:
    """Up to `PAGE` versions and delete markers under the prefix, after the given key and version.

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
    """Turns the SDK's errors into `S3Failed`."""
    try:
        yield
    except ClientError as error:
        raise S3Failed(str(error.response.get("Error", {}).get("Code", "Unknown"))) from error
    except (BotoCoreError, ResponseParserError) as error:  # the latter if what answers is not S3
        raise S3Failed(type(error).__name__) from error


def _not_deleted_together(client: Any, bucket: str, keys: list[str]) -> list[str]:
    """Deletes all keys in one call and returns those that it did not delete.

    Ceph refuses the call to every session policy, and XML cannot hold control characters.
    """
    if not keys:
        return []
    try:
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
    except ClientError:
        return keys
    return [error["Key"] for error in answer.get("Errors", [])]
