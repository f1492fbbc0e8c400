"""Explains why a request was refused: evaluates its action and key against the session policy and the role's policy.

It reads policies only, never the bucket. So it tells nobody whether an object exists.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any, Literal, cast, get_args
from uuid import UUID

from sqlalchemy.orm import Session

from app.platform.problems import NotFound
from app.platform.process import Platform
from app.platform.settings import Settings
from app.policy import session_policy
from app.policy.evaluation import Request, Verdict, evaluate
from app.policy.roles import role_policy
from app.policy.session_policy import Bucket, Share
from app.records.actor import Actor
from app.records.models import IssuedCredential
from app.revocation import effective
from app.vending import ledger
from app.vending.orders import Order
from app.vending.vending import Vending

Reason = Literal[
    "allowed", "session_policy", "role_policy", "explicit_deny", "not_evaluable", "revoked", "expired"
]  # fmt: skip

_GET = ("s3:GetObject", "kms:Decrypt")
_PUT = ("s3:PutObject", "kms:GenerateDataKey")
_PUT_PART = (*_PUT, "kms:Decrypt")
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "s3:getobject": _GET,
    "s3:headobject": _GET,
    "s3:putobject": _PUT,
    "s3:copyobject": _PUT,
    "s3:createmultipartupload": _PUT,
    "s3:uploadpart": _PUT_PART,
    "s3:uploadpartcopy": _PUT_PART,
    "s3:completemultipartupload": _PUT_PART,
    "s3:listparts": ("s3:ListMultipartUploadParts",),
    "s3:listmultipartuploads": ("s3:ListBucketMultipartUploads",),
    "s3:deleteobjects": ("s3:DeleteObject",),
    "s3:headbucket": ("s3:ListBucket",),
    "s3:listobjects": ("s3:ListBucket",),
    "s3:listobjectsv2": ("s3:ListBucket",),
    "s3:listobjectversions": ("s3:ListBucketVersions",),
}
"""The IAM actions that an S3 call needs. The KMS actions count only if the operator's key encrypts the bucket. A call
that is not here needs the action of its own name.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuAndPermissions.html"""
COPIES = frozenset({"s3:copyobject", "s3:uploadpartcopy"})
"""Calls that also read a source. The source is not known here."""
LISTS = frozenset({"s3:listbucket", "s3:listbucketversions"})
"""Actions whose key is a prefix."""
WRITES_TAGS = frozenset({"s3:putobjecttagging", "s3:deleteobjecttagging"})
OF_OBJECTS = frozenset({"s3:abortmultipartupload", "s3:listmultipartuploadparts", "s3:bypassgovernanceretention"})
"""Actions on objects, besides those that have `Object` but not `Bucket` in their name."""


@dataclass(frozen=True)
class Explanation:
    allowed: bool
    reason: Reason
    statement: str | None
    """JSON of the statement that decided, or of the one that is missing; None if no policy was evaluated. A statement
    of the role's policy has only its Sid and Effect, because only the operator may read that policy."""
    detail: str


@dataclass(frozen=True)
class Used:
    """A credential from the ledger."""

    credential: IssuedCredential
    effective_by: datetime | None
    """The engine refuses it from this moment at the latest; None if it is not revoked."""


async def explain(
    platform: Platform, vending: Vending, actor: Actor, *, action: str, key: str, access_key_id: str | None = None
) -> Explanation:
    """Evaluates the policies of a credential of the actor's for `action` on `key`.

    `action` is an IAM action such as `s3:GetObject`, or the name of an S3 call. Without `access_key_id`, the credential
    is one that a vend gives by default. Raises `NotFound` if the credential is not the actor's, and `RateLimited`.
    """
    await platform.limiter.hit("explain_access", str(actor.user_id))
    access: session_policy.Access = "read_write"
    session_id, path = actor.session_id, ""
    shares: tuple[Share, ...] = ()
    if access_key_id is not None:
        used = await platform.database.read(_find, platform.settings, actor, access_key_id)
        if (ended := _ended(used, platform.clock.now())) is not None:
            return ended
        row = used.credential
        access, session_id = cast(session_policy.Access, row.access), row.session_id
        path = row.prefix.removeprefix(session_policy.user_prefix(actor.user_id))
        shares = tuple(Share(UUID(share["grant_id"]), share["prefix"], None) for share in row.shared or ())
    order = vending.make_order(
        actor.user_id,
        session_id,
        access=access,
        path=path,
        duration=platform.settings.credential_ttl,
        shares=shares,
    )
    return _judge(platform.settings, vending.bucket, order, action, key)


