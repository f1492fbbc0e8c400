"""Isolation within one's own: what `path` and `access` leave of a credential."""

import pytest

from tests.journeys.scene import Row, Scene, answered, denied, matrix

pytestmark = [pytest.mark.usefixtures("left_alone"), pytest.mark.sampled(1)]


@matrix(
    answered("get", "GET /{own}/albums/2026/photo.jpg", 200),
    answered("put", "PUT /{own}/albums/new.jpg", 200, body="mine"),
    answered("delete", "DELETE /{own}/albums/new.jpg", 204),
    answered("list", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2Falbums%2F", 200),
    answered("list_deeper", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2Falbums%2F2026%2F", 200),
    answered("start_upload", "POST /{own}/albums/large.jpg?uploads", 200),
    denied("above_get", "GET /{own}/photo.jpg"),
    denied("above_head", "HEAD /{own}/photo.jpg"),
    denied("above_put", "PUT /{own}/new.jpg", body="mine"),
    denied("above_delete", "DELETE /{own}/photo.jpg"),
    denied("above_list", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2F"),
    denied("above_upload", "PUT /{own}/open.jpg?partNumber=1&uploadId={own_upload}", body="mine"),
    denied("above_copied_in", "PUT /{own}/albums/copy.jpg", x_amz_copy_source="/{own}/photo.jpg"),
    denied("copied_out", "PUT /{own}/copy.jpg", x_amz_copy_source="/{own}/albums/2026/photo.jpg"),
    denied("twin_get", "GET /{own}/albums2/photo.jpg"),
    denied("twin_put", "PUT /{own}/albums2/new.jpg", body="mine"),
    denied("twin_list", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2Falbums2%2F"),
    denied("list_without_slash", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2Falbums"),
    denied("name_alone", "PUT /{own}/albums", body="mine"),
    denied("foreign_twin", "GET /{foreign}/albums/2026/photo.jpg"),
    denied("foreign_list", "GET /{bucket}?list-type=2&prefix=users%2F{bob}%2Falbums%2F"),
)
def test_path_is_a_folder(scene: Scene, row: Row) -> None:
    scene.check(row, scene.keys(path="albums/"))


@matrix(
    answered("get", "GET /{own}/photo.jpg", 200),
    answered("head", "HEAD /{own}/photo.jpg", 200),
    answered("list", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2F", 200),
    denied("put", "PUT /{own}/new.jpg", body="mine"),
    denied("put_over", "PUT /{own}/photo.jpg", body="mine"),
    denied("delete", "DELETE /{own}/photo.jpg"),
    denied("copy", "PUT /{own}/copy.jpg", x_amz_copy_source="/{own}/photo.jpg"),
    denied("start_upload", "POST /{own}/large.jpg?uploads"),
    denied("part", "PUT /{own}/open.jpg?partNumber=1&uploadId={own_upload}", body="mine"),
    denied("list_parts", "GET /{own}/open.jpg?uploadId={own_upload}"),
    denied("abort", "DELETE /{own}/open.jpg?uploadId={own_upload}"),
    denied("foreign_get", "GET /{foreign}/photo.jpg"),
    denied("foreign_list", "GET /{bucket}?list-type=2&prefix=users%2F{bob}%2F"),
)
def test_read_changes_nothing(scene: Scene, row: Row) -> None:
    scene.check(row, scene.keys(access="read"))


@matrix(
    answered("put", "PUT /{own}/new.jpg", 200, body="mine"),
    answered("start_upload", "POST /{own}/large.jpg?uploads", 200),
    answered("part", "PUT /{own}/open.jpg?partNumber=1&uploadId={own_upload}", 200, body="the first part"),
    answered("list_parts", "GET /{own}/open.jpg?uploadId={own_upload}", 200),
    denied("get", "GET /{own}/photo.jpg"),
    denied("head", "HEAD /{own}/photo.jpg"),
    denied("list", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2F"),
    denied("list_v1", "GET /{bucket}?prefix=users%2F{ada}%2F"),
    denied("delete", "DELETE /{own}/photo.jpg"),
    denied("copy", "PUT /{own}/copy.jpg", x_amz_copy_source="/{own}/photo.jpg"),
    denied("part_copy", "PUT /{own}/open.jpg?partNumber=2&uploadId={own_upload}", x_amz_copy_source="/{own}/photo.jpg"),
    denied("foreign_put", "PUT /{foreign}/new.jpg", body="intruder"),
    denied("foreign_upload", "POST /{foreign}/new.jpg?uploads"),
)
def test_write_reads_nothing(scene: Scene, row: Row) -> None:
    scene.check(row, scene.keys(access="write"))


@matrix(
    answered("get", "GET /{own}/photo.jpg", 200),
    answered("list", "GET /{bucket}?list-type=2&prefix=users%2F{ada}%2F", 200),
    answered("delete", "DELETE /{own}/gone.jpg", 204),
    denied("put", "PUT /{own}/new.jpg", body="mine"),
    denied("put_over", "PUT /{own}/photo.jpg", body="mine"),
    denied("copy", "PUT /{own}/copy.jpg", x_amz_copy_source="/{own}/photo.jpg"),
    denied("start_upload", "POST /{own}/large.jpg?uploads"),
    denied("part", "PUT /{own}/open.jpg?partNumber=1&uploadId={own_upload}", body="mine"),
    denied("abort", "DELETE /{own}/open.jpg?uploadId={own_upload}"),
    denied("foreign_get", "GET /{foreign}/photo.jpg"),
    denied("foreign_delete", "DELETE /{foreign}/photo.jpg"),
    denied("foreign_list", "GET /{bucket}?list-type=2&prefix=users%2F{bob}%2F"),
)
def test_read_delete_adds_nothing(scene: Scene, row: Row) -> None:
    scene.check(row, scene.keys(access="read_delete"))


def test_write_gives_an_upload_up(scene: Scene) -> None:
    deployment, keys = scene.deployment, scene.keys(access="write")
    s3, place = deployment.s3(keys), {"Bucket": deployment.bucket, "Key": f"{scene.ada.prefix}given-up.jpg"}
    upload = s3.create_multipart_upload(**place)["UploadId"]
    s3.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"mine")
    assert s3.abort_multipart_upload(**place, UploadId=upload)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert place["Key"] not in deployment.objects(scene.ada.prefix)


@pytest.mark.parametrize("access", ["read", "write"])
def test_nothing_is_deleted_by_the_dozen(scene: Scene, access: str) -> None:
    key = f"{scene.ada.prefix}photo.jpg"
    deleted = scene.deployment.s3(scene.keys(access=access)).delete_objects(
        Bucket=scene.deployment.bucket, Delete={"Objects": [{"Key": key}]}
    )
    assert [error["Code"] for error in deleted["Errors"]] == ["AccessDenied"]
    assert key in scene.deployment.objects(scene.ada.prefix)
