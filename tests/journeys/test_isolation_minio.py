"""What a vended credential reaches on MinIO: the requests of the embedded engine's tests, and what MinIO adds to them.

It answers some requests otherwise than SeaweedFS or AWS do: `OTHERWISE` says which, and how. None of them opens an
object of another user's. What MinIO does not keep apart is the names: docs/operate/engines.md.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from minio import MinioAdmin
from minio.error import MinioAdminException

from tests.journeys import test_isolation as whole
from tests.journeys import test_isolation_narrowing as narrowed
from tests.journeys import test_isolation_uploads as uploads
from tests.journeys.deployment import Answer, Deployment, Keys, person
from tests.journeys.on_minio import served_on_minio, settings_on_minio
from tests.journeys.scene import Row, Scene, rows_of, set_scene
from tests.journeys.served import environment
from tests.support.databases import SqliteDatabases
from tests.support.minio import BROKER, ROLE_ARN, MinioNode, admin, minio_node

pytestmark = [pytest.mark.xdist_group("minio"), pytest.mark.long, pytest.mark.usefixtures("left_alone")]

BAD_NAME = (400, "XMinioInvalidResourceName")
OTHERWISE: dict[str, tuple[int, str | None]] = {
    "foreign-get_torrent": (501, "NotImplemented"),
    "foreign-post_to_it": (400, "BadRequest"),
    "twins-upper_case_bucket": (400, "InvalidBucketName"),
    **{f"paths-{name}": BAD_NAME for name in ("dots", "dots_put", "dots_delete", "dots_from_above", "one_dot", "nul")},
    **{f"paths-{name}": BAD_NAME for name in ("encoded_dots", "encoded_dots_put", "encoded_slash", "all_encoded")},
    "paths-backslash": BAD_NAME,
    "paths-double_slash_before_all": (400, "BadRequest"),
    "paths-double_slash_in_own": (400, "XMinioInvalidObjectName"),
    "paths-folder_of_own": (404, "NoSuchKey"),
    "lists-versions": (200, None),  # of the own folder: MinIO asks s3:ListBucket for it
    "lists-dots": BAD_NAME,
    "lists-marker": (501, "NotImplemented"),
    "bucket_administration-list_buckets": (403, "AccessDenied"),
    "bucket_administration-put_lifecycle": (400, "MissingContentMD5"),
    "bucket_administration-public_access": (501, "NotImplemented"),
    "bucket_administration-form_upload": (400, "InvalidRequest"),
    "own_objects_beyond_what_was_granted-get_version": (200, None),  # the current one: s3:GetObject is enough
    "copies-dots": (400, "XMinioInvalidObjectName"),
    "copies-encoded_dots": (400, "XMinioInvalidObjectName"),
    "parts-abort_foreign_id": (204, None),  # and the other upload goes on
    "parts-abort_by_dots": BAD_NAME,
}
UNEQUAL = {"lists-prefix_twice", "lists-own_then_foreign"}
"""Rows about lists that say nothing of MinIO, which does not keep lists apart. `tokenvend doctor` says so."""


@pytest.fixture(scope="module")
def node() -> Iterator[MinioNode]:
    """One for each module that imports this, and gone with the module."""
    with minio_node() as node:
        yield node


@pytest.fixture(scope="module")
def on_minio(
    node: MinioNode, tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases
) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("on-minio")
    with served_on_minio(directory, node, sqlite_databases.create(directory)) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def scene(on_minio: Deployment, china: bytes, flower: bytes) -> Iterator[Scene]:
    with person(on_minio) as ada, person(on_minio) as bob:
        yield set_scene(on_minio, ada, bob, china, flower)


@pytest.fixture(scope="class")
def left_alone(scene: Scene) -> Iterator[None]:
    """Nothing but Ada's own has changed when the tests of a class are over."""
    yield
    before, scene.last_seen = scene.last_seen, scene.look()
    assert scene.last_seen == before


def here(test: Callable[..., None], **wish: str) -> list[Any]:
    """The rows of a test with MinIO's answers, and the credential that each is for."""
    named = {f"{test.__name__.removeprefix('test_')}-{row.name}": row for row in rows_of(test)}
    return [
        pytest.param(wish, _here(name, row), id="-".join((name, *wish.values())))
        for name, row in named.items()
        if name not in UNEQUAL
    ]


def _here(name: str, row: Row) -> Row:
    if name not in OTHERWISE:
        return row
    status, code = OTHERWISE[name]
    return replace(row, status=status, code=code, aws=row.aws or f"{row.status} {row.code}")


