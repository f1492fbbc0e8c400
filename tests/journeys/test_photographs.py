"""The main job: a person's photographs go to S3 and come back, and nobody else gets at them."""

import hashlib
import io
import unicodedata
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.journeys.deployment import Deployment, Person, s3_of

NAMES = (
    *("Blumen & Gräser/Blüte 🌸.jpg", "a+b c.jpg", "100%41.jpg", "what?.jpg", "#1.jpg", "it's.jpg", "~.jpg"),
    *(unicodedata.normalize(form, "Zoë.jpg") for form in ("NFC", "NFD")),
)
"""As phones and people name them. Apple's devices take letters apart."""
FIVE_MEGABYTES = 5 * 1024 * 1024


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(vended: dict[str, Any], name: str, data: bytes) -> None:
    s3_of(vended).put_object(Bucket=vended["bucket"], Key=vended["prefix"] + name, Body=data, ContentType="image/jpeg")


def get(vended: dict[str, Any], name: str, **options: Any) -> Any:
    return s3_of(vended).get_object(Bucket=vended["bucket"], Key=vended["prefix"] + name, **options)


class TestPhotograph:
    def test_comes_back_byte_for_byte(self, meet: Callable[[], Person], china: bytes, flower: bytes) -> None:
        vended = meet().vend()
        for name, data in (photographs := dict.fromkeys(NAMES, flower) | {"china.jpg": china}).items():
            put(vended, name, data)
        for name, data in photographs.items():
            answer = get(vended, name)
            assert digest(answer["Body"].read()) == digest(data)
            assert (answer["ContentType"], answer["ContentLength"]) == ("image/jpeg", len(data))
        listed = s3_of(vended).list_objects_v2(Bucket=vended["bucket"], Prefix=vended["prefix"])["Contents"]
        assert {entry["Key"].removeprefix(vended["prefix"]) for entry in listed} == photographs.keys()

    def test_is_listed_with_its_size(self, meet: Callable[[], Person], china: bytes, flower: bytes) -> None:
        vended = meet().vend()
        put(vended, "albums/2026/china.jpg", china)
        put(vended, "flower.jpg", flower)
        s3, place = s3_of(vended), {"Bucket": vended["bucket"], "Prefix": vended["prefix"]}
        listed = {o["Key"].removeprefix(vended["prefix"]): o["Size"] for o in s3.list_objects_v2(**place)["Contents"]}
        assert listed == {"albums/2026/china.jpg": len(china), "flower.jpg": len(flower)}
        folders = s3.list_objects_v2(**place, Delimiter="/")
        assert [folder["Prefix"] for folder in folders["CommonPrefixes"]] == [vended["prefix"] + "albums/"]

    def test_is_read_in_part(self, meet: Callable[[], Person], china: bytes) -> None:
        vended = meet().vend()
        put(vended, "china.jpg", china)
        answer = get(vended, "china.jpg", Range="bytes=1000-1999")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert answer["ContentRange"] == f"bytes 1000-1999/{len(china)}"
        assert answer["Body"].read() == china[1000:2000]
        assert get(vended, "china.jpg", Range="bytes=-500")["Body"].read() == china[-500:]

    def test_is_replaced_and_deleted(self, meet: Callable[[], Person], china: bytes, flower: bytes) -> None:
        vended = meet().vend()
        put(vended, "photo.jpg", china)
        put(vended, "photo.jpg", flower)
        assert digest(get(vended, "photo.jpg")["Body"].read()) == digest(flower)
        s3_of(vended).delete_object(Bucket=vended["bucket"], Key=vended["prefix"] + "photo.jpg")
        with pytest.raises(ClientError) as gone:
            get(vended, "photo.jpg")
        assert gone.value.response["Error"]["Code"] == "NoSuchKey"
        assert "Contents" not in s3_of(vended).list_objects_v2(Bucket=vended["bucket"], Prefix=vended["prefix"])

    def test_large_one_goes_up_in_parts(
        self, deployment: Deployment, meet: Callable[[], Person], panorama: bytes
    ) -> None:
        vended = meet().vend()
        s3, place = s3_of(vended), {"Bucket": vended["bucket"], "Key": vended["prefix"] + "panorama.jpg"}
        in_parts = TransferConfig(multipart_threshold=FIVE_MEGABYTES, multipart_chunksize=FIVE_MEGABYTES)
        s3.upload_fileobj(io.BytesIO(panorama), **place, ExtraArgs={"ContentType": "image/jpeg"}, Config=in_parts)
        assert s3.head_object(**place)["ContentLength"] == len(panorama)
        etag, size, _time = deployment.objects(vended["prefix"])[place["Key"]]
        assert etag.strip('"').endswith("-2")
        assert size == len(panorama)
        received = io.BytesIO()
        s3.download_fileobj(**place, Fileobj=received)
        assert digest(received.getvalue()) == digest(panorama)
        edge = get(vended, "panorama.jpg", Range=f"bytes={FIVE_MEGABYTES - 10}-{FIVE_MEGABYTES + 9}")
        assert edge["Body"].read() == panorama[FIVE_MEGABYTES - 10 : FIVE_MEGABYTES + 10]

    def test_upload_in_parts_can_be_given_up(self, meet: Callable[[], Person], panorama: bytes) -> None:
        vended = meet().vend()
        s3, place = s3_of(vended), {"Bucket": vended["bucket"], "Key": vended["prefix"] + "panorama.jpg"}
        upload = s3.create_multipart_upload(**place)["UploadId"]
        s3.upload_part(**place, UploadId=upload, PartNumber=1, Body=panorama[:FIVE_MEGABYTES])
        parts = s3.list_parts(**place, UploadId=upload)["Parts"]
        assert [(part["PartNumber"], part["Size"]) for part in parts] == [(1, FIVE_MEGABYTES)]
        s3.abort_multipart_upload(**place, UploadId=upload)
        with pytest.raises(ClientError) as gone:
            s3.list_parts(**place, UploadId=upload)
        assert gone.value.response["Error"]["Code"] == "NoSuchUpload"


