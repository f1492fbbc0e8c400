"""Tries on the engine itself what a vended credential reaches: its own prefix, and nothing of a neighbour's."""

import asyncio
from collections.abc import Callable
from typing import Any

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from app.credentials.broker import StsCredential
from app.settings import Settings

NAME = "tokenvend-isolation-probe"


class Probe:
    """S3 as the app of the user would use it. Each call raises `EndpointConnectionError` where S3 is not there."""

    def __init__(self, settings: Settings, credential: StsCredential) -> None:
        self._bucket = settings.bucket
        self._s3 = boto3.client(
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

    async def refused_own(self, prefix: str) -> list[str]:
        """Which of put, get, list and delete are refused although they must work."""
        return [name for name, allowed in await self._attempts(prefix) if not allowed]

    async def reached_foreign(self, prefix: str) -> list[str]:
        """Which of them work although they must be refused. A missing object counts: it was looked for."""
        return [name for name, allowed in await self._attempts(prefix) if allowed]

    async def allows_origin(self, origin: str) -> bool:
        """Whether a page of `origin` may PUT to the bucket, going by a CORS preflight."""
        return await asyncio.to_thread(self._preflight, origin)

    async def _attempts(self, prefix: str) -> list[tuple[str, bool]]:
        place = {"Bucket": self._bucket, "Key": prefix + NAME}
        calls: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
            ("put", self._s3.put_object, {**place, "Body": b"probe"}),
            ("get", self._s3.get_object, place),
            ("list", self._s3.list_objects_v2, {"Bucket": self._bucket, "Prefix": prefix}),
            ("delete", self._s3.delete_object, place),
        ]
        return [(name, await asyncio.to_thread(_allowed, call, arguments)) for name, call, arguments in calls]

    def _preflight(self, origin: str) -> bool:
        url = f"{self._s3.meta.endpoint_url}/{self._bucket}/users/"
        headers = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
        answer = urllib3.request("OPTIONS", url, headers=headers, timeout=5, retries=False)
        return answer.headers.get("Access-Control-Allow-Origin") in (origin, "*")


def _allowed(call: Callable[..., Any], arguments: dict[str, Any]) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) != 403
    return True
