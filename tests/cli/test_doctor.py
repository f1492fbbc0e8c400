"""`tokenvend doctor` and the engines that it meets: a good one, one that ignores policies, and what is no S3."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from app import engine
from app.auth import keys
from app.cli import doctor
from app.compose import Runtime, build_runtime
from app.platform.page_access import EXPOSED_HEADERS
from app.records import audit
from app.vending.broker import CHAINED, LONG_LIVED
from tests.mail.servers import HERE, Inbox, smtp_server
from tests.support.canned_iam import CannedIam, Managed
from tests.support.canned_sts import CannedSts
from tests.support.clock import ManualClock
from tests.support.databases import SqliteDatabases
from tests.support.issuer import DISCOVERY_PATH, running_issuer
from tests.support.odd_http import OddServer, http
from tests.support.saml_sts import SamlSts
from tests.support.service import test_settings

ORIGIN, STRANGE_ORIGIN = "http://127.0.0.1:8000", "https://elsewhere.example.org"
KEYS = {"aws_access_key_id": "AKIATESTTESTTEST", "aws_secret_access_key": "base-secret"}
NOWHERE = {"sts_endpoint_url": "http://127.0.0.1:1"}
Findings = dict[str, tuple[str, str]]


@pytest.fixture
def database_url(sqlite_databases: SqliteDatabases, tmp_path: Path) -> str:
    return sqlite_databases.create(tmp_path)


@pytest.fixture
def sts() -> Iterator[CannedSts]:
    with closing(CannedSts()) as canned:
        yield canned


def examine(database_url: str, aws: boto3.Session, **changes: Any) -> Findings:
    """State and message by name; of two of one name the later."""
    settings = {"public_url": "http://127.0.0.1:1", **changes}
    runtime = build_runtime(test_settings(database_url=database_url, **settings), aws=aws)
    return {finding.name: (finding.state, finding.message) for finding in asyncio.run(doctor.examine(runtime))}


class TestGoodEngine:
    @pytest.mark.slow("every check")
    def test_has_nothing_to_mend_but_what_is_so(self, database_url: str, tmp_path: Path) -> None:
        with engine.start(tmp_path / "engine", allowed_origins=[ORIGIN]) as running:
            found = examine(
                database_url,
                running.broker_session(),
                role_arn=running.role_arn,
                AWS_REGION=running.region,
                sts_endpoint_url=running.endpoint_url,
                s3_endpoint_url=running.endpoint_url,
                s3_force_path_style=True,
                cors_origins=(ORIGIN, STRANGE_ORIGIN),
                upload_tickets="on",
            )
        assert {name: state for name, (state, _) in found.items()} == {
            "database": "ok",
            "migrations": "ok",
            "keys": "ok",
            "secret key": "ok",
            "public URL": "warning",
            "disk": "ok",
            "mail": "ok",
            "base credentials": "warning",
            "clock": "ok",
            "trust policy": "ok",
            "maximum duration": "ok",
            "own prefix": "ok",
            "foreign prefix": "ok",
            "session token": "ok",
            "upload tickets": "warning",
            "CORS": "warning",
        }
        assert found["base credentials"][1] == LONG_LIVED
        assert found["upload tickets"][1].startswith("it is refused with 403; set TOKENVEND_UPLOAD_TICKETS=off")
        assert found["CORS"][1].startswith(f"{STRANGE_ORIGIN} may not")


class TestCors:
    """By what an engine answers to a preflight."""

    @pytest.mark.parametrize(
        ("exposed", "state", "hidden"),
        [
            (", ".join(EXPOSED_HEADERS) + ", X-AMZ-META-CAPTION", "ok", ""),
            ("*", "ok", ""),
            (",".join(EXPOSED_HEADERS), "warning", "not read x-amz-meta-caption; "),
            ("ETag,x-amz-meta-caption", "warning", "x-amz-checksum-crc32, "),
        ],
        ids=["all", "wildcard", "without the operator's", "the tag alone"],
    )
    def test_names_what_pages_cannot_read(
        self, database_url: str, sts: CannedSts, exposed: str, state: str, hidden: str
    ) -> None:
        headers = f"Access-Control-Allow-Origin: {ORIGIN}\r\nAccess-Control-Expose-Headers: {exposed}\r\n"
        with closing(OddServer(http("200 OK", b"", headers=headers))) as odd:
            found = examine(
                database_url,
                boto3.Session(**KEYS),
                sts_endpoint_url=sts.url,
                s3_endpoint_url=odd.url,
                s3_force_path_style=True,
                cors_origins=(ORIGIN,),
                s3_exposed_headers=("x-amz-meta-caption",),
            )["CORS"]
        assert (found[0], hidden in found[1]) == (state, True)


class TestEngineWithoutPolicies:
    """moto keeps a session policy and never reads it."""

    def test_is_told_to_stop(self, database_url: str) -> None:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            url = "http://{}:{}".format(*server.get_host_and_port())
            boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS).create_bucket(Bucket="photos")
            found = examine(
                database_url,
                boto3.Session(**KEYS),
                sts_endpoint_url=url,
                s3_endpoint_url=url,
                s3_force_path_style=True,
            )
        finally:
            server.stop()
        assert found["own prefix"][0] == "ok"
        for name, reached in (("foreign prefix", "get, list, put, delete"), ("session token", "24 of 24")):
            state, message = found[name]
            assert (state, reached in message, "STOP" in message) == ("failed", True, True)


class TestEngineThatIsKnown:
    """By what it calls itself: what is wrong with it is nothing that doctor tries."""

    @pytest.mark.parametrize(("server", "wrong"), [("MinIO", True), ("AmazonS3", False)])
    def test_is_named(self, database_url: str, sts: CannedSts, server: str, wrong: bool) -> None:
        with closing(OddServer(http("403 Forbidden", b"", headers=f"Server: {server}\r\n"))) as odd:
            found = examine(
                database_url,
                boto3.Session(**KEYS),
                sts_endpoint_url=sts.url,
                s3_endpoint_url=odd.url,
                s3_force_path_style=True,
            )
        state, message = found.get("engine", ("ok", ""))
        assert (state, "STOP" in message) == (("failed", True) if wrong else ("ok", False))


class TestRole:
    def test_is_told_of_chaining(self, database_url: str, sts: CannedSts) -> None:
        found = examine(
            database_url,
            boto3.Session(**KEYS, aws_session_token="token"),
            sts_endpoint_url=sts.url,
            s3_endpoint_url="http://127.0.0.1:1",
            credential_max_ttl=43_200,
        )
        assert found["base credentials"] == ("warning", CHAINED)
        assert found["trust policy"] == ("ok", "a credential of 900 s was issued")
        assert found["maximum duration"] == ("ok", "a credential of 3600 s was issued")

    def test_that_gives_less_than_the_maximum_is_told_apart_from_one_that_gives_nothing(
        self, database_url: str, sts: CannedSts
    ) -> None:
        """What can be tried with the shorter one is tried."""

        settings = {"sts_endpoint_url": sts.url, "s3_endpoint_url": "http://127.0.0.1:1", "cors_origins": (ORIGIN,)}
        sts.longest = 1800
        short = examine(database_url, boto3.Session(**KEYS), **settings)
        sts.answer_only("GetCallerIdentity")
        none = examine(database_url, boto3.Session(**KEYS), **settings)
        assert short["trust policy"] == ("ok", "a credential of 900 s was issued")
        state, message = short["maximum duration"]
        assert (state, "MaxSessionDuration" in message, "ValidationError" in message) == ("failed", True, True)
        assert short["S3"][0] == "failed"
        state, message = none["trust policy"]
        assert (state, "sts:AssumeRole" in message) == ("failed", True)
        assert "maximum duration" not in none
        for found in (short, none):
            assert found["CORS"] == ("warning", "cannot be told, for S3 does not answer (NewConnectionError)")


class TestLifetime:
    @pytest.mark.parametrize(("seconds", "is_told"), [(900, True), (1799, True), (1800, False), (3600, False)])
    def test_that_sdks_renew_all_the_time_is_told(
        self, database_url: str, sts: CannedSts, seconds: int, is_told: bool
    ) -> None:
        settings = {"sts_endpoint_url": sts.url, "s3_endpoint_url": "http://127.0.0.1:1"}
        found = examine(database_url, boto3.Session(**KEYS), credential_ttl=seconds, **settings)
        assert ("lifetime" in found) == is_told
        if is_told:
            state, message = found["lifetime"]
            assert state == "warning"
            assert f"live for {seconds} s" in message
            assert "TOKENVEND_CREDENTIAL_TTL to 1800 or more" in message


class TestResourceControlPolicy:
    """An organization's policy may deny what the role allows. STS and S3 say only AccessDenied."""

    @pytest.mark.parametrize(
        ("mode", "code", "named"),
        [
            ("web_identity", "AccessDenied", True),
            ("web_identity", "ValidationError", False),
            ("saml", "AccessDenied", True),
            ("assume_role", "AccessDenied", False),
        ],
    )
    def test_is_named_where_strangers_are_let_in(
        self, database_url: str, sts: CannedSts, mode: str, code: str, named: bool
    ) -> None:
        sts.fail(code, 403, times=20)
        settings = {"sts_endpoint_url": sts.url, "s3_endpoint_url": "http://127.0.0.1:1", "vending_mode": mode}
        found = examine(database_url, boto3.Session(**KEYS), **settings)
        told = [message for state, message in found.values() if "resource control policy" in message]
        assert bool(told) == named, found


