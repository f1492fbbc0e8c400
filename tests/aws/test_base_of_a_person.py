"""What signs our calls, from the SDK's real default chain: of a person's machine, and keys that never expire."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from app.aws.base_credentials import default_session
from app.compose import build_runtime
from app.platform.problems import StsRefused, StsUnavailable
from app.platform.settings import SettingsError
from app.vending.broker import LONG_LIVED
from tests.aws.calling import REGION, Calling, put, run, signers, until, with_client
from tests.support import sigv4
from tests.support.canned_sts import CannedSts
from tests.support.logged import capture_logs
from tests.support.metadata import InstanceMetadata
from tests.support.service import running_service, test_settings

ROLE_ARN = "arn:aws:iam::123456789012:role/photo-service"
DEVICE = "arn:aws:iam::123456789012:mfa/operator"
KEYS = {"aws_access_key_id": "AKIAPROFILE000000001", "aws_secret_access_key": "profile-secret"}
ROLE = {"role_arn": ROLE_ARN, "source_profile": "keys", "region": REGION}


class Profiles:
    """The SDK's file, and the profile that is in use."""

    def __init__(self, file: Path, environment: pytest.MonkeyPatch) -> None:
        self.file = file
        self._environment = environment
        environment.setenv("AWS_CONFIG_FILE", str(file))

    def use(self, profile: Mapping[str, str], **others: Mapping[str, str]) -> None:
        sections = others | {"used": profile}
        self.file.write_text(
            "".join(
                f"[profile {name}]\n" + "".join(f"{key} = {value}\n" for key, value in members.items())
                for name, members in sections.items()
            )
        )
        self._environment.setenv("AWS_PROFILE", "used")


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profiles:
    return Profiles(tmp_path / "config", monkeypatch)


def fault(url: str) -> str | None:
    """Why no call can be made."""

    async def story(call: Calling) -> str | None:
        with pytest.raises((StsUnavailable, StsRefused)) as refused:
            await call.ask()
        return refused.value.cause

    return with_client(url, story)


