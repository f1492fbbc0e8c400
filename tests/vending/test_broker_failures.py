"""What a caller is told when STS refuses, fails or talks nonsense."""

import threading
import time
from pathlib import Path

import pytest

from tests.support.canned_sts import NAMESPACE
from tests.support.databases import SqliteDatabases
from tests.support.service import Service
from tests.vending.crowd import hold, sign_in


@pytest.fixture
def database_url(sqlite_databases: SqliteDatabases, tmp_path: Path) -> str:
    """SQLite alone: nothing here depends on the database."""
    return sqlite_databases.create(tmp_path)


def issued_xml(**changes: str | None) -> bytes:
    """An AssumeRole answer; a member that is None is left out."""
    members = {
        "AccessKeyId": "ASIAGARBAGE000000000",
        "SecretAccessKey": "leaked-secret-key",
        "SessionToken": "leaked-session-token",
        "Expiration": "2026-06-01T13:00:00Z",
    } | changes
    credentials = "".join(f"<{name}>{text}</{name}>" for name, text in members.items() if text is not None)
    return (
        f'<AssumeRoleResponse xmlns="{NAMESPACE}"><AssumeRoleResult><Credentials>{credentials}</Credentials>'
        "</AssumeRoleResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleResponse>"
    ).encode()


OPERATORS = {
    "AccessDenied": 403,
    "ExpiredToken": 403,
    "ExpiredTokenException": 400,
    "InvalidClientTokenId": 403,
    "MalformedPolicyDocument": 400,
    "RegionDisabledException": 403,
    "SignatureDoesNotMatch": 403,
    "ValidationError": 400,
}

UNREADABLE = {
    "empty": (200, "text/xml", b""),
    "html": (200, "text/html", b"<html><body><p>Welcome to the captive portal<br></body></html>"),
    "well_formed_html": (200, "text/html", b"<html><body>Welcome</body></html>"),
    "binary": (200, "application/octet-stream", bytes(range(256))),
    "json": (200, "application/json", b'{"AssumeRoleResponse": {}}'),
    "cut_short": (200, "text/xml", issued_xml()[:-40]),
    "no_credentials": (200, "text/xml", b"<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>"),
    "no_access_key_id": (200, "text/xml", issued_xml(AccessKeyId=None)),
    "no_secret": (200, "text/xml", issued_xml(SecretAccessKey=None)),
    "no_session_token": (200, "text/xml", issued_xml(SessionToken=None)),
    "empty_access_key_id": (200, "text/xml", issued_xml(AccessKeyId="")),
    "empty_secret": (200, "text/xml", issued_xml(SecretAccessKey="")),
    "empty_session_token": (200, "text/xml", issued_xml(SessionToken="")),
    "no_expiration": (200, "text/xml", issued_xml(Expiration=None)),
    "odd_expiration": (200, "text/xml", issued_xml(Expiration="tomorrow")),
    "huge_expiration": (200, "text/xml", issued_xml(Expiration="9" * 400)),
    "expiration_without_zone": (200, "text/xml", issued_xml(Expiration="2026-06-01T11:00:00")),
    "expired": (200, "text/xml", issued_xml(Expiration="2026-06-01T12:00:00Z")),
    "html_of_a_gateway": (502, "text/html", b"<html>bad gateway</html>"),
    "empty_500": (500, "text/xml", b""),
}
TRIED_AGAIN = {"empty", "html", "binary", "json", "cut_short", "html_of_a_gateway", "empty_500"}
"""What is not XML, or is the server's fault; what is XML without a credential in it is final."""