def _find(session: Session, settings: Settings, actor: Actor, access_key_id: str) -> Used:
    credential = ledger.find_issued(session, access_key_id)
    if credential is None or credential.user_id != actor.user_id:
        raise NotFound
    return Used(credential, effective.effective_by_of(session, settings, credential))


def _ended(used: Used, now: datetime) -> Explanation | None:
    if used.credential.expires_at <= now:
        said = f"The credential expired at {_time(used.credential.expires_at)}. Vend another one."
        return Explanation(allowed=False, reason="expired", statement=None, detail=said)
    revoked_at = used.credential.withdrawn_at
    if revoked_at is not None and used.effective_by is not None:
        said = (
            f"The credential was revoked at {_time(revoked_at)}. The engine refuses it from "
            f"{_time(used.effective_by)} at the latest. Vend another one."
        )
        return Explanation(allowed=False, reason="revoked", statement=None, detail=said)
    return None


def _judge(settings: Settings, bucket: Bucket, order: Order, action: str, key: str) -> Explanation:
    bounds = json.loads(settings.role_policy) if settings.role_policy else role_policy(bucket)
    first: Verdict | None = None
    for request in _requests(settings, bucket, order, action, key):
        verdict, bound = evaluate(json.loads(order.policy), request), _named(evaluate(bounds, request))
        by_outcome = {found.outcome: found for found in (bound, verdict)}
        if denied := by_outcome.get("denied"):
            return _refusal(
                "explicit_deny", denied.statement, "A statement denies this. That holds whatever else allows it."
            )
        if verdict.outcome == "missing":
            return _refusal("session_policy", _missing(request), _advice(bucket, order, request, key))
        if bound.outcome == "missing":
            said = "The vending role's own policy does not allow this. Nobody can do it until its operator allows it."
            return _refusal("role_policy", _missing(request), said)
        if unknown := by_outcome.get("unknown"):
            said = "A statement has a condition or an element that is unknown here. Ask the engine, or its operator."
            return _refusal("not_evaluable", unknown.statement, said)
        first = first or verdict
    assert first is not None
    of_source = ""
    if action.lower() in COPIES:
        if order.access not in session_policy.LISTS:  # every access that lists also reads
            source = Request("s3:GetObject", f"{bucket.arn}/{order.prefix}*", {})
            said = f"A copy needs s3:GetObject on its source too, and the access `{order.access}` never has it."
            return _refusal("session_policy", _missing(source), said)
        of_source = "A copy needs s3:GetObject on its source too: ask about it with the source's key. "
    said = (
        f"{of_source}Both policies allow this. A 403 has another cause then: a wrong clock, a wrong signature, the "
        "bucket's own policy, or a missing object that the credential may not list."
    )
    return Explanation(allowed=True, reason="allowed", statement=_json(first.statement), detail=said)


def _named(verdict: Verdict) -> Verdict:
    """Reduces the statement to what tells the operator which one it is."""
    statement = verdict.statement
    if statement is None:
        return verdict
    return replace(verdict, statement={name: statement[name] for name in ("Sid", "Effect") if name in statement})


def _refusal(reason: Reason, statement: Mapping[str, Any] | None, detail: str) -> Explanation:
    return Explanation(allowed=False, reason=reason, statement=_json(statement), detail=detail)


