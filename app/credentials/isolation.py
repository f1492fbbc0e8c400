"""Tries on the engine itself what a vended credential reaches: its own prefix, and nothing of a neighbour's."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from app.credentials import s3
from app.credentials.broker import StsCredential
from app.settings import Settings

NAME = "tokenvend-isolation-probe"
CHANGED_TOKENS = 24
DENIALS = frozenset({"AccessDenied", "403"})


class S3Unreachable(Exception):
    """S3 did not answer; the message is the kind of fault."""


class Probe:
    """S3 as the app of the user would use it. Each call raises `S3Unreachable` where S3 is not there."""

    def __init__(self, settings: Settings, credential: StsCredential) -> None:
        self._bucket = settings.bucket
        self._s3 = s3.make_client(settings, credential)

    async def refused_own(self, prefix: str) -> list[str]:
        """Which of put, get, list and delete are refused although they must work."""
        return [f"{name} ({refusal})" for name, refusal in await self._attempts(prefix) if refusal]

    async def reached_foreign(self, prefix: str) -> list[str]:
        """Which of them are not denied, although they must be. A missing object counts: it was looked for."""
        return [name for name, refusal in await self._attempts(prefix) if refusal not in DENIALS]

    async def put(self, prefix: str) -> None:
        await self._try(self._s3.put_object, prefix, Body=b"probe")

    async def reads(self, prefix: str) -> bool:
        """What `put` wrote."""
        return await self._try(self._s3.get_object, prefix) is None

    async def delete(self, prefix: str) -> None:
        await self._try(self._s3.delete_object, prefix)

    async def _try(self, call: Callable[..., Any], prefix: str, **more: Any) -> str | None:
        return await asyncio.to_thread(_refusal, call, {"Bucket": self._bucket, "Key": prefix + NAME, **more})

    async def allows_origin(self, origin: str) -> bool:
        """Whether a page of `origin` may PUT to the bucket, going by a CORS preflight."""
        return await asyncio.to_thread(self._preflight, origin)

    async def _attempts(self, prefix: str) -> list[tuple[str, str | None]]:
        place = {"Bucket": self._bucket, "Key": prefix + NAME}
        calls: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
            ("put", self._s3.put_object, {**place, "Body": b"probe"}),
            ("get", self._s3.get_object, place),
            ("list", self._s3.list_objects_v2, {"Bucket": self._bucket, "Prefix": prefix}),
            ("delete", self._s3.delete_object, place),
        ]
        return [(name, await asyncio.to_thread(_refusal, call, arguments)) for name, call, arguments in calls]

    def _preflight(self, origin: str) -> bool:
        url = f"{self._s3.meta.endpoint_url}/{self._bucket}/users/"
        headers = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
        try:
            answer = urllib3.request("OPTIONS", url, headers=headers, timeout=5, retries=False)
        except HTTPError as error:
            raise S3Unreachable(type(error).__name__) from error
        return answer.headers.get("Access-Control-Allow-Origin") in (origin, "*")


async def believed_changed_tokens(settings: Settings, own: StsCredential, prefix: str, stranger: StsCredential) -> int:
    """How many of CHANGED_TOKENS session tokens of a stranger, each with one character changed, read an object of ours.

    An engine that encrypts its tokens and does not authenticate them drops the policy that it can no longer read.
    """
    probe, token, believed = Probe(settings, own), stranger.session_token, 0
    await probe.put(prefix)
    try:
        for number in range(CHANGED_TOKENS):
            place = len(token) * number // CHANGED_TOKENS
            changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            believed += await Probe(settings, replace(stranger, session_token=changed)).reads(prefix)
    finally:
        await probe.delete(prefix)
    return believed


def _refusal(call: Callable[..., Any], arguments: dict[str, Any]) -> str | None:
    try:
        call(**arguments)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "Unknown"))
        if code.isdecimal() and code not in DENIALS:  # the status, for want of an error document of S3's
            raise S3Unreachable(f"HTTP {code} from something that is not S3") from error
        return code
    except (BotoCoreError, ResponseParserError, RecursionError) as error:  # the last one of a redirect to itself
        raise S3Unreachable(type(error).__name__) from error
    return None
