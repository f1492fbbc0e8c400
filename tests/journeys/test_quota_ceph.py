"""A quota that is reached while keys are out, on an engine that judges the role's policies: Ceph's RADOS Gateway."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.journeys.deployment import Deployment, person
from tests.journeys.on_ceph import put, seconds_until_refused, served_on_ceph
from tests.journeys.test_isolation_ceph import node  # noqa: F401 - a fixture
from tests.support.ceph import CephNode
from tests.support.databases import SqliteDatabases

pytestmark = pytest.mark.xdist_group("ceph")

COUNTED_WITHIN = 30.0
"""Seconds: a job of another process, on a machine that is busy."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def deployment(
    node: CephNode,  # noqa: F811
    directory: Path,
    sqlite_databases: SqliteDatabases,
) -> Iterator[Deployment]:
    url, settings = (
        sqlite_databases.create(directory),
        {"TOKENVEND_REVOCATION": "role_policy", "TOKENVEND_QUOTA_VERSIONS_FACTOR": "2"},
    )
    with served_on_ceph(directory, node, url, settings) as served:
        yield served


def make_admin(directory: Path, user_id: str) -> None:
    (file,) = directory.glob("*.db")
    with closing(sqlite3.connect(file, timeout=10)) as database, database:
        changed = database.execute("UPDATE users SET role = 'admin' WHERE id = ?", (user_id.replace("-", ""),))
        assert changed.rowcount == 1


def test_what_is_out_stops_and_room_opens_it_again(deployment: Deployment, directory: Path) -> None:
    """The keys that uploaded are refused by the engine; others read and delete, and then there are keys to write."""
    with person(deployment) as ada, person(deployment) as admin:
        make_admin(directory, admin.id)
        keys = ada.keys()
        assert put(deployment, keys, ada.prefix) == 200
        limit = {"quota_bytes": 5, "reason": "a test"}
        assert admin.http.patch(f"/v1/admin/users/{ada.id}", json=limit).status_code == 200
        print(f"\nquota to the first refused upload: {seconds_until_refused(deployment, keys, ada.prefix):.3f} s")
        usage = ada.http.get("/v1/me/usage").json()
        assert (usage["bytes"], usage["objects"], usage["quota_bytes"]) == (9, 1, 5)
        refused = ada.http.post("/v1/credentials", json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "quota_exceeded")

        less = ada.keys(access="read_delete")
        target = f"/{deployment.bucket}/{ada.prefix}picture.jpg"
        assert deployment.send(less, "GET", target).body == b"a picture"
        assert put(deployment, less, ada.prefix) == 403
        assert deployment.send(less, "DELETE", target).status == 204
        limit["quota_bytes"] = 6  # a change has them counted at once; by themselves they are within a minute
        assert admin.http.patch(f"/v1/admin/users/{ada.id}", json=limit).status_code == 200
        deadline = time.monotonic() + COUNTED_WITHIN
        while ada.http.post("/v1/credentials", json={}).status_code != 200:
            assert time.monotonic() < deadline, "nobody counts"
            time.sleep(0.05)
        assert put(deployment, ada.keys(), ada.prefix) == 200


@pytest.mark.long
def test_old_versions_stop_it_too(deployment: Deployment, directory: Path) -> None:
    """VC16: one object of 9 bytes, written four times, where 10 may be stored and 20 with what was replaced."""
    owner = deployment.s3(deployment.owner)
    owner.put_bucket_versioning(Bucket=deployment.bucket, VersioningConfiguration={"Status": "Enabled"})
    try:
        with person(deployment) as ada, person(deployment) as admin:
            make_admin(directory, admin.id)
            keys = ada.keys()
            assert [put(deployment, keys, ada.prefix) for _ in range(4)] == [200] * 4
            limit = {"quota_bytes": 10, "reason": "a test"}
            assert admin.http.patch(f"/v1/admin/users/{ada.id}", json=limit).status_code == 200
            seconds_until_refused(deployment, keys, ada.prefix)
            usage = ada.http.get("/v1/me/usage").json()
            assert (usage["bytes"], usage["objects"]) == (9, 1)
            assert usage["old_bytes"] >= 27
            refused = ada.http.post("/v1/credentials", json={})
            assert (refused.status_code, refused.json()["code"]) == (403, "quota_exceeded")
    finally:
        owner.put_bucket_versioning(Bucket=deployment.bucket, VersioningConfiguration={"Status": "Suspended"})
        owner.close()