class TestSaml:
    def test_tells_whether_iam_has_the_key_that_is_to_sign(self, database_url: str) -> None:
        """It asks STS by that key, as nothing else can tell."""
        told = {}
        with closing(SamlSts()) as sts:
            settings = {"vending_mode": "saml", "sts_endpoint_url": sts.url, "s3_endpoint_url": "http://127.0.0.1:1"}
            runtime = build_runtime(
                test_settings(database_url=database_url, public_url="http://127.0.0.1:1", **settings)
            )
            assert runtime.assertions is not None
            asyncio.run(runtime.assertions.keyring.load())
            sts.upload(runtime.assertions.metadata.encode())
            told["before"] = examine(database_url, boto3.Session(**KEYS), **settings)
            rotate(runtime)
            told["rotated"] = examine(database_url, boto3.Session(**KEYS), **settings)
            asyncio.run(runtime.assertions.keyring.load())
            sts.upload(runtime.assertions.metadata.encode())
            told["uploaded"] = examine(database_url, boto3.Session(**KEYS), **settings)
            asyncio.run(runtime.close())
        assert {one["trust policy"][0] for one in told.values()} == {"ok"}
        assert "none are needed: this service is the SAML identity provider" in told["before"]["base credentials"][1]
        assert "SAML metadata" not in told["before"]
        state, message = told["rotated"]["SAML metadata"]
        assert (state, "IAM does not have it" in message, "upload the metadata" in message) == ("failed", True, True)
        assert told["uploaded"]["SAML metadata"][0] == "ok"
        assert told["uploaded"]["SAML metadata"][1].endswith("and IAM has it")

    def test_says_what_to_do_where_nothing_was_uploaded(self, database_url: str) -> None:
        with closing(SamlSts()) as sts:
            settings = {"vending_mode": "saml", "sts_endpoint_url": sts.url, "s3_endpoint_url": "http://127.0.0.1:1"}
            found = examine(database_url, boto3.Session(**KEYS), **settings)
        state, message = found["trust policy"]
        assert state == "failed"
        assert message.startswith("InvalidIdentityToken")
        assert "tokenvend keys show --purpose saml" in message


