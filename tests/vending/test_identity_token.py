"""The tokens by which STS knows us in `web_identity` mode: what they say, how long, and where they never are."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.security.observed import assert_problem, stored_values
from tests.support.service import Device, Service

SOURCE_IDENTITY = "https://aws.amazon.com/source_identity"
TAGS = "https://aws.amazon.com/tags"


@pytest.fixture
def make(make_service: Callable[..., Service]) -> Callable[..., Service]:
    return lambda **changes: make_service(vending_mode="web_identity", **changes)


def vended(service: Service) -> tuple[Device, str]:
    """A device that vended, and the token that STS got for it."""
    device = service.device()
    answer = device.vend()
    assert answer.status_code == 200, answer.text
    (form,) = [form for form in service.sts.forms if form["Action"] == "AssumeRoleWithWebIdentity"]
    return device, form["WebIdentityToken"]


def claims(service: Service, token: str) -> dict[str, Any]:
    """Verified by an independent library, with the keys that STS would read."""
    keys = KeySet.import_key_set(service.client.get("/sts/jwks.json").json())
    return dict(jwt.decode(token, keys, algorithms=["ES256"]).claims)


class TestClaims:
    def test_are_for_sts_alone_and_a_minute(self, make: Callable[..., Service]) -> None:
        service = make()
        device, token = vended(service)
        told = claims(service, token)
        assert uuid.UUID(told.pop("jti"))
        now = int(service.clock.now().timestamp())
        assert told == {
            "iss": "http://testserver/sts",
            "aud": "sts.amazonaws.com",
            "sub": "tokenvend",
            "iat": now,
            "exp": now + 60,
            SOURCE_IDENTITY: device.user_id,
        }

    def test_carry_the_tags_that_are_asked_for(self, make: Callable[..., Service]) -> None:
        service = make(
            session_tags=("user_id", "access", "team=photos"), transitive_tag_keys=("team",), source_identity="off"
        )
        device, token = vended(service)
        told = claims(service, token)
        assert SOURCE_IDENTITY not in told
        assert told[TAGS] == {
            "principal_tags": {"user_id": [device.user_id], "access": ["read_write"], "team": ["photos"]},
            "transitive_tag_keys": ["team"],
        }


class TestSecrecy:
    """VC10: whoever holds such a token can assume the role with no session policy."""

    def test_it_opens_no_route_of_ours(self, make: Callable[..., Service]) -> None:
        service = make()
        _, token = vended(service)
        for method, path in (("GET", "/v1/me"), ("POST", "/v1/credentials"), ("GET", "/v1/credentials/container")):
            answer = service.client.request(method, path, headers={"Authorization": f"Bearer {token}"})
            assert_problem(answer, 401, "invalid_token")
        assert_problem(service.refresh(token), 401, "invalid_refresh_token")

    def test_it_is_stored_printed_and_answered_nowhere(
        self, make: Callable[..., Service], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """OP1."""
        service = make(log_level="debug")
        device, token = vended(service)
        service.sts.fail("AccessDenied", 403)
        answers = [
            device.vend(path="refused/").text,
            device.get("/v1/me/credentials").text,
            service.client.get("/metrics").text,
            service.client.get("/sts/jwks.json").text,
        ]
        signature = token.rsplit(".", 1)[1]
        printed = capfd.readouterr()
        for place in (*answers, printed.out, printed.err, *(str(value) for _, value in stored_values(service))):
            assert token not in place
            assert signature not in place
