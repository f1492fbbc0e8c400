"""What people do with a credential on MinIO: photographs, shared folders, upload tickets, a quota. And what ends one.

MinIO has no IAM, so the service cannot tell it what was revoked. Its operator can: see `TestEnd`.
"""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys.deployment import Deployment, Person, keys_of, person
from tests.journeys.on_minio import served_on_minio, settings_on_minio
from tests.journeys.served import environment
from tests.journeys.shared_folder import FOLDER, OPEN, UNDER, check_reach, get, shared_folder
from tests.journeys.test_isolation_minio import node  # noqa: F401 - a fixture
from tests.journeys.test_photographs import TestPhotograph, TestSdk, TestTwoPeople  # noqa: F401 - run again, here
from tests.support.databases import SqliteDatabases
from tests.support.minio import BROKER, MinioNode

pytestmark = [pytest.mark.xdist_group("minio"), pytest.mark.long]

COUNTED_WITHIN = 30.0
"""Seconds: a job of another process, on a machine that is busy."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journeys-on-minio")


@pytest.fixture(scope="module")
def deployment(
    node: MinioNode,  # noqa: F811
    directory: Path,
    sqlite_databases: SqliteDatabases,
) -> Iterator[Deployment]:
    settings = {"TOKENVEND_UPLOAD_TICKETS": "on"}
    with served_on_minio(directory, node, sqlite_databases.create(directory), settings) as served:
        yield served


class TestSharedFolder:
    def test_is_read_and_nothing_else_is_reached(self, deployment: Deployment, flower: bytes) -> None:
        """MinIO asks s3:GetObject for the current version by its id, and s3:ListBucket for versions of the folder.

        It reads what is to be the new tags before it asks who sends them.
        """
        answered = {
            "GET {folder}beach.jpg?versionId=null": 200,
            f"GET ?versions&prefix={UNDER}albums%2F2026%2F": 200,
            "PUT {folder}beach.jpg?tagging": 500,
        }
        with shared_folder(deployment, flower) as shared:
            check_reach(shared, answered=answered)
            twin = f"{shared.bob.prefix}{FOLDER.upper()}twin.jpg"
            deployment.as_owner.put_object(Bucket=deployment.bucket, Key=twin, Body=b"a twin")
            kept = shared.ada.vend(include_shared=True)
            assert get(deployment, keys_of(kept), twin) == 403
            assert shared.bob.http.delete(f"/v1/grants/{shared.grant_id}").status_code == 202
            after = shared.ada.vend(include_shared=True)
            assert after["shared_prefixes"] == []
            key = shared.bob.prefix + OPEN[0]
            assert get(deployment, keys_of(after), key) == 403
            # As docs/app/sharing.md says: what was vended before reads until it expires.
            assert get(deployment, keys_of(kept), key) == 200


PICTURE = b"a picture"
KIND = "image/jpeg"


class TestTicket:
    @pytest.mark.parametrize("name", ["beach.jpg", "a b+c &'()=.jpg", "Zürich 🏔.jpg", "50%.jpg"])
    def test_stores_what_it_is_for(self, deployment: Deployment, name: str) -> None:
        with person(deployment) as ada:
            ticket = ask(ada, f"albums/{name}")
            assert send(ticket) == 201
            stored = deployment.as_owner.get_object(Bucket=deployment.bucket, Key=f"{ada.prefix}albums/{name}")
            assert (stored["Body"].read(), stored["ContentType"]) == (PICTURE, KIND)

    @pytest.mark.parametrize("body", [PICTURE + b"!", PICTURE[:-1], b"", PICTURE * 1000])
    def test_takes_no_other_size(self, deployment: Deployment, body: bytes) -> None:
        with person(deployment) as ada:
            assert send(ask(ada, "a.jpg"), body) == 400
            assert deployment.objects(ada.prefix) == {}

    @pytest.mark.parametrize(
        "change",
        [
            {"Content-Type": "text/html"},
            {"key": "{bob}albums/beach.jpg"},
            {"key": "{ada}b.jpg"},
            {"success_action_status": "200"},
            {"x-amz-meta-a": "b"},
            {"x-amz-signature": "0" * 64},
            {"x-amz-date": "20260101T000000Z"},
        ],
    )
    def test_takes_nothing_else_than_it_says(self, deployment: Deployment, change: dict[str, str]) -> None:
        with person(deployment) as ada, person(deployment) as bob:
            changed = {name: value.format(ada=ada.prefix, bob=bob.prefix) for name, value in change.items()}
            assert send(ask(ada, "a.jpg"), change=changed) in (400, 403)
            assert deployment.objects(ada.prefix) == deployment.objects(bob.prefix) == {}


def ask(who: Person, path: str) -> dict[str, Any]:
    wish = {"path": path, "content_type": KIND, "size": len(PICTURE)}
    answer = who.http.post("/v1/uploads", json=wish)
    assert answer.status_code == 200, answer.text
    ticket: dict[str, Any] = answer.json()
    return ticket


def send(ticket: dict[str, Any], body: bytes = PICTURE, *, change: dict[str, str] | None = None) -> int:
    fields = {field["name"]: field["value"] for field in ticket["fields"]} | (change or {})
    return httpx2.post(ticket["url"], data=fields, files={"file": ("beach.jpg", body, KIND)}).status_code


def put(deployment: Deployment, who: Person, keys: Any) -> int:
    return deployment.send(keys, "PUT", f"/{deployment.bucket}/{who.prefix}picture.jpg", body=PICTURE).status


class TestQuota:
    def test_stops_new_credentials_until_there_is_room(self, deployment: Deployment, directory: Path) -> None:
        """The keys that are out write on: MinIO cannot be told."""
        with person(deployment) as ada, person(deployment) as admin:
            (file,) = directory.glob("*.db")
            with closing(sqlite3.connect(file, timeout=10)) as database, database:
                database.execute("UPDATE users SET role = 'admin' WHERE id = ?", (admin.id.replace("-", ""),))
            keys = ada.keys()
            assert put(deployment, ada, keys) == 200
            limit = {"quota_bytes": 5, "reason": "a test"}
            assert admin.http.patch(f"/v1/admin/users/{ada.id}", json=limit).status_code == 200
            wait_for(ada, 403)
            usage = ada.http.get("/v1/me/usage").json()
            assert (usage["bytes"], usage["objects"], usage["quota_bytes"]) == (9, 1, 5)
            assert ada.http.post("/v1/credentials", json={}).json()["code"] == "quota_exceeded"
            assert put(deployment, ada, keys) == 200
            less = ada.keys(access="read_delete")
            assert put(deployment, ada, less) == 403
            assert deployment.send(less, "DELETE", f"/{deployment.bucket}/{ada.prefix}picture.jpg").status == 204
            limit["quota_bytes"] = 6  # a change has them counted at once; by themselves they are within a minute
            assert admin.http.patch(f"/v1/admin/users/{ada.id}", json=limit).status_code == 200
            wait_for(ada, 200)
            assert put(deployment, ada, ada.keys()) == 200


def wait_for(who: Person, status: int) -> None:
    deadline = time.monotonic() + COUNTED_WITHIN
    while who.http.post("/v1/credentials", json={}).status_code != status:
        assert time.monotonic() < deadline, "nobody counts"
        time.sleep(0.05)


class TestEnd:
    def test_the_service_cannot_tell_what_was_revoked(self, deployment: Deployment) -> None:
        """It takes the credential out of its cache, and says that it lives until it expires."""
        with person(deployment) as ada:
            vended = ada.vend()
            answer = ada.http.post("/v1/credentials/revoke")
            assert (answer.status_code, answer.json()["revoked"]) == (202, 1)
            assert answer.json()["effective_by"] >= vended["expiration"]
            assert put(deployment, ada, keys_of(vended)) == 200
            assert ada.vend()["access_key_id"] != vended["access_key_id"]

    def test_doctor_refuses_to_write_policies_there(
        self,
        node: MinioNode,  # noqa: F811
        tmp_path: Path,
        sqlite_databases: SqliteDatabases,
    ) -> None:
        settings = settings_on_minio(node, sqlite_databases.create(tmp_path))
        settings |= {"TOKENVEND_REVOCATION": "role_policy", "TOKENVEND_IAM_ENDPOINT_URL": node.endpoint_url}
        done = subprocess.run(
            [sys.executable, "-m", "app", "doctor"],
            check=False,
            capture_output=True,
            text=True,
            env=environment("http://127.0.0.1:8000", settings),
        )
        assert "failed  revocation" in done.stdout, done.stdout + done.stderr

    def test_the_operator_ends_all_at_once(self, deployment: Deployment, node: MinioNode) -> None:  # noqa: F811
        """What a session may do, and whether it is one, is asked of the service's own user at each request."""
        with person(deployment) as ada, person(deployment) as bob:
            keys = {who: who.keys() for who in (ada, bob)}
            assert [put(deployment, who, keys[who]) for who in keys] == [200, 200]
            node.admin.user_disable(BROKER)
            try:
                assert [put(deployment, who, keys[who]) for who in keys] == [403, 403]
            finally:
                node.admin.user_enable(BROKER)
            assert [put(deployment, who, keys[who]) for who in keys] == [200, 200]

    def test_the_operator_ends_those_of_one_user(self, deployment: Deployment, node: MinioNode) -> None:  # noqa: F811
        """By a second policy of the service's own user, which denies a prefix."""
        with person(deployment) as ada, person(deployment) as bob:
            keys = {who: who.keys() for who in (ada, bob)}
            denied = {"Effect": "Deny", "Action": ["s3:*"], "Resource": [f"arn:aws:s3:::{node.bucket}/{ada.prefix}*"]}
            node.admin.policy_add("ended", policy={"Version": "2012-10-17", "Statement": [denied]})
            node.admin.attach_policy(["ended"], user=BROKER)
            try:
                assert [put(deployment, who, keys[who]) for who in keys] == [403, 200]
            finally:
                node.admin.detach_policy(["ended"], user=BROKER)
            assert put(deployment, ada, keys[ada]) == 200
