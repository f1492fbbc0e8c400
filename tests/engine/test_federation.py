"""An engine whose broker may call GetFederationToken."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from app import engine
from app.platform.clock import SystemClock
from tests.support.engine import RunningEngine

pytestmark = pytest.mark.xdist_group("federation")

OWN = "users/0b7f3b1e-5d0c-4f4b-9c57-7b2f1f0a6a01/"
PICTURE = "users/somebody/picture.jpg"
SESSION_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"arn:aws:s3:::photos/{OWN}*"]}],
    }
)


@pytest.fixture(scope="module")
def federating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    data_dir = tmp_path_factory.mktemp("federation")
    with engine.start(data_dir, federation=True) as started:
        yield RunningEngine(started, data_dir)


def federate(running: RunningEngine, **parameters: Any) -> dict[str, Any]:
    with running.as_broker("sts") as sts:
        return dict(sts.get_federation_token(Name="somebody", **parameters)["Credentials"])


def forbidden(call: Any, **parameters: Any) -> bool:
    try:
        call(**parameters)
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 403)
    return False


class TestFederatedCredential:
    def test_is_held_to_its_session_policy(self, federating: RunningEngine) -> None:
        with federating.as_holder(federate(federating, Policy=SESSION_POLICY), "s3") as s3:
            s3.put_object(Bucket="photos", Key=f"{OWN}a.jpg", Body=b"mine")
            assert forbidden(s3.delete_object, Bucket="photos", Key=f"{OWN}a.jpg")
            assert forbidden(s3.put_object, Bucket="photos", Key=PICTURE, Body=b"")

    def test_never_exceeds_the_broker(self, federating: RunningEngine) -> None:
        with federating.as_holder(federate(federating), "s3") as s3:
            s3.put_object(Bucket="photos", Key=PICTURE, Body=b"")
            assert forbidden(s3.put_object, Bucket="photos", Key="elsewhere/a.jpg", Body=b"")
            assert forbidden(s3.create_bucket, Bucket="another")

    def test_lives_for_up_to_36_hours(self, federating: RunningEngine) -> None:
        before = SystemClock().now()
        expiration = federate(federating, DurationSeconds=129_600)["Expiration"]
        assert abs((expiration - before).total_seconds() - 129_600) < 60

    def test_cannot_renew_itself(self, federating: RunningEngine) -> None:
        with federating.as_holder(federate(federating), "sts") as sts:
            assert sts.get_caller_identity()["Arn"].endswith(":federated-user/somebody")
            assert forbidden(sts.get_federation_token, Name="somebody")
            assert forbidden(sts.assume_role, RoleArn=federating.engine.role_arn, RoleSessionName="user.device")


class TestBroker:
    def test_may_itself_do_what_it_hands_out_and_no_more(self, federating: RunningEngine) -> None:
        with federating.as_broker("s3") as s3:
            s3.put_object(Bucket="photos", Key=PICTURE, Body=b"")
            assert forbidden(s3.put_object, Bucket="photos", Key="elsewhere/a.jpg", Body=b"")
            assert forbidden(s3.create_bucket, Bucket="another")
