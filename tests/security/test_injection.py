"""Nothing that a person types reaches STS but a checked path, and nothing makes the service call an address."""

import json
import re
import socket
import uuid

import pytest

from app.crypto.encoding import b64url
from tests.security.observed import assert_problem
from tests.support.service import PASSWORD, Device, Service

HOSTILE = [
    "*", "?", "${aws:username}", "${*}", "../", "..%2f*", "%2e%2e/*", "/", "//", "a//b/", "./", "a/../b/", "\0", "\x7f",
    '"},{"Effect":"Allow","Action":"*","Resource":"*"},{"', '"', "\\", "\n", "\r\n", "\u0085", "$", "a*/", "a?b/",
    "${s3:prefix}/", "\\u002a/", "x" * 10_000, "x" * 256 + "/", "é" * 128 + "/", "no-slash", "\\..\\", "a/./",
    "arn:aws:s3:::*", "{{7*7}}/*", "$(id)/", "' OR 1=1--",
]  # fmt: skip
"""None of them may narrow a prefix; as a name each of them is only text, or refused."""

HARMLESS = ["a b/", "été/", "users/", "+/", "&/", "<x>/", "a=b/", "#/", ";/", "'/", "`/", "~/", "{}/", "日本/", "..a/"]

ADDRESSES = ["*", "a?b", "$aws", "{{x}}", "'or'1", "a/b", "%2e%2e"]

URL_MEMBERS = [
    "endpoint_url", "sts_endpoint_url", "url", "callback", "webhook", "redirect_uri", "jwks_uri", "avatar", "role_arn",
    "role_session_name", "policy", "policy_arns", "external_id", "region", "bucket", "tags",
]  # fmt: skip
URL_HEADERS = [
    "X-Forwarded-Host", "X-Forwarded-Server", "Forwarded", "X-Original-URL", "Referer", "Origin", "Link", "Via", "From",
    "X-Amz-Endpoint", "X-Endpoint-Url", "Destination", "X-Callback",
]  # fmt: skip
NAMED_HEADERS = ["User-Agent", "X-Forwarded-For", "X-Amz-Security-Token", "X-Amz-Policy", "Referer", "X-Request-ID"]


def anonymized(form: dict[str, str], device: Device) -> str:
    """What STS was sent, with the ids of user and session taken out."""
    session = b64url(uuid.UUID(device.session_id).bytes)
    return json.dumps(form, sort_keys=True).replace(device.user_id, "USER").replace(session, "SESSION")


@pytest.fixture(scope="module")
def plain_form(shared: Service) -> str:
    """What STS is sent for a user without any oddity."""
    device = shared.device()
    assert device.vend().status_code == 200
    form = anonymized(shared.sts.assumed[-1], device)
    assert "USER.SESSION" in form
    return form


@pytest.fixture(scope="module")
def device(shared: Service) -> Device:
    return shared.device()


@pytest.fixture(scope="module")
def idle(shared: Service) -> Device:
    """A device to which nothing is ever vended."""
    return shared.device()


class TestPolicies:
    @pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text)[:30])
    def test_no_name_parameter_or_header_shapes_one(self, shared: Service, plain_form: str, hostile: str) -> None:
        """VC3, HT12: whatever is typed anywhere, the form that STS gets is byte-identical but for the ids."""
        email = f"user-{uuid.uuid4()}@example.org"
        if shared.register(email, display_name=hostile).status_code != 201:
            assert shared.register(email).status_code == 201
        signed_in = shared.log_in(email, device_name=hostile)
        if signed_in.status_code != 200:
            signed_in = shared.log_in(email)
        tokens = signed_in.json()["tokens"]
        device = Device(shared, email, tokens["access_token"], tokens["refresh_token"], tokens["session_id"])
        device.user_id = device.get("/v1/me").json()["id"]
        value = hostile.encode("unicode_escape")[:4000]
        headers = [(b"Authorization", device.headers["Authorization"].encode())]
        headers += [(name.encode(), value) for name in NAMED_HEADERS]
        query = dict.fromkeys(("access", "path", "policy", "user_id", "duration_seconds"), hostile[:100])
        before = len(shared.sts.assumed)
        assert shared.client.post("/v1/credentials", params=query, headers=headers).status_code == 200
        assert len(shared.sts.assumed) == before + 1
        assert anonymized(shared.sts.assumed[-1], device) == plain_form

    @pytest.mark.parametrize("local_part", ADDRESSES)
    def test_no_address_shapes_one(self, shared: Service, plain_form: str, local_part: str) -> None:
        """VC1, HT12: the prefix is made of the random id alone."""
        device = shared.device(f"{local_part}@injection.example.org")
        prefix = device.vend().json()["prefix"]
        assert re.fullmatch(r"users/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/", prefix)
        assert anonymized(shared.sts.assumed[-1], device) == plain_form

    @pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text)[:30])
    def test_a_hostile_path_is_refused_before_sts(self, shared: Service, idle: Device, hostile: str) -> None:
        """VC2, HT12: by both routes, with a 422 that does not repeat it; nothing is written."""
        asked = len(shared.sts.forms)
        answers = [idle.vend(path=hostile), idle.get("/v1/credentials/container", params={"path": hostile})]
        for answer in answers:
            assert answer.status_code == 422
            assert answer.json()["code"] in ("invalid_path", "invalid_request")
            assert len(hostile) < 4 or hostile not in answer.text
        assert len(shared.sts.forms) == asked
        assert idle.get("/v1/me/credentials").json()["items"] == []

    @pytest.mark.parametrize("path", HARMLESS)
    def test_an_odd_but_harmless_path_stays_inside(self, shared: Service, device: Device, path: str) -> None:
        """VC2, HT12: taken literally: the policy names it below the caller's own prefix, as a JSON string."""
        assert device.vend(path=path).status_code == 200
        objects, listing = json.loads(shared.sts.assumed[-1]["Policy"])["Statement"]
        own = f"users/{device.user_id}/{path}"
        assert objects["Resource"] == f"arn:aws:s3:::photos/{own}*"
        assert listing["Condition"] == {"StringLike": {"s3:prefix": [f"{own}*", own]}}


class TestAddressesInRequests:
    def test_no_member_makes_the_service_call_one(
        self, shared: Service, device: Device, listener: socket.socket
    ) -> None:
        """HT12, AZ3: an endpoint, role or policy of the caller's is an unknown member; STS is not asked."""
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/latest/meta-data/"
        asked = len(shared.sts.forms)
        for member in URL_MEMBERS:
            assert_problem(device.vend(**{member: url}), 422, "invalid_request")
            body = {"email": "called@example.org", "password": PASSWORD, member: url}
            assert_problem(device.post("/v1/users", json=body), 422, "invalid_request")
        assert len(shared.sts.forms) == asked
        assert shared.sql("SELECT count(*) FROM users WHERE email = 'called@example.org'") == [(0,)]
        with pytest.raises(BlockingIOError):
            listener.accept()

    def test_no_header_makes_the_service_call_one(
        self, shared: Service, device: Device, listener: socket.socket
    ) -> None:
        """HT12: URL-like headers are not looked at."""
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/latest/meta-data/"
        for number, name in enumerate(URL_HEADERS):
            body = {"path": f"{number}/"}
            answer = shared.client.post("/v1/credentials", json=body, headers={**device.headers, name: url})
            assert answer.status_code == 200
            assert url not in answer.text
        with pytest.raises(BlockingIOError):
            listener.accept()
