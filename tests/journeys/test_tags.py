"""Tags of objects and the bucket's Region, as credentials reach them; a large file is moved as the AWS CLI does it."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from app import engine
from app.engine import Engine
from tests.journeys.deployment import s3_of
from tests.support.databases import SqliteDatabases
from tests.support.engine import of_engine
from tests.support.service import Device, running_service

pytestmark = pytest.mark.xdist_group("tags")
TAGS = {"TagSet": [{"Key": "album", "Value": "beach"}]}
PART = 8 * 2**20
"""Bytes: of the AWS CLI."""


@dataclass(frozen=True)
class Scene:
    """Two users of one service; Ada shares `albums/` with Bob."""

    ada: Device
    bob: Device

    def s3(self, device: Device, **wish: Any) -> Any:
        return s3_of(device.vend(**wish).json())

    def place(self, device: Device, name: str) -> dict[str, str]:
        return {"Bucket": "photos", "Key": f"users/{device.user_id}/{name}"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine.start(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="module")
def make_scene(
    store: Engine, sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Scene]]:
    with ExitStack() as stack:

        @functools.cache
        def make(**settings: Any) -> Scene:
            url = sqlite_databases.create(tmp_path_factory.mktemp("service"))
            running = running_service(url, s3_public_endpoint_url=store.endpoint_url, **of_engine(store), **settings)
            service = stack.enter_context(running)
            ada, bob = service.device(), service.device()
            grant = {"grantee_email": bob.email, "path": "albums/"}
            grant_id = ada.post("/v1/grants", json=grant).json()["grant_id"]
            assert bob.post(f"/v1/grants/received/{grant_id}/accept").status_code == 204
            scene = Scene(ada, bob)
            scene.s3(ada).put_object(**scene.place(ada, "albums/beach.jpg"), Body=b"picture")
            return scene

        yield make


def denied(call: Callable[..., Any], **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "AccessDenied")
    return False


class TestByDefault:
    @pytest.fixture
    def scene(self, make_scene: Callable[..., Scene]) -> Scene:
        return make_scene()

    @pytest.mark.parametrize("access", ["read", "read_write", "read_delete"])
    def test_own_tags_are_read_and_not_written(self, scene: Scene, access: str) -> None:
        """A virus scanner's verdict may be one."""
        s3, place = scene.s3(scene.ada, access=access), scene.place(scene.ada, "albums/beach.jpg")
        assert s3.get_object_tagging(**place)["TagSet"] == []
        assert denied(s3.put_object_tagging, **place, Tagging=TAGS)
        assert denied(s3.delete_object_tagging, **place)

    def test_who_only_writes_reads_none(self, scene: Scene) -> None:
        s3, place = scene.s3(scene.ada, access="write"), scene.place(scene.ada, "albums/beach.jpg")
        assert denied(s3.get_object_tagging, **place)
        assert denied(s3.put_object_tagging, **place, Tagging=TAGS)

    def test_the_region_is_not_told(self, scene: Scene) -> None:
        assert denied(scene.s3(scene.ada).get_bucket_location, Bucket="photos")

    def test_a_large_film_is_moved_within_the_own_folder(self, scene: Scene) -> None:
        """As `aws s3 mv` of version 2 does: it reads the tags, copies in parts, and deletes the source."""
        s3, film = scene.s3(scene.ada), bytes(range(256)) * (20_000_000 // 256)
        source, target = scene.place(scene.ada, "film.mov"), scene.place(scene.ada, "archive/film.mov")
        s3.put_object(**source, Body=film)
        size = s3.head_object(**source)["ContentLength"]
        assert s3.get_object_tagging(**source)["TagSet"] == []
        upload = target | {"UploadId": s3.create_multipart_upload(**target)["UploadId"]}
        parts = []
        for number, start in enumerate(range(0, size, PART), 1):
            span = f"bytes={start}-{min(start + PART, size) - 1}"
            copied = s3.upload_part_copy(**upload, PartNumber=number, CopySource=source, CopySourceRange=span)
            parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        s3.delete_object(**source)
        assert s3.get_object(**target)["Body"].read() == film
        s3.delete_object(**target)


class TestWhereTheOperatorSaysSo:
    @pytest.fixture
    def scene(self, make_scene: Callable[..., Scene]) -> Scene:
        return make_scene(object_tags="write", bucket_location="on")

    def test_own_tags_are_written_and_deleted(self, scene: Scene) -> None:
        s3, place = scene.s3(scene.ada), scene.place(scene.ada, "albums/beach.jpg")
        s3.put_object_tagging(**place, Tagging=TAGS)
        assert s3.get_object_tagging(**place)["TagSet"] == TAGS["TagSet"]
        assert denied(scene.s3(scene.ada, access="read").put_object_tagging, **place, Tagging=TAGS)
        assert denied(scene.s3(scene.ada, access="read_delete").delete_object_tagging, **place)
        scene.s3(scene.ada, access="write").put_object_tagging(**place, Tagging=TAGS)
        assert denied(scene.s3(scene.ada, path="other/").get_object_tagging, **place)
        s3.delete_object_tagging(**place)
        assert s3.get_object_tagging(**place)["TagSet"] == []

    @pytest.mark.parametrize("shared", [False, True])
    def test_those_of_others_are_not_even_read(self, scene: Scene, shared: bool) -> None:
        s3, place = scene.s3(scene.bob, include_shared=shared), scene.place(scene.ada, "albums/beach.jpg")
        assert denied(s3.get_object, **place) is not shared
        assert denied(s3.get_object_tagging, **place)
        assert denied(s3.put_object_tagging, **place, Tagging=TAGS)
        assert denied(s3.delete_object_tagging, **place)

    def test_the_region_of_the_one_bucket_is_told(self, scene: Scene) -> None:
        s3 = scene.s3(scene.ada)
        assert "LocationConstraint" in s3.get_bucket_location(Bucket="photos")
        assert denied(s3.get_bucket_location, Bucket="elsewhere")
