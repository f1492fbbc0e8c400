"""The isolation matrix, asked of `POST /v1/access-checks`: what it says is what the engine does, or else AWS."""

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from tests.journeys.deployment import Keys
    from tests.journeys.scene import Row, Scene

Asked = tuple[str, str]
"""Action and key."""

OF_AN_OBJECT = {
    "acl": "ObjectAcl",
    "tagging": "ObjectTagging",
    "attributes": "ObjectAttributes",
    "retention": "ObjectRetention",
    "torrent": "ObjectTorrent",
    "versionId": "ObjectVersion",
}
OF_A_BUCKET = {
    "policy": "BucketPolicy",
    "cors": "BucketCORS",
    "versioning": "BucketVersioning",
    "acl": "BucketAcl",
    "location": "BucketLocation",
    "lifecycle": "LifecycleConfiguration",
    "encryption": "EncryptionConfiguration",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "tagging": "BucketTagging",
    "website": "BucketWebsite",
    "notification": "BucketNotification",
    "replication": "ReplicationConfiguration",
}
VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "DELETE": "Delete"}
UPLOADS = {
    "GET": "s3:ListParts",
    "PUT": "s3:UploadPart",
    "POST": "s3:CompleteMultipartUpload",
    "DELETE": "s3:AbortMultipartUpload",
}


def check(scene: "Scene", row: "Row", keys: "Keys") -> bool:
    """Whether the row could be asked about: not those in another bucket, that are no request of S3's, or
    that S3 may understand in two ways."""
    asked = _asked(scene, row)
    if asked is None or row.aws.startswith("200 or 403"):
        return False
    headers = [{"name": name, "value": value.format(**scene.names)} for name, value in row.headers.items()]
    question = {"action": asked[0], "key": asked[1], "access_key_id": keys.access_key_id, "headers": headers}
    answer = scene.ada.http.post("/v1/access-checks", json=question)
    assert answer.status_code == 200, answer.text
    assert answer.json()["allowed"] is _allowed(row), (row, asked)
    return True


def _allowed(row: "Row") -> bool:
    """Of an answer other than AccessDenied the policies are not the cause."""
    if row.aws:
        return not row.aws.startswith("403 AccessDenied")
    return row.status != 403 or row.code not in ("AccessDenied", None)


def _asked(scene: "Scene", row: "Row") -> Asked | None:
    method, target = row.request.format(**scene.names).split(" ", 1)
    parts = urlsplit(f"http://engine{target}")
    query = dict(reversed(parse_qsl(parts.query, keep_blank_values=True)))
    bucket, _, key = unquote(parts.path[1:]).partition("/")
    if bucket != scene.deployment.bucket:
        return None
    return _of_object(method, key, query) if key else _of_bucket(method, query)


def _of_object(method: str, key: str, query: dict[str, str]) -> Asked | None:
    found = next((name for part, name in OF_AN_OBJECT.items() if part in query), None)
    if "uploadId" in query:
        return UPLOADS[method], key
    if "uploads" in query:
        return "s3:CreateMultipartUpload", key
    return None if method == "POST" else (f"s3:{VERBS[method]}{found or 'Object'}", key)


def _of_bucket(method: str, query: dict[str, str]) -> Asked | None:
    found = next((name for part, name in OF_A_BUCKET.items() if part in query), None)
    if found:
        return f"s3:{VERBS[method]}{found}", ""
    if method == "GET" and "usage" not in query:
        prefix = query.get("prefix", "")
        if "uploads" in query:
            return "s3:ListMultipartUploads", prefix
        return "s3:ListObjectVersions" if "versions" in query else "s3:ListObjectsV2", prefix
    return ("s3:HeadBucket", "") if method == "HEAD" else None