def _requests(settings: Settings, bucket: Bucket, order: Order, action: str, key: str) -> Iterator[Request]:
    """What S3 asks IAM about the request. The condition keys are the ones to which this service gives a value."""
    endpoint = settings.s3_public_endpoint_url or settings.s3_endpoint_url or "https:"
    common: dict[str, tuple[str, ...]] = {
        "aws:securetransport": ("true" if endpoint.startswith("https:") else "false",),
        "aws:sourceidentity": (str(order.user_id),) if order.terms.source_identity else (),
        "s3:prefix": (),
        **{f"aws:principaltag/{tag.lower()}": (value,) for tag, value in order.tags.items()},
    }
    for taken in OPERATIONS.get(action.lower(), (action,)):
        name = taken.lower()
        if not name.startswith("kms:"):
            of_object = name in OF_OBJECTS or ("object" in name and "bucket" not in name)
            prefix = (key,) if name in LISTS and key else ()
            yield Request(taken, f"{bucket.arn}/{key}" if of_object else bucket.arn, common | {"s3:prefix": prefix})
        elif bucket.encryption is not None:
            within = bucket.arn if bucket.encryption.bucket_keys else f"{bucket.arn}/{key}"
            kms = {"kms:viaservice": (bucket.encryption.via_service,), "kms:encryptioncontext:aws:s3:arn": (within,)}
            yield Request(taken, bucket.encryption.key_arn, common | kms)


def _missing(request: Request) -> Mapping[str, Any]:
    """The smallest statement that would allow the request."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": request.action, "Resource": request.resource}
    if prefix := request.context.get("s3:prefix", ()):
        statement["Condition"] = {"StringEquals": {"s3:prefix": prefix[0]}}
    return statement


def _vended(bucket: Bucket) -> frozenset[str]:
    """Actions that some `access` allows. The role's policy allows more, such as listing old versions to count them."""
    of_objects = chain(*(bucket.object_actions(access) for access in get_args(session_policy.Access)))
    return frozenset(action.lower() for action in ("s3:ListBucket", *of_objects))


def _advice(bucket: Bucket, order: Order, request: Request, key: str) -> str:
    """The most likely mistake."""
    own, narrowed = session_policy.user_prefix(order.user_id), order.prefix
    action = request.action.lower()
    lists, vended = action in LISTS, action in _vended(bucket)
    cases = (
        (
            action == "s3:getbucketlocation",
            "TOKENVEND_BUCKET_LOCATION is off: give your client the `region` that came with the credential.",
        ),
        (key.startswith("/"), "A key does not begin with a slash."),
        (key.startswith((f"{bucket.name}/", "s3://", "arn:")), "The bucket's name is not part of a key."),
        (
            not key.startswith(own) and key.lower().startswith(own),
            "Keys are case-sensitive: `users` and the user's id are in lower case.",
        ),
        (lists and narrowed.startswith(f"{key}/"), "The `prefix` of a list ends in a slash."),
        (
            key.startswith(own) and not key.startswith(narrowed),
            "The credential was requested with a `path`, and this key is outside that folder.",
        ),
        (
            key.startswith("users/") and not key.startswith(own),
            "The key is outside the user's own prefix. There only shared folders are read, with `include_shared`.",
        ),
        (not key.startswith(own), "The user's keys begin with the `prefix` that came with the credential."),
        (
            vended,
            f"A credential with the access `{order.access}` does not allow this: ask for another `access`.",
        ),
        (action in WRITES_TAGS, "TOKENVEND_OBJECT_TAGS is `read`: users do not set the tags of objects."),
    )
    said = (text for applies, text in cases if applies)
    return next(said, "No credential of this service allows this action.")


def _json(statement: Mapping[str, Any] | None) -> str | None:
    return None if statement is None else json.dumps(statement, separators=(",", ":"), ensure_ascii=True)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
