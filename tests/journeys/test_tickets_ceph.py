"""Upload tickets on Ceph's RADOS Gateway, by HTTP as a form is sent: what is refused, and what is stored.

Release 16 takes forms of temporary credentials, but not of those with a session policy, which all vended ones have: it
answers that the object is stored, and stores nothing. So what a form says is tried with a session that has no policy,
and what a vended credential adds with a vended one.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import httpx2
import pytest
from botocore.exceptions import ClientError

from app.aws.sts_client import StsCredential
from app.platform.settings import Settings
from app.vending import tickets
from tests.journeys.deployment import REGION, Deployment, person
from tests.journeys.on_ceph import served_on_ceph
from tests.journeys.test_isolation_ceph import node  # noqa: F401 - a fixture
from tests.support.ceph import ROLE_ARN, CephNode
from tests.support.databases import SqliteDatabases
from tests.support.service import test_settings
from tests.vending.test_tickets import BROWSERS

pytestmark = pytest.mark.xdist_group("ceph")

PICTURE = b"a picture"
KIND = "image/jpeg"
Fields = dict[str, str]


@dataclass
class Signer:
    """Makes forms by keys that have no session policy."""

    settings: Settings
    credential: StsCredential
    reader: Any
    """S3 by the keys whose sessions these are: what they put is its own."""

    def form(self, key: str, *, age: float = 0, kind: str = KIND) -> Fields:
        began_at = datetime.now(UTC) - timedelta(seconds=age)
        fields = tickets.form(
            self.settings,
            self.credential,
            began_at,
            began_at + timedelta(minutes=15),
            key=key,
            content_type=kind,
            size=len(PICTURE),
        )
        return dict(fields)

    def send(self, fields: Fields, body: bytes = PICTURE) -> int:
        return send(tickets.url(self.settings, public=True), fields, body)

    def stored(self, key: str) -> tuple[int, str] | None:
        try:
            head = self.reader.head_object(Bucket=self.settings.bucket, Key=key)
        except ClientError:
            return None
        return head["ContentLength"], head["ContentType"]


def send(url: str, fields: Fields, body: bytes = PICTURE) -> int:
    return httpx2.post(url, data=fields, files={"file": ("beach.jpg", body, KIND)}).status_code


@pytest.fixture(scope="module")
def signer(node: CephNode) -> Signer:  # noqa: F811
    settings = test_settings(
        bucket=node.bucket, s3_endpoint_url=node.endpoint_url, s3_force_path_style=True, AWS_REGION=REGION
    )
    return Signer(settings, session_without_policy(node), node.s3(node.broker))


def session_without_policy(node: CephNode) -> StsCredential:  # noqa: F811
    sts = boto3.client(
        "sts",
        region_name=REGION,
        endpoint_url=node.endpoint_url,
        aws_access_key_id=node.broker.access_key_id,
        aws_secret_access_key=node.broker.secret_access_key,
    )
    given = sts.assume_role(RoleArn=ROLE_ARN, RoleSessionName="ticket")["Credentials"]
    return StsCredential(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], given["Expiration"], None
    )


def new_key(name: str = "beach.jpg") -> str:
    return f"users/{uuid.uuid4()}/albums/{name}"


class TestForm:
    @pytest.mark.parametrize("name", ["beach.jpg", "a b+c &'()=.jpg", "Zürich 🏔.jpg", "50%.jpg"])
    def test_stores_what_it_is_for(self, signer: Signer, name: str) -> None:
        key = new_key(name)
        assert signer.send(signer.form(key)) == 201
        assert signer.stored(key) == (len(PICTURE), KIND)

    @pytest.mark.parametrize("kind", BROWSERS)
    def test_keeps_the_type_with_its_parameters(self, signer: Signer, kind: str) -> None:
        key = new_key()
        assert signer.send(signer.form(key, kind=kind)) == 201
        assert signer.stored(key) == (len(PICTURE), kind)

    @pytest.mark.parametrize("body", [PICTURE + b"!", PICTURE[:-1], b"", PICTURE * 1000])
    def test_takes_no_other_size(self, signer: Signer, body: bytes) -> None:
        key = new_key()
        assert signer.send(signer.form(key), body) == 400
        assert signer.stored(key) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"Content-Type": "text/html"},
            {"key": "users/00000000-0000-4000-8000-000000000000/albums/beach.jpg"},
            {"key": "{key}2"},
            {"key": "{key}/${filename}"},
            {"success_action_status": "200"},
            {"acl": "public-read"},
            {"x-amz-meta-a": "b"},
            {"x-amz-signature": "0" * 64},
            {"x-amz-date": "20260101T000000Z"},
        ],
    )
    def test_takes_nothing_else_than_it_says(self, signer: Signer, change: Fields) -> None:
        key = new_key()
        changed = {name: value.replace("{key}", key) for name, value in change.items()}
        assert signer.send(signer.form(key) | changed) in (400, 403)
        assert signer.stored(key) is None

    def test_ends(self, signer: Signer) -> None:
        key = new_key()
        assert signer.send(signer.form(key, age=15 * 60 + 1)) == 403
        assert signer.send(signer.form(key, age=15 * 60 - 30)) == 201


@pytest.fixture(scope="module")
def revoking(
    node: CephNode,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_databases: SqliteDatabases,
) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("tickets")
    settings = {"TOKENVEND_REVOCATION": "role_policy", "TOKENVEND_UPLOAD_TICKETS": "on"}
    with served_on_ceph(directory, node, sqlite_databases.create(directory), settings) as deployment:
        yield deployment


class TestTicket:
    def test_is_refused_outside_of_its_folder_by_its_credential_too(self, revoking: Deployment) -> None:
        """Were the form forgeable, the session policy would hold still: the same key, with nothing but its folder."""
        with person(revoking) as ada, person(revoking) as bob:
            answer = ada.http.post(
                "/v1/uploads", json={"path": "albums/a.jpg", "content_type": KIND, "size": len(PICTURE)}
            )
            assert answer.status_code == 200, answer.text
            ticket = answer.json()
            assert ticket["key"] == f"{ada.prefix}albums/a.jpg"
            fields = {field["name"]: field["value"] for field in ticket["fields"]}
            assert send(ticket["url"], fields) == 201
            assert revoking.objects(ada.prefix) == {}, "this release says 201 and stores nothing: see above"
            for change in ({"key": f"{bob.prefix}albums/a.jpg"}, {"Content-Type": "text/html"}):
                assert send(ticket["url"], fields | change) == 403
            (row,) = ada.http.get("/v1/me/credentials").json()["items"]
            assert (row["credential_id"], row["access"]) == (ticket["credential_id"], "write")
            assert row["prefix"] == f"{ada.prefix}albums/"

    def test_ends_with_the_revocation_of_its_credential(self, revoking: Deployment) -> None:
        with person(revoking) as ada:
            wish = {"path": "a.jpg", "content_type": KIND, "size": len(PICTURE)}
            ticket = ada.http.post("/v1/uploads", json=wish).json()
            fields = {field["name"]: field["value"] for field in ticket["fields"]}
            assert send(ticket["url"], fields) == 201
            assert ada.http.post("/v1/credentials/revoke").status_code == 202
            for _ in range(200):
                if send(ticket["url"], fields) == 403:
                    break
            assert [send(ticket["url"], fields) for _ in range(3)] == [403] * 3
