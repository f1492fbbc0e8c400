"""Isolation where the credential itself is touched: changed, mixed, expired, or used to get another."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from app.engine import config
from tests.conftest import DevServer
from tests.journeys.deployment import Answer, Keys
from tests.journeys.scene import Scene

pytestmark = [pytest.mark.usefixtures("left_alone"), pytest.mark.sampled(1)]


def token(keys: Keys) -> str:
    assert keys.session_token is not None
    return keys.session_token


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(keys: Keys) -> dict[str, Any]:
    payload = token(keys).split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return decoded


def with_claims(keys: Keys, changed: dict[str, Any], *, head: dict[str, str] | None = None) -> Keys:
    """The credential with other claims under its old signature."""
    header, _payload, signature = token(keys).split(".")
    if head is not None:
        header, signature = encoded(json.dumps(head).encode()), ""
    return replace(keys, session_token=f"{header}.{encoded(json.dumps(changed).encode())}.{signature}")


def as_bob(ada: Keys, bob: Keys) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(claims(ada)).replace(named_after(ada), named_after(bob)))
    return changed


def named_after(keys: Keys) -> str:
    """The user id that the session is named by."""
    return str(claims(keys)["snam"]).split(".")[0]


def without_policy(keys: Keys) -> dict[str, Any]:
    return {name: value for name, value in claims(keys).items() if name != "spol"}


UNKNOWN, MISMATCH = "InvalidAccessKeyId", "SignatureDoesNotMatch"
MIXTURES: dict[str, tuple[Callable[[Keys, Keys, Keys], Keys | None], str]] = {
    "nobody": (lambda ada, bob, owner: None, "AccessDenied"),
    "no_token": (lambda ada, bob, owner: replace(ada, session_token=None), UNKNOWN),
    "nonsense_token": (lambda ada, bob, owner: replace(ada, session_token="nonsense"), UNKNOWN),
    "cut_token": (lambda ada, bob, owner: replace(ada, session_token=token(ada)[:-1]), UNKNOWN),
    "last_characters": (lambda ada, bob, owner: replace(ada, session_token=token(ada)[:-6] + "AAAAAA"), UNKNOWN),
    "doubled_token": (lambda ada, bob, owner: replace(ada, session_token=f"{token(ada)}.{token(ada)}"), UNKNOWN),
    "claims_of_bob": (lambda ada, bob, owner: with_claims(ada, as_bob(ada, bob)), UNKNOWN),
    "no_policy_claim": (lambda ada, bob, owner: with_claims(ada, without_policy(ada)), UNKNOWN),
    "unsigned": (lambda ada, bob, owner: with_claims(ada, as_bob(ada, bob), head={"alg": "none"}), UNKNOWN),
    "bobs_token": (lambda ada, bob, owner: replace(ada, session_token=bob.session_token), UNKNOWN),
    "bobs_token_and_key": (lambda ada, bob, owner: replace(bob, secret_access_key=ada.secret_access_key), MISMATCH),
    "bobs_keys_own_token": (lambda ada, bob, owner: replace(bob, session_token=ada.session_token), UNKNOWN),
    "bobs_key_id": (lambda ada, bob, owner: replace(ada, access_key_id=bob.access_key_id), UNKNOWN),
    "bobs_secret": (lambda ada, bob, owner: replace(ada, secret_access_key=bob.secret_access_key), MISMATCH),
    "other_secret": (lambda ada, bob, owner: replace(ada, secret_access_key="x" * 40), MISMATCH),
    "unknown_key_id": (lambda ada, bob, owner: replace(ada, access_key_id="ASIA0000000000000000"), UNKNOWN),
    "owners_key_id": (lambda ada, bob, owner: replace(ada, access_key_id=owner.access_key_id), UNKNOWN),
    "owners_key_id_alone": (lambda ada, bob, owner: Keys(owner.access_key_id, ada.secret_access_key), MISMATCH),
}
"""Credentials that STS never issued, and the code with which they are refused (AWS says InvalidToken for some)."""


class TestMixtures:
    @pytest.mark.parametrize("whose", ["own", "foreign"])
    @pytest.mark.parametrize("mixture", MIXTURES)
    def test_opens_nothing(self, scene: Scene, mixture: str, whose: str) -> None:
        mix, code = MIXTURES[mixture]
        keys = mix(scene.keys(), scene.bob.keys(), scene.deployment.owner)
        answer = scene.deployment.send(keys, "GET", f"/{scene.names[whose]}/photo.jpg")
        assert (answer.status, answer.code) == (403, code)


class TestExpired:
    """STS issues nothing for under 15 minutes, so the token is signed anew with the engine's own key."""

    @pytest.mark.parametrize(("left", "expected"), [(60, (200, None)), (-1, (403, UNKNOWN))])
    def test_the_token_is_believed_until_its_time(
        self, scene: Scene, dev_server: DevServer, left: int, expected: tuple[int, str | None]
    ) -> None:
        """AWS says 400 ExpiredToken. With a minute left it works: so nothing but the time is wrong with the other."""
        vended, expires_at = scene.keys(), int(time.time()) + left
        moved = claims(vended) | {"iat": expires_at - 3600, "nbf": expires_at - 3600, "exp": expires_at}
        answer = scene.deployment.send(resigned(vended, moved, dev_server), "GET", f"/{scene.names['own']}/photo.jpg")
        assert (answer.status, answer.code) == expected


