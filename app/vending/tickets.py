"""Upload tickets: a form that uploads one object of one size and type, for clients that cannot sign.

It is S3's own form (POST Object), signed with a credential that was vended to the user. It takes one object at one key,
and the credential's secret is not in it. So a form that leaks opens no more than that.
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from app.aws.endpoints import s3_address
from app.aws.sts_client import StsCredential
from app.crypto import aws_signatures
from app.platform.problems import FieldError, InvalidRequest, NotFound, UploadTicketsOff
from app.platform.process import Platform
from app.platform.settings import Settings
from app.policy import session_policy
from app.records.actor import Actor
from app.records.audit import Origin
from app.storage import quota
from app.vending import contributing
from app.vending.entries import Issued
from app.vending.vending import Vending, Wish

LIFE = timedelta(minutes=15)
LARGEST = 5 * 2**30
"""Bytes: S3's own limit for one request."""
_NAME = "[A-Za-z0-9][A-Za-z0-9!#&^_.+-]{0,126}"
_VALUE = r"""([A-Za-z0-9!#%&'*+,./:?@^_`|~-]+|"[ !#%-\[\]-~]*")"""
_PARAMETER = f"[ ]*;[ ]*{_NAME}={_VALUE}"
MEDIA_TYPE = f"^{_NAME}/{_NAME}({_PARAMETER})*$"
"""Type, subtype and parameters (RFC 6838 §4.2), without `$`, which begins a variable in a form. Browsers put no quotes
around a list of codecs: `video/webm;codecs=vp9,opus`."""
LONGEST_MEDIA_TYPE = 255
CONTRIBUTED = ("image/", "video/")
NEVER_CONTRIBUTED = frozenset({"image/svg", "image/xml", "video/xml"})
"""S3 serves an object with the type that it was uploaded with. A browser runs the scripts of such a picture.

So it is with whatever ends in `+xml`, because a browser may read it as XML.
"""


@dataclass(frozen=True)
class Ticket:
    url: str
    fields: Sequence[tuple[str, str]]
    """The client sends them in this order, then the file."""
    key: str
    expires_at: datetime
    credential_id: UUID


async def create(
    platform: Platform,
    vending: Vending,
    origin: Origin,
    actor: Actor,
    *,
    path: str,
    content_type: str,
    size: int,
    grant_id: UUID | None = None,
) -> Ticket:
    """A ticket for the object at `path` under the actor's prefix, or in the folder that `grant_id` lets the actor fill.

    Raises `UploadTicketsOff` and what `Vending.issue` raises. With `grant_id`, raises `NotFound` if it lets the actor
    fill nothing, and `InvalidRequest` for a `content_type` that nobody may contribute.
    `size` is at most `LARGEST`, and `content_type` matches `MEDIA_TYPE`. Uploads by earlier tickets are not known yet,
    so several tickets may exceed the quota together, as credentials may.
    """
    settings = platform.settings
    if not settings.gives_upload_tickets:
        raise UploadTicketsOff
    if grant_id is None:
        key, issued = await _own(platform, vending, origin, actor, path=path, size=size)
    else:
        _require_picture(content_type)
        key, issued = await _contributed(platform, vending, origin, actor, grant_id=grant_id, path=path, size=size)
    now = platform.clock.now()
    expires_at = min(now + LIFE, issued.credential.expires_at)
    fields = form(settings, issued.credential, now, expires_at, key=key, content_type=content_type, size=size)
    address = await asyncio.to_thread(url, settings, public=True)  # the SDK reads its files when it is first asked
    return Ticket(address, fields, key, expires_at, issued.credential_id)


async def _own(
    platform: Platform, vending: Vending, origin: Origin, actor: Actor, *, path: str, size: int
) -> tuple[str, Issued]:
    """The key, and a credential that writes in its folder."""
    key = session_policy.object_key(actor.user_id, path)
    folder = path[: path.rfind("/") + 1]
    issued = (await vending.issue(origin, actor, Wish(access="write", path=folder))).issued
    allowance = quota.effective(platform.settings, actor.quota_bytes)
    if allowance is not None:
        await quota.admit(
            platform,
            origin,
            user_id=actor.user_id,
            session_id=actor.session_id,
            access=issued.order.access,
            quota=allowance,
            adding=size,
        )
    return key, issued


async def _contributed(
    platform: Platform, vending: Vending, origin: Origin, actor: Actor, *, grant_id: UUID, path: str, size: int
) -> tuple[str, Issued]:
    """The key in the actor's own part of that folder, and a credential that writes there."""
    within = session_policy.object_key(actor.user_id, path).removeprefix(session_policy.user_prefix(actor.user_id))
    await contributing.require_room(platform, user_id=actor.user_id, grant_id=grant_id, adding=size)
    wish = Wish(include_shared=True, grant_ids=(grant_id,))
    issued = (await vending.issue(origin, actor, wish)).issued
    if not issued.order.write_prefixes:  # it has ended, or its quota was reached, just now
        raise NotFound
    return issued.order.write_prefixes[0] + within, issued


def _require_picture(content_type: str) -> None:
    """Others open what somebody contributes. So it is a picture or a film, and none that can hold a script."""
    kind = content_type.partition(";")[0].strip().lower()
    if not kind.startswith(CONTRIBUTED) or kind in NEVER_CONTRIBUTED or kind.endswith("+xml"):
        message = "Pictures and films can be contributed. SVG cannot, because it can hold a script."
        raise InvalidRequest(errors=[FieldError("body.content_type", "not_a_picture", message)])


def url(settings: Settings, *, public: bool) -> str:
    """Where forms are sent: the bucket's URL for clients if `public`, otherwise for this service."""
    named = (settings.s3_public_endpoint_url if public else None) or settings.s3_endpoint_url
    parts = urlsplit(named or s3_address(settings.region))
    # A certificate for *.s3.… does not cover a bucket name with a dot.
    if settings.s3_force_path_style or "." in settings.bucket:
        return f"{parts.geturl()}/{settings.bucket}"
    return f"{parts.scheme}://{settings.bucket}.{parts.netloc}{parts.path}/"


def form(
    settings: Settings,
    credential: StsCredential,
    now: datetime,
    expires_at: datetime,
    *,
    key: str,
    content_type: str,
    size: int,
) -> Sequence[tuple[str, str]]:
    """The fields of a form that takes exactly `size` bytes of that type at `key`, until it expires."""
    date = f"{now:%Y%m%d}"
    scope = (date, settings.region, "s3")
    exact = [
        ("key", key),
        ("Content-Type", content_type),
        ("success_action_status", "201"),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", "/".join((credential.access_key_id, *scope, "aws4_request"))),
        ("x-amz-date", f"{now:%Y%m%dT%H%M%SZ}"),
        ("x-amz-security-token", credential.session_token),
    ]
    if settings.kms_key_arn is not None:
        exact += [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", settings.kms_key_arn),
        ]
    conditions = [
        {"bucket": settings.bucket},
        ["content-length-range", size, size],
        *({name: value} for name, value in exact),
    ]
    document = {"expiration": f"{expires_at:%Y-%m-%dT%H:%M:%SZ}", "conditions": conditions}
    written = json.dumps(document, separators=(",", ":"), ensure_ascii=False)  # Ceph reads no surrogate pairs
    text = base64.b64encode(written.encode()).decode("ascii")
    signature = aws_signatures.signature_v4(credential.secret_access_key, scope, text)
    return [*exact, ("policy", text), ("x-amz-signature", signature)]
