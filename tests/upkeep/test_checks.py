"""What the checks say of other servers: real ones that refuse, hang, or are not there. Each cause has its repair."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest

from app.auth.migration_endpoint import MigrationEndpoint
from app.compose import build_runtime
from app.crypto.webhooks import key_of
from app.events.courier import Courier
from app.mail.transport import SmtpTransport
from app.platform.db import Database
from app.platform.fetcher import Fetcher
from app.platform.metrics import Metrics
from app.platform.reach import Reach
from app.upkeep.checks import (
    Finding,
    cdn,
    database,
    machine,
    mail,
    old_system,
    providers,
    public_url,
    redis_servers,
    sts,
    webhook,
)
from tests.mail.servers import HERE, PASSWORD, USER, Inbox, authenticate, certificate, silent_server, smtp_server
from tests.support.canned_sts import CannedSts
from tests.support.clock import ManualClock
from tests.support.issuer import DISCOVERY_PATH, running_issuer
from tests.support.odd_http import OddServer, http, unreachable
from tests.support.old_system import OTHER_SECRET, SECRET, guides_endpoint
from tests.support.ports import free_port
from tests.support.receiver import receiving
from tests.support.redis import redis_server
from tests.support.service import test_settings

NO_NAME = "nowhere.invalid"
NO_DATABASE = "postgresql+psycopg://u@127.0.0.1:1/d"
BRIEF = 0.2
"""Seconds that a silent server gets."""
KEYS = {"aws_access_key_id": "AKIATESTTESTTEST", "aws_secret_access_key": "base-secret"}
JWKS = "/.well-known/jwks.json"


def looks(finding: Finding) -> tuple[str, str]:
    """The state, and all that is said."""
    return finding.state, finding.message


class TestMail:
    """Row 4 of what newcomers met: a dead mail server means that nobody can finish signing up."""

    @staticmethod
    def ask(url: str, *, plaintext_allowed: bool = True) -> Finding:
        with closing(SmtpTransport(url, host_name="here", plaintext_allowed=plaintext_allowed)) as transport:
            return asyncio.run(mail.check(transport, within=BRIEF * 5))

    def test_logs_in_and_sends_nothing(self) -> None:
        inbox = Inbox()
        with smtp_server(inbox, authenticator=authenticate, auth_require_tls=False) as port:
            right, wrong = (
                self.ask(f"smtp://{quote(USER, safe='')}:{quote(password, safe='')}@{HERE}:{port}")
                for password in (PASSWORD, "wrong-password")
            )
        assert right.state == "ok"
        assert looks(wrong) == ("failed", wrong.message)
        assert "refused user and password (login_refused_535)" in wrong.text
        assert "percent codes" in wrong.repair
        assert "wrong-password" not in wrong.message
        assert inbox.envelopes == []

    def test_tells_a_name_a_port_and_silence_apart(self) -> None:
        with silent_server() as port:
            found = [self.ask(f"smtp://{place}") for place in (NO_NAME, f"{HERE}:1", f"{HERE}:{port}")]
        assert [finding.state for finding in found] == ["failed"] * 3
        for finding, text, repair in zip(
            found,
            ("not in the DNS", "was refused", "did not answer in time"),
            ("typing error", "listens there", "firewalls"),
            strict=True,
        ):
            assert text in finding.text
            assert repair in finding.repair
            assert "TOKENVEND_SMTP_URL" in finding.repair

    def test_that_offers_no_tls_is_told(self) -> None:
        with smtp_server(Inbox(), host="127.0.0.2") as port:
            finding = self.ask(f"smtp://127.0.0.2:{port}", plaintext_allowed=False)
        assert (finding.state, "smtps://" in finding.repair) == ("failed", True)

    def test_with_a_certificate_of_nobody_known_is_told(self, tmp_path: Path) -> None:
        context, _ = certificate(tmp_path)
        with smtp_server(Inbox(), host="127.0.0.2", tls_context=context) as port:
            finding = self.ask(f"smtp://127.0.0.2:{port}")
        assert (finding.state, "SSL_CERT_FILE" in finding.repair) == ("failed", True)


class TestRedis:
    @staticmethod
    def ask(url: str) -> Finding:
        (finding,) = asyncio.run(redis_servers.check(test_settings(rate_limit_url=url), within=BRIEF * 5))
        return finding

    def test_tells_a_name_a_port_and_silence_apart(self) -> None:
        with silent_server() as port:
            urls = [f"redis://:hunter2@{place}" for place in (NO_NAME, f"{HERE}:1", f"{HERE}:{port}")]
            found = [self.ask(url) for url in urls]
        for finding, text in zip(found, ("not in the DNS", "was refused", "did not answer in time"), strict=True):
            assert (finding.name, finding.state) == ("Redis of limits", "failed")
            assert text in finding.text
            assert "TOKENVEND_RATE_LIMIT_URL" in finding.repair
            assert "hunter2" not in finding.message

    @pytest.mark.all
    def test_tells_a_password_and_an_access_list_apart(self) -> None:
        port = free_port()
        with redis_server(port=port) as server:
            server.client.config_set("requirepass", "right-password")
            server.client.execute_command("ACL SETUSER poor on >poor-password ~tokenvend:* +info +ping")
            found = [
                self.ask(f"redis://{user}127.0.0.1:{port}")
                for user in (":wrong-password@", "", "poor:poor-password@", ":right-password@")
            ]
        assert [finding.state for finding in found] == ["failed", "failed", "failed", "ok"]
        assert "refused user and password" in found[0].text
        assert "asks for a password" in found[1].text
        assert "docs/operate/redis.md" in found[2].repair
        assert not any("-password" in finding.message for finding in found)

    @pytest.mark.all
    def test_leaves_nothing_behind(self) -> None:
        with redis_server() as server:
            assert self.ask(server.url).state == "ok"
            assert all(0 <= server.client.ttl(key) <= 1 for key in server.stored())


class TestSts:
    @staticmethod
    def ask(aws: boto3.Session | None = None, clock: ManualClock | None = None, **changes: Any) -> list[Finding]:
        async def ask() -> list[Finding]:
            runtime = build_runtime(
                test_settings(database_url=NO_DATABASE, **changes), aws=aws or boto3.Session(**KEYS), clock=clock
            )
            try:
                return await sts.check(runtime.platform.settings, runtime.vending.broker)
            finally:
                await runtime.close()

        return asyncio.run(ask())

    def test_tells_a_name_a_port_and_silence_apart(self) -> None:
        """Row 12: an instance role mends none of them."""
        with unreachable() as silent:
            found = [self.ask(sts_endpoint_url=url)[0] for url in (f"http://{NO_NAME}", "http://127.0.0.1:1", silent)]
        for finding, text in zip(found, ("not in the DNS", "was refused", "did not answer in time"), strict=True):
            assert (finding.name, finding.state, text in finding.text) == ("base credentials", "failed", True), finding
            assert "instance role" not in finding.repair
            assert "TOKENVEND_STS_ENDPOINT_URL" in finding.repair

    @pytest.mark.parametrize(
        ("code", "text", "repair"),
        [
            ("SignatureDoesNotMatch", "secret access key does not belong", "AWS_SECRET_ACCESS_KEY"),
            ("InvalidClientTokenId", "does not know the access key id", "use another"),
            ("ExpiredToken", "have expired", "sign in to AWS again"),
        ],
    )
    def test_tells_wrong_keys_apart(self, code: str, text: str, repair: str) -> None:
        with closing(CannedSts()) as canned:
            canned.fail(code, 403, times=2)
            (finding, _clock) = self.ask(sts_endpoint_url=canned.url)
        assert (finding.state, text in finding.text, repair in finding.repair) == ("failed", True, True), finding
        assert code in finding.text

    def test_names_missing_credentials(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        with closing(CannedSts()) as canned:
            (finding,) = self.ask(boto3.Session(), sts_endpoint_url=canned.url)
        assert "found no credentials" in finding.text
        assert "instance role" in finding.repair
        assert "not in .env" in finding.repair

    @pytest.mark.parametrize(("ahead", "state"), [(0, "ok"), (120, "warning"), (-900, "failed")])
    def test_compares_the_clocks(self, ahead: int, state: str) -> None:
        clock = ManualClock()
        sts_clock = ManualClock()
        sts_clock.advance(seconds=ahead)
        with closing(CannedSts(sts_clock)) as canned:
            found = {finding.name: finding for finding in self.ask(clock=clock, sts_endpoint_url=canned.url)}
        assert found["clock"].state == state
        assert ("NTP" in found["clock"].repair) == (state != "ok")

    @pytest.mark.parametrize(("ahead", "state"), [(59, "ok"), (-59, "ok"), (62, "failed"), (-62, "failed")])
    @pytest.mark.parametrize("mode", ["web_identity", "saml"])
    def test_compares_them_with_the_life_of_what_it_signs(self, mode: str, ahead: int, state: str) -> None:
        """Without base credentials nothing is signed that STS takes for five minutes."""
        sts_clock = ManualClock()
        sts_clock.advance(seconds=ahead)
        provider = {"saml_provider_arn": "arn:aws:iam::123456789012:saml-provider/x"} if mode == "saml" else {}
        with closing(CannedSts(sts_clock)) as canned:
            sts = {"vending_mode": mode, "sts_endpoint_url": canned.url, **provider}
            found = {finding.name: finding for finding in self.ask(clock=ManualClock(), **sts)}
        assert found["clock"].state == state
        assert "300 s" not in found["clock"].text

    def test_files_a_missing_bucket_under_settings(self) -> None:
        found = self.ask(bucket="", role_arn="", sts_endpoint_url="http://127.0.0.1:1")
        assert [(finding.name, finding.state) for finding in found] == [("settings", "failed")] * 2
        assert [finding.text.partition(":")[0] for finding in found] == ["TOKENVEND_BUCKET", "TOKENVEND_ROLE_ARN"]


class TestDatabase:
    @staticmethod
    def ask(url: str) -> Finding:
        async def ask() -> Finding:
            runtime = build_runtime(test_settings(database_url=url), aws=boto3.Session(**KEYS))
            platform = runtime.platform
            try:
                return (await database.check(platform.database, platform.settings, runtime.keyrings))[0]
            finally:
                await runtime.close()

        return asyncio.run(ask())

    def test_tells_a_name_a_port_and_silence_apart(self) -> None:
        with silent_server() as port:
            places = (NO_NAME, "127.0.0.1:1", f"127.0.0.1:{port}")
            found = [self.ask(f"postgresql+psycopg://u:hunter2@{place}/d?connect_timeout=1") for place in places]
        for finding, place, text in zip(
            found, places, ("failed to resolve host", "Connection refused", "timeout"), strict=True
        ):
            assert (finding.name, finding.state) == ("database", "failed")
            assert f"d at {place}" in finding.text
            assert text in finding.text
            assert "hunter2" not in finding.message
        assert "DNS" in found[0].repair
        assert "listens there" in found[1].repair
        assert "firewalls" in found[2].repair


class TestPublicUrl:
    @staticmethod
    def ask(url: str, own: tuple[str, ...] = (), within: float = BRIEF) -> list[Finding]:
        async def ask() -> list[Finding]:
            with_fetcher = Fetcher()
            try:
                settings = test_settings(public_url=url)
                return await public_url.check(settings, with_fetcher, ManualClock(), own, within=within)
            finally:
                await with_fetcher.close()

        return asyncio.run(ask())

    def test_tells_this_service_from_others(self) -> None:
        with running_issuer(ManualClock()) as issuer, closing(OddServer(http("200 OK", b"<html>", "text/html"))) as odd:
            issuer.answer(JWKS, json.dumps({"keys": [{"kid": "mine"}]}).encode())
            (own,) = self.ask(issuer.url, ("mine",), within=5)
            (keys,) = self.ask(issuer.url, ("other",), within=5)
            (page,) = self.ask(odd.url, within=5)
            issuer.answer(DISCOVERY_PATH, json.dumps({"issuer": "https://elsewhere.example.org"}).encode())
            (another,) = self.ask(issuer.url, within=5)
        assert looks(own) == ("ok", f"this service answers at {issuer.url}")
        for finding, text in ((keys, "other keys"), (page, "not this service"), (another, "another service")):
            assert (finding.state, text in finding.text) == ("failed", True), finding

    def test_tells_a_name_a_port_and_silence_apart(self) -> None:
        """A machine behind a balancer may not reach its own address, so no answer is a warning."""
        with closing(OddServer(None)) as odd:
            found = [self.ask(url)[0] for url in (odd.url, "http://127.0.0.1:1")]
            found += self.ask(f"https://{NO_NAME}", within=10)
        assert [finding.state for finding in found] == ["warning", "warning", "failed"]
        for finding, text in zip(found, ("did not answer in time", "was refused", "not in the DNS"), strict=True):
            assert text in finding.text

    def test_tells_a_certificate_that_nobody_trusts(self, tmp_path: Path) -> None:
        with tls_server(tmp_path) as (port, _trusted):
            (finding,) = self.ask(f"https://127.0.0.1:{port}", within=5)
        assert (finding.state, "certificate is not trusted" in finding.text) == ("failed", True), finding

    def test_tells_a_certificate_that_ends_soon(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with tls_server(tmp_path) as (port, trusted):
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
            url, now = f"https://127.0.0.1:{port}", datetime.now(UTC)
            found = [
                asyncio.run(public_url.certificate(url, ManualClock(at), 5)) for at in (now, now - timedelta(days=60))
            ]
        assert [finding.state for (finding,) in found] == ["warning", "ok"]


class TestProviders:
    def test_tells_a_name_and_a_port_apart(self) -> None:
        async def ask() -> list[Finding]:
            issuers = {"name": f"https://{NO_NAME}", "port": "http://127.0.0.1:1"}
            terms = {name: {"issuer": issuer, "client_ids": ("app",)} for name, issuer in issuers.items()}
            settings = test_settings(database_url=NO_DATABASE, oidc_providers=terms)
            runtime = build_runtime(settings, aws=boto3.Session(**KEYS))
            try:
                return await providers.check(runtime.providers)
            finally:
                await runtime.close()

        found = {finding.name: finding for finding in asyncio.run(ask())}
        assert "not in the DNS" in found["provider name"].text
        assert "was refused" in found["provider port"].text
        assert {finding.state for finding in found.values()} == {"failed"}


class TestOldSystem:
    @staticmethod
    def ask(url: str, secret: str = SECRET) -> Finding:
        async def look() -> list[Finding]:
            endpoint = MigrationEndpoint(url, [key_of(secret)], ManualClock(datetime.now(UTC)), Metrics())
            try:
                return await old_system.check(endpoint)
            finally:
                await endpoint.close()

        (finding,) = asyncio.run(look())
        return finding

    def test_is_asked_with_and_without_the_right_signature(self, tmp_path: Path) -> None:
        with guides_endpoint(tmp_path) as endpoint:
            right, wrong = self.ask(endpoint.url), self.ask(endpoint.url, OTHER_SECRET)
        assert looks(right) == ("ok", "it takes signed questions alone, and says no to an unknown user")
        assert wrong.state == "failed"
        assert "status 400" in wrong.text
        assert "TOKENVEND_MIGRATION_SECRET" in wrong.repair
        assert [len(endpoint.asked), OTHER_SECRET in wrong.message] == [1, False]

    @pytest.mark.parametrize(
        ("status", "state", "text"),
        [
            ("200 OK", "failed", "yes to a user who does not exist"),
            ("404 Not Found", "warning", "another signature"),
            ("500 Oops", "failed", "status 500"),
            ("302 Found", "failed", "status 302"),
        ],
    )
    def test_that_answers_wrongly_is_told(self, status: str, state: str, text: str) -> None:
        with closing(OddServer(http(status, b"{}"))) as odd:
            finding = self.ask(odd.url)
        assert finding.state == state
        assert text in finding.text

    def test_tells_a_name_and_a_port_apart(self) -> None:
        found = [self.ask(url) for url in (f"https://{NO_NAME}", f"http://127.0.0.1:{free_port()}")]
        for finding, text in zip(found, ("not in the DNS", "was refused"), strict=True):
            assert finding.state == "failed"
            assert text in finding.text
            assert "TOKENVEND_MIGRATION_URL" in finding.repair


class TestWebhook:
    @staticmethod
    def ask(url: str, *, private: bool = True) -> Finding:
        async def look() -> list[Finding]:
            clock, metrics, database = ManualClock(datetime.now(UTC)), Metrics(), Database(NO_DATABASE, pool_size=1)
            reach = Reach(private=private, plain=True)
            courier = Courier(url, [key_of(SECRET)], clock, database, reach=reach, metrics=metrics)
            try:
                return await webhook.check(courier, clock)
            finally:
                await courier.close()
                database.close()

        (finding,) = asyncio.run(look())
        return finding

    def test_is_sent_one_event_rightly_signed_and_one_wrongly(self) -> None:
        with receiving([SECRET]) as strict, receiving() as careless, receiving([OTHER_SECRET]) as other:
            found = [self.ask(receiver.url) for receiver in (strict, careless, other)]
        assert looks(found[0]) == ("ok", "the server takes a signed event, and no other")
        assert [event["type"] for event in strict.events] == ["webhook.test"] * 2
        assert found[1].state == "warning"
        assert "another signature" in found[1].text
        assert found[2].state == "failed"
        assert "status 400" in found[2].text
        assert "TOKENVEND_WEBHOOK_SECRET" in found[2].repair
        assert not any(SECRET in finding.message for finding in found)

    def test_tells_a_name_a_port_and_an_address_apart(self) -> None:
        found = [self.ask(url) for url in (f"https://{NO_NAME}", f"http://127.0.0.1:{free_port()}")]
        found.append(self.ask("http://localhost:1", private=False))
        for finding, text in zip(found, ("not in the DNS", "was refused", "is not allowed"), strict=True):
            assert finding.state == "failed"
            assert text in finding.text
            assert "TOKENVEND_WEBHOOK_URL" in finding.repair

    def test_is_left_alone_where_there_is_none(self) -> None:
        assert asyncio.run(webhook.check(None, ManualClock())) == []


class TestMachine:
    def test_says_how_much_room_there_is(self, tmp_path: Path) -> None:
        settings = test_settings(database_url=f"sqlite:///{tmp_path / 'some.db'}")
        assert {finding.state for finding in machine.disk(settings, least=1)} == {"ok"}
        full = machine.disk(settings, least=1 << 62)
        assert {finding.state for finding in full} == {"failed"}
        assert str(tmp_path) in full[0].text

    def test_says_that_the_folder_of_a_database_is_not_there(self, tmp_path: Path) -> None:
        settings = test_settings(database_url=f"sqlite:///{tmp_path / 'none' / 'some.db'}")
        assert [finding.state for finding in machine.disk(settings, least=1)].count("failed") == 1
        assert list(tmp_path.iterdir()) == []

    def test_names_lines_of_dotenv_that_nobody_reads(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Row 13: half of what is in it counts, and no value of it is shown."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("AWS_PROFILE", "exported")
        Path(".env").write_text(
            "AWS_REGION=eu-central-1\nAWS_SECRET_ACCESS_KEY=hunter2\nAWS_PROFILE=photos\nSMTP_URL=smtp://x:hunter3@y\n"
            "BUCKET=photos\nTOKENVEND_BUCKET=photos\nEMPTY=\nPATH=/bin\n"
        )
        found = machine.dotenv()
        assert [finding.text for finding in found] == [
            "AWS_SECRET_ACCESS_KEY in .env is ignored",
            "SMTP_URL in .env is ignored",
        ]
        assert found[1].repair == "write TOKENVEND_SMTP_URL"
        assert not any("hunter" in finding.message for finding in found)


@contextmanager
def tls_server(directory: Path) -> Iterator[tuple[int, Path]]:
    """Port and certificate of a server that ends each connection after the handshake."""
    context, trusted = certificate(directory)
    with socket.create_server((HERE, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except (OSError, ssl.SSLError):
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], trusted
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


class TestCdn:
    """What of it needs an edge: `tests/journeys/test_downloads.py`."""

    @staticmethod
    def ask(**settings: str) -> list[Finding]:
        async def look() -> list[Finding]:
            runtime = build_runtime(test_settings(database_url=NO_DATABASE, **settings))
            try:
                return await cdn.check(runtime.platform, runtime.downloads, runtime.fetcher)
            finally:
                await runtime.close()

        return asyncio.run(look())

    def test_is_not_looked_at_where_there_is_none(self) -> None:
        assert self.ask() == []

    def test_that_is_half_set_up_is_told(self) -> None:
        for settings, lacks in (
            ({"cdn_url": "https://cdn.example.org"}, "TOKENVEND_CDN_KEY_PAIR_ID"),
            ({"cdn_key_pair_id": "K2JCJMDEHXQW5F"}, "TOKENVEND_CDN_URL"),
        ):
            (found,) = self.ask(**settings)
            assert (found.state, found.text) == ("warning", f"off: {lacks} is not set")

    def test_that_has_no_key_fails(self) -> None:
        (found,) = self.ask(cdn_url=f"http://127.0.0.1:{free_port()}", cdn_key_pair_id="K2JCJMDEHXQW5F")
        assert found.state == "failed"
        assert found.text.startswith("nothing can be signed: ")
