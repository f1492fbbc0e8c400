"""Session policies: a pure function from prefix and access level to the JSON for STS. No other code builds one.

A credential may do what both this policy and the role's own policy allow. The prefix ends in `/`, because `users/<id>*`
would let `u1` read `u10`. Only a list of the whole own prefix may leave it out, where there is room to say so.
"""

import functools
import json
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import unquote

from app.platform.problems import InvalidPath, PolicyTooLarge

Access = Literal["read", "write", "read_write", "read_delete"]
Tags = Literal["read", "write"]
"""What a credential may do with tags of its own objects."""

MAX_POLICY_LENGTH = 2048
"""Characters that AssumeRole accepts. STS also limits the packed size, which only its answer tells."""
MAX_PATH_BYTES = 256

_READ = ("s3:GetObject",)
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
OBJECT_ACTIONS: dict[Access, tuple[str, ...]] = {
    "read": _READ,
    "write": _WRITE,
    "read_write": (*_READ, *_WRITE, "s3:DeleteObject"),
    "read_delete": (*_READ, "s3:DeleteObject"),
}
_READ_TAGS = ("s3:GetObjectTagging",)
_TAG_ACTIONS: dict[Tags, dict[Access, tuple[str, ...]]] = {
    "read": {"read": _READ_TAGS, "read_write": _READ_TAGS, "read_delete": _READ_TAGS},
    "write": {
        "read": _READ_TAGS,
        "write": ("s3:PutObjectTagging",),
        "read_write": (*_READ_TAGS, "s3:PutObjectTagging", "s3:DeleteObjectTagging"),
        "read_delete": _READ_TAGS,
    },
}
_CONTRIBUTE = (*_WRITE, "s3:DeleteObject")
"""What a contributor does with objects of their own in a folder of somebody else. Reading is allowed in all of it."""
LISTS: frozenset[Access] = frozenset({"read", "read_write", "read_delete"})
WRITES: frozenset[str] = frozenset({"write", "read_write"})
"""Access levels that are refused when the quota is reached."""

_BY = "by"
"""In a folder that others fill, each of them has a folder in this one. Its name is the contributor's id."""
_OF_A_CONTRIBUTOR = len(f"{_BY}/{uuid.UUID(int=0)}/")

_LOCATION = "s3:GetBucketLocation"
_WIDENING = re.compile(r'[*?$\\"\x00-\x1f\x7f-\x9f\ud800-\udfff]')
"""Wildcards, the start of a policy variable, characters that need escaping in an ARN or in JSON, control characters and
surrogates."""
_PREFIX = re.compile(r"users/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/(?:[^/]+/)*\Z")
_WHOLE = re.compile(r"users/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/\Z")
_FOLDER = re.compile(r"users/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/(?:[^/]+/)+\Z")


def user_prefix(user_id: uuid.UUID) -> str:
    """The prefix of all objects of the user. Ids are lower case only: SeaweedFS ignores case in a policy."""
    return f"users/{user_id}/"


def narrowed_prefix(user_id: uuid.UUID, path: str) -> str:
    """The user's prefix, or the folder `path` in it. Raises `InvalidPath`."""
    if path == "":
        return user_prefix(user_id)
    if not path.endswith("/"):
        raise InvalidPath("A path must end in `/`.")
    return user_prefix(user_id) + _plain(path)


def filled_prefix(owner_id: uuid.UUID, path: str) -> str:
    """The prefix of the folder `path`, if others may fill it. Raises `InvalidPath`.

    No segment may be `by`, in any case. Otherwise one contributor's part could lie within another's, who may delete it.
    """
    prefix = narrowed_prefix(owner_id, path)
    if len(path.encode()) > MAX_PATH_BYTES - _OF_A_CONTRIBUTOR:
        raise InvalidPath(
            f"The path of a folder that others fill may have up to {MAX_PATH_BYTES - _OF_A_CONTRIBUTOR} bytes of UTF-8."
        )
    if _is_within_by(prefix):
        raise InvalidPath("A folder that others fill must not have the segment `by` in its path, in any case.")
    return prefix


def contribution_prefix(folder: str, contributor_id: uuid.UUID) -> str:
    """Where a contributor writes in a folder that others fill. So authorship is in the key."""
    return f"{folder}{_BY}/{contributor_id}/"


def _is_within_by(prefix: str) -> bool:
    spellings = (prefix, unquote(prefix))  # a proxy or engine may decode once more
    return any(segment.casefold() == _BY for spelling in spellings for segment in spelling.split("/"))


