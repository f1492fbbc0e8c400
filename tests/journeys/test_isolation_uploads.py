"""Isolation where one request names two objects, or many, or none in its path: copies, parts, lists, signed links."""

import base64
import hashlib
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from tests.journeys.deployment import Answer
from tests.journeys.scene import ELSEWHERE, Row, Scene, answered, denied, matrix

pytestmark = [pytest.mark.usefixtures("left_alone"), pytest.mark.sampled(1)]

LITERAL = "404 NoSuchKey: dots are part of the name, which begins with the own prefix"


def copy(name: str, source: str, *, to: str = "{own}/copy.jpg", **more: str) -> Row:
    return denied(name, f"PUT /{to}", x_amz_copy_source=source, **more)


@matrix(
    copy("foreign", "/{foreign}/photo.jpg"),
    copy("foreign_without_slash", "{foreign}/photo.jpg"),
    copy("foreign_absent", "/{foreign}/absent.jpg"),
    copy("foreign_encoded", "{bucket}%2Fusers%2F{bob}%2Fphoto.jpg"),
    copy("foreign_double_slash", "{bucket}//users//{bob}/photo.jpg"),
    copy("foreign_version", "/{foreign}/photo.jpg?versionId=null"),
    copy("foreign_upper_case", "/{bucket}/users/{BOB}/photo.jpg"),
    copy("twin", "/{longer}/photo.jpg"),
    copy("root", "/{bucket}/photo.jpg"),
    copy("other_bucket", f"/{ELSEWHERE}/users/{{ada}}/photo.jpg"),
    copy("own_to_foreign", "/{own}/photo.jpg", to="{foreign}/given.jpg"),
    copy("own_over_foreign", "/{own}/photo.jpg", to="{foreign}/photo.jpg"),
    copy("foreign_to_itself", "/{foreign}/photo.jpg", to="{foreign}/photo.jpg", x_amz_metadata_directive="REPLACE"),
    copy("own_to_other_bucket", "/{own}/photo.jpg", to=f"{ELSEWHERE}/users/{{ada}}/new.jpg"),
    answered(
        "dots",
        "PUT /{own}/copy.jpg",
        400,
        "InvalidArgument",
        x_amz_copy_source="/{own}/../{bob}/photo.jpg",
        aws=LITERAL,
    ),
    answered(
        "encoded_dots",
        "PUT /{own}/copy.jpg",
        400,
        "InvalidArgument",
        x_amz_copy_source="/{own}/%2e%2e/{bob}/photo.jpg",
        aws=LITERAL,
    ),
    answered(
        "dots_encoded_twice",
        "PUT /{own}/copy.jpg",
        404,
        "NoSuchKey",
        x_amz_copy_source="/{own}/%252e%252e/{bob}/photo.jpg",
    ),
)
def test_copies(scene: Scene, row: Row) -> None:
    scene.check(row)


PART = "{own}/open.jpg?partNumber=2&uploadId={own_upload}"
COMPLETE = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"


@matrix(
    denied("start_foreign", "POST /{foreign}/new.jpg?uploads"),
    denied("start_over_foreign", "POST /{foreign}/photo.jpg?uploads"),
    denied("part_of_foreign", "PUT /{foreign}/open.jpg?partNumber=1&uploadId={foreign_upload}", body="intruder"),
    denied("list_foreign", "GET /{foreign}/open.jpg?uploadId={foreign_upload}"),
    denied("complete_foreign", "POST /{foreign}/open.jpg?uploadId={foreign_upload}", body=COMPLETE),
    denied("abort_foreign", "DELETE /{foreign}/open.jpg?uploadId={foreign_upload}"),
    copy("part_copied_from_foreign", "/{foreign}/photo.jpg", to=PART),
    copy("part_of_a_part", "/{foreign}/photo.jpg", to=PART, x_amz_copy_source_range="bytes=0-99"),
    copy(
        "own_copied_to_foreign_part",
        "/{own}/photo.jpg",
        to="{foreign}/open.jpg?partNumber=1&uploadId={foreign_upload}",
    ),
    answered(
        "foreign_id_on_own_key", "PUT /{own}/open.jpg?partNumber=1&uploadId={foreign_upload}", 404, "NoSuchUpload"
    ),
    answered("list_foreign_id", "GET /{own}/open.jpg?uploadId={foreign_upload}", 404, "NoSuchUpload"),
    answered(
        "complete_foreign_id", "POST /{own}/open.jpg?uploadId={foreign_upload}", 404, "NoSuchUpload", body=COMPLETE
    ),
    answered(
        "abort_foreign_id",
        "DELETE /{own}/open.jpg?uploadId={foreign_upload}",
        404,
        "NoSuchUpload",
    ),
    answered(
        "abort_by_dots",
        "DELETE /{own}/open.jpg?uploadId=..%2F{foreign_upload}",
        400,
        "InvalidRequest",
        aws="404 NoSuchUpload",
    ),
    answered("no_such_id", "GET /{own}/open.jpg?uploadId=none", 404, "NoSuchUpload"),
)
def test_parts(scene: Scene, row: Row) -> None:
    scene.check(row)


