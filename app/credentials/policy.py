"""Session policies: a pure function from prefix and access level to the JSON that STS gets. Nothing else builds one.

What a credential may do is the intersection of this policy and the role's own. The prefix ends in `/`: `users/<id>*`
would let `u1` read `u10`.
"""

import functools
import json
import re
import unicodedata
import uuid
from typing import Any, Literal
from urllib.parse import unquote

from app.problems import InvalidPath, PolicyTooLarge

Access = Literal["read", "write", "read_write"]

MAX_POLICY_LENGTH = 2048
"""Characters that AssumeRole takes; what it packs them into has a limit of its own, known only from its answer."""
MAX_PATH_BYTES = 256

_READ = ("s3:GetObject",)
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
OBJECT_ACTIONS: dict[Access, tuple[str, ...]] = {
    "read": _READ,
    "write": _WRITE,
    "read_write": (*_READ, *_WRITE, "s3:DeleteObject"),
}
LISTS: frozenset[Access] = frozenset({"read", "read_write"})

_WIDENING = frozenset('*?$\\"')
"""Wildcards, the beginning of a policy variable, and what would need escaping in an ARN or in JSON."""
_PREFIX = re.compile(r"users/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/(?:[^/]+/)*\Z")


def user_prefix(user_id: uuid.UUID) -> str:
    """Where all objects of the user live. SeaweedFS matches without regard to case, so ids are lower case only."""
    return f"users/{user_id}/"


def narrowed_prefix(user_id: uuid.UUID, path: str) -> str:
    """The user's prefix, or the folder `path` in it. Raises `InvalidPath`."""
    if path == "":
        return user_prefix(user_id)
    if not path.endswith("/"):
        raise InvalidPath("A path ends in `/`.")
    if _widens(path):
        raise InvalidPath('Control characters and * ? $ \\ " are not allowed in a path.')
    if len(path.encode()) > MAX_PATH_BYTES:
        raise InvalidPath(f"A path has up to {MAX_PATH_BYTES} bytes of UTF-8.")
    for spelling in (path, unquote(path)):  # a proxy or engine that decodes once more must not walk up either
        if any(segment in ("", ".", "..") for segment in spelling[:-1].split("/")):
            raise InvalidPath("A path is relative and has no empty, `.` or `..` segment, percent-encoded or not.")
    return user_prefix(user_id) + path


@functools.lru_cache(maxsize=10_000)
def build(*, partition: str, bucket: str, prefix: str, access: Access) -> str:
    """The policy as compact ASCII JSON of up to 2,048 characters.

    Raises `PolicyTooLarge`, and ValueError for a prefix that `narrowed_prefix` would not have given.
    """
    if not _PREFIX.match(prefix) or _widens(prefix):
        raise ValueError("not the prefix of a user")
    bucket_arn = f"arn:{partition}:s3:::{bucket}"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "Objects",
            "Effect": "Allow",
            "Action": list(OBJECT_ACTIONS[access]),
            "Resource": f"{bucket_arn}/{prefix}*",
        }
    ]
    if access in LISTS:
        statements.append(
            {
                "Sid": "List",
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": bucket_arn,
                "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*", prefix]}},
            }
        )
    document = {"Version": "2012-10-17", "Statement": statements}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    if len(text) > MAX_POLICY_LENGTH:
        raise PolicyTooLarge
    return text


def _widens(text: str) -> bool:
    return any(c in _WIDENING or unicodedata.category(c) in ("Cc", "Cs") for c in text)
