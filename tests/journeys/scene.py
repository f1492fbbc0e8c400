"""The scene of the isolation tests: Ada attacks, Bob must not notice."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.journeys import explained
from tests.journeys.deployment import Answer, Deployment, Keys, Person

ELSEWHERE = "elsewhere"
"""A second bucket, which nobody was given anything in."""
OF_A_USER = re.compile(r"users/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/")


@dataclass(frozen=True)
class Row:
    """One request with a vended credential, and what the engine answers."""

    name: str
    request: str
    """Method and target; `{own}` and `{foreign}` are Ada's and Bob's folders, `{ada}` and `{bob}` their ids."""
    status: int
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    aws: str = ""
    """What AWS answers, where it is something else."""


def denied(name: str, request: str, *, body: str = "", aws: str = "", **headers: str) -> Row:
    code = None if request.startswith("HEAD") else "AccessDenied"
    return Row(name, request, 403, code, _headers(headers), body, aws)


def answered(
    name: str, request: str, status: int, code: str | None = None, *, body: str = "", aws: str = "", **headers: str
) -> Row:
    return Row(name, request, status, code, _headers(headers), body, aws)


def matrix(*rows: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


def rows_of(*tests: Callable[..., None]) -> list[Row]:
    """Those of a `matrix`, for another engine or credential."""
    return [row for test in tests for mark in test.pytestmark for row in mark.args[1]]  # type: ignore[attr-defined]


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(eq=False)
class Scene:
    deployment: Deployment
    ada: Person
    bob: Person
    photograph: bytes
    """Bob's."""
    uploads: dict[str, str]
    """Whose → id of an open upload to `open.jpg`, with one part."""
    last_seen: dict[str, Any] = field(init=False)
    """What stood in everybody else's place when it was last looked at."""

    def __post_init__(self) -> None:
        self.last_seen = self.look()

    @property
    def twin(self) -> str:
        """The id of a user who has the same as Ada, but for its last digit."""
        return twin_of(self.ada)

    @property
    def names(self) -> dict[str, str]:
        bucket, ada, bob = self.deployment.bucket, self.ada.id, self.bob.id
        return {
            "bucket": bucket,
            "ada": ada,
            "bob": bob,
            "twin": self.twin,
            "ADA": ada.upper(),
            "BOB": bob.upper(),
            "own": f"{bucket}/users/{ada}",
            "foreign": f"{bucket}/users/{bob}",
            "longer": f"{bucket}/users/{ada}b",
            "shorter": f"{bucket}/users/{ada[:-1]}",
            "own_upload": self.uploads["ada"],
            "foreign_upload": self.uploads["bob"],
        }

    def check(self, row: Row, keys: Keys | None = None) -> Answer:
        """Sends the row's request, as Ada if nobody is named. No answer has Bob's bytes, or the names of his files."""
        method, target = row.request.format(**self.names).split(" ", 1)
        headers = {name: value.format(**self.names) for name, value in row.headers.items()}
        body = row.body.format(**self.names).encode()
        keys = keys or self.keys()
        answer = self.deployment.send(keys, method, target, body=body, headers=headers)
        assert self.photograph[100:132] not in answer.body
        assert b"beach" not in answer.body
        assert (answer.status, answer.code) == (row.status, row.code), answer.body
        explained.check(self, row, keys)
        return answer

    def keys(self, **wish: Any) -> Keys:
        """Ada's; the service has them in memory after the first time."""
        return self.ada.keys(**wish)

    def look(self) -> dict[str, Any]:
        """Everything that Ada must leave alone: all buckets, all objects outside users' folders, Bob's, his upload."""
        deployment, bob = self.deployment, self.bob
        every = deployment.objects()
        upload = {"Bucket": deployment.bucket, "Key": f"{bob.prefix}open.jpg", "UploadId": self.uploads["bob"]}
        parts = deployment.as_owner.list_parts(**upload)["Parts"]
        return {
            "buckets": [bucket["Name"] for bucket in deployment.as_owner.list_buckets()["Buckets"]],
            "objects": {k: v for k, v in every.items() if k.startswith(bob.prefix) or not OF_A_USER.match(k)},
            "twin": deployment.objects(f"users/{self.twin}/"),
            "elsewhere": deployment.objects(bucket=ELSEWHERE),
            "parts": [(part["PartNumber"], part["ETag"], part["Size"]) for part in parts],
        }


def twin_of(person: Person) -> str:
    return person.id[:-1] + ("0" if person.id[-1] != "0" else "1")


def set_scene(deployment: Deployment, ada: Person, bob: Person, china: bytes, flower: bytes) -> Scene:
    """A foreign object stands wherever an attempt is made, so that "not found" cannot pass for "refused"."""
    owner, bucket = deployment.as_owner, deployment.bucket
    if ELSEWHERE not in [found["Name"] for found in owner.list_buckets()["Buckets"]]:
        owner.create_bucket(Bucket=ELSEWHERE)
    for key, data in {
        f"{bob.prefix}photo.jpg": flower,
        f"{bob.prefix}albums/2026/beach.jpg": flower,
        f"users/{twin_of(ada)}/beach.jpg": flower,
        f"users/{ada.id}b/photo.jpg": flower,
        f"users/{ada.id[:-1]}/photo.jpg": flower,
        "photo.jpg": flower,
        "users/photo.jpg": flower,
        f"{ada.prefix}photo.jpg": china,
        f"{ada.prefix}albums/2026/photo.jpg": china,
        f"{ada.prefix}albums2/photo.jpg": china,
    }.items():
        owner.put_object(Bucket=bucket, Key=key, Body=data, ContentType="image/jpeg")
    owner.put_object(Bucket=ELSEWHERE, Key=f"{ada.prefix}photo.jpg", Body=flower)
    uploads = {"ada": _open_upload(deployment, ada), "bob": _open_upload(deployment, bob)}
    return Scene(deployment, ada, bob, flower, uploads)


def _open_upload(deployment: Deployment, whose: Person) -> str:
    place = {"Bucket": deployment.bucket, "Key": f"{whose.prefix}open.jpg"}
    upload: str = deployment.as_owner.create_multipart_upload(**place)["UploadId"]
    deployment.as_owner.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"the first part")
    return upload