def object_key(user_id: uuid.UUID, path: str) -> str:
    """The key of the object at `path` under the user's prefix. Raises `InvalidPath`."""
    if path == "" or path.endswith("/"):
        raise InvalidPath("The path of an object must not be empty or end in `/`.")
    return user_prefix(user_id) + _plain(path)


def _plain(path: str) -> str:
    """The path, if every proxy and engine keeps it within its prefix. Raises `InvalidPath`."""
    if _widens(path):
        raise InvalidPath('Control characters and * ? $ \\ " are not allowed in a path.')
    if len(path.encode()) > MAX_PATH_BYTES:
        raise InvalidPath(f"A path may have up to {MAX_PATH_BYTES} bytes of UTF-8.")
    named = path.removesuffix("/")
    for spelling in (named, unquote(named)):  # a proxy or engine may decode once more
        if any(segment in ("", ".", "..") for segment in spelling.split("/")):
            raise InvalidPath("A path must be relative, without an empty, `.` or `..` segment, percent-encoded or not.")
    return path


@dataclass(frozen=True, slots=True)
class Encryption:
    """SSE-KMS with a key of the operator."""

    key_arn: str
    via_service: str
    """S3 in the bucket's Region. The key may be used only through it."""
    bucket_keys: bool
    """With bucket keys the encryption context is the bucket's ARN. Then only the object statement isolates users."""


@dataclass(frozen=True, slots=True)
class Room:
    """The room for shared folders in a policy."""

    left: int
    """Characters that everything else leaves free."""
    each: int
    """Characters that a folder takes in all places of the policy together, without its name."""
    times: int
    """How often the policy has the folder's name."""
    each_filled: int = 0
    """The same two numbers once more, for a folder in which the credential writes."""
    times_filled: int = 0

    def taken(self, folder: str, *, filled: bool = False) -> int:
        """Characters that the folder adds. `filled`: the credential writes in it too."""
        each, times = self.each, self.times
        if filled:
            each, times = each + self.each_filled, times + self.times_filled
        return each + times * (len(json.dumps(folder)) - 2)


@dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket of all session policies of this service, and the operator's settings that shape them."""

    partition: str
    name: str
    encryption: Encryption | None = None
    fenced: bool = False
    """Whether a policy denies all of S3 that it does not allow. Managed policies sent along would else allow more."""
    tags: Tags = "read"
    """`write` lets a user set any tag on an own object, also one by which something else judges the object."""
    location: bool = False
    """Whether a credential may ask for the bucket's Region. Some clients ask first, and stop if they are refused."""

    @property
    def arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.name}"

    def object_actions(
        self, access: Access, *, shared: bool = False, filled: bool = False, by_link: bool = False
    ) -> tuple[str, ...]:
        """What `access` allows with own objects; `shared`: in a credential that has folders of others besides.

        `filled`: and writes in some of them. `by_link`: for whoever has a link. Tags are none of their business, as in
        a shared folder.

        A fence needs one more statement to tell own tags from those of others. Where nothing is written, and where
        folders of others are filled, its room is for folders.
        """
        if by_link or (shared and self.fenced and (access == "read" or filled)):
            return OBJECT_ACTIONS[access]
        return OBJECT_ACTIONS[access] + _TAG_ACTIONS[self.tags].get(access, ())

    def policy(
        self,
        prefix: str,
        access: Access,
        *,
        shared: tuple[str, ...] = (),
        filled: tuple[str, ...] = (),
        versions: bool = False,
        by_link: bool = False,
        contributor_id: uuid.UUID | None = None,
    ) -> str:
        """The session policy as compact ASCII JSON of up to 2,048 characters.

        `shared`: folders of others. The policy allows reading and listing them, whatever `access` allows in the user's
        own prefix. `filled`: those of them in which the user also writes, with the access `read_write` alone: under
        `by/` and the user's own id, which is taken from `prefix`. `versions`: allows listing old versions, only for a
        job of this service. `by_link`: for whoever has a link to the folder `prefix`. `contributor_id`: and also writes
        in it, under `by/` and this id.
        Raises `PolicyTooLarge`, and ValueError for a prefix that `narrowed_prefix` does not return.
        """
        return _kept(
            self, prefix, access, shared, filled, versions=versions, by_link=by_link, contributor_id=contributor_id
        )

    def fits(
        self,
        prefix: str,
        access: Access,
        *,
        shared: tuple[str, ...] = (),
        filled: tuple[str, ...] = (),
        contributor_id: uuid.UUID | None = None,
    ) -> bool:
        """Whether `policy` would not raise `PolicyTooLarge`. With `contributor_id`: by a link."""
        by_link = contributor_id is not None
        try:  # not cached: perhaps nobody asks for it again
            _build(self, prefix, access, shared, filled, by_link=by_link, contributor_id=contributor_id)
        except PolicyTooLarge:
            return False
        return True

    def room(self, prefix: str, access: Access, *, filled: bool = False) -> Room:
        """The room that `policy` has for `shared`; `filled`: if it has at least one folder in `filled`.

        With some folders the policy has 2,048 - left + the sum of what they have `taken` characters.
        """
        return _room(self, prefix, access, filled)


