"""What S3 asks IAM about when it gets a call: actions by the call's name, and more of them by its headers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

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
_BY_SOURCE = {"s3:putobject": "s3:copyobject", "s3:uploadpart": "s3:uploadpartcopy"}
"""A copy is the same request as a put, with a header that names its source."""
COPIES = frozenset(_BY_SOURCE.values())
"""Calls that also read a source."""
MAKES_OBJECTS = frozenset({"s3:putobject", "s3:copyobject", "s3:createmultipartupload"})
"""Calls whose headers may give the object an ACL, tags or a lock."""
_BYPASSES = frozenset({"s3:deleteobject", "s3:deleteobjects", "s3:deleteobjectversion", "s3:putobjectretention"})
_ADDED: Mapping[str, str] = {
    "x-amz-acl": "s3:PutObjectAcl",
    **{f"x-amz-grant-{right}": "s3:PutObjectAcl" for right in ("full-control", "read", "read-acp", "write-acp")},
    "x-amz-tagging": "s3:PutObjectTagging",
    "x-amz-object-lock-mode": "s3:PutObjectRetention",
    "x-amz-object-lock-retain-until-date": "s3:PutObjectRetention",
    "x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold",
}
"""The action that a header of such a call adds.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html"""
_BYPASS, SOURCE = "x-amz-bypass-governance-retention", "x-amz-copy-source"
_CONDITION_KEYS: Mapping[str, str] = {
    **{name: f"s3:{name}" for name in ("x-amz-acl", "x-amz-copy-source", "x-amz-metadata-directive")},
    **{name: f"s3:{name}" for name in _ADDED if name.startswith("x-amz-grant-")},
    **{name: f"s3:{name}" for name in ("x-amz-storage-class", "x-amz-server-side-encryption")},
    **{name: name.replace("x-amz-", "s3:") for name in _ADDED if name.startswith("x-amz-object-lock-")},
}


@dataclass(frozen=True)
class Ask:
    """One action that S3 asks IAM about."""

    action: str
    key: str
    bucket: str | None = None
    """If it is not the service's own."""
    header: str | None = None
    """The one that adds the action."""


def named(action: str, headers: Mapping[str, str]) -> str:
    """The call or action in lower case. With a source, a put is a copy."""
    name = action.lower()
    return _BY_SOURCE.get(name, name) if SOURCE in headers else name


def asks(action: str, key: str, headers: Mapping[str, str], bucket: str) -> Iterator[Ask]:
    """All that the call takes, in the service's `bucket`. Names of headers are in lower case."""
    call = named(action, headers)
    for taken in OPERATIONS.get(call, (action,)):
        yield Ask(taken, key)
    if call in COPIES and has_source(headers):
        yield from _of_source(headers[SOURCE], bucket)
    if call in MAKES_OBJECTS:
        for header in headers:
            if header in _ADDED and headers[header]:
                yield Ask(_ADDED[header], key, header=header)
    if call in _BYPASSES and headers.get(_BYPASS, "").lower() == "true":
        yield Ask("s3:BypassGovernanceRetention", key, header=_BYPASS)


def has_source(headers: Mapping[str, str]) -> bool:
    """Whether the source of a copy is known: an access point hides its bucket."""
    return not headers.get(SOURCE, "arn:").startswith("arn:")


def takes_tags_along(call: str, headers: Mapping[str, str]) -> bool:
    """Whether it is a copy that gives the new object the tags of its source, where that has some."""
    return call == "s3:copyobject" and headers.get("x-amz-tagging-directive", "").upper() != "REPLACE"


def condition_values(headers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The values that the headers give to condition keys of S3."""
    return {key: (headers[name],) for name, key in _CONDITION_KEYS.items() if name in headers}


def _of_source(source: str, bucket: str) -> Iterator[Ask]:
    path, _, query = source.partition("?")
    named_bucket, _, key = unquote(path).removeprefix("/").partition("/")
    elsewhere = None if named_bucket == bucket else named_bucket
    read = "s3:GetObjectVersion" if query.startswith("versionId=") else "s3:GetObject"
    yield Ask(read, key, elsewhere, SOURCE)
    if elsewhere is None:
        yield Ask("kms:Decrypt", key, header=SOURCE)
