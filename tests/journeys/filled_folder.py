"""The scene of the tests of folders that others fill: Bob lets Ada and Eve fill `albums/2026/`, and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.journeys.deployment import Answer, Deployment, Keys, Person, keys_of, person
from tests.journeys.shared_folder import FOLDER, accept

THEIRS = "theirs.jpg"
UPLOAD = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
ALLOWED = {
    "PUT {mine}a.jpg": 200,
    "GET {mine}a.jpg": 200,
    "HEAD {mine}a.jpg": 200,
    "PUT {mine}day/er/b.jpg": 200,
    "PUT {mine}by/{eve}/c.jpg": 200,
    "GET ?list-type=2&prefix={listed}": 200,
    "DELETE {mine}a.jpg": 204,
    "GET {folder}by/{eve}/theirs.jpg": 200,
    "GET {folder}beach.jpg": 200,
    "PUT users/{ada}/own.jpg": 200,
}
"""In this order. Reading is allowed in all of the folder."""
CLOSED = (
    *("{folder}x.jpg", "{folder}beach.jpg", "{folder}by/x.jpg", "{folder}by/{ada}", "{folder}by/{ada}x/x.jpg"),
    *("{folder}by/{eve}/theirs.jpg", "{folder}by/{eve}/x.jpg", "{folder}by/{eve}/by/{ada}/x.jpg"),
    *("{folder}{ada}/x.jpg", "{folder}day/by/{ada}/x.jpg", "{folder}by/by/{ada}/x.jpg", "{folder}by/{bob}/x.jpg"),
    *("users/{bob}/by/{ada}/x.jpg", "users/{bob}/albums/by/{ada}/x.jpg", "users/{bob}/albums/2026x/by/{ada}/x.jpg"),
    *("users/{bob}/hidden.jpg", "users/{bob}/{ada}/x.jpg", "by/{ada}/x.jpg", "users/by/{ada}/x.jpg"),
    *("users/{eve}/albums/2026/by/{ada}/x.jpg", "users/{eve}/by/{ada}/x.jpg"),
)
"""Places in which Ada never writes or deletes."""
ATTEMPTS = ("PUT {}", "DELETE {}", "POST {}?uploads", "PUT {}?tagging", "DELETE {}?tagging", "PUT {}?acl")
REFUSED = (
    *(attempt.replace("{}", place) for place in CLOSED for attempt in ATTEMPTS),
    *("PUT {folder}open.jpg?partNumber=1&uploadId={upload}", "GET {folder}open.jpg?uploadId={upload}"),
    "DELETE {folder}open.jpg?uploadId={upload}",
    *("PUT {mine}a.jpg?tagging", "DELETE {mine}a.jpg?tagging", "PUT {mine}a.jpg?acl", "GET {mine}a.jpg?acl"),
)
TRICKS = tuple(
    f"{method} {{mine}}{path}"
    for method in ("PUT", "DELETE")
    for path in (
        *("../{eve}/theirs.jpg", "%2e%2e/{eve}/theirs.jpg", "..%2F{eve}%2Ftheirs.jpg", "../../beach.jpg"),
        *("x/../../{eve}/theirs.jpg", "%252e%252e/{eve}/theirs.jpg", "/../{eve}/theirs.jpg", "./../../x.jpg"),
    )
)
"""Engines answer these in their own ways: nothing outside Ada's part is another one afterwards."""


