"""The broker's calls: against moto for the shape of AWS's API, against a canned STS for each form.

Neither enforces a session policy: what a credential may do is shown on the embedded engine, in `tests/journeys/`.
"""

import asyncio
import os
import re
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto.core import set_initial_no_auth_action_count
from moto.server import ThreadedMotoServer

from app.aws import sts_client
from app.aws.sts_client import StsCredential
from app.compose import build_runtime
from app.platform.problems import Overloaded, StsRefused
from app.vending.broker import Broker
from app.vending.orders import Order, Terms
from tests.support.canned_sts import CannedSts
from tests.support.databases import SqliteDatabases
from tests.support.service import ROLE_ARN, Service, test_settings
from tests.vending.crowd import hold, sign_in

T = TypeVar("T")
USER = uuid.UUID("0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a")
SESSION = uuid.UUID("7d1f0a52-93f4-4c1e-8b6d-52c0a1b2c3d4")
SESSION_NAME = "0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a.fR8KUpP0TB6LbVLAobLD1A"
POLICY = '{"Version":"2012-10-17","Statement":[]}'
ORDER = Order(USER, SESSION, "read_write", f"users/{USER}/", 3600, POLICY, Terms("assume_role", ROLE_ARN))
KEYS = {"aws_access_key_id": "AKIATESTTESTTEST", "aws_secret_access_key": "test"}


@pytest.fixture
def database_url(sqlite_databases: SqliteDatabases, tmp_path: Path) -> str:
    """SQLite alone: nothing here depends on the database."""
    return sqlite_databases.create(tmp_path)


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def sts() -> Iterator[CannedSts]:
    canned = CannedSts()
    yield canned
    canned.close()


def with_broker(
    endpoint_url: str, story: Callable[[Broker], Awaitable[T]], *, keys: dict[str, str] = KEYS, **settings: Any
) -> T:
    """What `story` returns, with a broker as the runtime builds it."""

    async def run() -> T:
        changed = test_settings(database_url=f"sqlite:///{os.devnull}", sts_endpoint_url=endpoint_url, **settings)
        runtime = build_runtime(changed, aws=boto3.Session(**keys))
        try:
            return await story(runtime.vending.broker)
        finally:
            await runtime.close()

    return asyncio.run(run())


def obtain(endpoint_url: str, order: Order = ORDER, **settings: Any) -> StsCredential:
    return with_broker(endpoint_url, lambda broker: broker.obtain(order), **settings)


def client(endpoint_url: str, service: str = "sts", **keys: str) -> BaseClient:
    return boto3.client(service, region_name="us-east-1", endpoint_url=endpoint_url, **(KEYS | keys))


class TestSaml:
    def test_an_assertion_is_what_moto_reads(self, moto_url: str, make_service: Callable[..., Service]) -> None:
        """VC7: an independent parser finds the session's name in it, and no signature of the call is needed."""
        service = make_service(vending_mode="saml", sts_endpoint_url=moto_url)
        (device,) = sign_in(service, 1)
        answer = device.vend()
        assert answer.status_code == 200, answer.text
        keys = {"aws_access_key_id": answer.json()["access_key_id"]}
        keys["aws_secret_access_key"] = answer.json()["secret_access_key"]
        keys["aws_session_token"] = answer.json()["session_token"]
        arn = client(moto_url, **keys).get_caller_identity()["Arn"]
        ((name,),) = service.sql("SELECT role_session_name FROM issued_credentials")
        assert arn.endswith(f":assumed-role/tokenvend-vending/{name}")


