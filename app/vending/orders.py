"""What shapes a credential, and the parameters of its STS call: a pure function for each `VENDING_MODE`."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from app.crypto.encoding import b64url
from app.platform.settings import VendingMode
from app.policy.session_policy import Access, Share, contribution_prefix

Purpose = Literal["upload"]


@dataclass(frozen=True, slots=True)
class Terms:
    """The operator's part, the same for every credential."""

    mode: VendingMode
    role_arn: str
    external_id: str | None = None
    policy_arns: tuple[str, ...] = ()
    session_tags: tuple[str, ...] = ()
    """Names of what the order tells (`user_id`, `session_id`, `access`), or fixed tags as `key=value`."""
    transitive_tag_keys: tuple[str, ...] = ()
    source_identity: bool = True
    saml_provider_arn: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """Everything that shapes a credential. Equal orders may share one, so an order is also the key of the cache."""

    user_id: uuid.UUID
    session_id: uuid.UUID
    access: Access
    prefix: str
    duration: int
    """Seconds."""
    policy: str
    terms: Terms
    not_before: datetime | None = None
    """In whole seconds. A credential that STS issued before it is revoked and does not fulfil the order."""
    purpose: Purpose | None = None
    shares: tuple[Share, ...] = ()
    """With the ids of their grants: a folder that is shared again never matches a credential of the earlier grant."""
    link_id: uuid.UUID | None = None
    """The link of the user's that it is for. It is the session's id too: whoever opens the link has no session."""
    contributor_id: uuid.UUID | None = None
    """Who writes by the link. None if it only reads."""

    def __hash__(self) -> int:
        """Hashes the fields that distinguish most orders. Equality compares the rest."""
        return hash((self.session_id, self.access, self.prefix))

    @property
    def write_prefixes(self) -> list[str]:
        """Where in folders of others the credential writes."""
        if self.contributor_id is not None:
            return [contribution_prefix(self.prefix, self.contributor_id)]
        return [contribution_prefix(share.prefix, self.user_id) for share in self.shares if share.contributes]

    @property
    def role_session_name(self) -> str:
        """The name by which CloudTrail shows the caller.

        `<user id>.<session id as 22 base64url characters>`: 59 characters of 64. Of a link it is `link.<link id>`, and
        of somebody who contributes by it `link.<link id>.<contributor id as 22 base64url characters>`: all 64.
        GetFederationToken takes 32, so there it is only the id of the link or the user, without hyphens.
        """
        if self.terms.mode == "federation_token":
            return (self.link_id or self.user_id).hex
        if self.link_id is not None:
            by = "" if self.contributor_id is None else f".{b64url(self.contributor_id.bytes)}"
            return f"link.{self.link_id}{by}"
        return f"{self.user_id}.{b64url(self.session_id.bytes)}"

    def issued_at(self, expires_at: datetime) -> datetime:
        """When, by STS's own clock, it issued the credential that expires at `expires_at`."""
        return expires_at - timedelta(seconds=self.duration)

    @property
    def tags(self) -> dict[str, str]:
        told = {"user_id": str(self.user_id), "session_id": str(self.session_id), "access": self.access}
        return dict(_tag(tag, told) for tag in self.terms.session_tags)


def assume_role(order: Order) -> dict[str, Any]:
    """Parameters of AssumeRole. An MFA code is not among them, because it works only once: see `cli/base_mfa.py`."""
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


def assume_role_with_saml(order: Order, assertion: str) -> dict[str, Any]:
    """Parameters of AssumeRoleWithSAML. Session name, tags and SourceIdentity are attributes of the assertion.

    The session policy is not: no attribute can hold one.
    """
    terms = order.terms
    return {
        "RoleArn": terms.role_arn,
        "PrincipalArn": terms.saml_provider_arn,
        "SAMLAssertion": assertion,
        **_session(order),
    }


def get_federation_token(order: Order) -> dict[str, Any]:
    """Parameters of GetFederationToken. The policy and the IAM user's own rights bound the credential."""
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
