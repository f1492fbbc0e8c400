"""A vended credential reaches the same on a real engine, however STS was asked for it: each mode, each access level.

The requests are those of the other isolation tests.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest

from app.crypto.encoding import b64url
from app.engine import config
from tests.conftest import DevServer
from tests.journeys import test_isolation as whole
from tests.journeys import test_isolation_tokens as tokens
from tests.journeys import test_isolation_uploads as uploads
from tests.journeys.deployment import person
from tests.journeys.modes import ledger_row, running_in
from tests.journeys.scene import Row, Scene, matrix, rows_of, set_scene
from tests.journeys.test_isolation import test_own  # noqa: F401 - run again, on the scenes below
from tests.journeys.test_isolation_narrowing import (  # noqa: F401 - likewise
    test_nothing_is_deleted_by_the_dozen,
    test_path_is_a_folder,
    test_read_changes_nothing,
    test_write_gives_an_upload_up,
    test_write_reads_nothing,
)

pytestmark = [pytest.mark.usefixtures("left_alone"), pytest.mark.sampled(1)]

MODES = [
    "assume_role",
    *(
        pytest.param(mode, marks=[pytest.mark.xdist_group(mode), pytest.mark.all, pytest.mark.sampled(6)])
        for mode in ("web_identity", "saml", "federation_token")
    ),
]


@pytest.fixture(scope="session", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest, mode: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if mode == "assume_role":
        server: DevServer = request.getfixturevalue("dev_server")
        return server.data_dir
    return tmp_path_factory.mktemp(mode)


@pytest.fixture(scope="session")
def scene(request: pytest.FixtureRequest, mode: str, data_dir: Path, china: bytes, flower: bytes) -> Iterator[Scene]:
    """One for each mode; that of `assume_role` is the scene of all other tests."""
    if mode == "assume_role":
        yield request.getfixturevalue("scene")
        return
    with ExitStack() as stack:
        deployment = stack.enter_context(running_in(mode, data_dir))
        ada, bob = (stack.enter_context(person(deployment)) for _ in range(2))
        yield set_scene(deployment, ada, bob, china, flower)


@pytest.fixture(scope="module")
def left_alone(scene: Scene) -> Iterator[None]:
    """Nothing but Ada's own has changed when the tests of a mode are over."""
    before = scene.look()
    yield
    assert scene.look() == before


def refused(*tests: Callable[..., None]) -> list[Row]:
    """The rows of these tests that no access level allows."""
    return [row for row in rows_of(*tests) if row.status == 403]


@pytest.mark.parametrize("access", ["read", "write", "read_write", "read_delete"])
class TestForeign:
    @matrix(*refused(whole.test_foreign, whole.test_twins))
    def test_object_is_refused(self, scene: Scene, access: str, row: Row) -> None:
        """VC2: by any credential, in any mode."""
        scene.check(row, scene.keys(access=access))

    @matrix(*refused(whole.test_lists))
    def test_list_is_refused(self, scene: Scene, access: str, row: Row) -> None:
        """VC2: likewise."""
        scene.check(row, scene.keys(access=access))

    @matrix(*refused(uploads.test_copies, uploads.test_parts))
    def test_copy_or_part_is_refused(self, scene: Scene, access: str, row: Row) -> None:
        """VC2: likewise."""
        scene.check(row, scene.keys(access=access))

    def test_folder_of_the_same_name_is_refused(self, scene: Scene, access: str) -> None:
        """VC2: a narrowed credential is for the folder of its own user."""
        keys = scene.keys(access=access, path="albums/2026/")
        for method in ("GET", "PUT", "DELETE"):
            answer = scene.deployment.send(keys, method, f"/{scene.names['foreign']}/albums/2026/beach.jpg")
            assert (answer.status, answer.code) == (403, "AccessDenied")


class TestSts(tokens.TestSts):
    """In each mode, a vended credential cannot turn into another."""

    def test_it_says_whose_the_credential_is(self, scene: Scene, mode: str, data_dir: Path) -> None:  # type: ignore[override]
        """VC7: the engine and the ledger have the same name, which is the user's."""
        vended = scene.ada.vend()
        answer = tokens.call(scene, "sts", "GetCallerIdentity")
        assert answer.status == 200
        found = re.search(rb"<Arn>arn:aws:sts::(?:\d*:)?([\w/.-]+)</Arn>", answer.body)
        assert found is not None, answer.body
        kind, *_, name = found[1].decode().split("/")
        row = ledger_row(data_dir, vended["access_key_id"])
        assert (uuid.UUID(row.user_id), row.prefix) == (uuid.UUID(scene.ada.id), scene.ada.prefix)
        assert name == row.role_session_name
        if mode == "federation_token":
            assert (kind, name) == ("federated-user", scene.ada.id.replace("-", ""))
        else:
            device = b64url(uuid.UUID(row.session_id).bytes)
            assert (kind, name) == ("assumed-role", f"{scene.ada.id}.{device}")

    @pytest.mark.parametrize("access", ["read", "write"])
    @pytest.mark.parametrize(
        "form", ["Action=AssumeRole&RoleSessionName=again", "Action=GetFederationToken&Name=again"]
    )
    def test_narrower_credentials_are_refused_too(self, scene: Scene, access: str, form: str) -> None:
        body = f"{form}&{urlencode({'Version': '2011-06-15', 'RoleArn': config.ROLE_ARN})}".encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        answer = scene.deployment.send(
            scene.keys(access=access), "POST", "/", body=body, headers=headers, service="sts"
        )
        assert (answer.status, answer.code) == (403, "AccessDenied")
