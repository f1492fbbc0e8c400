"""What holds in every vending mode: one call for all who wait, to each their own credential, its row, its policy."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from httpx2 import AsyncClient
from lxml import etree

from app.platform.settings import VendingMode
from tests.policy.iam import allowed
from tests.support.saml_sts import ATTRIBUTES, NAMES
from tests.support.service import Device, Service, running_service
from tests.vending.crowd import hold, on_loop_of, sign_in
from tests.vending.saml_service import running_saml

ACTIONS = {
    "assume_role": "AssumeRole",
    "web_identity": "AssumeRoleWithWebIdentity",
    "saml": "AssumeRoleWithSAML",
    "federation_token": "GetFederationToken",
}


@pytest.fixture(params=ACTIONS)
def service(request: pytest.FixtureRequest, database_url: str) -> Iterator[Service]:
    """One for each mode. In `saml` mode STS believes nothing but what it has verified."""
    if request.param == "saml":
        with running_saml(database_url) as made:
            yield made
        return
    with running_service(database_url, vending_mode=request.param) as made:
        yield made


def calls(service: Service) -> list[dict[str, str]]:
    """What STS was sent for credentials."""
    action = ACTIONS[service.settings.vending_mode]
    return [form for form in service.sts.forms if form["Action"] == action]


def session_name(form: dict[str, str]) -> str:
    """By which STS knows the session, from wherever it stands."""
    if "SAMLAssertion" not in form:
        return form.get("RoleSessionName") or form["Name"]
    path = f".//saml:Attribute[@Name='{ATTRIBUTES}RoleSessionName']/saml:AttributeValue"
    name: str = etree.fromstring(base64.b64decode(form["SAMLAssertion"])).find(path, NAMES).text
    return name


async def vend(client: AsyncClient, device: Device, **wish: Any) -> Any:
    return await client.post("/v1/credentials", json=wish, headers=device.headers)


def test_there_are_no_other_modes() -> None:
    assert ACTIONS.keys() == set(get_args(VendingMode))


class TestEveryMode:
    def test_calls_once_for_all_who_wait(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        asked = threading.Event()
        service.sts.before_answer = lambda form: hold(asked)

        async def crowd(client: AsyncClient) -> list[Any]:
            waiting = [asyncio.create_task(vend(client, device)) for _ in range(40)]
            while not calls(service):  # noqa: ASYNC110 - it is noted in another thread
                await asyncio.sleep(0.002)
            asked.set()
            return await asyncio.gather(*waiting)

        answers = on_loop_of(service, crowd)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["credential_id"] for answer in answers}) == 1
        assert len(calls(service)) == 1
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(1,)]

    def test_gives_nobody_anothers(self, service: Service) -> None:
        """VC9, VC7: ten users, five vends each, all at once. The ledger has the names that STS was told."""
        devices = sign_in(service, 10)
        asking = [device for device in devices for _ in range(5)]

        async def crowd(client: AsyncClient) -> list[Any]:
            return await asyncio.gather(*(vend(client, device) for device in asking))

        answers = on_loop_of(service, crowd)
        for device, answer in zip(asking, answers, strict=True):
            assert answer.status_code == 200, answer.text
            assert answer.json()["prefix"] == f"users/{device.user_id}/"
        by_user = {device.user_id: set[str]() for device in devices}
        for device, answer in zip(asking, answers, strict=True):
            by_user[device.user_id].add(answer.json()["access_key_id"])
        assert [len(keys) for keys in by_user.values()] == [1] * 10
        assert len(set.union(*by_user.values())) == 10
        rows = service.sql("SELECT role_session_name FROM issued_credentials")
        assert {name for (name,) in rows} == {session_name(form) for form in calls(service)}
        assert len(rows) == len(calls(service)) == 10

    def test_sends_a_policy_of_the_users_own_prefix(self, service: Service) -> None:
        """VC2: by the evaluator, whatever the role allows."""
        (device,) = sign_in(service, 1)
        assert device.vend().status_code == 200
        (form,) = calls(service)
        own, foreign = (f"arn:aws:s3:::photos/users/{name}/a.jpg" for name in (device.user_id, f"{device.user_id}0"))
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
            assert allowed(form["Policy"], action, own)
            assert not allowed(form["Policy"], action, foreign)
        assert not allowed(form["Policy"], "sts:AssumeRole", service.settings.role_arn)
        assert json.loads(form["Policy"])["Statement"]

    def test_revokes_by_the_ledger(self, service: Service) -> None:
        """What was revoked is handed out no more: STS is asked anew, once its clock is in the next second."""
        (device,) = sign_in(service, 1)
        first = device.vend().json()
        assert device.post("/v1/credentials/revoke", {}).json()["revoked"] == 1
        service.clock.advance(seconds=2)
        second = device.vend().json()
        assert first["access_key_id"] != second["access_key_id"]
        assert len(calls(service)) == 2

    def test_asks_anew_after_a_failure(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        service.sts.fail("AccessDenied", 403)
        assert device.vend().json()["code"] == "sts_refused"
        assert device.vend().status_code == 200
        assert len(calls(service)) == 2

    def test_asks_for_the_life_that_is_wished(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        assert device.vend(duration_seconds=900).json()["expires_in"] == 900
        assert calls(service)[0]["DurationSeconds"] == "900"