@dataclass(frozen=True)
class Filled:
    deployment: Deployment
    ada: Person
    bob: Person
    eve: Person
    grant_id: str
    """Ada's."""
    upload: str

    @property
    def mine(self) -> str:
        return f"{self.bob.prefix}{FOLDER}by/{self.ada.id}/"

    def send(self, keys: Keys, request: str, *, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        method, target = request.split(" ", 1)
        names = {"ada": self.ada.id, "bob": self.bob.id, "eve": self.eve.id, "upload": self.upload, "mine": self.mine}
        target = target.format(**names, folder=f"{self.bob.prefix}{FOLDER}", listed=self.mine.replace("/", "%2F"))
        body = body or (b"mine" if method == "PUT" else b"")
        slash = "" if target.startswith("?") else "/"
        return self.deployment.send(
            keys, method, f"/{self.deployment.bucket}{slash}{target}", body=body, headers=headers
        )

    def look(self) -> dict[str, Any]:
        """All of Bob's and Eve's, but for what is in Ada's part."""
        found = self.deployment.objects(self.bob.prefix) | self.deployment.objects(self.eve.prefix)
        return {key: value for key, value in found.items() if not key.startswith(self.mine)}


@contextmanager
def filled_folder(deployment: Deployment) -> Iterator[Filled]:
    with person(deployment) as ada, person(deployment) as bob, person(deployment) as eve:
        owner, bucket, folder = deployment.as_owner, deployment.bucket, f"{bob.prefix}{FOLDER}"
        for key in (f"{bob.prefix}hidden.jpg", f"{folder}beach.jpg", f"{folder}by/{eve.id}/{THEIRS}"):
            owner.put_object(Bucket=bucket, Key=key, Body=b"the sea")
        upload = owner.create_multipart_upload(Bucket=bucket, Key=f"{folder}open.jpg")["UploadId"]
        ids = [let_fill(bob, one) for one in (ada, eve)]
        yield Filled(deployment, ada, bob, eve, ids[0], upload)


def let_fill(owner: Person, contributor: Person, **members: Any) -> str:
    """A grant by which the contributor fills the folder. They have accepted it."""
    email = contributor.http.get("/v1/me").json()["email"]
    wish = {"grantee_email": email, "path": FOLDER, "access": "contribute", **members}
    answer = owner.http.post("/v1/grants", json=wish)
    assert answer.status_code == 201, answer.text
    grant_id: str = answer.json()["grant_id"]
    accept(contributor, grant_id)
    return grant_id


def check_reach(filled: Filled) -> None:
    """VC13, request by request: a contributor writes in their own part, and touches nothing else of its owner's."""
    vended, before = filled.ada.vend(include_shared=True), filled.look()
    assert vended["write_prefixes"] == [filled.mine]
    keys, own, reading = keys_of(vended), filled.ada.keys(), filled.ada.keys(include_shared=True, access="read")
    for request, status in ALLOWED.items():
        assert filled.send(keys, request).status == status, request
    for request in REFUSED:
        answer = filled.send(keys, request)
        assert answer.status == 403, (request, answer)
    for request in TRICKS:
        filled.send(keys, request)
    for lesser in (own, reading):
        for request in ("PUT {mine}no.jpg", "DELETE {mine}day/er/b.jpg", "POST {mine}no.jpg?uploads"):
            assert filled.send(lesser, request).status == 403, request
    _copy(filled, keys)
    _upload_in_parts(filled, keys)
    _delete_several(filled, keys)
    assert filled.look() == before


def check_owner(filled: Filled) -> None:
    """Whoever shares the folder may delete all that is in it; whoever else fills it may not."""
    keys = filled.ada.keys(include_shared=True)
    assert filled.send(keys, "PUT {mine}kept.jpg").status == 200
    eves = filled.eve.keys(include_shared=True)
    assert filled.send(eves, "GET {mine}kept.jpg").status == 200
    assert filled.send(eves, "DELETE {mine}kept.jpg").status == 403
    assert filled.send(filled.bob.keys(), "DELETE {mine}kept.jpg").status == 204


def check_withdrawn(filled: Filled) -> None:
    """No credential that is issued from then on writes there."""
    assert filled.bob.http.delete(f"/v1/grants/{filled.grant_id}").status_code == 202
    after = filled.ada.vend(include_shared=True)
    assert (after["shared_prefixes"], after["write_prefixes"]) == ([], [])
    assert filled.send(keys_of(after), "PUT {mine}late.jpg").status == 403


def _copy(filled: Filled, keys: Keys) -> None:
    for source, status in ((f"{FOLDER}beach.jpg", 200), ("hidden.jpg", 403)):
        copied = {"x-amz-copy-source": f"/{filled.deployment.bucket}/{filled.bob.prefix}{source}"}
        method = f"/{filled.deployment.bucket}/{filled.mine}copy.jpg"
        assert filled.deployment.send(keys, "PUT", method, headers=copied).status == status, source
        into = f"/{filled.deployment.bucket}/{filled.bob.prefix}{FOLDER}copy.jpg"
        assert filled.deployment.send(keys, "PUT", into, headers=copied).status == 403


def _upload_in_parts(filled: Filled, keys: Keys) -> None:
    begun = filled.send(keys, "POST {mine}film.mp4?uploads")
    assert begun.status == 200, begun
    upload_id = begun.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()
    part = filled.send(keys, f"PUT {{mine}}film.mp4?partNumber=1&uploadId={upload_id}", body=b"a part")
    assert part.status == 200
    etag = {name.lower(): value for name, value in part.headers.items()}["etag"]
    body = UPLOAD.format(etag=etag).encode()
    assert filled.send(keys, f"POST {{mine}}film.mp4?uploadId={upload_id}", body=body).status == 200
    assert filled.send(keys, "GET {mine}film.mp4").body == b"a part"


def _delete_several(filled: Filled, keys: Keys) -> None:
    """In one request: those of others stay, whether the engine refuses all of it or one by one."""
    theirs = f"{filled.bob.prefix}{FOLDER}by/{filled.eve.id}/{THEIRS}"
    s3 = filled.deployment.s3(keys)
    with suppress(s3.exceptions.ClientError):
        s3.delete_objects(Bucket=filled.deployment.bucket, Delete={"Objects": [{"Key": theirs}]})


def check_reach_by_link(filled: Filled) -> None:
    """VC13: somebody without an account, request by request; and who only looks writes nowhere."""
    wish = {"path": FOLDER, "access": "contribute"}
    link = filled.bob.http.post("/v1/links", json=wish).json()
    asked: dict[str, Any] = {"secret": link["url"].partition("#")[2]}

    def open_link(**members: str) -> dict[str, Any]:
        answer = filled.ada.http.post("/v1/links/open", headers={"Authorization": ""}, json=asked | members)
        assert answer.status_code == 200, answer.text
        opened: dict[str, Any] = answer.json()
        return opened

    opened, viewer = open_link(contributor_name="Grandma"), open_link()
    mine, keys = opened["write_prefix"], keys_of(opened["credentials"])
    assert mine == f"{filled.bob.prefix}{FOLDER}by/{opened['contributor']['id']}/"
    before = filled.look()
    for request, status in (("PUT", 200), ("GET", 200), ("DELETE", 204), ("PUT", 200)):
        assert filled.send(keys, f"{request} {mine}a.jpg").status == status, request
    for request in REFUSED:
        if "{mine}" not in request:
            assert filled.send(keys, request).status == 403, request
    for request in ("PUT {mine}x.jpg", "DELETE {mine}x.jpg", "PUT users/{ada}/x.jpg", "GET users/{ada}/own.jpg"):
        assert filled.send(keys, request).status == 403, request
    for request in (f"PUT {mine}x.jpg", f"DELETE {mine}a.jpg"):
        assert filled.send(keys_of(viewer["credentials"]), request).status == 403, request
    again = open_link(contributor_token=opened["contributor"]["token"])
    assert filled.send(keys_of(again["credentials"]), f"DELETE {mine}a.jpg").status == 204
    assert filled.look() == before
    assert filled.bob.http.delete(f"/v1/links/{link['link_id']}").status_code == 202
