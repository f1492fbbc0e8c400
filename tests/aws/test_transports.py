"""One contract for both transports: the same on the wire, the same read from the answer, the same faults."""

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import boto3
import pytest
from botocore.config import Config

from app.aws import connections, generated_transport
from app.aws.generated_transport import GeneratedTransport
from app.aws.signed_transport import SignedTransport
from app.aws.transport import Answer, Endpoint, Fault, Keys, Transport
from tests.aws.calling import REGION, run
from tests.support import sigv4
from tests.support.canned_sts import NAMESPACE, CannedSts
from tests.support.odd_http import OddServer, http, unreachable

sdk = functools.cache(boto3.Session)  # a new one reads the whole API anew
TRANSPORTS: dict[str, Callable[[], Transport]] = {
    "signed": lambda: SignedTransport(ca_file=None),
    "generated": lambda: GeneratedTransport(sdk()._session),
}
KEYS = Keys("ASIABASE000000000001", "base/secret+key", "base-token/with+signs==")
LONG_LIVED = Keys("AKIABASE000000000001", "base/secret+key", None)
ROLE_ARN = "arn:aws:iam::123456789012:role/tokenvend-vending"
PROVIDER_ARN = "arn:aws:iam::123456789012:saml-provider/tokenvend"
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"arn:aws:s3:::b/~ü%20+&=*"}]}'
MFA = "arn:aws:iam::123456789012:mfa/operator"

CALLS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "AssumeRole": (
        {
            "RoleArn": ROLE_ARN,
            "RoleSessionName": "user.device",
            "Policy": POLICY,
            "PolicyArns": [{"arn": "arn:aws:iam::aws:policy/A"}, {"arn": "arn:aws:iam::aws:policy/B"}],
            "DurationSeconds": 3600,
            "ExternalId": "partner:7/=,.@-",
            "Tags": [{"Key": "user_id", "Value": "u-1"}, {"Key": "tier", "Value": ""}],
            "TransitiveTagKeys": ["user_id", "tier"],
            "SourceIdentity": "u-1",
        },
        {
            "RoleArn": ROLE_ARN,
            "RoleSessionName": "user.device",
            "Policy": POLICY,
            "PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/A",
            "PolicyArns.member.2.arn": "arn:aws:iam::aws:policy/B",
            "DurationSeconds": "3600",
            "ExternalId": "partner:7/=,.@-",
            "Tags.member.1.Key": "user_id",
            "Tags.member.1.Value": "u-1",
            "Tags.member.2.Key": "tier",
            "Tags.member.2.Value": "",
            "TransitiveTagKeys.member.1": "user_id",
            "TransitiveTagKeys.member.2": "tier",
            "SourceIdentity": "u-1",
        },
    ),
    "AssumeRoleWithWebIdentity": (
        {"RoleArn": ROLE_ARN, "RoleSessionName": "u.d", "WebIdentityToken": "eyJ.e30.x_-", "DurationSeconds": 43_200},
        {"RoleArn": ROLE_ARN, "RoleSessionName": "u.d", "WebIdentityToken": "eyJ.e30.x_-", "DurationSeconds": "43200"},
    ),
    "AssumeRoleWithSAML": (
        {"RoleArn": ROLE_ARN, "PrincipalArn": PROVIDER_ARN, "SAMLAssertion": "PHNh+/Rw==", "DurationSeconds": 43_200},
        {"RoleArn": ROLE_ARN, "PrincipalArn": PROVIDER_ARN, "SAMLAssertion": "PHNh+/Rw==", "DurationSeconds": "43200"},
    ),
    "GetFederationToken": (
        {"Name": "user", "Policy": POLICY, "DurationSeconds": 129_600, "Tags": [{"Key": "k", "Value": "v"}]},
        {
            "Name": "user",
            "Policy": POLICY,
            "DurationSeconds": "129600",
            "Tags.member.1.Key": "k",
            "Tags.member.1.Value": "v",
        },
    ),
    "GetCallerIdentity": ({}, {}),
    "GetSessionToken": (
        {"SerialNumber": MFA, "TokenCode": "012345", "DurationSeconds": 129_600},
        {"SerialNumber": MFA, "TokenCode": "012345", "DurationSeconds": "129600"},
    ),
    "GetAccessKeyInfo": ({"AccessKeyId": "ASIALEAKED0000000001"}, {"AccessKeyId": "ASIALEAKED0000000001"}),
    "DecodeAuthorizationMessage": ({"EncodedMessage": "qk0Zx/+="}, {"EncodedMessage": "qk0Zx/+="}),
}
"""Parameters as the caller has them, and the form that STS must get."""


