"""The scene of the tests of shared folders: Bob shares `albums/2026/` with Ada, who wants to see the rest."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.journeys.deployment import Answer, Deployment, Keys, Person, keys_of, person

FOLDER = "albums/2026/"
OPEN = (f"{FOLDER}beach.jpg", f"{FOLDER}day/dune.jpg")
HIDDEN = (
    *("hidden.jpg", "albums/hidden.jpg", "albums/2026x/hidden.jpg", "albums/202/hidden.jpg", "albums/2027/hidden.jpg"),
    *("2026/hidden.jpg", "albums2026/hidden.jpg"),
)
UNDER = "users%2F{bob}%2F"

READS = {
    "GET {folder}beach.jpg": 200,
    "HEAD {folder}beach.jpg": 200,
    "GET {folder}day/dune.jpg": 200,
    f"GET ?list-type=2&prefix={UNDER}albums%2F2026%2F": 200,
    f"GET ?prefix={UNDER}albums%2F2026%2F": 200,
    f"GET ?list-type=2&prefix={UNDER}albums%2F2026%2F&delimiter=%2F": 200,
    f"GET ?list-type=2&prefix={UNDER}albums%2F2026%2Fday%2F": 200,
    f"GET ?list-type=2&prefix={UNDER}albums%2F2026%2Fb": 200,
}
REFUSED = (
    *(f"{method} users/{{bob}}/{key}" for key in HIDDEN for method in ("GET", "HEAD", "DELETE")),
    *("PUT {folder}new.jpg", "PUT {folder}beach.jpg", "PUT {folder}", "DELETE {folder}beach.jpg"),
    *("POST {folder}large.jpg?uploads", "PUT {folder}open.jpg?partNumber=1&uploadId={upload}"),
    *("GET {folder}open.jpg?uploadId={upload}", "DELETE {folder}open.jpg?uploadId={upload}"),
    *("GET {folder}beach.jpg?acl", "PUT {folder}beach.jpg?acl", "GET {folder}beach.jpg?tagging"),
    *("PUT {folder}beach.jpg?tagging", "DELETE {folder}beach.jpg?tagging", "GET {folder}beach.jpg?versionId=null"),
    *("GET users/{bob}/albums/2026", "GET users/{bob}/albums/", "GET users/{bob}/"),
    *("PUT users/{bob}/albums/2026", "PUT users/{bob}/albums/x.jpg"),
    *(
        f"GET ?list-type=2&prefix={prefix}"
        for prefix in (
            *(f"{UNDER}albums%2F2026", f"{UNDER}albums%2F2026x%2F", f"{UNDER}albums%2F", f"{UNDER}albums%2F202"),
            *(UNDER, "users%2F{bob}", "users%2F", "", f"{UNDER}albums%2F2026&delimiter=%2F"),
            *(f"{UNDER}2026%2F", f"{UNDER}hidden.jpg", f"{UNDER}albums%2F&start-after={UNDER}albums%2F2026%2F"),
        )
    ),
    *("GET ", "GET ?list-type=2", "GET ?versions", "GET ?uploads", f"GET ?uploads&prefix={UNDER}albums%2F2026%2F"),
    f"GET ?versions&prefix={UNDER}albums%2F2026%2F",
)
TRICKS = (
    *("GET {folder}../hidden.jpg", "GET {folder}../2026x/hidden.jpg", "GET {folder}../../hidden.jpg"),
    *("GET {folder}%2e%2e/hidden.jpg", "GET {folder}%2E%2E%2Fhidden.jpg", "GET {folder}..%2Fhidden.jpg"),
    *("GET users%2F{bob}%2Falbums%2F2026%2F..%2Fhidden.jpg", "GET {folder}day/../../hidden.jpg"),
    *("GET {folder}%252e%252e/hidden.jpg", "GET {folder}./../hidden.jpg", "GET {folder}/../hidden.jpg"),
    *(
        "GET users/{bob}//albums/hidden.jpg",
        "GET users//{bob}/hidden.jpg",
        "GET users/{bob}/albums/2026%2f..%2fhidden.jpg",
    ),
    *("GET users/{BOB}/hidden.jpg", "GET users/{bob}/ALBUMS/hidden.jpg", "GET users/{bob}/albums/2026X/hidden.jpg"),
    *("GET users/{bob}/albums/2026*/hidden.jpg", "GET users/{bob}/albums/%3F/hidden.jpg"),
    f"GET ?list-type=2&prefix={UNDER}albums%2F2026%2F..%2F",
    f"GET ?list-type=2&prefix={UNDER}albums%2F2026%2F%2E%2E%2F2026x%2F",
    f"GET ?list-type=2&prefix={UNDER}albums%2F2026%2F&prefix={UNDER}",
    f"GET ?list-type=2&prefix={UNDER}albums%2F2026%2F&start-after=a",
    f"GET ?prefix={UNDER}albums%2F2026%2F&marker=users%2F0",
    f"GET ?list-type=2&prefix={UNDER}albums%2f2026%2f&delimiter=2026",
)
"""Engines answer these in their own ways: nothing of the rest is in any of the answers."""


@dataclass(frozen=True)
class Shared:
    deployment: Deployment
    ada: Person
    bob: Person
    grant_id: str
    upload: str
    photograph: bytes
    """In each of the hidden files, and in none of the open ones."""

    def send(self, keys: Keys, request: str, *, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        method, target = request.split(" ", 1)
        names = {"bob": self.bob.id, "BOB": self.bob.id.upper(), "folder": f"users/{self.bob.id}/{FOLDER}"}
        target = target.format(**names, upload=self.upload)
        slash = "" if target.startswith("?") else "/"
        if method == "PUT" and not body:
            body = b"intruder"
        path = f"/{self.deployment.bucket}{slash}{target}".removesuffix("/" if target == "" else "//")
        answer = self.deployment.send(keys, method, path, body=body, headers=headers)
        assert self.photograph[100:132] not in answer.body, request
        if not target.startswith(f"users/{self.bob.id}/") and answer.status == 200:
            assert b"hidden" not in answer.body, request
            assert b"2026x" not in answer.body, request
        return answer

    def look(self) -> Any:
        return self.deployment.objects(self.bob.prefix)


@contextmanager
def shared_folder(deployment: Deployment, photograph: bytes) -> Iterator[Shared]:
    with person(deployment) as ada, person(deployment) as bob:
        for key in HIDDEN:
            deployment.as_owner.put_object(Bucket=deployment.bucket, Key=bob.prefix + key, Body=photograph)
        for key in OPEN:
            deployment.as_owner.put_object(Bucket=deployment.bucket, Key=bob.prefix + key, Body=b"the sea")
        place = {"Bucket": deployment.bucket, "Key": f"{bob.prefix}{FOLDER}open.jpg"}
        upload = deployment.as_owner.create_multipart_upload(**place)["UploadId"]
        grant_id = share(bob, ada, FOLDER)
        accept(ada, grant_id)
        yield Shared(deployment, ada, bob, grant_id, upload, photograph)


def share(owner: Person, grantee: Person, path: str) -> str:
    email = grantee.http.get("/v1/me").json()["email"]
    answer = owner.http.post("/v1/grants", json={"grantee_email": email, "path": path})
    assert answer.status_code == 201, answer.text
    grant_id: str = answer.json()["grant_id"]
    return grant_id


def accept(grantee: Person, grant_id: str) -> None:
    answer = grantee.http.post(f"/v1/grants/received/{grant_id}/accept")
    assert answer.status_code == 204, answer.text


def get(deployment: Deployment, keys: Keys, key: str) -> int:
    return deployment.send(keys, "GET", f"/{deployment.bucket}/{key}").status


def check_reach(shared: Shared, *, answered: Mapping[str, int] | None = None) -> None:
    """Request by request, with a credential that writes to its own prefix.

    `answered`: the statuses of those in `REFUSED` that this engine answers, with nothing of what is hidden.
    """
    vended, before = shared.ada.vend(include_shared=True), shared.look()
    assert vended["shared_prefixes"] == [f"{shared.bob.prefix}{FOLDER}"]
    keys, own = keys_of(vended), shared.ada.keys()
    for request, status in READS.items():
        assert shared.send(keys, request).status == status, request
        assert shared.send(own, request).status == 403, request
    for request in REFUSED:
        answer = shared.send(keys, request)
        assert answer.status == (answered or {}).get(request, 403), (request, answer)
    for request in TRICKS:
        shared.send(keys, request)
    mine = f"/{shared.deployment.bucket}/{shared.ada.prefix}"
    for source, status in ((f"users/{shared.bob.id}/{OPEN[0]}", 200), (f"users/{shared.bob.id}/{HIDDEN[0]}", 403)):
        copied = {"x-amz-copy-source": f"/{shared.deployment.bucket}/{source}"}
        assert shared.deployment.send(keys, "PUT", f"{mine}copy.jpg", headers=copied).status == status
        into = f"/{shared.deployment.bucket}/{shared.bob.prefix}{FOLDER}copy.jpg"
        assert shared.deployment.send(keys, "PUT", into, headers=copied).status == 403
    assert shared.deployment.send(keys, "PUT", f"{mine}own.jpg", body=b"mine").status == 200
    assert shared.deployment.send(keys, "DELETE", f"{mine}own.jpg").status == 204
    assert shared.look() == before


@dataclass(frozen=True)
class Load:
    """What readers of a folder saw while it was withdrawn, by the clock of this machine."""

    reads: list[tuple[float, int]]
    """When each began, and its status."""
    vends: list[tuple[float, list[str]]]
    """When each was asked for, and what it shared."""
    answered_at: float
    effective_by: float


def withdraw_under_load(shared: Shared, *, readers: int = 3, goes_on_for: float = 1.5) -> Load:
    """Readers list and get without a rest, and vend anew at each refusal, until a while after `effective_by`."""
    reads: list[tuple[float, int]] = []
    vends: list[tuple[float, list[str]]] = []
    stop = threading.Event()

    def read() -> None:
        keys = None
        while not stop.is_set():
            if keys is None:
                asked_at = time.time()
                answer = shared.ada.http.post("/v1/credentials", json={"include_shared": True})
                if answer.status_code != 200:
                    continue
                vends.append((asked_at, answer.json()["shared_prefixes"]))
                keys = keys_of(answer.json())
            began_at = time.time()
            status = get(shared.deployment, keys, shared.bob.prefix + OPEN[0])
            reads.append((began_at, status))
            if status != 200:
                keys = None
                time.sleep(0.02)

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    answer = shared.bob.http.delete(f"/v1/grants/{shared.grant_id}")
    answered_at = time.time()
    assert answer.status_code == 202, answer.text
    effective_by = datetime.fromisoformat(answer.json()["effective_by"]).astimezone(UTC).timestamp()
    time.sleep(max(0.0, effective_by - time.time()) + goes_on_for)
    stop.set()
    for thread in threads:
        thread.join(10)
    return Load(reads, vends, answered_at, effective_by)