def resigned(keys: Keys, changed: dict[str, Any], dev_server: DevServer) -> Keys:
    state = json.loads((dev_server.data_dir / "engine" / "engine.json").read_text(encoding="utf-8"))
    signed = f"{token(keys).split('.')[0]}.{encoded(json.dumps(changed).encode())}"
    key = base64.b64decode(state["keys"]["signing_key"])
    return replace(keys, session_token=f"{signed}.{encoded(hmac.new(key, signed.encode(), hashlib.sha256).digest())}")


def call(scene: Scene, service: str, action: str, **parameters: str) -> Answer:
    version = "2011-06-15" if service == "sts" else "2010-05-08"
    body = urlencode({"Action": action, "Version": version, **parameters}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return scene.deployment.send(scene.keys(), "POST", "/", body=body, headers=headers, service=service)


class TestSts:
    """A vended credential cannot turn into a longer or wider one."""

    @pytest.mark.parametrize(
        ("action", "parameters"),
        [
            ("AssumeRole", {"RoleArn": config.ROLE_ARN, "RoleSessionName": "again"}),
            ("AssumeRole", {"RoleArn": config.ROLE_ARN, "RoleSessionName": "again", "Policy": "{}"}),
            ("AssumeRole", {"RoleArn": "arn:aws:iam::000000000000:role/admin", "RoleSessionName": "again"}),
            ("GetFederationToken", {"Name": "again"}),
            ("GetSessionToken", {}),
            ("AssumeRoot", {"TargetPrincipal": "000000000000"}),
            ("DecodeAuthorizationMessage", {"EncodedMessage": "x"}),
        ],
    )
    def test_is_refused(self, scene: Scene, action: str, parameters: dict[str, str]) -> None:
        answer = call(scene, "sts", action, **parameters)
        assert (answer.status, answer.code) == (403, "AccessDenied")
        assert b"SecretAccessKey" not in answer.body

    def test_the_session_token_is_no_web_identity(self, scene: Scene) -> None:
        answer = call(
            scene,
            "sts",
            "AssumeRoleWithWebIdentity",
            RoleArn=config.ROLE_ARN,
            RoleSessionName="again",
            WebIdentityToken=token(scene.keys()),
        )
        assert (answer.status, answer.code) == (403, "AccessDenied")

    def test_neither_is_the_access_token(self, scene: Scene) -> None:
        answer = call(
            scene,
            "sts",
            "AssumeRoleWithWebIdentity",
            RoleArn=config.ROLE_ARN,
            RoleSessionName="again",
            WebIdentityToken=scene.ada.access_token,
        )
        assert (answer.status, answer.code) == (403, "AccessDenied")

    def test_it_says_whose_the_credential_is(self, scene: Scene) -> None:
        """VC7: the name that the trail keeps is the user's id and the device's."""
        answer = call(scene, "sts", "GetCallerIdentity")
        assert answer.status == 200
        assert f":assumed-role/tokenvend-vending/{scene.ada.id}.".encode() in answer.body


class TestIam:
    @pytest.mark.parametrize(
        ("action", "parameters"),
        [
            ("ListUsers", {}),
            ("ListRoles", {}),
            ("GetUser", {"UserName": "owner"}),
            ("ListAccessKeys", {"UserName": "owner"}),
            ("CreateUser", {"UserName": "intruder"}),
            ("CreateAccessKey", {"UserName": "owner"}),
            ("CreateAccessKey", {"UserName": "broker"}),
            ("CreateAccessKey", {}),
            ("DeleteAccessKey", {"UserName": "broker", "AccessKeyId": "AKIA0000000000000000"}),
            ("PutRolePolicy", {"RoleName": config.ROLE_NAME, "PolicyName": "p", "PolicyDocument": "{}"}),
            ("UpdateAssumeRolePolicy", {"RoleName": config.ROLE_NAME, "PolicyDocument": "{}"}),
        ],
    )
    def test_is_refused(self, scene: Scene, action: str, parameters: dict[str, str]) -> None:
        answer = call(scene, "iam", action, **parameters)
        assert (answer.status, answer.code) == (403, "AccessDenied")

    def test_key_ids_are_listed_without_secrets(self, scene: Scene) -> None:
        """AWS answers 403. SeaweedFS takes a caller without a user name for one who asks about themselves."""
        answer = call(scene, "iam", "ListAccessKeys")
        assert answer.status == 200
        assert scene.deployment.owner.secret_access_key.encode() not in answer.body
        assert b"Secret" not in answer.body