def refused(service: Service) -> tuple[int, str]:
    """Status and code of a vend that failed: nothing tells why, nothing is handed out or kept, the next one works."""
    (device,) = sign_in(service, 1)
    answer = device.vend()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    if answer.status_code == 503:
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
    for inside in ("leaked", "arn:aws", "Error", "Exception", "ASIA", "botocore", "Throttl", "Denied", "Packed"):
        assert inside not in answer.text
    assert device.get("/v1/me/credentials").json()["items"] == []
    assert device.vend().status_code == 200, "a failure was kept"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return answer.status_code, problem["code"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("Throttling", 400),
            ("ThrottlingException", 400),
            ("RequestLimitExceeded", 503),
            ("TooManyRequestsException", 429),
        ],
    )
    def test_throttled(self, service: Service, code: str, status: int) -> None:
        """SECURITY.md, faults, "STS throttled/5xx"."""
        service.sts.fail(code, status, times=2)
        assert refused(service) == (503, "sts_throttled")
        assert len(service.sts.assumed) == 3, "two tries, and the next vend"

    def test_for_the_operator_to_mend(self, service: Service) -> None:
        """Never a 4xx: the user can do nothing about it. Not tried again either.

        SECURITY.md, faults, "ExpiredToken, InvalidClientTokenId, SignatureDoesNotMatch" and "Malformed, AccessDenied,
        RegionDisabled".
        """
        for tried, (code, status) in enumerate(OPERATORS.items(), start=1):
            service.sts.fail(code, status)
            assert refused(service) == (503, "sts_refused"), code
            assert len(service.sts.assumed) == 2 * tried, code

    @pytest.mark.parametrize(("code", "status"), [("InternalFailure", 500), ("ServiceUnavailable", 503)])
    def test_broken(self, service: Service, code: str, status: int) -> None:
        """SECURITY.md, faults, "STS throttled/5xx"."""
        service.sts.fail(code, status, times=2)
        assert refused(service) == (503, "sts_unavailable")
        assert len(service.sts.assumed) == 3

    def test_one_failure_is_not_seen(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        service.sts.fail("InternalFailure", 500)
        assert device.vend().status_code == 200
        assert len(service.sts.assumed) == 2

    def test_a_policy_that_packs_too_large_is_the_callers_doing(self, service: Service) -> None:
        """SECURITY.md, faults, "PackedPolicyTooLarge"."""
        service.sts.fail("PackedPolicyTooLarge")
        assert refused(service) == (422, "policy_too_large")

    def test_readiness_names_the_engine_and_no_cause(self, service: Service) -> None:
        service.sts.fail("AccessDenied", 403)
        answer = service.client.get("/readyz")
        assert answer.status_code == 503
        assert "engine" in answer.text
        assert "AccessDenied" not in answer.text


class TestNonsense:
    """SECURITY.md, faults, "STS garbage/empty 200"."""

    def test_is_no_credential(self, service: Service) -> None:
        for name, answer in UNREADABLE.items():
            for _ in range(2 if name in TRIED_AGAIN else 1):
                service.sts.answer_garbage(*answer)
            assert refused(service) == (503, "sts_unavailable"), name

    def test_a_refusal_without_a_body_is_one(self, service: Service) -> None:
        for _ in range(2):
            service.sts.answer_garbage(403, "text/plain", b"")
        assert refused(service) == (503, "sts_unavailable")

    def test_readiness_does_not_take_it(self, service: Service) -> None:
        for name, answer in UNREADABLE.items():
            if name.startswith(("expir", "no_", "empty_", "odd", "huge")):
                continue  # made for AssumeRole: GetCallerIdentity has no such members
            service.clock.advance(minutes=1)  # past what readiness keeps
            for _ in range(2 if name in TRIED_AGAIN else 1):
                service.sts.answer_garbage(*answer)
            assert service.client.get("/readyz").status_code == 503, name


class TestSilence:
    """SECURITY.md, faults, "STS slow/unreachable"."""

    def test_nobody_listens(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        service.sts.close()
        answer = device.vend()
        assert (answer.status_code, answer.json()["code"]) == (503, "sts_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert service.sts.url.removeprefix("http://") not in answer.text

    def test_no_answer_comes(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two tries of two seconds, and no more."""
        (device,) = sign_in(service, 1)
        monkeypatch.setattr(service.sts._server, "handle_error", lambda *_: None)  # nobody is left to be answered
        over = threading.Event()
        service.sts.before_answer = lambda form: hold(over, most=10)
        started = time.monotonic()
        answer = device.vend()
        took = time.monotonic() - started
        over.set()
        assert (answer.status_code, answer.json()["code"]) == (503, "sts_unavailable")
        assert len(service.sts.assumed) == 2
        assert took < 7