class TestEnvironment:
    def test_has_keys_that_sign(self, sts: CannedSts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAENVIRONMENT00001")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "environment-token")
        with_client(sts.url, Calling.ask)
        assert signers(sts) == ["ASIAENVIRONMENT00001"]
        assert sts.requests[0].headers["x-amz-security-token"] == "environment-token"

    def test_that_is_half_set_is_a_problem(self, sts: CannedSts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT00001")
        assert fault(sts.url) == "PartialCredentialsError"

    def test_whose_keys_have_expired_is_a_problem(self, sts: CannedSts, monkeypatch: pytest.MonkeyPatch) -> None:
        """What becomes of a service whose MFA was 36 hours ago."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAENVIRONMENT00001")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "environment-token")
        monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2026-01-01T00:00:00+00:00")
        assert fault(sts.url) == "BaseCredentialsExpired"


class TestProfile:
    def test_has_keys_that_sign(self, sts: CannedSts, profiles: Profiles) -> None:
        profiles.use(KEYS)
        with_client(sts.url, Calling.ask)
        assert signers(sts) == ["AKIAPROFILE000000001"]
        assert "x-amz-security-token" not in sts.requests[0].headers

    def test_with_a_role_assumes_it_first(
        self, sts: CannedSts, profiles: Profiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        profiles.use(ROLE | {"external_id": "partner-7"}, keys=KEYS)
        with_client(sts.url, Calling.ask)
        assert [form["Action"] for form in sts.forms] == ["AssumeRole", "GetCallerIdentity"]
        assert (sts.forms[0]["RoleArn"], sts.forms[0]["ExternalId"]) == (ROLE_ARN, "partner-7")
        assert signers(sts) == ["AKIAPROFILE000000001", "ASIACANNED0000000001"]
        assert sts.requests[1].headers["x-amz-security-token"] == "canned-session-token-1"

    @pytest.mark.parametrize("own", [None, "ap-south-1"])
    def test_with_a_role_asks_in_its_region_or_else_in_the_services(
        self, sts: CannedSts, profiles: Profiles, monkeypatch: pytest.MonkeyPatch, own: str | None
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        profiles.use({"role_arn": ROLE_ARN, "source_profile": "keys"} | ({"region": own} if own else {}), keys=KEYS)
        assert warnings() == []
        assert sigv4.read(sts.requests[0].headers["authorization"]).region == (own or "eu-west-1")

    def test_whose_role_is_denied_is_a_problem(
        self, sts: CannedSts, profiles: Profiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        profiles.use(ROLE, keys=KEYS)
        sts.fail("AccessDenied", 403)
        assert fault(sts.url) == "AccessDenied"

    def test_whose_role_has_no_source_is_a_problem(self, sts: CannedSts, profiles: Profiles) -> None:
        profiles.use(ROLE)
        assert fault(sts.url) == "InvalidConfigError"

    def test_that_wants_an_mfa_code_never_asks_for_one(
        self, sts: CannedSts, profiles: Profiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A service would wait for ever for somebody who types it, and so would its end."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        profiles.use(ROLE | {"mfa_serial": DEVICE}, keys=KEYS)
        open_end, silent_writer = os.pipe()
        with os.fdopen(open_end) as stdin, os.fdopen(silent_writer, "w"):
            monkeypatch.setattr(sys, "stdin", stdin)
            assert fault(sts.url) == "ProfileNeedsMfaCode"
        assert sts.forms == []

    def test_that_is_unknown_is_a_sentence_at_start(self, profiles: Profiles) -> None:
        profiles.use(KEYS)
        profiles.file.write_text("")
        with pytest.raises(SettingsError, match=r"AWS: The config profile \(used\) could not be found"):
            default_session()

    def test_that_is_gone_when_new_keys_are_needed_is_a_problem(self, sts: CannedSts, profiles: Profiles) -> None:
        profiles.use(KEYS)
        sts.fail("ExpiredToken", 403)

        async def story(call: Calling) -> str | None:
            await call.base.current()
            put(profiles.file, "")
            with pytest.raises(StsUnavailable) as refused:
                await call.ask()
            return refused.value.cause

        assert with_client(sts.url, story) == "SettingsError"


class TestCredentialProcess:
    @pytest.fixture
    def program(self, profiles: Profiles, tmp_path: Path) -> Iterator[Path]:
        """A file that the profile's program prints."""
        file = tmp_path / "printed"
        code = f"import pathlib, sys; text = pathlib.Path({str(file)!r}).read_text(); print(text); sys.exit(not text)"
        script = tmp_path / "program.py"
        script.write_text(code)
        profiles.use({"credential_process": f"{sys.executable} -S -E {script}"})
        return file

    def test_gives_keys_that_sign_and_is_run_again_for_new_ones(self, sts: CannedSts, program: Path) -> None:
        document = {"Version": 1, "AccessKeyId": "ASIAPROCESS000000001", "SecretAccessKey": "s", "SessionToken": "t"}
        program.write_text(json.dumps(document | {"Expiration": "2099-01-01T00:00:00Z"}))

        async def story(call: Calling) -> None:
            await call.ask()
            rotated = {"AccessKeyId": "ASIAPROCESS000000002", "Expiration": "2199-01-01T00:00:00Z"}
            put(program, json.dumps(document | rotated))
            call.age(days=100 * 365)
            await call.ask()

        with_client(sts.url, story)
        assert signers(sts) == ["ASIAPROCESS000000001", "ASIAPROCESS000000002"]

    @pytest.mark.parametrize("printed", ["", "nonsense", "[]", '{"Version": 2}', '{"Version": 1}'])
    def test_that_prints_nonsense_is_a_problem(self, sts: CannedSts, program: Path, printed: str) -> None:
        program.write_text(printed)
        assert fault(sts.url) in ("CredentialRetrievalError", "JSONDecodeError", "AttributeError")
        assert sts.forms == []


class TestLongLivedKeys:
    @pytest.mark.parametrize("token", [None, "environment-token"])
    def test_are_told_and_temporary_ones_are_not(self, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT00001")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        if token:
            monkeypatch.setenv("AWS_SESSION_TOKEN", token)
        assert warnings() == ([] if token else [LONG_LIVED])

    def test_are_not_those_of_an_instance(self, metadata: InstanceMetadata) -> None:
        assert warnings() == []
        assert metadata.issued == ["ASIAMETADATA0001"]

    def test_are_no_matter_where_nothing_is_signed(self, metadata: InstanceMetadata) -> None:
        for mode in ("web_identity", "saml"):
            assert warnings(vending_mode=mode) == []
        assert metadata.issued == []

    @pytest.mark.parametrize("environment", ["production", "development"])
    def test_are_told_when_production_starts(self, database_url: str, environment: str) -> None:
        changes = {"AWS_REGION": REGION, "public_url": "https://tokens.example.org", "rate_limits": "on"}
        changes |= {"smtp_url": "smtp://127.0.0.1:9", "mail_from": "photos@example.org"}
        with capture_logs() as logs, running_service(database_url, environment=environment, **changes) as service:
            portal = service.client.portal
            assert portal is not None

            async def told() -> None:
                await service.runtime.vending.broker.warnings(3600)  # in the line behind what the start has asked
                if environment == "production":
                    await until(lambda: bool(warned(logs)))
                await asyncio.sleep(0)

            portal.call(asyncio.wait_for, told(), 10)
        assert warned(logs) == ([LONG_LIVED] if environment == "production" else [])


def warnings(**settings: str) -> list[str]:
    async def story() -> list[str]:
        runtime = build_runtime(test_settings(database_url=f"sqlite:///{os.devnull}", **settings))
        try:
            return await runtime.vending.broker.warnings(3600)
        finally:
            await runtime.close()

    return run(story)


def warned(logs: list[dict[str, str]]) -> list[str]:
    return [entry["warning"] for entry in logs if entry["event"] == "base_credentials"]


class TestSlowChain:
    def test_does_not_hold_what_needs_none_of_it(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        asked, released = threading.Event(), threading.Event()

        def hold() -> None:
            asked.set()
            released.wait(5)

        metadata.before_answer = hold

        async def story(call: Calling) -> None:
            waiting = asyncio.create_task(call.ask())
            await until(asked.is_set)
            await call.ask(signed=False)
            assert not waiting.done()
            released.set()
            await waiting

        with_client(sts.url, story)
        assert ["authorization" in request.headers for request in sts.requests] == [False, True]
