"""Tries on the engine what vended credentials reach: each its own prefix, and nothing of the other one's."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from app.aws import s3
from app.aws.sts_client import StsCredential
from app.platform.settings import Settings

NAME = "tokenvend-isolation-probe"
CHANGED_TOKENS = 24
DENIALS = frozenset({"AccessDenied", "403"})
Attempt = Literal["put", "get", "list", "delete"]
FOREIGN: tuple[Attempt, ...] = ("get", "list", "put", "delete")
"""In this order, so that an object that the other one put is read."""
FOUND = frozenset({"NoSuchKey", "404"})
"""Answers that show that S3 looked for the object, so an existing one would have been found."""
NOBODY = StsCredential("none", "none", "none", datetime.max.replace(tzinfo=UTC), None)


class S3Unreachable(Exception):
    """S3 did not answer. The message is the kind of fault."""


@dataclass(frozen=True)
class Tenant:
    """A prefix, and the credential for it."""

    prefix: str
    credential: StsCredential


@dataclass(frozen=True)
class Outcome:
    refused: list[str]
    """Which of put, get, list and delete were refused in the own prefix, where they must work, and how."""
    reached: list[str]
    """Which of them worked in the other prefix, where they must be denied. "Not found" counts as worked."""
    unclear: list[str]
    """Which of them neither worked nor were denied in the other prefix, and what S3 said instead."""


async def try_both(settings: Settings, one: Tenant, other: Tenant) -> Outcome:
    """Each tenant puts an object into its own prefix, then tries everything on the other. Raises `S3Unreachable`."""
    outcome = Outcome([], [], [])
    probes = [
        (Probe(settings, mine.credential), mine.prefix, theirs.prefix) for mine, theirs in ((one, other), (other, one))
    ]
    try:
        for probe, own, _ in probes:
            await _try_own(probe, own, ("put", "get", "list"), outcome)
        for probe, _, foreign in probes:
            await _try_foreign(probe, foreign, outcome)
        for probe, own, _ in probes:
            await _try_own(probe, own, ("delete",), outcome)
    except S3Unreachable:
        if not outcome.reached:  # a prefix that was reached counts even if S3 fails later
            raise
    return outcome


async def _try_foreign(probe: "Probe", prefix: str, outcome: Outcome) -> None:
    for name in FOREIGN:
        code = await probe.attempt(name, prefix)
        if code is None or code in FOUND:
            outcome.reached.append(name)
        elif code not in DENIALS:
            outcome.unclear.append(f"{name} ({code})")


async def _try_own(probe: "Probe", prefix: str, names: Sequence[Attempt], outcome: Outcome) -> None:
    for name in names:
        if (code := await probe.attempt(name, prefix)) is not None:
            outcome.refused.append(f"{name} ({code})")


class Probe:
    """Uses S3 as the user's app would. Each call raises `S3Unreachable` if S3 does not answer."""

    def __init__(self, settings: Settings, credential: StsCredential) -> None:
        self._bucket = settings.bucket
        self._s3 = s3.make_client(settings, credential)

    async def wrong_with_form(self, url: str, fields: Sequence[tuple[str, str]], key: str, size: int) -> str | None:
        """What is wrong with how S3 handles a form for `size` bytes at `key`; None if it obeys the form."""
        larger = await asyncio.to_thread(_send_form, url, fields, b"x" * (size + 1))
        if larger < 300:
            return f"a file that is too large is answered with {larger}"
        status = await asyncio.to_thread(_send_form, url, fields, b"x" * size)
        if status != 201:
            return f"it is refused with {status}"
        place = {"Bucket": self._bucket, "Key": key}
        missing = await asyncio.to_thread(_refusal, self._s3.head_object, place)
        await asyncio.to_thread(_refusal, self._s3.delete_object, place)
        return f"it is answered with {status}, and nothing is stored" if missing else None

    async def attempt(self, name: Attempt, prefix: str) -> str | None:
        """S3's code if it refuses the attempt on an object of the prefix, or on its list; None if it works."""
        place = {"Bucket": self._bucket, "Key": prefix + NAME}
        match name:
            case "put":
                return await asyncio.to_thread(_refusal, self._s3.put_object, {**place, "Body": b"probe"})
            case "get":
                return await asyncio.to_thread(_refusal, self._s3.get_object, place)
            case "list":
                folder = {"Bucket": self._bucket, "Prefix": prefix}
                return await asyncio.to_thread(_refusal, self._s3.list_objects_v2, folder)
            case "delete":
                return await asyncio.to_thread(_refusal, self._s3.delete_object, place)


async def exposed_to(settings: Settings, origin: str) -> frozenset[str] | None:
    """The headers, in lower case, that a page of `origin` may read of the bucket's answers; None if it may not PUT.

    A CORS preflight tells, which is not signed. Raises `S3Unreachable`.
    """
    return await asyncio.to_thread(_preflight, settings, origin)


async def name_of_server(settings: Settings) -> str:
    """What S3 calls itself in the header `Server`; empty if it does not say. Raises `S3Unreachable`."""
    url = f"{s3.make_client(settings, NOBODY).meta.endpoint_url}/{settings.bucket}/users/"
    return (await asyncio.to_thread(_request, "HEAD", url, {})).headers.get("Server", "")


def _preflight(settings: Settings, origin: str) -> frozenset[str] | None:
    url = f"{s3.make_client(settings, NOBODY).meta.endpoint_url}/{settings.bucket}/users/"
    headers = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    answer = _request("OPTIONS", url, headers)
    if answer.headers.get("Access-Control-Allow-Origin") not in (origin, "*"):
        return None
    named = answer.headers.get("Access-Control-Expose-Headers", "").lower().split(",")
    return frozenset(name.strip() for name in named)


def _request(method: str, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
    """Not signed. Raises `S3Unreachable`."""
    try:
        return urllib3.request(method, url, headers=headers, timeout=5, retries=False)
    except HTTPError as error:
        raise S3Unreachable(type(error).__name__) from error


async def believed_changed_tokens(settings: Settings, own: StsCredential, prefix: str, stranger: StsCredential) -> int:
    """How many of `CHANGED_TOKENS` session tokens of a stranger, each with one character changed, read an own object.

    An engine that encrypts its tokens without authenticating them drops a policy that it can no longer read.
    """
    probe, token, believed = Probe(settings, own), stranger.session_token, 0
    await probe.attempt("put", prefix)
    try:
        for number in range(CHANGED_TOKENS):
            place = len(token) * number // CHANGED_TOKENS
            changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            holder = Probe(settings, replace(stranger, session_token=changed))
            believed += await holder.attempt("get", prefix) is None
    finally:
        await probe.attempt("delete", prefix)
    return believed


def _send_form(url: str, fields: Sequence[tuple[str, str]], body: bytes) -> int:
    """The status of the answer. Raises `S3Unreachable`."""
    parts: list[tuple[str, Any]] = [*fields, ("file", ("probe", body, "application/octet-stream"))]
    try:
        return urllib3.request("POST", url, fields=parts, timeout=5, retries=False).status
    except HTTPError as error:
        raise S3Unreachable(type(error).__name__) from error


def _refusal(call: Callable[..., Any], arguments: dict[str, Any]) -> str | None:
    try:
        call(**arguments)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "Unknown"))
        if code.isdecimal() and code not in DENIALS:  # an HTTP status, because the answer has no error document of S3
            raise S3Unreachable(f"HTTP {code} from something that is not S3") from error
        return code
    except (BotoCoreError, ResponseParserError, RecursionError) as error:  # RecursionError: a redirect to itself
        raise S3Unreachable(type(error).__name__) from error
    return None
