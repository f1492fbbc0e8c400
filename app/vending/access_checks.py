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
from app.vending import ledger, s3_calls
from app.vending.orders import Order
from app.vending.s3_calls import Ask
from app.vending.vending import Vending

Reason = Literal[
    "allowed", "session_policy", "role_policy", "explicit_deny", "not_evaluable", "revoked", "expired"
]  # fmt: skip

LISTS = frozenset({"s3:listbucket", "s3:listbucketversions"})
"""Actions whose key is a prefix."""
CONTRIBUTES = frozenset(action.lower() for action in session_policy.OBJECT_ACTIONS["read_write"]) - {"s3:getobject"}
WRITES_TAGS = frozenset({"s3:putobjecttagging", "s3:deleteobjecttagging"})
OTHER_CAUSES = (
    "A 403 has another cause then: a wrong clock, a wrong signature, the bucket's own policy, or a missing object that "
    "the credential may not list."
)
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
    platform: Platform,
    vending: Vending,
    actor: Actor,
    *,
    action: str,
    key: str,
    headers: Mapping[str, str],
    access_key_id: str | None = None,
) -> Explanation:
    """Evaluates the policies of a credential of the actor's for `action` on `key`.

    `action` is an IAM action such as `s3:GetObject`, or the name of an S3 call; `headers` are that call's. Without
    `access_key_id`, the credential is one that a vend gives by default. Raises `NotFound` if the credential is not the
    actor's, and `RateLimited`.
    """
    await platform.limiter.hit("explain_access", str(actor.user_id))
    access: session_policy.Access = "read_write"
    session_id, path = actor.session_id, ""
    shares: tuple[Share, ...] = ()
    link_id = contributor_id = None
    if access_key_id is not None:
        used = await platform.database.read(_find, platform.settings, actor, access_key_id)
        if (ended := _ended(used, platform.clock.now())) is not None:
            return ended
        row = used.credential
        access, session_id = cast(session_policy.Access, row.access), row.session_id
        link_id, contributor_id = row.link_id, row.contributor_id
        path = row.prefix.removeprefix(session_policy.user_prefix(actor.user_id))
        shares = tuple(
            Share(UUID(share["grant_id"]), share["prefix"], None, contributes="write_prefix" in share)
            for share in row.shared or ()
        )
    order = vending.make_order(
        actor.user_id,
        session_id,
        access=access,
        path=path,
        duration=platform.settings.credential_ttl,
        shares=shares,
        link_id=link_id,
        contributor_id=contributor_id,
    )
    call = _Call(action, key, {name.lower(): value for name, value in headers.items()})
    return _judge(platform.settings, vending.bucket, order, call)


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


@dataclass(frozen=True)
class _Call:
    """What is asked about."""

    action: str
    key: str
    headers: Mapping[str, str]
    """By name in lower case."""

    @property
    def name(self) -> str:
        return s3_calls.named(self.action, self.headers)

    def asks(self, bucket: Bucket) -> list[Ask]:
        return list(s3_calls.asks(self.action, self.key, self.headers, bucket.name))


def _judge(settings: Settings, bucket: Bucket, order: Order, call: _Call) -> Explanation:
    bounds = json.loads(settings.role_policy) if settings.role_policy else role_policy(bucket)
    asks = call.asks(bucket)
    added = _added(asks)
    first: Verdict | None = None
    for ask, request in _requests(settings, bucket, order, call, asks):
        verdict, bound = evaluate(json.loads(order.policy), request), _named(evaluate(bounds, request))
        by_outcome = {found.outcome: found for found in (bound, verdict)}
        lead, tail = added, ""
        if ask.header is not None:
            lead += f"What is refused is {ask.action}, for `{ask.header}`. "
            tail = "" if ask.header == s3_calls.SOURCE else " Leave the header out."
        if denied := by_outcome.get("denied"):
            said = f"{lead}A statement denies this. That holds whatever else allows it.{tail}"
            return _refusal("explicit_deny", denied.statement, said)
        if verdict.outcome == "missing":
            said = f"{lead}{_advice(bucket, order, request, ask)}{tail}"
            return _refusal("session_policy", _missing(request), said)
        if bound.outcome == "missing":
            said = (
                f"{lead}The vending role's own policy does not allow this. Nobody can do it until its operator allows "
                f"it.{tail}"
            )
            return _refusal("role_policy", _missing(request), said)
        if unknown := by_outcome.get("unknown"):
            said = "A statement has a condition or an element that is unknown here. Ask the engine, or its operator."
            return _refusal("not_evaluable", unknown.statement, added + said)
        first = first or verdict
    assert first is not None
    if call.name in s3_calls.COPIES and order.access not in session_policy.LISTS:  # every access that lists also reads
        source = Request("s3:GetObject", f"{bucket.arn}/{order.prefix}*", {})
        said = f"{added}A copy needs s3:GetObject on its source too, and the access `{order.access}` never has it."
        return _refusal("session_policy", _missing(source), said)
    detail = f"{added}{_besides(call)}Both policies allow this. {OTHER_CAUSES}"
    return Explanation(allowed=True, reason="allowed", statement=_json(first.statement), detail=detail)