def rotate(runtime: Runtime) -> None:
    platform = runtime.platform
    arguments = (audit.COMMAND_LINE, platform.vault, "saml", platform.clock.now())
    options = {"at_once": False, "token_ttl": timedelta(seconds=60)}
    platform.database.run("write", keys.rotate, *arguments, **options)


class TestProviders:
    def test_that_can_never_work_are_told_with_the_mend(self, database_url: str) -> None:
        """They fail, and what else is there is tried all the same."""
        with running_issuer(ManualClock()) as good, running_issuer(ManualClock()) as moved:
            moved.answer(DISCOVERY_PATH, b"", status=301, Location=good.url + DISCOVERY_PATH)
            down = "http://127.0.0.1:1"
            issuers = {"good": good.url, "moved": moved.url, "down": down}
            providers = {name: {"issuer": issuer, "client_ids": ("app",)} for name, issuer in issuers.items()}
            found = examine(database_url, boto3.Session(**KEYS), oidc_providers=providers, sts_endpoint_url=down)
        assert found["provider good"] == ("ok", f"{good.url} has 1 keys")
        state, message = found["provider moved"]
        assert (state, "status 301" in message, "set `issuer` to" in message) == ("failed", True, True)
        state, message = found["provider down"]
        assert (state, f"check that this machine reaches {down}" in message) == ("failed", True)
        assert "base credentials" in found


