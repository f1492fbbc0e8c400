"""STS, and nothing but STS: one AssumeRole for one order. The only module that knows botocore's errors."""

import asyncio
import functools
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

from app.clock import Clock
from app.crypto import b64url
from app.problems import Overloaded, PolicyTooLarge, Problem, StsRefused, StsThrottled, StsUnavailable
from app.settings import SettingsError

T = TypeVar("T")

CONCURRENT_CALLS = 16
MOST_WAITING = 500
CLIENT_CONFIG = Config(
    user_agent="tokenvend",  # botocore makes up its own anew, twice a call: a seventh of the call's time
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=CONCURRENT_CALLS,
)
THROTTLED = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"})
FAULTS = (
    ClientError,
    BotoCoreError,
    HTTPClientError,
    ResponseParserError,
    LookupError,
    ValueError,
    ArithmeticError,
    RuntimeError,
)
"""What boto3 raises: refusals, broken connections, and what its parser stumbles on in an answer that is not STS's."""


@dataclass(frozen=True, slots=True)
class Order:
    """Everything that shapes a credential; equal orders may share one, so this is the key of the cache too."""

    user_id: uuid.UUID
    session_id: uuid.UUID
    access: str
    prefix: str
    duration: int
    """Seconds."""
    role_arn: str
    policy: str

    @property
    def role_session_name(self) -> str:
        """`<user id>.<session id as 22 base64url characters>`: 59 of 64, so CloudTrail names user and device."""
        return f"{self.user_id}.{b64url(self.session_id.bytes)}"


@dataclass(frozen=True, slots=True)
class StsCredential:
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime
    request_id: str | None


def default_session() -> boto3.Session:
    """The SDK's default chain. Raises `SettingsError` for a profile or configuration that it cannot read."""
    try:
        return boto3.Session()
    except BotoCoreError as error:
        raise SettingsError(f"AWS: {error}") from error


class Broker:
    """Assumes the role by boto3's client, in threads of its own so that a slow STS holds up nothing else."""

    def __init__(
        self,
        aws: boto3.Session,
        clock: Clock,
        *,
        region: str,
        endpoint_url: str | None,
        external_id: str | None,
        source_identity: bool,
    ) -> None:
        self._sts = aws.client("sts", region_name=region, endpoint_url=endpoint_url, config=CLIENT_CONFIG)
        self._clock = clock
        self._external_id = external_id
        self._source_identity = source_identity
        self._threads = ThreadPoolExecutor(CONCURRENT_CALLS, thread_name_prefix="sts")
        self._waiting = 0

    async def assume(self, order: Order) -> StsCredential:
        """A fresh credential. Raises `StsThrottled`, `StsUnavailable`, `StsRefused`, `PolicyTooLarge`, `Overloaded`."""
        return await self._in_thread(functools.partial(self._assume, order))

    async def caller_arn(self) -> str:
        """Who STS says we are. Raises as `assume` does."""
        return await self._in_thread(self._caller_arn)

    def _assume(self, order: Order) -> StsCredential:
        parameters: dict[str, Any] = {
            "RoleArn": order.role_arn,
            "RoleSessionName": order.role_session_name,
            "Policy": order.policy,
            "DurationSeconds": order.duration,
        }
        if self._external_id:
            parameters["ExternalId"] = self._external_id
        if self._source_identity:
            parameters["SourceIdentity"] = str(order.user_id)
        try:
            answer = self._sts.assume_role(**parameters)
            credentials = answer["Credentials"]
            issued = StsCredential(
                access_key_id=credentials["AccessKeyId"],
                secret_access_key=credentials["SecretAccessKey"],
                session_token=credentials["SessionToken"],
                expires_at=credentials["Expiration"],
                request_id=answer["ResponseMetadata"].get("RequestId"),
            )
        except FAULTS as error:
            raise _problem(error) from error
        whole = issued.access_key_id and issued.secret_access_key and issued.session_token and issued.expires_at.tzinfo
        if not whole or issued.expires_at <= self._clock.now():
            raise StsUnavailable(cause="STS answered with a credential that is not whole or has expired")
        return issued

    def _caller_arn(self) -> str:
        try:
            return str(self._sts.get_caller_identity()["Arn"])
        except FAULTS as error:
            raise _problem(error) from error

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise Overloaded("More credentials are asked for than the engine can issue. Try again.", retry_after=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._sts.close()


def _problem(error: Exception) -> Problem:
    """What the caller is told. `cause` has STS's code, never its message, which repeats the policy."""
    if not isinstance(error, ClientError):
        return StsUnavailable(cause=type(error).__name__, retry_after=2)
    code = str(error.response.get("Error", {}).get("Code", "Unknown"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "PackedPolicyTooLarge":  # the one refusal that is the caller's doing
        return PolicyTooLarge(cause=code)
    if code in THROTTLED:
        return StsThrottled(cause=code, retry_after=2)
    if status >= 500:
        return StsUnavailable(cause=code, retry_after=2)
    return StsRefused(cause=code, retry_after=30)