def _added(asks: list[Ask]) -> str:
    """Which actions the headers add."""
    found = [f"{ask.action} (`{ask.header}`)" for ask in asks if ask.header not in (None, s3_calls.SOURCE)]
    return f"The headers add {', '.join(found)}. " if found else ""


def _besides(call: _Call) -> str:
    """What the call may take besides, and nobody can tell from here."""
    said = ""
    if call.name in s3_calls.COPIES and not s3_calls.has_source(call.headers):
        said += "A copy needs s3:GetObject on its source too: ask with the header `x-amz-copy-source`. "
    if s3_calls.takes_tags_along(call.name, call.headers):
        said += (
            "If the source has tags, the copy takes s3:GetObjectTagging there and s3:PutObjectTagging here, unless it "
            "has the header `x-amz-tagging-directive: REPLACE`. "
        )
    if call.name in s3_calls.MAKES_OBJECTS and not call.headers:
        said += "Headers for an ACL, tags or a lock take more actions: ask with `headers`. "
    return said


def _named(verdict: Verdict) -> Verdict:
    """Reduces the statement to what tells the operator which one it is."""
    statement = verdict.statement
    if statement is None:
        return verdict
    return replace(verdict, statement={name: statement[name] for name in ("Sid", "Effect") if name in statement})


def _refusal(reason: Reason, statement: Mapping[str, Any] | None, detail: str) -> Explanation:
    return Explanation(allowed=False, reason=reason, statement=_json(statement), detail=detail)


def _requests(
    settings: Settings, bucket: Bucket, order: Order, call: _Call, asks: list[Ask]
) -> Iterator[tuple[Ask, Request]]:
    """What S3 asks IAM about. The condition keys are the ones to which this service or a header gives a value."""
    endpoint = settings.s3_public_endpoint_url or settings.s3_endpoint_url or "https:"
    common: dict[str, tuple[str, ...]] = {
        **s3_calls.condition_values(call.headers),
        "aws:securetransport": ("true" if endpoint.startswith("https:") else "false",),
        "aws:sourceidentity": (str(order.user_id),) if order.terms.source_identity else (),
        "s3:prefix": (),
        **{f"aws:principaltag/{tag.lower()}": (value,) for tag, value in order.tags.items()},
    }
    for ask in asks:
        name, place = ask.action.lower(), f"arn:{bucket.partition}:s3:::{ask.bucket or bucket.name}"
        if not name.startswith("kms:"):
            of_object = name in OF_OBJECTS or ("object" in name and "bucket" not in name)
            prefix = (ask.key,) if name in LISTS and ask.key else ()
            resource = f"{place}/{ask.key}" if of_object else place
            yield ask, Request(ask.action, resource, common | {"s3:prefix": prefix})
        elif bucket.encryption is not None:
            within = bucket.arn if bucket.encryption.bucket_keys else f"{bucket.arn}/{ask.key}"
            kms = {"kms:viaservice": (bucket.encryption.via_service,), "kms:encryptioncontext:aws:s3:arn": (within,)}
            yield ask, Request(ask.action, bucket.encryption.key_arn, common | kms)


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


def _advice(bucket: Bucket, order: Order, request: Request, ask: Ask) -> str:
    """The most likely mistake."""
    own, narrowed = session_policy.user_prefix(order.user_id), order.prefix
    action = request.action.lower()
    lists, vended = action in LISTS, action in _vended(bucket)
    key = own if lists and f"{ask.key}/" == own else ask.key
    cases = (
        (
            action == "s3:getbucketlocation",
            "TOKENVEND_BUCKET_LOCATION is off: give your client the `region` that came with the credential.",
        ),
        (ask.bucket is not None, "It is in another bucket, and credentials reach only the one that came with them."),
        (key.startswith("/"), "A key does not begin with a slash."),
        (key.startswith((f"{bucket.name}/", "s3://", "arn:")), "The bucket's name is not part of a key."),
        (
            not key.startswith(own) and key.lower().startswith(own),
            "Keys are case-sensitive: `users` and the user's id are in lower case.",
        ),
        (
            lists and f"{ask.key}/" == narrowed and order.access in session_policy.LISTS,
            "The `prefix` of a list ends in a slash.",
        ),
        (
            key.startswith(own) and not key.startswith(narrowed),
            "The credential was requested with a `path`, and this key is outside that folder.",
        ),
        (
            any(key.startswith(share.prefix) for share in order.shares) and action in CONTRIBUTES,
            "In a folder of somebody else, a user writes only under the credential's `write_prefixes`.",
        ),
        (
            key.startswith("users/") and not key.startswith(own),
            "The key is outside the user's own prefix, where only shared folders can be read, with `include_shared`.",
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