@functools.lru_cache(maxsize=10_000)
def _room(bucket: Bucket, prefix: str, access: Access, filled: bool) -> Room:
    folder = user_prefix(uuid.UUID(int=0))

    def length(*shared: str, written: int) -> int:
        return len(_write(bucket, prefix, access, shared, shared[:written]))

    first = 1 if filled else 0
    one, two, longer = (
        length(*shared, written=first) for shared in ((folder,), (folder, folder), (folder, folder + "x"))
    )
    each, times = two - one, longer - two
    if not filled:
        return Room(MAX_POLICY_LENGTH - one + each, each - times * len(folder), times)
    both, both_longer = length(folder, folder, written=2), length(folder, folder + "x", written=2)
    each_filled, times_filled = both - two, both_longer - both - times
    return Room(
        MAX_POLICY_LENGTH - one + each + each_filled,
        each - times * len(folder),
        times,
        each_filled - times_filled * len(folder),
        times_filled,
    )


def _build(
    bucket: Bucket,
    prefix: str,
    access: Access,
    shared: tuple[str, ...] = (),
    filled: tuple[str, ...] = (),
    *,
    versions: bool = False,
    by_link: bool = False,
    contributor_id: uuid.UUID | None = None,
) -> str:
    if not _PREFIX.match(prefix) or _widens(prefix):
        raise ValueError("not the prefix of a user")
    if not all(_FOLDER.match(folder) and not _widens(folder) for folder in shared):
        raise ValueError("not a folder of a user")
    if shared and access not in LISTS:
        raise ValueError("what is shared is shared to be read")
    if filled and (access != "read_write" or not set(filled) <= set(shared) or any(map(_is_within_by, filled))):
        raise ValueError("only a shared folder is filled, with read_write")
    if by_link and (access != "read" or shared or not _FOLDER.match(prefix)):
        raise ValueError("a link reads one folder")
    if contributor_id is not None and (not by_link or _is_within_by(prefix)):
        raise ValueError("a contributor fills the folder of a link")
    bare = access in LISTS and _WHOLE.match(prefix) is not None
    asked: dict[str, Any] = {"versions": versions, "by_link": by_link, "contributor_id": contributor_id}
    text = _write(bucket, prefix, access, shared, filled, bare=bare, **asked)
    if len(text) > MAX_POLICY_LENGTH:
        text = _write(bucket, prefix, access, shared, filled, **asked)
    if len(text) > MAX_POLICY_LENGTH:
        raise PolicyTooLarge(
            f"The session policy for this `path` has {len(text):,} characters and STS takes {MAX_POLICY_LENGTH:,}. "
            "Ask for a shorter `path`, or for one of ASCII characters."
        )
    return text


_kept = functools.lru_cache(maxsize=10_000)(_build)


def _write(
    bucket: Bucket,
    prefix: str,
    access: Access,
    shared: tuple[str, ...] = (),
    filled: tuple[str, ...] = (),
    *,
    versions: bool = False,
    bare: bool = False,
    by_link: bool = False,
    contributor_id: uuid.UUID | None = None,
) -> str:
    """The policy, without a check of its length. `bare`: the prefix may be listed without its `/`.

    Many clients ask so. It is safe for the whole prefix of a user alone: all ids have one length, so nobody else's
    begins like it. A folder's name may be the beginning of another's.
    """
    own, folders = f"{bucket.arn}/{prefix}*", [f"{bucket.arn}/{folder}*" for folder in shared]
    writer_id = contributor_id or uuid.UUID(prefix.split("/")[1])
    places = filled if contributor_id is None else (prefix,)
    written = [f"{bucket.arn}/{contribution_prefix(folder, writer_id)}*" for folder in places]
    # `*` matches nothing too, so a shared folder needs no second entry without it. That keeps each share short.
    listed = [f"{prefix}*", prefix.removesuffix("/") if bare else prefix, *(f"{folder}*" for folder in shared)]
    actions = list(bucket.object_actions(access, shared=bool(shared), filled=bool(filled), by_link=by_link))
    lists = ["s3:ListBucket", "s3:ListBucketVersions"] if versions else "s3:ListBucket"
    statements = [_statement("Objects", "Allow", Action=actions, Resource=own)]
    if shared:
        statements.append(_statement("Shared", "Allow", Action=list(_READ), Resource=folders))
    if written:
        statements.append(_statement("Filled", "Allow", Action=list(_CONTRIBUTE), Resource=written))
    if access in LISTS:
        condition = {"StringLike": {"s3:prefix": listed}}
        statements.append(_statement("List", "Allow", Action=lists, Resource=bucket.arn, Condition=condition))
    if bucket.location:
        statements.append(_statement("Location", "Allow", Action=_LOCATION, Resource=bucket.arn))
    if bucket.encryption is not None:
        statements += _encryptions(bucket, access, own, written)
        if shared and not bucket.encryption.bucket_keys:  # with bucket keys the statement above covers the whole bucket
            statements.append(_encryption(bucket.encryption, "read", bucket.arn, folders, sid="SharedEncryption"))
    if bucket.fenced:
        statements += _fence(bucket, own, folders, written, listed, access=access, lists=lists, by_link=by_link)
    document = {"Version": "2012-10-17", "Statement": statements}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True)


