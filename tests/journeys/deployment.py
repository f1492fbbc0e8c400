"""A service and its engine as somebody runs them, the people who use them, and requests as an attacker writes them."""

import http.client
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from httpx2 import Client, Response

PASSWORD = "violet tractor moonlight"
REGION = "us-east-1"


@dataclass(frozen=True)
class Keys:
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Answer:
    status: int
    code: str | None
    """Of the first error in an XML body."""
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Deployment:
    url: str
    endpoint_url: str
    bucket: str
    owner: Keys
    """The bucket owner's: for setting scenes, and to see what became of them."""

    def send(
        self,
        keys: Keys | None,
        method: str,
        target: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        service: str = "s3",
    ) -> Answer:
        """One request to the engine, its target exactly as given: boto3 would tidy it up. Not signed without keys."""
        request = AWSRequest(method, self.endpoint_url + target, headers=headers, data=body)
        if keys is not None:
            signer = S3SigV4Auth if service == "s3" else SigV4Auth
            credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
            signer(credentials, service, REGION).add_auth(request)
        with closing(http.client.HTTPConnection(urlsplit(self.endpoint_url).netloc, timeout=30)) as connection:
            connection.request(method, target, body=body, headers=dict(request.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
        code = re.search(rb"<Code>(\w+)</Code>", content)
        return Answer(answer.status, code[1].decode() if code else None, content, dict(answer.headers.items()))

    def s3(self, keys: Keys) -> Any:
        return boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
        )

    def objects(self, prefix: str = "", *, bucket: str | None = None) -> dict[str, tuple[str, int, str]]:
        """Every object under the prefix: key → ETag, size, time."""
        pages = self.as_owner.get_paginator("list_objects_v2").paginate(Bucket=bucket or self.bucket, Prefix=prefix)
        found = (entry for page in pages for entry in page.get("Contents", []))
        return {entry["Key"]: (entry["ETag"], entry["Size"], str(entry["LastModified"])) for entry in found}

    @cached_property
    def as_owner(self) -> Any:
        return self.s3(self.owner)


@dataclass(frozen=True)
class Person:
    """A registered user, signed in on one device."""

    deployment: Deployment
    http: Client
    access_token: str
    id: str

    @property
    def prefix(self) -> str:
        return f"users/{self.id}/"

    def vend(self, **wish: Any) -> dict[str, Any]:
        answer = self.http.post("/v1/credentials", json=wish)
        assert answer.status_code == 200, answer.text
        vended: dict[str, Any] = answer.json()
        return vended

    def keys(self, **wish: Any) -> Keys:
        return keys_of(self.vend(**wish))


def keys_of(vended: Mapping[str, Any]) -> Keys:
    return Keys(vended["access_key_id"], vended["secret_access_key"], vended["session_token"])


def s3_of(vended: Mapping[str, Any]) -> Any:
    """An S3 client from nothing but the answer of `POST /v1/credentials`, as an app makes one."""
    style = "path" if vended["force_path_style"] else "auto"
    return boto3.client(
        "s3",
        region_name=vended["region"],
        endpoint_url=vended["endpoint_url"],
        aws_access_key_id=vended["access_key_id"],
        aws_secret_access_key=vended["secret_access_key"],
        aws_session_token=vended["session_token"],
        config=Config(s3={"addressing_style": style}),
    )


@contextmanager
def person(deployment: Deployment) -> Iterator[Person]:
    """Registers, signs in, and is gone with the block."""
    email = f"{uuid.uuid4()}@example.org"
    with Client(base_url=deployment.url, timeout=30) as http:
        _expect(201, http.post("/v1/users", json={"email": email, "password": PASSWORD}))
        tokens = _expect(200, http.post("/v1/auth/login", json={"email": email, "password": PASSWORD}))["tokens"]
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield Person(deployment, http, tokens["access_token"], _expect(200, http.get("/v1/me"))["id"])


def _expect(status: int, answer: Response) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()