class TestManyAtOnce:
    """DeleteObjects names its keys in the body, and answers 200 with an error for each that it refuses."""

    @pytest.mark.parametrize(
        ("key", "code"),
        [
            ("users/{bob}/photo.jpg", "AccessDenied"),
            ("/users/{bob}/photo.jpg", "AccessDenied"),
            ("users//{bob}/photo.jpg", "AccessDenied"),
            ("users/{BOB}/photo.jpg", "AccessDenied"),
            ("users/{bob}/", "AccessDenied"),
            ("users/{bob}", "AccessDenied"),
            ("users/{ada}b/photo.jpg", "AccessDenied"),
            ("users/{ada}", "AccessDenied"),
            ("users/", "AccessDenied"),
            ("photo.jpg", "AccessDenied"),
            ("users/{ada}/../{bob}/photo.jpg", "InvalidRequest"),
            ("users/{ada}/..\\{bob}\\photo.jpg", "InvalidRequest"),
        ],
    )
    def test_foreign_key_is_refused(self, scene: Scene, key: str, code: str) -> None:
        answer = delete(scene, key.format(**scene.names))
        assert (answer.status, answer.code) == (200, code)
        assert b"<Deleted>" not in answer.body

    def test_own_among_foreign_ones_is_deleted_alone(self, scene: Scene) -> None:
        own, foreign = f"{scene.ada.prefix}short-lived.jpg", f"{scene.bob.prefix}photo.jpg"
        scene.deployment.as_owner.put_object(Bucket=scene.deployment.bucket, Key=own, Body=b"mine")
        answer = delete(scene, foreign, own, foreign)
        assert answer.body.count(b"<Deleted>") == 1
        assert f"<Deleted><Key>{own}</Key></Deleted>".encode() in answer.body
        assert own not in scene.deployment.objects(scene.ada.prefix)

    def test_other_bucket_is_refused(self, scene: Scene) -> None:
        answer = delete(scene, f"{scene.ada.prefix}photo.jpg", bucket=ELSEWHERE)
        assert answer.code == "AccessDenied"


def delete(scene: Scene, *keys: str, bucket: str | None = None) -> Answer:
    body = "<Delete>" + "".join(f"<Object><Key>{key}</Key></Object>" for key in keys) + "</Delete>"
    checksum = base64.b64encode(hashlib.md5(body.encode(), usedforsecurity=False).digest()).decode()
    target = f"/{bucket or scene.deployment.bucket}?delete"
    return scene.deployment.send(scene.keys(), "POST", target, body=body.encode(), headers={"Content-MD5": checksum})


class TestPresigned:
    """Links that an app signs with its credential can do what the credential can."""

    def test_own_works(self, scene: Scene) -> None:
        assert self.use(scene, "get_object", scene.ada.prefix + "photo.jpg").status == 200
        assert self.use(scene, "put_object", scene.ada.prefix + "presigned.jpg", body=b"mine").status == 200

    @pytest.mark.parametrize("operation", ["get_object", "head_object", "put_object", "delete_object"])
    def test_foreign_is_refused(self, scene: Scene, operation: str) -> None:
        answer = self.use(scene, operation, scene.bob.prefix + "photo.jpg")
        assert answer.status == 403
        assert answer.code == (None if operation == "head_object" else "AccessDenied")

    def test_foreign_list_is_refused(self, scene: Scene) -> None:
        arguments = {"Bucket": scene.deployment.bucket, "Prefix": scene.bob.prefix}
        assert self.send(scene, self.link(scene, "list_objects_v2", arguments), "GET").code == "AccessDenied"

    @pytest.mark.parametrize("change", ["key", "token", "expiry", "method"])
    def test_changed_link_is_refused(self, scene: Scene, change: str) -> None:
        link = self.link(scene, "get_object", self.place(scene, scene.ada.prefix + "photo.jpg"))
        token = quote(scene.keys().session_token or "", safe="")
        changed = {
            "key": link.replace(scene.ada.id, scene.bob.id),
            "token": link.replace(token, quote(scene.bob.keys().session_token or "", safe="")),
            "expiry": link.replace("X-Amz-Expires=60", "X-Amz-Expires=604800"),
            "method": link,
        }[change]
        assert (changed == link) == (change == "method")
        answer = self.send(scene, changed, "DELETE" if change == "method" else "GET")
        assert answer.status == 403
        assert answer.code in ("SignatureDoesNotMatch", "InvalidAccessKeyId")

    def use(self, scene: Scene, operation: str, key: str, *, body: bytes = b"") -> Answer:
        method = operation.partition("_")[0].upper()
        return self.send(scene, self.link(scene, operation, self.place(scene, key)), method, body=body)

    def place(self, scene: Scene, key: str) -> dict[str, Any]:
        return {"Bucket": scene.deployment.bucket, "Key": key}

    def link(self, scene: Scene, operation: str, arguments: dict[str, Any]) -> str:
        s3 = scene.deployment.s3(scene.keys())
        link: str = s3.generate_presigned_url(operation, Params=arguments, ExpiresIn=60)
        return link

    def send(self, scene: Scene, link: str, method: str, *, body: bytes = b"") -> Answer:
        return scene.deployment.send(None, method, link.removeprefix(scene.deployment.endpoint_url), body=body)


def test_boto3_says_access_denied(scene: Scene) -> None:
    """What an app's developer sees, and searches for."""
    with pytest.raises(ClientError, match="AccessDenied"):
        scene.deployment.s3(scene.keys()).get_object(Bucket=scene.deployment.bucket, Key=f"{scene.bob.prefix}photo.jpg")