class TestTwoPeople:
    def test_neither_reaches_the_others(
        self, deployment: Deployment, meet: Callable[[], Person], china: bytes, flower: bytes
    ) -> None:
        ada, bob = meet().vend(), meet().vend()
        put(ada, "photo.jpg", china)
        put(bob, "photo.jpg", flower)
        before = deployment.objects("users/")
        for mine, theirs in ((ada, bob), (bob, ada)):
            self.refused_everything(mine, theirs)
        assert deployment.objects("users/") == before
        assert digest(get(ada, "photo.jpg")["Body"].read()) == digest(china)
        assert digest(get(bob, "photo.jpg")["Body"].read()) == digest(flower)

    def refused_everything(self, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
        s3, bucket = s3_of(mine), {"Bucket": mine["bucket"]}
        place = bucket | {"Key": theirs["prefix"] + "photo.jpg"}
        own = bucket | {"Key": mine["prefix"] + "copy.jpg"}
        attempts: list[tuple[Callable[..., Any], dict[str, Any]]] = [
            (s3.get_object, place),
            (s3.head_object, place),
            (s3.put_object, place | {"Body": b"intruder"}),
            (s3.delete_object, place),
            (s3.list_objects_v2, bucket | {"Prefix": theirs["prefix"]}),
            (s3.list_objects, bucket | {"Prefix": theirs["prefix"]}),
            (s3.list_objects_v2, bucket),
            (s3.copy_object, own | {"CopySource": place}),
            (s3.copy_object, place | {"CopySource": bucket | {"Key": mine["prefix"] + "photo.jpg"}}),
            (s3.create_multipart_upload, place),
            (s3.get_object_tagging, place),
        ]
        for call, arguments in attempts:
            with pytest.raises(ClientError) as refused:
                call(**arguments)
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, (call, arguments)
        deleted = s3.delete_objects(**bucket, Delete={"Objects": [{"Key": place["Key"]}]})
        assert [error["Code"] for error in deleted["Errors"]] == ["AccessDenied"]
        assert "Deleted" not in deleted

    def test_one_credential_is_one_folder(self, meet: Callable[[], Person], china: bytes) -> None:
        """`path` and `access`: what a slideshow on a borrowed screen gets."""
        ada = meet()
        put(ada.vend(), "albums/2026/china.jpg", china)
        put(ada.vend(), "private.jpg", china)
        shown = ada.vend(path="albums/2026/", access="read")
        assert digest(get(shown, "china.jpg")["Body"].read()) == digest(china)
        for call in (lambda: get(shown, "../../private.jpg"), lambda: put(shown, "new.jpg", china)):
            with pytest.raises(ClientError):
                call()
        with pytest.raises(ClientError) as refused:
            s3_of(shown).get_object(Bucket=shown["bucket"], Key=ada.prefix + "private.jpg")
        assert refused.value.response["Error"]["Code"] == "AccessDenied"


class TestSdk:
    def test_fetches_its_own_credential(
        self, deployment: Deployment, meet: Callable[[], Person], monkeypatch: pytest.MonkeyPatch, flower: bytes
    ) -> None:
        """The AWS SDKs' container provider, pointed at the service, needs no code of ours."""
        ada = meet()
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{deployment.url}/v1/credentials/container")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", ada.access_token)
        s3 = boto3.Session().client(
            "s3",
            region_name="us-east-1",
            endpoint_url=deployment.endpoint_url,
            config=Config(s3={"addressing_style": "path"}),
        )
        s3.put_object(Bucket=deployment.bucket, Key=ada.prefix + "flower.jpg", Body=flower)
        answer = s3.get_object(Bucket=deployment.bucket, Key=ada.prefix + "flower.jpg")
        assert digest(answer["Body"].read()) == digest(flower)

    def test_is_listed_in_the_ledger(self, meet: Callable[[], Person]) -> None:
        ada, bob = meet(), meet()
        vended = [ada.vend(access="read")["access_key_id"], ada.vend()["access_key_id"]]
        bob.vend()
        listed = ada.http.get("/v1/me/credentials").json()["items"]
        assert sorted(item["access_key_id"] for item in listed) == sorted(vended)
