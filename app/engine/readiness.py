"""Gets the engine ready: STS knows the broker, and the bucket exists and is open to the allowed origins."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from app.engine import config
from app.engine.process import Weed

START_TIMEOUT = 20.0
PAUSE = 0.01
CLIENT = Config(
    connect_timeout=1,
    read_timeout=3,
    retries={"total_max_attempts": 1},
    s3={"addressing_style": "path"},
)
NOT_FROM_ENVIRONMENT = {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
CORS_METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE"]


def prepare(
    weed: Weed, url: str, keys: config.Keys, bucket: str, *, origins: Sequence[str], exposed: Sequence[str]
) -> None:
    """Makes the bucket if need be, and returns when the engine is ready. Raises `EngineError` if that fails."""
    deadline = time.monotonic() + START_TIMEOUT

    def attempt(probe: Callable[[], object]) -> None:
        while True:
            try:
                probe()
            except (OSError, ClientError, BotoCoreError) as error:
                if weed.has_ended():
                    raise weed.failure("SeaweedFS ended while it was starting") from error
                if time.monotonic() > deadline:
                    raise weed.failure(f"SeaweedFS was not ready after {START_TIMEOUT:.0f} s ({error})") from error
            else:
                return
            time.sleep(PAUSE)

    session = own_session()
    # The clients are made while SeaweedFS starts: that takes longer than all their calls.
    with (
        closing(_client(session, "sts", url, keys.broker)) as sts,
        closing(_client(session, "s3", url, keys.owner)) as s3,
    ):
        attempt(lambda: socket.create_connection((config.HOST, urlsplit(url).port), timeout=1).close())
        attempt(sts.get_caller_identity)
        attempt(lambda: _ensure_bucket(s3, bucket))
        attempt(lambda: _allow(s3, bucket, origins, exposed))


def own_session() -> Session:
    """An AWS session that takes no profile, no configuration and no proxy from the environment."""
    session = Session(session_vars=NOT_FROM_ENVIRONMENT)
    session.set_default_client_config(Config(proxies={}))
    return session


def _client(session: Session, service: str, url: str, keys: config.KeyPair) -> Any:
    return session.create_client(
        service,
        region_name=config.REGION,
        endpoint_url=url,
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        config=CLIENT,
    )


def _ensure_bucket(s3: Any, bucket: str) -> None:
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_FOUND:
            raise
        s3.create_bucket(Bucket=bucket)
        s3.head_bucket(Bucket=bucket)


def _allow(s3: Any, bucket: str, origins: Sequence[str], exposed: Sequence[str]) -> None:
    if not origins:
        s3.delete_bucket_cors(Bucket=bucket)
        return
    rule = {
        "AllowedOrigins": list(origins),
        "AllowedMethods": CORS_METHODS,
        "AllowedHeaders": ["*"],
        "ExposeHeaders": list(exposed),
        "MaxAgeSeconds": 3600,
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