def _fence(
    bucket: Bucket,
    own: str,
    folders: list[str],
    written: list[str],
    listed: list[str],
    *,
    access: Access,
    lists: str | list[str],
    by_link: bool,
) -> list[dict[str, Any]]:
    """Denies other places and other actions, and in shared folders everything except reading and contributing."""
    objects = bucket.object_actions(access, shared=bool(folders), filled=bool(written), by_link=by_link)
    actions = list(objects)
    if access in LISTS:
        actions += [lists] if isinstance(lists, str) else lists
    if written:
        actions += [action for action in _CONTRIBUTE if action not in actions]
    if bucket.location:
        actions.append(_LOCATION)
    elsewhere = [pattern for pattern in listed if not pattern.endswith("/")]
    fence = [
        _statement("Elsewhere", "Deny", Action="s3:*", NotResource=[bucket.arn, own, *folders]),
        _statement("Otherwise", "Deny", NotAction=actions, Resource=f"{bucket.arn}*"),
        _statement(
            "ListElsewhere",
            "Deny",
            Action=lists,
            Resource=bucket.arn,
            Condition={"StringNotLike": {"s3:prefix": elsewhere if len(elsewhere) > 1 else elsewhere[0]}},
        ),
    ]
    if written:
        places = [own, *written] if access in WRITES else written
        fence.append(_statement("FilledElsewhere", "Deny", Action=list(_CONTRIBUTE), NotResource=places))
    elif folders and objects != _READ:  # else only reading is left anyway
        fence.append(_statement("SharedOtherwise", "Deny", NotAction=list(_READ), Resource=folders))
    return fence


def _encryptions(bucket: Bucket, access: Access, own: str, written: list[str]) -> list[dict[str, Any]]:
    """Of own objects, and of those that are written in folders of others."""
    encryption = bucket.encryption
    assert encryption is not None
    if not written or access in WRITES:
        return [_encryption(encryption, access, bucket.arn, [own, *written] if written else own)]
    if encryption.bucket_keys:  # the context is the bucket's, whoever reads or writes
        return [_encryption(encryption, "read_write", bucket.arn, own)]
    return [
        _encryption(encryption, access, bucket.arn, own),
        _encryption(encryption, "read_write", bucket.arn, written, sid="FilledEncryption"),
    ]


def _encryption(
    encryption: Encryption, access: Access, bucket_arn: str, objects: str | list[str], *, sid: str = "Encryption"
) -> dict[str, Any]:
    """Allows using the key. A download decrypts, an upload generates a data key, a multipart upload does both."""
    context = "kms:EncryptionContext:aws:s3:arn"
    via = {"kms:ViaService": encryption.via_service}
    if encryption.bucket_keys:
        condition: dict[str, Any] = {"StringEquals": {**via, context: bucket_arn}}
    else:
        condition = {"StringEquals": via, "StringLike": {context: objects}}
    actions = ["kms:Decrypt", "kms:GenerateDataKey"] if access in WRITES else "kms:Decrypt"
    return _statement(sid, "Allow", Action=actions, Resource=encryption.key_arn, Condition=condition)


def _statement(sid: str, effect: Literal["Allow", "Deny"], **members: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": effect, **members}


def _widens(text: str) -> bool:
    return _WIDENING.search(text) is not None


@dataclass(frozen=True, slots=True)
class Share:
    """A folder of another user that a credential reads, and perhaps fills."""

    grant_id: uuid.UUID
    prefix: str
    ends_at: datetime | None
    contributes: bool = False
    """Whether the credential also writes in the part of the folder that is its user's: see `contribution_prefix`."""
