"""An upload that takes longer than a credential lives: a lease for half a day, or another credential between parts."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.journeys.deployment import Deployment, Person, keys_of, person, s3_of
from tests.journeys.modes import running_in

pytestmark = [pytest.mark.all, pytest.mark.xdist_group("web_identity")]

PART = 5 * 1024 * 1024
"""Bytes: the least of every part but the last."""
LEASE = {"purpose": "upload", "path": "films/2026/"}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Others' credentials live for a quarter of an hour."""
    ttl = {"CREDENTIAL_TTL": "900", "CREDENTIAL_MAX_TTL": "900", "UPLOAD_MAX_TTL": "43200"}
    with running_in("web_identity", tmp_path_factory.mktemp("lease"), **ttl) as running:
        yield running


@pytest.fixture(scope="module")
def ada(deployment: Deployment) -> Iterator[Person]:
    with person(deployment) as ada:
        yield ada


@pytest.fixture(scope="module")
def film(panorama: bytes) -> bytes:
    assert len(panorama) > PART
    return panorama


def upload_parts(s3: Any, place: dict[str, str], upload: str, film: bytes, *numbers: int) -> list[dict[str, Any]]:
    return [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(
                **place, UploadId=upload, PartNumber=number, Body=film[(number - 1) * PART : number * PART]
            )["ETag"],
        }
        for number in numbers
    ]


class TestLease:
    def test_outlives_all_others_on_the_engine_too(self, ada: Person) -> None:
        """SeaweedFS's session tokens are JWTs, and say until when it takes them."""
        lease, plain = ada.vend(**LEASE), ada.vend(access="write", path="films/2026/")
        assert (lease["expires_in"], plain["expires_in"]) == (pytest.approx(43_200, abs=5), pytest.approx(900, abs=5))
        ends = [claims(vended["session_token"])["exp"] for vended in (lease, plain)]
        assert ends[0] - ends[1] == pytest.approx(43_200 - 900, abs=60)

    def test_uploads_a_film_in_parts(self, ada: Person, film: bytes) -> None:
        vended = ada.vend(**LEASE)
        s3, place = s3_of(vended), {"Bucket": vended["bucket"], "Key": f"{vended['prefix']}film.mov"}
        assert vended["prefix"] == f"{ada.prefix}films/2026/"
        upload = s3.create_multipart_upload(**place)["UploadId"]
        parts = upload_parts(s3, place, upload, film, 1, 2)
        s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
        assert ada.deployment.as_owner.get_object(**place)["Body"].read() == film

    @pytest.mark.parametrize(
        "request_line",
        [
            "GET {folder}film.mov",
            "HEAD {folder}film.mov",
            "DELETE {folder}film.mov",
            "GET ?list-type=2&prefix={folder}",
            "GET ?list-type=2&prefix={own}",
            "PUT {own}films/beside.mov",
            "PUT {own}beside.mov",
            "PUT {own}films/20260/beside.mov",
            "PUT {other}films/2026/beside.mov",
            "POST {own}films/beside.mov?uploads",
        ],
    )
    def test_does_nothing_else(self, ada: Person, request_line: str) -> None:
        names = {
            "folder": f"{ada.prefix}films/2026/",
            "own": ada.prefix,
            "other": "users/00000000-0000-4000-8000-000000000000/",
        }
        ada.deployment.as_owner.put_object(Bucket="photos", Key=f"{names['folder']}film.mov", Body=b"film")
        method, _, target = request_line.format(**names).partition(" ")
        answer = ada.deployment.send(
            keys_of(ada.vend(**LEASE)), method, f"/photos{'' if target[0] == '?' else '/'}{target}", body=b""
        )
        assert answer.status == 403, answer.body
        if method == "DELETE":
            assert f"{names['folder']}film.mov" in ada.deployment.objects(ada.prefix)


class TestAnotherCredential:
    def test_goes_on_with_the_upload(self, ada: Person, film: bytes) -> None:
        """Uploads are the bucket's: whoever may write there goes on, with keys that were revoked or not."""
        first = ada.vend(access="write", path="films/")
        place = {"Bucket": first["bucket"], "Key": f"{first['prefix']}long.mov"}
        upload = s3_of(first).create_multipart_upload(**place)["UploadId"]
        parts = upload_parts(s3_of(first), place, upload, film, 1)
        assert ada.http.post("/v1/credentials/revoke").status_code == 202
        second = ada.vend(access="write", path="films/")
        assert second["access_key_id"] != first["access_key_id"]
        s3 = s3_of(second)
        assert [part["PartNumber"] for part in s3.list_parts(**place, UploadId=upload)["Parts"]] == [1]
        parts += upload_parts(s3, place, upload, film, 2)
        s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
        assert ada.deployment.as_owner.get_object(**place)["Body"].read() == film


def claims(token: str) -> dict[str, Any]:
    """Of a JWT, not verified."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found