def each_access(*tests: Callable[..., None]) -> list[Any]:
    """The rows that are refused to every access level but `read_write`, which `TestVended` is about."""
    levels = ("read", "write", "read_delete")
    return [
        row for access in levels for test in tests for row in here(test, access=access) if row.values[1].status == 403
    ]


class TestVended:
    """One for all of the own folder, or for a part of it."""

    @pytest.mark.parametrize(
        ("wish", "row"),
        [
            *here(whole.test_own),
            *here(whole.test_foreign),
            *here(whole.test_twins),
            *here(whole.test_paths),
            *here(whole.test_lists),
            *here(whole.test_bucket_administration),
            *here(whole.test_own_objects_beyond_what_was_granted),
            *here(uploads.test_copies),
            *here(uploads.test_parts),
            *here(narrowed.test_path_is_a_folder, path="albums/"),
            *here(narrowed.test_read_changes_nothing, access="read"),
            *here(narrowed.test_write_reads_nothing, access="write"),
            *here(narrowed.test_read_delete_adds_nothing, access="read_delete"),
        ],
    )
    def test_is_answered_as_elsewhere(self, scene: Scene, wish: dict[str, str], row: Row) -> None:
        answer = scene.check(row, scene.keys(**wish))
        if answer.status >= 300:
            return
        for foreign in (scene.bob.id, f"{scene.ada.id}b"):
            assert f"<Key>users/{foreign}".encode() not in answer.body

    @pytest.mark.parametrize(
        ("wish", "row"),
        each_access(whole.test_foreign, whole.test_twins, whole.test_lists, uploads.test_copies, uploads.test_parts),
    )
    def test_of_another_access_level_reaches_no_more(self, scene: Scene, wish: dict[str, str], row: Row) -> None:
        scene.check(row, scene.keys(**wish))

    @pytest.mark.parametrize("key", ["users/{bob}/photo.jpg", "users/{ada}b/photo.jpg", "users/{ada}", "photo.jpg"])
    def test_deletes_nothing_foreign_among_many(self, scene: Scene, key: str) -> None:
        answer = uploads.delete(scene, key.format(**scene.names))
        assert (answer.status, answer.code) == (200, "AccessDenied")
        assert b"<Deleted>" not in answer.body


MIXTURES: dict[str, Callable[[Keys, Keys, Keys], Keys | None]] = {
    "nobody": lambda ada, bob, owner: None,
    "no_token": lambda ada, bob, owner: replace(ada, session_token=None),
    "nonsense_token": lambda ada, bob, owner: replace(ada, session_token="nonsense"),
    "bobs_token": lambda ada, bob, owner: replace(ada, session_token=bob.session_token),
    "bobs_token_and_key": lambda ada, bob, owner: replace(bob, secret_access_key=ada.secret_access_key),
    "bobs_keys_own_token": lambda ada, bob, owner: replace(bob, session_token=ada.session_token),
    "bobs_key_id": lambda ada, bob, owner: replace(ada, access_key_id=bob.access_key_id),
    "other_secret": lambda ada, bob, owner: replace(ada, secret_access_key="x" * 40),
    "owners_key_id": lambda ada, bob, owner: replace(ada, access_key_id=owner.access_key_id),
    "owners_key_id_alone": lambda ada, bob, owner: Keys(owner.access_key_id, ada.secret_access_key),
}


class TestTokens:
    def test_changed_by_their_holder_open_nothing(self, scene: Scene) -> None:
        """Unlike Ceph's. Each 16th character in turn, but the last ones, of which some bits say nothing."""
        keys = scene.keys()
        token = keys.session_token or ""
        for place in range(0, len(token) - 2, 16):
            changed = token[:place] + ("B" if token[place] == "A" else "A") + token[place + 1 :]
            for whose in ("own", "foreign"):
                target = f"/{scene.names[whose]}/photo.jpg"
                assert scene.deployment.send(replace(keys, session_token=changed), "GET", target).status == 403, place

    @pytest.mark.parametrize("whose", ["own", "foreign"])
    @pytest.mark.parametrize("mixture", MIXTURES)
    def test_of_which_sts_issued_none_open_nothing(self, scene: Scene, mixture: str, whose: str) -> None:
        keys = MIXTURES[mixture](scene.keys(), scene.bob.keys(), scene.deployment.owner)
        assert scene.deployment.send(keys, "GET", f"/{scene.names[whose]}/photo.jpg").status == 403


