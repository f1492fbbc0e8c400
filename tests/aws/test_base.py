"""What signs our calls, from the SDK's real default chain: of machines with a role.

Each source is asked of an endpoint on this machine that answers as AWS documents it.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.utils import ContainerMetadataFetcher

from app.aws import base_credentials
from app.platform.problems import StsRefused, StsUnavailable
from tests.aws.calling import REGION, Calling, put, signers, until, with_client
from tests.support import sigv4
from tests.support.canned_sts import CannedSts
from tests.support.clock import ManualClock
from tests.support.metadata import ContainerEndpoint, InstanceMetadata

HOURS_LESS = {"hours": 6, "seconds": -700}
"""700 s of six hours are left: new ones are due, the old ones still good."""
MINUTES_LEFT = {"hours": 6, "seconds": -300}
"""Too few to sign with."""
ROLE_ARN = "arn:aws:iam::123456789012:role/photo-service"


class TestInstanceMetadata:
    def test_gives_keys_that_sign(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        async def story(call: Calling) -> str:
            await call.ask()
            return call.base.method

        assert with_client(sts.url, story) == "iam-role"
        (request,) = sts.requests
        assert request.headers["x-amz-security-token"] == "metadata-token-1"
        signed = sigv4.read(request.headers["authorization"])
        assert (signed.access_key_id, signed.region, signed.service) == ("ASIAMETADATA0001", REGION, "sts")
        assert {"host", "x-amz-date", "x-amz-security-token"} <= set(signed.names)
        expected = sigv4.signature("POST", request.path, request.headers, request.body, "metadata-secret-1")
        assert signed.signature == expected
        assert (len(metadata.tokens), metadata.open_gets) == (1, 0)

    def test_is_asked_once_for_all_who_call_at_first(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        async def story(call: Calling) -> None:
            await asyncio.gather(*(call.ask() for _ in range(20)))

        with_client(sts.url, story)
        assert metadata.issued == ["ASIAMETADATA0001"]
        assert len(sts.forms) == 20

    @pytest.mark.parametrize("status", [403, 404, 405])
    def test_of_version_1_is_not_believed(self, sts: CannedSts, metadata: InstanceMetadata, status: int) -> None:
        """Its credentials are for whoever makes the machine send a GET."""
        metadata.refuses_tokens = status

        async def story(call: Calling) -> None:
            with pytest.raises((StsRefused, StsUnavailable)):
                await call.ask()

        with_client(sts.url, story)
        assert (metadata.issued, metadata.open_gets, sts.forms) == ([], 0, [])

    def test_that_hangs_does_not_stop_the_event_loop(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        asked, released = threading.Event(), threading.Event()

        def hold() -> None:
            asked.set()
            released.wait(5)

        metadata.before_answer = hold

        async def story(call: Calling) -> bool:
            waiting = asyncio.create_task(call.ask())
            await until(asked.is_set)
            early = waiting.done()
            released.set()  # nobody could, were the loop waiting for the answer
            await waiting
            return early

        assert not with_client(sts.url, story)
        assert signers(sts) == ["ASIAMETADATA0001"]


class TestRotation:
    def test_is_in_the_background_while_the_old_ones_are_good(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        async def story(call: Calling) -> None:
            await call.ask()
            released = threading.Event()
            metadata.before_answer = lambda: released.wait(5)
            metadata.life *= 2
            call.age(**HOURS_LESS)
            await asyncio.gather(*(call.ask() for _ in range(5)))
            released.set()
            await until(lambda: call.base._keys.access_key == "ASIAMETADATA0002")
            await call.ask()

        with_client(sts.url, story)
        assert signers(sts) == ["ASIAMETADATA0001"] * 6 + ["ASIAMETADATA0002"]
        assert metadata.issued == ["ASIAMETADATA0001", "ASIAMETADATA0002"]

    def test_is_waited_for_when_they_are_about_to_expire(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        async def story(call: Calling) -> bool:
            await call.ask()
            asked, released = threading.Event(), threading.Event()

            def hold() -> None:
                asked.set()
                released.wait(5)

            metadata.before_answer = hold
            metadata.life *= 2
            call.age(**MINUTES_LEFT)
            waiting = [asyncio.create_task(call.ask()) for _ in range(5)]
            await until(asked.is_set)
            early = any(task.done() for task in waiting)
            released.set()
            await asyncio.gather(*waiting)
            return early

        assert not with_client(sts.url, story)
        assert signers(sts) == ["ASIAMETADATA0001"] + ["ASIAMETADATA0002"] * 5
        assert metadata.issued == ["ASIAMETADATA0001", "ASIAMETADATA0002"]

    def test_that_fails_is_not_noticed_while_the_old_ones_are_good(
        self, sts: CannedSts, metadata: InstanceMetadata
    ) -> None:
        async def story(call: Calling) -> None:
            await call.ask()
            metadata.next_answers.append((500, "no"))
            metadata.life *= 2
            call.age(**HOURS_LESS)
            await call.ask()
            await until(lambda: not metadata.next_answers and call.base._work.done())
            await call.ask()
            await until(lambda: len(metadata.issued) == 2)

        with_client(sts.url, story)
        assert signers(sts) == ["ASIAMETADATA0001"] * 3

    def test_that_fails_at_the_end_is_a_problem_until_it_works(
        self, sts: CannedSts, metadata: InstanceMetadata
    ) -> None:
        async def story(call: Calling) -> StsUnavailable:
            await call.ask()
            metadata.next_answers.append((500, "no"))
            metadata.life *= 2
            call.age(**MINUTES_LEFT)
            with pytest.raises(StsUnavailable) as refused:
                await call.ask()
            await call.ask()
            return refused.value

        problem = with_client(sts.url, story)
        assert problem.retry_after in range(2, 7)
        assert signers(sts) == ["ASIAMETADATA0001", "ASIAMETADATA0002"]


class TestExpiredToken:
    """SECURITY.md, faults, "ExpiredToken": the base credentials are fetched anew once, then it is tried again."""

    def test_is_mended_once_for_all_whom_it_met(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        callers = 20
        together = threading.Barrier(callers)
        sts.fail("ExpiredToken", 403, times=callers)

        def hold(form: dict[str, str]) -> None:
            if len(sts.forms) <= callers:
                together.wait(5)

        sts.before_answer = hold

        async def story(call: Calling) -> None:
            await asyncio.gather(*(call.ask() for _ in range(callers)))

        with_client(sts.url, story)
        assert metadata.issued == ["ASIAMETADATA0001", "ASIAMETADATA0002"]
        assert signers(sts) == ["ASIAMETADATA0001"] * callers + ["ASIAMETADATA0002"] * callers

    def test_is_mended_already_for_who_hears_of_it_late(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        async def story(call: Calling) -> list[bool]:
            old = await call.base.current()
            return [await call.base.renew(old) for _ in range(3)]

        assert with_client(sts.url, story) == [True] * 3
        assert metadata.issued == ["ASIAMETADATA0001", "ASIAMETADATA0002"]

    @pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException"])
    def test_of_the_new_ones_too_is_final(self, sts: CannedSts, metadata: InstanceMetadata, code: str) -> None:
        sts.fail(code, 403, times=10)

        async def story(call: Calling) -> str | None:
            with pytest.raises(StsRefused) as refused:
                await call.ask()
            return refused.value.cause

        assert with_client(sts.url, story) == code
        assert signers(sts) == ["ASIAMETADATA0001", "ASIAMETADATA0002"]

    def test_is_final_where_there_are_no_new_ones(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        metadata.rotates = False
        sts.fail("ExpiredToken", 403, times=10)

        async def story(call: Calling) -> None:
            with pytest.raises(StsRefused):
                await call.ask()

        with_client(sts.url, story)
        assert len(sts.forms) == 1

    @pytest.mark.parametrize("code", ["AccessDenied", "RegionDisabledException"])
    def test_is_not_what_other_refusals_are(self, sts: CannedSts, metadata: InstanceMetadata, code: str) -> None:
        sts.fail(code, 403, times=10)

        async def story(call: Calling) -> None:
            with pytest.raises(StsRefused):
                await call.ask()

        with_client(sts.url, story)
        assert (len(sts.forms), len(metadata.issued)) == (1, 1)

    @pytest.mark.parametrize("code", ["InvalidClientTokenId", "SignatureDoesNotMatch"])
    def test_is_also_what_keys_need_that_were_replaced(
        self, sts: CannedSts, metadata: InstanceMetadata, code: str
    ) -> None:
        """SECURITY.md, faults: base credentials are refreshed once, and the call tried again with the new ones."""
        sts.fail(code, 403)

        async def story(call: Calling) -> None:
            await call.ask()

        with_client(sts.url, story)
        assert signers(sts) == ["ASIAMETADATA0001", "ASIAMETADATA0002"]

    def test_where_the_chain_fails_is_a_problem(self, sts: CannedSts, metadata: InstanceMetadata) -> None:
        sts.fail("ExpiredToken", 403)

        async def story(call: Calling) -> None:
            await call.base.current()
            metadata.refuses_tokens = 404
            with pytest.raises((StsRefused, StsUnavailable)):
                await call.ask()
            metadata.refuses_tokens = None
            await call.ask()

        with_client(sts.url, story)
        assert len(sts.forms) == 2


@pytest.fixture
def container() -> Iterator[ContainerEndpoint]:
    with closing(ContainerEndpoint()) as endpoint:
        yield endpoint


class TestContainerEndpoint:
    @pytest.mark.parametrize("style", ["ecs", "token", "pod identity"])
    def test_gives_keys_that_sign(
        self, sts: CannedSts, container: ContainerEndpoint, style: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        if style == "ecs":
            monkeypatch.setattr(ContainerMetadataFetcher, "IP_ADDRESS", container.url.removeprefix("http://"))
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v1/credentials")
        else:
            container.token = "pod-token"
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.url}/v1/credentials")
        if style == "token":
            monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-token")
        if style == "pod identity":
            (tmp_path / "token").write_text("pod-token")
            monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))

        async def story(call: Calling) -> str:
            await call.ask()
            return call.base.method

        assert with_client(sts.url, story) == "container-role"
        assert signers(sts) == ["ASIAMETADATA0001"]
        assert sts.requests[0].headers["x-amz-security-token"] == "metadata-token-1"
        assert container.refused == 0

    @pytest.fixture
    def pod(self, container: ContainerEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """The file of the token that the endpoint asks for."""
        file = tmp_path / "token"
        file.write_text("first")
        container.token = "first"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.url}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(file))
        monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)  # a second, after each of three tries
        return file

    def test_is_asked_with_the_token_of_the_moment(
        self, sts: CannedSts, container: ContainerEndpoint, pod: Path
    ) -> None:
        async def story(call: Calling) -> None:
            await call.ask()
            put(pod, "second")
            container.token = "second"
            container.life *= 2
            call.age(**MINUTES_LEFT)
            await call.ask()

        with_client(sts.url, story)
        assert signers(sts) == ["ASIAMETADATA0001", "ASIAMETADATA0002"]
        assert container.refused == 0

    def test_that_fails_twice_is_asked_again(self, sts: CannedSts, container: ContainerEndpoint, pod: Path) -> None:
        container.next_answers.extend([(500, "no")] * 2)
        with_client(sts.url, Calling.ask)
        assert signers(sts) == ["ASIAMETADATA0001"]

    @pytest.mark.parametrize(
        "document",
        [
            "",
            "not JSON",
            "null",
            "[]",
            "{}",
            json.dumps({"code": "AccessDenied", "message": "no"}),
            json.dumps({"AccessKeyId": "A", "SecretAccessKey": "B", "Token": "C", "Expiration": "tomorrow"}),
            json.dumps({"AccessKeyId": "A", "SecretAccessKey": "B", "Token": "C", "Expiration": None}),
        ],
    )
    def test_that_answers_nonsense_is_a_problem_until_it_works(
        self, sts: CannedSts, container: ContainerEndpoint, pod: Path, document: str
    ) -> None:
        container.next_answers.extend([(200, document)] * (3 if document in ("", "not JSON") else 1))

        async def story(call: Calling) -> None:
            with pytest.raises(StsUnavailable):
                await call.ask()
            await call.ask()

        with_client(sts.url, story)
        assert signers(sts) == ["ASIAMETADATA0001"]

    def test_that_wants_another_token_is_a_problem(
        self, sts: CannedSts, container: ContainerEndpoint, pod: Path
    ) -> None:
        container.token = "another"

        async def story(call: Calling) -> None:
            for token in ("first", "with a line's end\n", None):
                put(pod, token)
                with pytest.raises(StsUnavailable):
                    await call.ask()

        with_client(sts.url, story)
        assert (sts.forms, container.issued) == ([], [])


class TestWebIdentityFile:
    """IRSA: a token that Kubernetes writes, and writes anew."""

    @pytest.fixture
    def token_file(self, sts: CannedSts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        file = tmp_path / "token"
        file.write_text("first")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
        monkeypatch.setenv("AWS_ROLE_ARN", ROLE_ARN)
        monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "photo-service")
        monkeypatch.setenv("AWS_REGION", REGION)
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        return file

    def test_is_exchanged_for_keys_that_sign_and_read_again_for_new_ones(
        self, sts: CannedSts, token_file: Path
    ) -> None:
        async def story(call: Calling) -> None:
            sts._clock = ManualClock(datetime.now(UTC) - timedelta(minutes=55))  # so five minutes are left
            await call.ask()
            put(token_file, "second")
            await call.ask()

        with_client(sts.url, story)
        assert [form["Action"] for form in sts.forms] == ["AssumeRoleWithWebIdentity", "GetCallerIdentity"] * 2
        assert [form.get("WebIdentityToken") for form in sts.forms[::2]] == ["first", "second"]
        assert sts.forms[0]["RoleArn"] == ROLE_ARN
        assert "authorization" not in sts.requests[0].headers
        keys = [sigv4.read(sts.requests[number].headers["authorization"]).access_key_id for number in (1, 3)]
        assert keys == ["ASIACANNED0000000001", "ASIACANNED0000000003"]

    def test_that_is_refused_or_gone_is_a_problem(self, sts: CannedSts, token_file: Path) -> None:
        sts.fail("InvalidIdentityToken", 400)

        async def story(call: Calling) -> list[str | None]:
            causes = []
            for text in ("refused", None):
                put(token_file, text)
                with pytest.raises(StsUnavailable) as refused:
                    await call.ask()
                causes.append(refused.value.cause)
            return causes

        assert with_client(sts.url, story) == ["InvalidIdentityToken", "FileNotFoundError"]


class TestSilence:
    @pytest.mark.parametrize("source", ["web identity", "role of a profile"])
    def test_of_sts_keeps_nobody_for_minutes(
        self, source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sts: CannedSts
    ) -> None:
        """The thread that asks is the one for all: what the SDK waits for, everybody waits for."""
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{silent.getsockname()[1]}")
            hasty = base_credentials.PROVIDERS_CONFIG.merge(Config(read_timeout=0.2))
            monkeypatch.setattr(base_credentials, "PROVIDERS_CONFIG", hasty)
            file = tmp_path / "file"
            if source == "web identity":
                file.write_text("a token")
                monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
                monkeypatch.setenv("AWS_ROLE_ARN", ROLE_ARN)
            else:
                file.write_text(
                    f"[default]\nrole_arn = {ROLE_ARN}\nsource_profile = keys\n"
                    "[profile keys]\naws_access_key_id = AKIAPROFILE000000001\naws_secret_access_key = secret\n"
                )
                monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
            monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)

            async def story(call: Calling) -> tuple[str | None, float]:
                started = time.monotonic()
                with pytest.raises(StsUnavailable) as refused:
                    await call.ask()
                return refused.value.cause, time.monotonic() - started

            cause, seconds = with_client(sts.url, story)
        assert cause == "ReadTimeoutError"
        assert seconds < 3.5

    def test_is_as_short_as_that_of_our_own_calls(self) -> None:
        config = base_credentials.PROVIDERS_CONFIG
        assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == (1, 2, 2)


class TestNothing:
    def test_is_a_refusal_that_says_so(self, sts: CannedSts) -> None:
        async def story(call: Calling) -> str | None:
            with pytest.raises(StsRefused) as refused:
                await call.ask()
            return refused.value.cause

        assert with_client(sts.url, story) == "NoCredentials"
        assert sts.forms == []

    def test_is_needed_for_a_call_that_is_not_signed(self, sts: CannedSts) -> None:
        with_client(sts.url, lambda call: call.ask(signed=False))
        assert "authorization" not in sts.requests[0].headers
