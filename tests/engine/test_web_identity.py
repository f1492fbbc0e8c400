"""An engine whose role is for the ID tokens of one issuer: what it takes from them, and what it refuses."""

import hashlib
import hmac
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
import urllib3
from botocore import UNSIGNED
from botocore.exceptions import ClientError
from joserfc import jwt
from joserfc.jwk import ECKey

from app import engine
from app.crypto.encoding import b64url
from app.engine import WebIdentity
from app.platform.clock import SystemClock
from tests.support.engine import CLIENT, RunningEngine

pytestmark = pytest.mark.xdist_group("web identity")

OWN = "users/0b7f3b1e-5d0c-4f4b-9c57-7b2f1f0a6a01/"
PICTURE = "users/somebody/picture.jpg"
SESSION_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::photos/{OWN}*"}
        ],
    }
)
AUDIENCE = "sts.amazonaws.com"
SUBJECT = "tokenvend"
HOUR = 3600


class Issuer:
    """Publishes the keys that it has at the moment, and signs with any key."""

    def __init__(self) -> None:
        self.keys: dict[str, ECKey] = {}
        self.readings = 0
        """How often the keys were fetched."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keys = [key.as_dict(private=False, kid=kid, alg="ES256", use="sig") for kid, key in issuer.keys.items()]
                body = json.dumps({"keys": keys}).encode()
                issuer.readings += self.path == "/sts/jwks.json"
                self.send_response(200 if self.path == "/sts/jwks.json" else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/sts"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def trusted(self) -> WebIdentity:
        return WebIdentity(issuer=self.url, jwks_url=f"{self.url}/jwks.json", audience=AUDIENCE, subject=SUBJECT)

    def new_key(self) -> str:
        """Published at once; its id."""
        kid = uuid.uuid4().hex
        self.keys[kid] = ECKey.generate_key("P-256")
        return kid

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(SystemClock().now().timestamp())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": SUBJECT, "iat": now, "exp": now + 60, "jti": uuid.uuid4().hex}
        return usual | changed

    def token(self, kid: str, *, key: ECKey | None = None, **changed: Any) -> str:
        return jwt.encode({"alg": "ES256", "kid": kid}, self.claims(**changed), key or self.keys[kid])

    def unsigned(self, kid: str, algorithm: str) -> str:
        """What is signed: header and claims."""
        parts: list[Mapping[str, Any]] = [{"alg": algorithm, "kid": kid}, self.claims()]
        return ".".join(b64url(json.dumps(part).encode()) for part in parts)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with closing(Issuer()) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def trusting(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    data_dir = tmp_path_factory.mktemp("web-identity")
    with engine.start(data_dir, web_identity=issuer.trusted) as started:
        assert issuer.readings == 0  # so the engine may start before the service
        yield RunningEngine(started, data_dir)


@pytest.fixture(scope="module")
def kid(issuer: Issuer) -> str:
    return issuer.new_key()


def assume(running: RunningEngine, token: str, **parameters: Any) -> dict[str, str]:
    """The credentials, asked for by somebody who has no key at all."""
    unsigned = CLIENT.merge(type(CLIENT)(signature_version=UNSIGNED))
    url, region = running.engine.endpoint_url, running.engine.region
    with closing(boto3.client("sts", endpoint_url=url, region_name=region, config=unsigned)) as sts:
        answer = sts.assume_role_with_web_identity(
            RoleArn=running.engine.role_arn, RoleSessionName="user.device", WebIdentityToken=token, **parameters
        )
    return dict(answer["Credentials"])


def refusal(running: RunningEngine, token: str, **parameters: Any) -> str:
    """Status, code and message in one line, for a call that is right in all but its token."""
    with pytest.raises(ClientError) as refused:
        assume(running, token, Policy=SESSION_POLICY, **parameters)
    response = refused.value.response
    status, error = response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]
    return f"{status} {error['Code']}: {error['Message']}"


def forbidden(call: Any, **parameters: Any) -> bool:
    try:
        call(**parameters)
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 403)
    return False


class TestGoodToken:
    def test_gets_credentials_that_are_held_to_the_session_policy(
        self, trusting: RunningEngine, issuer: Issuer, kid: str
    ) -> None:
        with trusting.as_owner("s3") as s3:
            s3.put_object(Bucket="photos", Key=PICTURE, Body=b"theirs")
        with trusting.as_holder(assume(trusting, issuer.token(kid), Policy=SESSION_POLICY), "s3") as s3:
            s3.put_object(Bucket="photos", Key=f"{OWN}a.jpg", Body=b"mine")
            assert s3.get_object(Bucket="photos", Key=f"{OWN}a.jpg")["Body"].read() == b"mine"
            assert forbidden(s3.get_object, Bucket="photos", Key=PICTURE)
            assert forbidden(s3.put_object, Bucket="photos", Key=PICTURE, Body=b"")
            assert forbidden(s3.delete_object, Bucket="photos", Key=f"{OWN}a.jpg")
            assert forbidden(s3.list_objects_v2, Bucket="photos", Prefix=OWN)

    def test_without_a_session_policy_gets_the_whole_role_and_no_more(
        self, trusting: RunningEngine, issuer: Issuer, kid: str
    ) -> None:
        with trusting.as_holder(assume(trusting, issuer.token(kid)), "s3") as s3:
            s3.put_object(Bucket="photos", Key=PICTURE, Body=b"")
            assert forbidden(s3.put_object, Bucket="photos", Key="elsewhere/a.jpg", Body=b"")
            assert forbidden(s3.create_bucket, Bucket="another")

    @pytest.mark.parametrize("duration", [900, 43_200])
    def test_gets_credentials_that_outlive_it(
        self, trusting: RunningEngine, issuer: Issuer, kid: str, duration: int
    ) -> None:
        before = SystemClock().now()
        credentials: dict[str, Any] = assume(trusting, issuer.token(kid), DurationSeconds=duration)
        assert abs((credentials["Expiration"] - before).total_seconds() - duration) < 60

    def test_names_the_session(self, trusting: RunningEngine, issuer: Issuer, kid: str) -> None:
        with trusting.as_holder(assume(trusting, issuer.token(kid)), "sts") as sts:
            arn = sts.get_caller_identity()["Arn"]
        assert arn.endswith(":assumed-role/tokenvend-vending/user.device")

    def test_gets_credentials_that_cannot_renew_themselves(
        self, trusting: RunningEngine, issuer: Issuer, kid: str
    ) -> None:
        with trusting.as_holder(assume(trusting, issuer.token(kid)), "sts") as sts:
            assert forbidden(sts.assume_role, RoleArn=trusting.engine.role_arn, RoleSessionName="user.device")
            assert forbidden(sts.get_federation_token, Name="somebody")


class TestRefusal:
    """Each of a token that is good but for one thing."""

    def test_of_an_expired_token(self, trusting: RunningEngine, issuer: Issuer, kid: str) -> None:
        now = int(SystemClock().now().timestamp())
        token = issuer.token(kid, iat=now - HOUR - 60, exp=now - HOUR)
        assert refusal(trusting, token).startswith("400 ExpiredTokenException: ")

    @pytest.mark.parametrize(
        "changed",
        [
            {"sub": "somebody"},
            {"aud": "another"},
            {"aud": "another", "azp": AUDIENCE},  # SeaweedFS's provider takes it for the audience
            {"aud": ["another", AUDIENCE]},
        ],
    )
    def test_of_another_subject_or_audience(
        self, trusting: RunningEngine, issuer: Issuer, kid: str, changed: dict[str, Any]
    ) -> None:
        answer = refusal(trusting, issuer.token(kid, **changed))
        assert answer.startswith("403 AccessDenied: ")
        assert "trust policy denies" in answer

    def test_of_another_issuer(self, trusting: RunningEngine, issuer: Issuer, kid: str) -> None:
        with closing(Issuer()) as stranger:
            answer = refusal(trusting, issuer.token(kid, iss=stranger.url))
            assert stranger.readings == 0
        assert answer.startswith("403 AccessDenied: ")

    def test_of_a_strange_key_under_a_known_id(self, trusting: RunningEngine, issuer: Issuer, kid: str) -> None:
        answer = refusal(trusting, issuer.token(kid, key=ECKey.generate_key("P-256")))
        assert answer.startswith("400 InvalidParameterValue: ")
        assert "signature is invalid" in answer

    def test_of_a_strange_key_under_its_own_id(self, trusting: RunningEngine, issuer: Issuer) -> None:
        answer = refusal(trusting, issuer.token("strange", key=ECKey.generate_key("P-256")))
        assert answer.startswith("403 AccessDenied: ")
        assert "not found in JWKS after refresh" in answer

    def test_of_no_signature(self, trusting: RunningEngine, issuer: Issuer, kid: str) -> None:
        answer = refusal(trusting, issuer.unsigned(kid, "none") + ".")
        assert "unsupported signing method: none" in answer

    @pytest.mark.parametrize("form", ["pem", "der"])
    def test_of_the_public_key_as_a_secret(self, trusting: RunningEngine, issuer: Issuer, kid: str, form: str) -> None:
        key = issuer.keys[kid]
        secret = key.as_pem(private=False) if form == "pem" else key.as_der(private=False)
        content = issuer.unsigned(kid, "HS256")
        signature = hmac.new(secret, content.encode(), hashlib.sha256).digest()
        assert "unsupported signing method: HS256" in refusal(trusting, f"{content}.{b64url(signature)}")

    def test_of_a_role_left_out(self, trusting: RunningEngine, issuer: Issuer, kid: str) -> None:
        """SeaweedFS can take policies from the token instead, and then asks no trust policy."""
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleSessionName": "user.device",
            "WebIdentityToken": issuer.token(kid, policy=["users"], policies=["users"]),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = urllib3.request("POST", trusting.engine.endpoint_url, body=urlencode(form), headers=headers)
        assert (answer.status, b"AccessKeyId" in answer.data) == (403, False)


class TestAwsKeys:
    """In this mode they are for nothing: who can vend needs none."""

    def test_of_the_broker_may_not_assume_the_role(self, trusting: RunningEngine) -> None:
        with trusting.as_broker("sts") as sts:
            assert sts.get_caller_identity()["Arn"].endswith(":user/broker")
            assert forbidden(sts.assume_role, RoleArn=trusting.engine.role_arn, RoleSessionName="user.device")
            assert forbidden(sts.get_federation_token, Name="somebody", Policy=SESSION_POLICY)

    def test_of_the_owner_may_not_either(self, trusting: RunningEngine) -> None:
        with trusting.as_owner("sts") as sts:
            assert forbidden(sts.assume_role, RoleArn=trusting.engine.role_arn, RoleSessionName="user.device")


class TestRotation:
    def test_is_followed_at_once(self, trusting: RunningEngine, issuer: Issuer) -> None:
        old = issuer.new_key()
        token_of_old = issuer.token(old)
        assume(trusting, token_of_old)
        new = issuer.new_key()
        before = issuer.readings
        assume(trusting, issuer.token(new))
        assume(trusting, token_of_old)  # both are published
        assert issuer.readings == before + 1

    def test_ends_the_withdrawn_key_when_the_keys_are_next_read(self, trusting: RunningEngine, issuer: Issuer) -> None:
        old = issuer.new_key()
        token_of_old = issuer.token(old)
        assume(trusting, token_of_old)
        del issuer.keys[old]
        assume(trusting, issuer.token(issuer.new_key()))
        assert f"key with ID {old} not found" in refusal(trusting, token_of_old)


@pytest.mark.all
class TestOtherModes:
    def test_take_no_token_on_the_same_data(self, issuer: Issuer, kid: str, tmp_path: Path) -> None:
        with engine.start(tmp_path, web_identity=issuer.trusted) as first:
            assume(RunningEngine(first, tmp_path), issuer.token(kid))
        with engine.start(tmp_path) as second:
            running = RunningEngine(second, tmp_path)
            assert refusal(running, issuer.token(kid)).startswith("403 AccessDenied: ")
            assert running.assume(Policy=SESSION_POLICY)["SessionToken"]
