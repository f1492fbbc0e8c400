"""Writes the policies of the vending role that deny, through IAM: an inline policy and managed ones.

An operator creates and attaches the managed policies. The service only adds and deletes their versions.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from app.aws.base_credentials import FAULTS
from app.records.models import EVERYONE
from app.revocation import denials
from app.revocation.denials import Denial

POLICY_NAME = "tokenvend-revocations"
PROBE_NAME = "tokenvend-revocations-probe"
PROBE = denials.build([Denial("session", EVERYONE, EVERYONE, datetime.fromtimestamp(0, UTC))])
"""Denies a session that nobody has."""
MANAGED_SIZE = 6144
"""Characters of a managed policy, without white space. This IAM quota cannot be raised."""
VERSIONS_LEFT = 3
"""Most versions of a managed policy before one is added. IAM keeps five, and its list may lack the newest."""
IAM_CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
"""No retries: the job itself tries again."""

_KINDS = {
    **dict.fromkeys(("Throttling", "ThrottlingException", "RequestLimitExceeded"), "throttled"),
    "LimitExceeded": "too_large",
}


class IamFailed(Exception):
    """IAM did not do it. `kind` is `throttled`, `too_large`, `refused` or `unavailable`. The message is IAM's code."""

    def __init__(self, kind: str, code: str) -> None:
        super().__init__(code)
        self.kind = kind


class RoleDenials:
    """The vending role's policies that this service writes. Each call raises `IamFailed`."""

    def __init__(self, role_arn: str, make_client: Callable[[], Any], policy_arns: Sequence[str] = ()) -> None:
        """`make_client` is called at the first use, because it may look for credentials over the network."""
        self.role_arn = role_arn
        self.policy_arns = tuple(policy_arns)
        self._role_name = role_arn.rpartition("/")[2]
        self._make_client = make_client
        self._client: Any = None
        self._lock = threading.Lock()

    async def write(self, document: str, policy: str = POLICY_NAME) -> None:
        """Writes one policy. `policy` is the inline policy's name or a managed policy's ARN.

        An empty document denies nobody.
        """
        if policy in self.policy_arns:
            await asyncio.to_thread(self._call, self._put_version, policy, document or PROBE)
        else:
            await asyncio.to_thread(self._call, self._put if document else self._take_away, policy, document)

    async def try_out(self) -> None:
        """Writes an inline policy that denies nobody, and deletes it again."""
        await asyncio.to_thread(self._call, self._put, PROBE_NAME, PROBE)
        await asyncio.to_thread(self._call, self._take_away, PROBE_NAME, "")

    async def try_out_managed(self, policy_arn: str) -> None:
        """Adds a version that denies nobody, which takes no effect, and deletes it again."""
        await asyncio.to_thread(self._call, self._try_version, policy_arn, PROBE)

    async def unattached(self) -> Sequence[str]:
        """The managed policies that are not attached to the role. Needs iam:ListAttachedRolePolicies."""
        attached: list[str] = []
        await asyncio.to_thread(self._call, lambda client, _name, _document: self._list(client, attached), "", "")
        return [arn for arn in self.policy_arns if arn not in attached]

    def _put(self, client: Any, name: str, document: str) -> None:
        client.put_role_policy(RoleName=self._role_name, PolicyName=name, PolicyDocument=document)

    def _take_away(self, client: Any, name: str, _document: str) -> None:
        """Looks first, because Ceph's answer to the deletion of a missing policy cannot be parsed."""
        try:
            client.get_role_policy(RoleName=self._role_name, PolicyName=name)
            client.delete_role_policy(RoleName=self._role_name, PolicyName=name)
        except ClientError as error:
            if _code(error) != "NoSuchEntity":
                raise

    def _put_version(self, client: Any, arn: str, document: str) -> None:
        _make_room(client, arn)
        _create(client, arn, document, default=True)

    def _try_version(self, client: Any, arn: str, document: str) -> None:
        _make_room(client, arn)
        version = _create(client, arn, document, default=False)
        client.delete_policy_version(PolicyArn=arn, VersionId=version)

    def _list(self, client: Any, attached: list[str]) -> None:
        for page in client.get_paginator("list_attached_role_policies").paginate(RoleName=self._role_name):
            attached += [policy["PolicyArn"] for policy in page["AttachedPolicies"]]

    def _call(self, call: Callable[[Any, str, str], None], name: str, document: str) -> None:
        try:
            with self._lock:
                if self._client is None:
                    self._client = self._make_client()
            call(self._client, name, document)
        except ClientError as error:
            self._client = None  # the next try looks for credentials again
            code = _code(error)
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            raise IamFailed(_KINDS.get(code) or ("unavailable" if status >= 500 else "refused"), code) from error
        except (*FAULTS, ResponseParserError) as error:
            self._client = None
            raise IamFailed("unavailable", type(error).__name__) from error


def _code(error: ClientError) -> str:
    """The error's code. Ceph's errors lack the element from which boto3 reads it."""
    return str(error.response.get("Error", {}).get("Code") or error.response.get("Code") or "Unknown")


def _make_room(client: Any, arn: str) -> None:
    """Deletes the oldest versions, but never the one in effect."""
    versions = client.list_policy_versions(PolicyArn=arn)["Versions"]
    oldest = sorted((one["VersionId"] for one in versions if not one["IsDefaultVersion"]), key=lambda v: int(v[1:]))
    for version in oldest[: max(0, len(versions) - VERSIONS_LEFT)]:
        try:
            client.delete_policy_version(PolicyArn=arn, VersionId=version)
        except ClientError as error:
            if _code(error) != "NoSuchEntity":
                raise


def _create(client: Any, arn: str, document: str, *, default: bool) -> str:
    """The id of the new version. If IAM still has five, the next try finds all of them in its list."""
    try:
        made = client.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=default)
    except ClientError as error:
        if _code(error) == "LimitExceeded":
            raise IamFailed("unavailable", _code(error)) from error
        raise
    return str(made["PolicyVersion"]["VersionId"])