AGAIN = {"RoleArn": ROLE_ARN, "RoleSessionName": "again"}


class TestMore:
    """A vended credential cannot turn into a longer or wider one."""

    @pytest.mark.parametrize(
        ("action", "parameters", "expected"),
        [
            ("AssumeRole", AGAIN, (403, "AccessDenied")),
            ("AssumeRole", AGAIN | {"Policy": "{{}}"}, (403, "AccessDenied")),
            ("GetFederationToken", {"Name": "again"}, (400, "InvalidParameterValue")),
            ("GetSessionToken", {}, (400, "InvalidParameterValue")),
            (
                "AssumeRoleWithWebIdentity",
                AGAIN | {"WebIdentityToken": "{access_token}"},
                (400, "InvalidParameterValue"),
            ),
        ],
    )
    def test_is_not_given_by_sts(
        self, scene: Scene, action: str, parameters: dict[str, str], expected: tuple[int, str]
    ) -> None:
        filled = {name: value.format(access_token=scene.ada.access_token) for name, value in parameters.items()}
        answer = assume(scene, scene.keys(), action, filled)
        assert (answer.status, answer.code) == expected
        assert b"SecretAccessKey" not in answer.body

    def test_is_given_to_the_broker_alone(self, scene: Scene, node: MinioNode) -> None:
        """So that the refusals above are ones of the session, not of the request."""
        broker = Keys(node.broker.access_key_id, node.broker.secret_access_key)
        assert assume(scene, broker, "AssumeRole", AGAIN).status == 200

    @pytest.mark.parametrize(
        "call",
        [
            lambda admin: admin.add_service_account(access_key="ownkey123456", secret_key="own-secret-123"),
            lambda admin: admin.list_service_account(BROKER),
            lambda admin: admin.user_add("intruder", "intruder-secret"),
            lambda admin: admin.user_info(BROKER),
            lambda admin: admin.user_list(),
            lambda admin: admin.user_disable(BROKER),
            lambda admin: admin.policy_list(),
            lambda admin: admin.policy_add("mine", policy={"Version": "2012-10-17", "Statement": []}),
            lambda admin: admin.policy_set("consoleAdmin", user=BROKER),
            lambda admin: admin.info(),
            lambda admin: admin.bucket_quota_set("photos", 1),
        ],
    )
    def test_is_not_given_by_the_administration(self, scene: Scene, call: Callable[[MinioAdmin], str]) -> None:
        keys = scene.keys()
        own = admin(scene.deployment.endpoint_url, keys.access_key_id, keys.secret_access_key, keys.session_token)
        with pytest.raises(MinioAdminException, match="AccessDenied"):
            call(own)


def assume(scene: Scene, keys: Keys, action: str, parameters: dict[str, str]) -> Answer:
    body = urlencode({"Action": action, "Version": "2011-06-15", **parameters}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return scene.deployment.send(keys, "POST", "/", body=body, headers=headers, service="sts")


class TestPresigned:
    @pytest.mark.parametrize(("whose", "status"), [("ada", 200), ("bob", 403)])
    @pytest.mark.parametrize("operation", ["get_object", "head_object", "put_object"])
    def test_can_do_what_the_credential_can(self, scene: Scene, operation: str, whose: str, status: int) -> None:
        person = scene.ada if whose == "ada" else scene.bob
        place = {"Bucket": scene.deployment.bucket, "Key": f"{person.prefix}photo.jpg"}
        if operation == "put_object":
            place["Key"] = f"{person.prefix}presigned.jpg"
        link = scene.deployment.s3(scene.keys()).generate_presigned_url(operation, Params=place, ExpiresIn=60)
        method = operation.partition("_")[0].upper()
        target = link.removeprefix(scene.deployment.endpoint_url)
        assert scene.deployment.send(None, method, target).status == status


class TestDoctor:
    def test_says_what_holds_and_stop(self, node: MinioNode, tmp_path: Path, sqlite_databases: SqliteDatabases) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "app", "doctor"],
            check=False,
            capture_output=True,
            text=True,
            env=environment("http://127.0.0.1:8000", settings_on_minio(node, sqlite_databases.create(tmp_path))),
        )
        assert done.returncode == 1, done.stderr
        assert "ok      foreign prefix" in done.stdout
        assert "ok      session token" in done.stdout
        assert "failed  engine: MinIO" in done.stdout
        assert "STOP" in done.stdout
