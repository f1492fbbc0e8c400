"""What shapes a credential, and the STS call that gets it: pure functions, one for each `VENDING_MODE`."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from app.crypto.encoding import b64url
from app.platform.settings import VendingMode
from app.policy.session_policy import Access, Share

Purpose = Literal["upload"]


@dataclass(frozen=True, slots=True)
class Terms:
    """The operator's part, the same for every credential."""

    mode: VendingMode
    role_arn: str
    external_id: str | None = None
    policy_arns: tuple[str, ...] = ()
    session_tags: tuple[str, ...] = ()
    """Names of what a tag tells of the order, or `key=value`."""
    transitive_tag_keys: tuple[str, ...] = ()
    source_identity: bool = True


@dataclass(frozen=True, slots=True)
class Order:
    """Everything that shapes a credential; equal orders may share one, so this is the key of the cache too."""

    user_id: uuid.UUID
    session_id: uuid.UUID
    access: Access
    prefix: str
    duration: int
    """Seconds."""
    policy: str
    terms: Terms
    not_before: datetime | None = None
    """In whole seconds: what STS issued before is revoked, and is not what is asked for."""
    purpose: Purpose | None = None
    shares: tuple[Share, ...] = ()
    """By their grants too: a folder that is shared again is never found in what was issued before."""

    def __hash__(self) -> int:
        """Of what tells most orders apart: equality looks at the rest."""
        return hash((self.session_id, self.access, self.prefix))

    @property
    def role_session_name(self) -> str:
        """What CloudTrail shows of the caller.

        `<user id>.<session id as 22 base64url characters>`: 59 of 64. GetFederationToken takes 32, so there it names
        the user alone: the id without its hyphens.
        """
        if self.terms.mode == "federation_token":
            return self.user_id.hex
        return f"{self.user_id}.{b64url(self.session_id.bytes)}"

    def issued_at(self, expires_at: datetime) -> datetime:
        """When STS issued, by its own clock, what expires then."""
        return expires_at - timedelta(seconds=self.duration)

    @property
    def tags(self) -> dict[str, str]:
        told = {"user_id": str(self.user_id), "session_id": str(self.session_id), "access": self.access}
        return dict(_tag(tag, told) for tag in self.terms.session_tags)


def assume_role(order: Order) -> dict[str, Any]:
    """Parameters of AssumeRole. A code of an MFA device is not among them: it works once, see `cli.py`."""
    terms = order.terms
    return {
        **_of_a_role(order),
        **({"ExternalId": terms.external_id} if terms.external_id else {}),
        **_tags(order),
        **({"TransitiveTagKeys": list(terms.transitive_tag_keys)} if terms.transitive_tag_keys else {}),
        **({"SourceIdentity": str(order.user_id)} if terms.source_identity else {}),
    }


def assume_role_with_web_identity(order: Order, identity_token: str) -> dict[str, Any]:
    """Parameters of AssumeRoleWithWebIdentity. Tags and SourceIdentity are claims of the token."""
    return {**_of_a_role(order), "WebIdentityToken": identity_token}


def get_federation_token(order: Order) -> dict[str, Any]:
    """Parameters of GetFederationToken. What it gives is bounded by the policy and by the IAM user's own rights."""
    return {"Name": order.role_session_name, **_session(order), **_tags(order)}


def _of_a_role(order: Order) -> dict[str, Any]:
    return {"RoleArn": order.terms.role_arn, "RoleSessionName": order.role_session_name, **_session(order)}


def _session(order: Order) -> dict[str, Any]:
    return {
        "Policy": order.policy,
        **({"PolicyArns": [{"arn": arn} for arn in order.terms.policy_arns]} if order.terms.policy_arns else {}),
        "DurationSeconds": order.duration,
    }


def _tags(order: Order) -> dict[str, Any]:
    tags = order.tags
    return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]} if tags else {}


def _tag(tag: str, told: Mapping[str, str]) -> tuple[str, str]:
    key, fixed, value = tag.partition("=")
    return key, value if fixed else told[key]