class TestMail:
    @pytest.mark.parametrize(("international", "state"), [(True, "ok"), (False, "warning")])
    def test_is_tried_by_a_session(self, database_url: str, international: bool, state: str) -> None:
        """A server without SMTPUTF8 reaches most people, and not those with letters outside ASCII in their address."""
        with smtp_server(Inbox(), enable_SMTPUTF8=international) as port:
            found = examine(database_url, boto3.Session(**KEYS), smtp_url=f"smtp://{HERE}:{port}", **NOWHERE)
        assert found["mail"][0] == state
        assert ("jörg@example.org" in found["mail"][1]) == (not international)

    def test_that_cannot_leave_is_told(self, database_url: str) -> None:
        found = examine(database_url, boto3.Session(**KEYS), smtp_url="smtp://127.0.0.1:1", **NOWHERE)
        assert found["mail"][0] == "failed"
        assert "TOKENVEND_SMTP_URL" in found["mail"][1]


DENIALS = ["arn:aws:iam::123456789012:policy/denials-1", "arn:aws:iam::123456789012:policy/denials-2"]


class TestRevocation:
    """Tried for real, and only where it is on."""

    @pytest.mark.parametrize(("refusals", "state"), [(0, "ok"), (1, "failed")])
    def test_is_tried_on_the_role(self, database_url: str, sts: CannedSts, refusals: int, state: str) -> None:
        with closing(CannedIam()) as iam:
            iam.fail("AccessDenied", 403, times=refusals)
            found = examine(
                database_url,
                boto3.Session(**KEYS),
                sts_endpoint_url=sts.url,
                iam_endpoint_url=iam.url,
                revocation="role_policy",
                s3_endpoint_url="http://127.0.0.1:1",
            )
        assert found["revocation"][0] == state
        assert ("AccessDenied" in found["revocation"][1]) is (state == "failed")
        assert iam.policies == {}
        assert len(iam.writes) == 2 - refusals

    @pytest.mark.parametrize(
        ("spoil", "state", "says"),
        [
            (lambda iam: None, "ok", "the role has them all"),
            (lambda iam: iam.managed.pop(DENIALS[1]), "failed", f"{DENIALS[1]}: NoSuchEntity"),
            (lambda iam: setattr(iam.managed[DENIALS[0]], "attached", False), "failed", f"nothing: {DENIALS[0]};"),
            (lambda iam: iam.forbidden.add("ListAttachedRolePolicies"), "ok", "cannot be told (AccessDenied on"),
            (lambda iam: iam.forbidden.add("CreatePolicyVersion"), "failed", f"{DENIALS[0]}: AccessDenied"),
        ],
        ids=["all", "gone", "unattached", "unseen", "refused"],
    )
    def test_tries_the_managed_policies_of_revocation(
        self, database_url: str, sts: CannedSts, spoil: Callable[[CannedIam], Any], state: str, says: str
    ) -> None:
        with closing(CannedIam()) as iam:
            iam.managed = {arn: Managed() for arn in DENIALS}
            spoil(iam)
            found = examine(
                database_url,
                boto3.Session(**KEYS),
                sts_endpoint_url=sts.url,
                iam_endpoint_url=iam.url,
                revocation="role_policy",
                revocation_policy_arns=",".join(DENIALS),
                s3_endpoint_url="http://127.0.0.1:1",
            )["managed revocation"]
        assert (found[0], says in found[1]) == (state, True), found
        # What is in effect is as it was, and nothing is left over.
        assert all(policy.versions == {"v1": "{}"} for policy in iam.managed.values())


class TestNoS3:
    @pytest.mark.parametrize(
        ("answer", "cause"),
        [
            (http("404 Not Found", b"<html><body>nginx<br></body></html>", "text/html"), "HTTP 404 from something"),
            (http("500 Oops", b"<html><body>oops<br></body></html>", "text/html"), "HTTP 500 from something"),
            (http("301 Moved", b"", headers="Location: https://s3.example.org/\r\n"), ""),
        ],
        ids=["not found", "broken", "redirect"],
    )
    def test_is_not_taken_for_an_engine_without_policies(
        self, database_url: str, sts: CannedSts, answer: bytes, cause: str
    ) -> None:
        with closing(OddServer(answer)) as odd:
            found = examine(
                database_url,
                boto3.Session(**KEYS),
                sts_endpoint_url=sts.url,
                s3_endpoint_url=odd.url,
                s3_force_path_style=True,
            )
        state, message = found["S3"]
        assert (state, message.startswith(cause)) == ("failed", True)
        assert "foreign prefix" not in found
