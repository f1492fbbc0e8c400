"""The isolation matrix, asked of `POST /v1/access-checks`: what it says is what the engine does, or else AWS."""

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from tests.journeys.deployment import Keys
    from tests.journeys.scene import Row, Scene

Asked = list[tuple[str, str]]
"""Action and key, of each thing that a request takes."""

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
HEADERS = {"x-amz-acl": "s3:PutObjectAcl", "x-amz-tagging": "s3:PutObjectTagging"}


def check(scene: "Scene", row: "Row", keys: "Keys") -> bool:
    """Whether the row could be asked about: not those in another bucket, that are no request of S3's, or
    that S3 may understand in two ways."""
    asked = _asked(scene, row)
    if not asked or row.aws.startswith("200 or 403"):
        return False
    allowed = True
    for action, key in asked:
        question = {"action": action, "key": key, "access_key_id": keys.access_key_id}
        answer = scene.ada.http.post("/v1/access-checks", json=question)
        assert answer.status_code == 200, answer.text
        allowed = allowed and answer.json()["allowed"]
    assert allowed is _allowed(row), (row, asked)
    return True


def _allowed(row: "Row") -> bool:
    """Of an answer other than AccessDenied the policies are not the cause."""
    if row.aws:
        return not row.aws.startswith("403 AccessDenied")
    return row.status != 403 or row.code not in ("AccessDenied", None)


def _asked(scene: "Scene", row: "Row") -> Asked:
    method, target = row.request.format(**scene.names).split(" ", 1)
    parts = urlsplit(f"http://engine{target}")
    query = dict(reversed(parse_qsl(parts.query, keep_blank_values=True)))
    bucket, _, key = unquote(parts.path[1:]).partition("/")
    if bucket != scene.deployment.bucket:
        return []
    headers = {name.lower(): value.format(**scene.names) for name, value in row.headers.items()}
    return _of_object(method, key, query, headers) if key else _of_bucket(method, query)


def _of_object(method: str, key: str, query: dict[str, str], headers: dict[str, str]) -> Asked:
    found = next((name for part, name in OF_AN_OBJECT.items() if part in query), None)
    copies = "x-amz-copy-source" in headers
    if "uploadId" in query:
        asked = [("s3:UploadPartCopy" if copies and method == "PUT" else UPLOADS[method], key)]
    elif "uploads" in query:
        asked = [("s3:CreateMultipartUpload", key)]
    elif method == "POST":
        return []
    elif copies and method == "PUT" and not found:
        asked = [("s3:CopyObject", key)]
    else:
        asked = [(f"s3:{VERBS[method]}{found or 'Object'}", key)]
    asked += [(action, key) for header, action in HEADERS.items() if header in headers and not found]
    if copies:
        source, _, version = headers["x-amz-copy-source"].partition("?")
        bucket, _, copied = unquote(source).lstrip("/").partition("/")
        if bucket != "photos":
            return []
        asked.append(("s3:GetObjectVersion" if version else "s3:GetObject", copied))
    return asked


def _of_bucket(method: str, query: dict[str, str]) -> Asked:
    found = next((name for part, name in OF_A_BUCKET.items() if part in query), None)
    if found:
        return [(f"s3:{VERBS[method]}{found}", "")]
    if method == "GET" and "usage" not in query:
        if "uploads" in query:
            return [("s3:ListMultipartUploads", query.get("prefix", ""))]
        versions = "versions" in query
        return [("s3:ListObjectVersions" if versions else "s3:ListObjectsV2", query.get("prefix", ""))]
    return [("s3:HeadBucket", "")] if method == "HEAD" else []