class TestForm:
    """VC7: what STS is sent, whole: a form with one member more fails."""

    def test_has_role_name_policy_duration_and_source_identity(self, sts: CannedSts) -> None:
        obtain(sts.url)
        assert sts.forms == [
            {
                "Action": "AssumeRole",
                "Version": "2011-06-15",
                "RoleArn": ROLE_ARN,
                "RoleSessionName": SESSION_NAME,
                "Policy": POLICY,
                "DurationSeconds": "3600",
                "SourceIdentity": str(USER),
            }
        ]

    def test_has_an_external_id_only_when_there_is_one(self, sts: CannedSts) -> None:
        obtain(sts.url, replace(ORDER, terms=replace(ORDER.terms, external_id="partner-7")))
        assert sts.forms[0]["ExternalId"] == "partner-7"

    def test_has_no_source_identity_where_the_role_does_not_take_one(self, sts: CannedSts) -> None:
        obtain(sts.url, replace(ORDER, terms=replace(ORDER.terms, source_identity=False)))
        assert "SourceIdentity" not in sts.forms[0]

    def test_names_user_and_device_in_what_iam_takes(self) -> None:
        for user, session in ((USER, SESSION), (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1))):
            name = replace(ORDER, user_id=user, session_id=session).role_session_name
            assert re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII)
            assert len(name) == 59
            assert name.startswith(f"{user}.")

    def test_is_what_the_service_sends_for_a_vend(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        assert device.vend(access="read", duration_seconds=900).status_code == 200
        (form,) = service.sts.assumed
        assert form.keys() == {
            "Action",
            "Version",
            "RoleArn",
            "RoleSessionName",
            "Policy",
            "DurationSeconds",
            "SourceIdentity",
        }
        assert form["RoleArn"] == ROLE_ARN
        assert re.fullmatch(rf"{device.user_id}\.[A-Za-z0-9_-]{{22}}", form["RoleSessionName"])
        assert form["DurationSeconds"] == "900"
        assert form["SourceIdentity"] == device.user_id


class TestAnswer:
    def test_is_kept_whole(self, sts: CannedSts) -> None:
        before = datetime.now(UTC)
        issued = obtain(sts.url)
        assert issued.access_key_id == "ASIACANNED0000000001"
        assert issued.secret_access_key == "canned-secret-key-1"
        assert issued.session_token == "canned-session-token-1"
        assert issued.request_id == "request-1"
        assert abs(issued.expires_at - before - timedelta(seconds=3600)) < timedelta(seconds=3)

    def test_its_secrets_are_not_printed(self, sts: CannedSts) -> None:
        printed = repr(obtain(sts.url))
        assert "ASIACANNED" in printed
        assert "canned-secret-key" not in printed
        assert "canned-session-token" not in printed


class TestMoto:
    """AWS's API as moto has it."""

    @pytest.mark.parametrize("duration", [900, 3600, 43200])
    def test_issues_for_as_long_as_asked(self, moto_url: str, duration: int) -> None:
        before = datetime.now(UTC)
        issued = obtain(moto_url, replace(ORDER, duration=duration))
        assert issued.access_key_id.startswith("ASIA")
        assert issued.secret_access_key
        assert issued.session_token
        assert issued.request_id
        assert abs(issued.expires_at - before - timedelta(seconds=duration)) < timedelta(seconds=5)

    def test_knows_the_credential_by_user_and_device(self, moto_url: str) -> None:
        issued = obtain(moto_url)
        vended = client(
            moto_url,
            aws_access_key_id=issued.access_key_id,
            aws_secret_access_key=issued.secret_access_key,
            aws_session_token=issued.session_token,
        )
        identity = vended.get_caller_identity()
        assert identity["Arn"] == f"arn:aws:sts::123456789012:assumed-role/tokenvend-vending/{SESSION_NAME}"
        assert identity["UserId"].endswith(f":{SESSION_NAME}")

    def test_says_who_we_are(self, moto_url: str) -> None:
        assert with_broker(moto_url, Broker.caller_arn).startswith("arn:aws:sts::123456789012:")

    def test_refuses_a_name_that_is_too_long(self, moto_url: str) -> None:
        with pytest.raises(ClientError) as refused:
            client(moto_url).assume_role(RoleArn=ROLE_ARN, RoleSessionName="n" * 65)
        assert refused.value.response["Error"]["Code"] == "ValidationError"

    @pytest.mark.parametrize("key", ["unknown", "wrong secret", "no permission"])
    def test_its_refusals_are_the_operators_to_mend(self, moto_url: str, key: str) -> None:
        iam = client(moto_url, "iam")
        name = f"broker-{uuid.uuid4()}"
        iam.create_user(UserName=name)
        known = iam.create_access_key(UserName=name)["AccessKey"]
        keys, code = {
            "unknown": (KEYS, "InvalidClientTokenId"),
            "wrong secret": (KEYS | {"aws_access_key_id": known["AccessKeyId"]}, "SignatureDoesNotMatch"),
            "no permission": (
                {"aws_access_key_id": known["AccessKeyId"], "aws_secret_access_key": known["SecretAccessKey"]},
                "AccessDenied",
            ),
        }[key]

        @set_initial_no_auth_action_count(0)
        def assume() -> None:
            obtain(moto_url, keys=keys)

        with pytest.raises(StsRefused) as refused:
            assume()
        assert refused.value.cause == code


class TestCannedSts:
    """The stand-in is held to moto."""

    @pytest.mark.parametrize("action", ["assume_role", "get_caller_identity"])
    def test_answers_in_motos_shape(self, sts: CannedSts, moto_url: str, action: str) -> None:
        wish = {"RoleArn": ROLE_ARN, "RoleSessionName": SESSION_NAME, "Policy": POLICY, "DurationSeconds": 900}
        arguments = wish if action == "assume_role" else {}
        canned, moto = (getattr(client(url), action)(**arguments) for url in (sts.url, moto_url))
        assert shape(canned) == shape(moto)

    def test_refuses_in_motos_shape(self, sts: CannedSts, moto_url: str) -> None:
        sts.fail("ValidationError")
        refusals = []
        for url in (sts.url, moto_url):
            with pytest.raises(ClientError) as refused:
                client(url).assume_role(RoleArn=ROLE_ARN, RoleSessionName="n" * 65)
            refusals.append(refused.value.response)
        assert shape(refusals[0]) == shape(refusals[1])
        assert refusals[0]["Error"]["Code"] == refusals[1]["Error"]["Code"] == "ValidationError"


def shape(value: Any) -> Any:
    """The members of a parsed answer, and their types."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items() if name != "HTTPHeaders"}
    return type(value).__name__


class TestLoad:
    def test_more_than_can_wait_are_refused_at_once(self, sts: CannedSts, monkeypatch: pytest.MonkeyPatch) -> None:
        """OP4: never a pile-up. Those who wait are served; the one too many is told to come back."""
        monkeypatch.setattr(sts_client, "MOST_WAITING", 50)
        monkeypatch.setattr(sts_client, "CONCURRENT_CALLS", 1)
        gate = threading.Event()
        sts.before_answer = lambda form: hold(gate)
        orders = [replace(ORDER, session_id=uuid.uuid4()) for _ in range(51)]

        async def crowd(broker: Broker) -> set[str]:
            waiting = [asyncio.create_task(broker.obtain(order)) for order in orders]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded) as refused:
                await broker.obtain(ORDER)
            assert refused.value.retry_after
            gate.set()
            return {issued.access_key_id for issued in await asyncio.gather(*waiting)}

        assert len(with_broker(sts.url, crowd)) == 51