UNSIGNED = ("AssumeRoleWithWebIdentity", "AssumeRoleWithSAML")


@pytest.fixture(params=TRANSPORTS)
def make(request: pytest.FixtureRequest) -> Callable[[], Transport]:
    return TRANSPORTS[request.param]


def send(
    make: Callable[[], Transport],
    url: str,
    action: str = "GetCallerIdentity",
    parameters: Mapping[str, Any] | None = None,
    keys: Keys | None = KEYS,
) -> Answer:
    async def story() -> Answer:
        transport = make()
        try:
            return await transport.send(Endpoint(REGION, url), action, parameters or {}, keys)
        finally:
            await transport.close()

    return run(story)


def fault(make: Callable[[], Transport], url: str, action: str = "GetCallerIdentity") -> Fault:
    with pytest.raises(Fault) as refused:
        send(make, url, action, CALLS[action][0])
    return refused.value


class TestWire:
    @pytest.mark.parametrize("action", [action for action in CALLS if action not in UNSIGNED])
    def test_has_the_whole_form_and_a_good_signature(
        self, make: Callable[[], Transport], sts: CannedSts, action: str
    ) -> None:
        parameters, form = CALLS[action]
        send(make, sts.url, action, parameters)
        assert sts.forms == [{"Action": action, "Version": "2011-06-15"} | form]
        (request,) = sts.requests
        assert len(parse_qsl(request.body.decode(), keep_blank_values=True)) == len(sts.forms[0]), (
            "a member stands twice"
        )
        assert request.headers["content-type"] == "application/x-www-form-urlencoded; charset=utf-8"
        assert request.headers["x-amz-security-token"] == KEYS.token
        header = sigv4.read(request.headers["authorization"])
        assert (header.access_key_id, header.region, header.service) == (KEYS.access_key, REGION, "sts")
        assert {"host", "x-amz-date", "x-amz-security-token", "content-type"} <= set(header.names)
        expected = sigv4.signature("POST", request.path, request.headers, request.body, KEYS.secret_key)
        assert header.signature == expected

    def test_has_no_session_token_where_there_is_none(self, make: Callable[[], Transport], sts: CannedSts) -> None:
        send(make, sts.url, keys=LONG_LIVED)
        assert "x-amz-security-token" not in sts.requests[0].headers
        assert sigv4.read(sts.requests[0].headers["authorization"]).access_key_id == LONG_LIVED.access_key

    @pytest.mark.parametrize("action", UNSIGNED)
    def test_has_no_signature_where_there_are_no_keys(
        self, make: Callable[[], Transport], sts: CannedSts, monkeypatch: pytest.MonkeyPatch, action: str
    ) -> None:
        """Not even where the SDK would find some."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT00001")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        parameters, form = CALLS[action]
        send(make, sts.url, action, parameters, None)
        assert sts.forms == [{"Action": action, "Version": "2011-06-15"} | form]
        assert {"authorization", "x-amz-security-token"}.isdisjoint(sts.requests[0].headers)

    def test_follows_keys_and_regions(self, make: Callable[[], Transport], sts: CannedSts) -> None:
        async def story() -> None:
            transport = make()
            for region, keys in (("us-east-1", KEYS), ("us-east-1", LONG_LIVED), ("eu-west-1", KEYS)):
                await transport.send(Endpoint(region, f"{sts.url}/{region}"), "GetCallerIdentity", {}, keys)
            await transport.close()

        run(story)
        seen = [(request.path, sigv4.read(request.headers["authorization"])) for request in sts.requests]
        assert [(path.strip("/"), header.region, header.access_key_id) for path, header in seen] == [
            ("us-east-1", "us-east-1", KEYS.access_key),
            ("us-east-1", "us-east-1", LONG_LIVED.access_key),
            ("eu-west-1", "eu-west-1", KEYS.access_key),
        ]
        for request, keys in zip(sts.requests, (KEYS, LONG_LIVED, KEYS), strict=True):
            expected = sigv4.signature("POST", request.path, request.headers, request.body, keys.secret_key)
            assert sigv4.read(request.headers["authorization"]).signature == expected


class TestAnswer:
    @pytest.mark.parametrize("action", ["AssumeRole", *UNSIGNED, "GetFederationToken"])
    def test_has_the_credential(self, make: Callable[[], Transport], sts: CannedSts, action: str) -> None:
        texts = send(make, sts.url, action, CALLS[action][0]).texts
        assert texts["AccessKeyId"] == "ASIACANNED0000000001"
        assert texts["SecretAccessKey"] == "canned-secret-key-1"
        assert texts["SessionToken"] == "canned-session-token-1"
        assert datetime.fromisoformat(texts["Expiration"]).tzinfo is not None
        assert texts["PackedPolicySize"] == "6"
        assert texts["RequestId"] == "request-1"

    @pytest.mark.parametrize(
        ("action", "name", "text"),
        [
            ("GetCallerIdentity", "Arn", "arn:aws:sts::123456789012:assumed-role/service/i-1"),
            ("GetAccessKeyInfo", "Account", "123456789012"),
            ("DecodeAuthorizationMessage", "DecodedMessage", '{"allowed":false}'),
            ("GetSessionToken", "SessionToken", "canned-session-token-1"),
        ],
    )
    def test_has_what_was_asked_for(
        self, make: Callable[[], Transport], sts: CannedSts, action: str, name: str, text: str
    ) -> None:
        answer = send(make, sts.url, action, CALLS[action][0])
        assert answer.texts[name] == text
        assert answer.date is not None
        assert answer.date.endswith(" GMT")
        assert text not in repr(answer)


REFUSALS = [
    (400, "Throttling", "throttled"),
    (400, "ThrottlingException", "throttled"),
    (503, "RequestLimitExceeded", "throttled"),
    (429, "TooManyRequestsException", "throttled"),
    (403, "ExpiredToken", "expired"),
    (400, "ExpiredTokenException", "expired"),
    (400, "PackedPolicyTooLarge", "too_large"),
    (400, "MalformedPolicyDocument", "refused"),
    (403, "AccessDenied", "refused"),
    (403, "InvalidClientTokenId", "expired"),
    (403, "SignatureDoesNotMatch", "expired"),
    (403, "RegionDisabledException", "refused"),
    (400, "IDPCommunicationError", "unavailable"),
    (500, "InternalFailure", "unavailable"),
    (503, "ServiceUnavailable", "unavailable"),
]


class TestRefusal:
    @pytest.mark.parametrize(("status", "code", "kind"), REFUSALS)
    def test_has_its_kind_and_code(
        self, make: Callable[[], Transport], sts: CannedSts, status: int, code: str, kind: str
    ) -> None:
        sts.fail(code, status)
        refused = fault(make, sts.url)
        assert (refused.kind, refused.code) == (kind, code)
        assert refused.date is not None
        assert len(sts.forms) == 1, "a transport does not try again"

    def test_of_parameters_that_do_not_fit_is_not_tried_again(
        self, make: Callable[[], Transport], sts: CannedSts
    ) -> None:
        sts.fail("ValidationError")
        with pytest.raises(Fault) as refused:
            send(make, sts.url, "GetAccessKeyInfo", {"AccessKeyId": "short"})
        assert (refused.value.kind, refused.value.code) == ("refused", "ValidationError")


ISSUED = (
    f'<AssumeRoleResponse xmlns="{NAMESPACE}"><AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId>'
    "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
    "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
).encode()
BOMB = (
    b'<!DOCTYPE l [<!ENTITY a "lol">'
    + b"".join(b'<!ENTITY %c "%b">' % (ord("b") + i, b"&%c;" % (ord("a") + i) * 10) for i in range(9))
    + b"]><l>&j;</l>"
)
NONSENSE = {
    "html": http("200 OK", b"<html><p>Sign in to the network<br></html>", "text/html"),
    "empty": http("200 OK", b""),
    "no body and no length": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    "truncated": http("200 OK", ISSUED[:-30]),
    "cut off": http("200 OK", ISSUED[:-30], length=len(ISSUED)),
    "binary": http("200 OK", bytes(range(256)), "application/octet-stream"),
    "wrong encoding": http("200 OK", b'<?xml version="1.0" encoding="no-such"?><a/>'),
    "huge": http("200 OK", b"<a>" + b" " * 5_000_000),
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "hung up": b"",
    "gateway": http("502 Bad Gateway", b"<html><p>bad gateway<br></html>", "text/html"),
    "gateway in XHTML": http("502 Bad Gateway", b"<html><p>bad gateway</p></html>", "text/html"),
    "empty 500": http("500 Internal Server Error", b""),
}


class TestNonsense:
    """SECURITY.md, faults, "STS garbage/empty 200"."""

    @pytest.mark.parametrize("kind", NONSENSE)
    def test_is_a_fault(self, make: Callable[[], Transport], kind: str) -> None:
        with closing(OddServer(NONSENSE[kind])) as server:
            assert fault(make, server.url, "AssumeRole").kind == "unavailable"
            assert server.requests == 1

    def test_that_is_well_formed_has_no_credential(self, make: Callable[[], Transport]) -> None:
        """It may pass as an answer: what it lacks is then found by whoever needs it."""
        with closing(OddServer(http("200 OK", b"<html><body>Welcome</body></html>", "text/html"))) as server:
            texts: Mapping[str, str] = {}
            with suppress(Fault):
                texts = send(make, server.url, "AssumeRole", CALLS["AssumeRole"][0]).texts
            assert server.requests == 1
        assert {"AccessKeyId", "SecretAccessKey", "SessionToken"}.isdisjoint(texts)

    def test_that_would_grow_in_memory_is_a_fault(self) -> None:
        with closing(OddServer(http("200 OK", BOMB))) as server:
            assert fault(TRANSPORTS["signed"], server.url).code == "GarbledAnswer"

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
    def test_is_what_a_redirect_is(self, make: Callable[[], Transport], status: str) -> None:
        """Whoever it leads to would get a signed request."""
        with closing(OddServer(http("200 OK", ISSUED))) as elsewhere:
            redirect = http(status, b"", headers=f"Location: {elsewhere.url}/\r\n")
            with closing(OddServer(redirect)) as server:
                assert fault(make, server.url).kind in ("unavailable", "refused")
                assert (server.requests, elsewhere.requests) == (1, 0)


class TestSilence:
    """SECURITY.md, faults, "STS slow/unreachable"."""

    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("CONNECT_TIMEOUT", "READ_TIMEOUT"):
            monkeypatch.setattr(connections, name, 0.2)
        config = generated_transport.CLIENT_CONFIG.merge(Config(connect_timeout=0.2, read_timeout=0.2))
        monkeypatch.setattr(generated_transport, "CLIENT_CONFIG", config)

    def test_of_one_who_does_not_answer_is_a_fault(self, make: Callable[[], Transport]) -> None:
        with closing(OddServer(None)) as server:
            assert fault(make, server.url).kind == "unavailable"
            assert server.requests == 1

    def test_of_one_who_does_not_take_the_connection_is_a_fault(self, make: Callable[[], Transport]) -> None:
        with unreachable() as url:
            assert fault(make, url).kind == "unavailable"

    def test_of_one_who_is_not_there_is_a_fault(self, make: Callable[[], Transport]) -> None:
        server = OddServer(None)
        server.close()
        assert fault(make, server.url).kind == "unavailable"


class TestTimeouts:
    def test_are_a_second_to_connect_and_two_to_answer(self) -> None:
        assert (connections.CONNECT_TIMEOUT, connections.READ_TIMEOUT) == (1, 2)
        assert (generated_transport.CLIENT_CONFIG.connect_timeout, generated_transport.CLIENT_CONFIG.read_timeout) == (
            1,
            2,
        )


class TestLog:
    def test_has_no_secret_at_its_most_talkative(
        self,
        make: Callable[[], Transport],
        sts: CannedSts,
        printed: Callable[[], str],
    ) -> None:
        logging.getLogger("somebody").debug("this level is on")
        send(make, sts.url, "GetSessionToken", CALLS["GetSessionToken"][0])
        for action in UNSIGNED:
            send(make, sts.url, action, CALLS[action][0])
        sts.fail("AccessDenied", 403)
        fault(make, sts.url)
        logged = printed()
        assert "this level is on" in logged
        secrets = (
            KEYS.secret_key,
            KEYS.token or "",
            "canned-secret-key",
            "canned-session-token",
            "012345",
            "eyJ.e30",
            "PHNh",
        )
        assert [secret for secret in secrets if secret in logged] == []


class TestCancelling:
    def test_leaves_the_transport_usable(self, make: Callable[[], Transport], sts: CannedSts) -> None:
        async def story() -> Answer:
            transport = make()
            with closing(OddServer(None)) as silent, pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await transport.send(Endpoint(REGION, silent.url), "GetCallerIdentity", {}, KEYS)
            answer = await transport.send(Endpoint(REGION, sts.url), "GetCallerIdentity", {}, LONG_LIVED)
            await transport.close()
            return answer

        assert run(story).texts["Account"] == "123456789012"
