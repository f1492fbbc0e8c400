"""The policy of the vending role that this service writes by IAM, and nothing else of IAM's."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from app.credentials import denials
from app.credentials.denials import Denial
from app.models import EVERYONE
from app.sts.base import FAULTS

POLICY_NAME = "tokenvend-revocations"
PROBE_NAME = "tokenvend-revocations-probe"
PROBE = denials.build([Denial("session", EVERYONE, EVERYONE, datetime.fromtimestamp(0, UTC))])
"""Denies a session that nobody has."""
IAM_CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
"""The job tries again by itself."""

_KINDS = {
    **dict.fromkeys(("Throttling", "ThrottlingException", "RequestLimitExceeded"), "throttled"),
    "LimitExceeded": "too_large",
}


class IamFailed(Exception):
    """IAM did not do it. `kind` is `throttled`, `too_large`, `refused` or `unavailable`, the message IAM's code."""

    def __init__(self, kind: str, code: str) -> None:
        super().__init__(code)
        self.kind = kind


class RoleDenials:
    """The vending role's inline policy that is this service's own. Each call raises `IamFailed`."""

    def __init__(self, role_arn: str, make_client: Callable[[], Any]) -> None:
        """`make_client` is called at the first use: the SDK looks for credentials then, maybe by network."""
        self.role_arn = role_arn
        self._role_name = role_arn.rpartition("/")[2]
        self._make_client = make_client
        self._client: Any = None
        self._lock = threading.Lock()

    async def write(self, document: str) -> None:
        """An empty one takes the policy away."""
        await asyncio.to_thread(self._call, self._put if document else self._take_away, POLICY_NAME, document)

    async def try_out(self) -> None:
        """Writes a policy that denies nobody, and takes it away again."""
        await asyncio.to_thread(self._call, self._put, PROBE_NAME, PROBE)
        await asyncio.to_thread(self._call, self._take_away, PROBE_NAME, "")

    def _put(self, client: Any, name: str, document: str) -> None:
        client.put_role_policy(RoleName=self._role_name, PolicyName=name, PolicyDocument=document)

    def _take_away(self, client: Any, name: str, _document: str) -> None:
        """Looks first: Ceph's answer to the deletion of what is not there is none that can be read."""
        try:
            client.get_role_policy(RoleName=self._role_name, PolicyName=name)
            client.delete_role_policy(RoleName=self._role_name, PolicyName=name)
        except ClientError as error:
            if _code(error) != "NoSuchEntity":
                raise

    def _call(self, call: Callable[[Any, str, str], None], name: str, document: str) -> None:
        try:
            with self._lock:
                if self._client is None:
                    self._client = self._make_client()
            call(self._client, name, document)
        except ClientError as error:
            self._client = None  # the next try looks for credentials anew
            code = _code(error)
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            raise IamFailed(_KINDS.get(code) or ("unavailable" if status >= 500 else "refused"), code) from error
        except (*FAULTS, ResponseParserError) as error:
            self._client = None
            raise IamFailed("unavailable", type(error).__name__) from error


def _code(error: ClientError) -> str:
    """Ceph's errors lack the element that boto3 reads it from."""
    return str(error.response.get("Error", {}).get("Code") or error.response.get("Code") or "Unknown")
