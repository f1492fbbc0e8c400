"""Revocation on an engine that judges the role's policies: Ceph's RADOS Gateway.

A stolen credential stops there; the user's other device and everybody else go on. How long that takes is printed
(`pytest -s`), and not asserted: it is this machine's.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from httpx2 import Client

from tests.journeys.deployment import PASSWORD, Deployment, Person, person
from tests.journeys.on_ceph import put, seconds_until_refused, served_on_ceph
from tests.journeys.test_isolation_ceph import node  # noqa: F401 - a fixture
from tests.support.ceph import CephNode
from tests.support.databases import SqliteDatabases

pytestmark = pytest.mark.xdist_group("ceph")


@pytest.fixture(scope="module")
def revoking(
    node: CephNode,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_databases: SqliteDatabases,
) -> Iterator[Deployment]:
    """`tokenvend serve` with `REVOCATION=role_policy`."""
    directory = tmp_path_factory.mktemp("revoking")
    url, settings = sqlite_databases.create(directory), {"TOKENVEND_REVOCATION": "role_policy"}
    with served_on_ceph(directory, node, url, settings) as deployment:
        yield deployment


@pytest.fixture
def meet(revoking: Deployment) -> Iterator[Callable[[], Person]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(person(revoking))


def other_device(stack: ExitStack, of: Person, email: str) -> Person:
    http = stack.enter_context(Client(base_url=of.deployment.url, timeout=30))
    answer = http.post("/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    token = answer.json()["tokens"]["access_token"]
    http.headers["Authorization"] = f"Bearer {token}"
    return replace(of, http=http, access_token=token)


@pytest.fixture
def phone_and_tablet(meet: Callable[[], Person]) -> Iterator[tuple[Person, Person]]:
    """Two devices of one user."""
    with ExitStack() as stack:
        phone = meet()
        email = phone.http.get("/v1/me").json()["email"]
        yield phone, other_device(stack, phone, email)


class TestStolenCredential:
    def test_stops_with_the_sign_out_of_its_device_alone(
        self, revoking: Deployment, meet: Callable[[], Person], phone_and_tablet: tuple[Person, Person]
    ) -> None:
        (phone, tablet), bob = phone_and_tablet, meet()
        stolen, others, bobs = phone.keys(), tablet.keys(), bob.keys()
        assert [put(revoking, keys, phone.prefix) for keys in (stolen, others)] == [200, 200]
        devices = tablet.http.get("/v1/me/sessions").json()["items"]
        (lost,) = [device["session_id"] for device in devices if not device["current"]]
        assert tablet.http.delete(f"/v1/me/sessions/{lost}").status_code == 204
        seconds = seconds_until_refused(revoking, stolen, phone.prefix)
        print(f"\nsign-out to the first refused request: {seconds:.3f} s")
        assert put(revoking, others, phone.prefix) == 200
        assert put(revoking, bobs, bob.prefix) == 200

    def test_stops_by_its_users_own_wish_and_every_device_gets_another(
        self, revoking: Deployment, meet: Callable[[], Person], phone_and_tablet: tuple[Person, Person]
    ) -> None:
        (phone, tablet), bob = phone_and_tablet, meet()
        stolen, others, bobs = phone.keys(), tablet.keys(), bob.keys()
        answer = phone.http.post("/v1/credentials/revoke")
        assert (answer.status_code, answer.json()["revoked"]) == (202, 2)
        seconds = seconds_until_refused(revoking, stolen, phone.prefix)
        print(f"\nrevocation to the first refused request: {seconds:.3f} s")
        assert put(revoking, others, phone.prefix) == 403
        assert put(revoking, bobs, bob.prefix) == 200
        for device in (phone, tablet):
            assert [put(revoking, device.keys(), phone.prefix) for _ in range(3)] == [200] * 3

    def test_revokes_nothing_by_itself(
        self,
        revoking: Deployment,
        node: CephNode,  # noqa: F811
        meet: Callable[[], Person],
    ) -> None:
        """Nobody's vended credential rewrites the role's policies."""
        ada = meet()
        keys = ada.keys()
        body = b"Action=DeleteRolePolicy&Version=2010-05-08&RoleName=tokenvend-vending&PolicyName=tokenvend-revocations"
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        answer = revoking.send(keys, "POST", "/", body=body, headers=headers, service="iam")
        assert (answer.status, answer.code) == (403, "AccessDenied")
