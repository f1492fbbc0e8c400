"""Secrets as canaries: put in everywhere, then looked for in everything that the service prints, answers and stores."""

import json
import logging
from collections.abc import Callable

import pytest

from app.platform.logs import log
from tests.security.observed import LiveServer, Wire, assert_problem
from tests.support.service import Service

CANARY = "sparrow-4471 marble canary lantern"
WRONG = "sparrow-9902 copper canary walnut"
JSON = ("Content-Type", "application/json")


def post(server: LiveServer, path: str, body: object, *headers: tuple[str, str]) -> Wire:
    return server.ask("POST", path, [JSON, *headers], json.dumps(body).encode())


class Journey:
    """A user's day on a live server: every secret that occurs in it, and every answer to a request gone wrong."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.refusals: list[Wire] = []
        account = {"email": "canary@example.org", "password": CANARY}
        assert post(server, "/v1/users", account).status == 201
        tokens = json.loads(post(server, "/v1/auth/login", account).body)["tokens"]
        renewed = json.loads(post(server, "/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]}).body)
        self.bearer = ("Authorization", f"Bearer {renewed['access_token']}")
        vended = json.loads(post(server, "/v1/credentials", {}, self.bearer).body)
        container = json.loads(server.ask("GET", "/v1/credentials/container?access=read", [self.bearer]).body)
        self.secrets = {
            "password": CANARY,
            "wrong password": WRONG,
            "access token": tokens["access_token"],
            "second access token": renewed["access_token"],
            "refresh token": tokens["refresh_token"],
            "second refresh token": renewed["refresh_token"],
            "secret access key": vended["secret_access_key"],
            "second secret access key": container["SecretAccessKey"],
            "session token": vended["session_token"],
            "second session token": container["Token"],
            "broker's secret": "canary-broker-secret",
        }
        self.access_key_ids = [vended["access_key_id"], container["AccessKeyId"]]
        self._send_secrets_where_they_do_not_belong()
        self._break_sts()

    def _send_secrets_where_they_do_not_belong(self) -> None:
        server, secrets = self.server, self.secrets
        bodies: list[tuple[str, object]] = [
            ("/v1/users", {"email": "canary@example.org", "password": CANARY}),
            ("/v1/users", {"email": "other@example.org", "password": [CANARY]}),
            ("/v1/users", {"email": CANARY, "password": CANARY, CANARY: CANARY}),
            ("/v1/users", {"email": f"{CANARY}@example.org", "password": CANARY}),
            ("/v1/users", {"email": "sparrow-4471@example.org", "password": "sparrow-4471"}),
            ("/v1/auth/login", {"email": "canary@example.org", "password": WRONG}),
            ("/v1/auth/login", {"email": "canary@example.org", "password": f"{CANARY}\0"}),
            ("/v1/auth/refresh", {"refresh_token": secrets["access token"][:250]}),
            ("/v1/auth/refresh", {"refresh_token": [secrets["refresh token"]]}),
            ("/v1/credentials", {"path": secrets["session token"], "x": secrets["secret access key"]}),
        ]
        self.refusals += [post(server, path, body, self.bearer) for path, body in bodies]
        self.refusals.append(server.ask("POST", "/v1/users", [JSON], f'{{"password": "{CANARY}", '.encode()))
        for name in ("access token", "refresh token", "session token"):
            token = secrets[name]
            self.refusals += [
                server.ask("GET", "/v1/me", [("Authorization", f"Bearer x{token}")]),
                server.ask("GET", f"/{token}?access_token={token}"),
                server.ask("GET", f"/v1/me/sessions?token={token}", [("Cookie", token), ("Referer", token)]),
                server.ask("DELETE", f"/v1/me/sessions/{token}", [self.bearer]),
            ]

    def _break_sts(self) -> None:
        server = self.server
        message = " ".join(value for name, value in self.secrets.items() if "key" in name or "session" in name)
        for status in (400, 403, 500, 500, 200):
            body = f"<ErrorResponse><Error><Code>Odd</Code><Message>{message}</Message></Error></ErrorResponse>"
            server.sts.answer_garbage(status, "text/xml", body.encode())
        for number in range(4):
            self.refusals.append(post(server, "/v1/credentials", {"path": f"broken{number}/"}, self.bearer))


@pytest.fixture(scope="module")
def journey(live_server: LiveServer) -> Journey:
    return Journey(live_server)


class TestLiveServer:
    def test_the_journey_went_wrong_as_it_was_meant_to(self, journey: Journey) -> None:
        """OP1: each of the requests was refused, the ones that STS broke with a 503."""
        statuses = [answer.status for answer in journey.refusals]
        assert {status // 100 for status in statuses} == {4, 5}
        assert statuses[-4:] == [503] * 4

    def test_nothing_secret_is_printed(self, journey: Journey) -> None:
        """OP1: standard output and error, at DEBUG, of a server that was told every secret; the log itself is there."""
        server = journey.server
        printed = server.stdout.read_text() + server.stderr.read_text()
        events = [json.loads(line) for line in server.stderr.read_text().splitlines()]
        routes = {event.get("route") for event in events if event["event"] == "request"}
        assert {"/v1/auth/login", "/v1/auth/refresh", "/v1/credentials", "/v1/me/sessions/{session_id}"} <= routes
        assert any(event["event"] == "problem" and event["code"].startswith("sts_") for event in events)
        assert [name for name, secret in journey.secrets.items() if secret in printed] == []
        for shape in ("eyJ", "tvr_", "$argon2", "PRIVATE KEY", "sparrow", "canary"):
            assert shape not in printed

    def test_nothing_secret_is_answered(self, journey: Journey) -> None:
        """OP1: in the bodies and headers of 4xx and 5xx."""
        for answer in journey.refusals:
            seen = answer.body.decode() + str(answer.headers)
            assert [name for name, secret in journey.secrets.items() if secret in seen] == []
            assert "sparrow" not in seen
            assert "canary" not in seen

    def test_nothing_secret_is_stored(self, journey: Journey) -> None:
        """OP1: in the bytes of the database and its log; what belongs there is found by the same search."""
        files = sorted(journey.server.directory.glob("tokenvend.db*"))
        stored = b"".join(file.read_bytes() for file in files)
        for access_key_id in journey.access_key_ids:
            assert access_key_id.encode() in stored
        assert b"canary@example.org" in stored
        assert [name for name, secret in journey.secrets.items() if secret.encode() in stored] == []
        for shape in (b"sparrow", b"tvr_", b"eyJ", b"PRIVATE KEY"):
            assert shape not in stored


@pytest.mark.both_databases
class TestFaults:
    def test_an_unexpected_exception_keeps_its_message(
        self, make_on_sqlite: Callable[..., Service], printed: Callable[[], str]
    ) -> None:
        """OP1, HT4: libraries put what they choked on into it: the log has kind and frames."""
        service = make_on_sqlite()

        @service.app.get("/explodes")
        async def explode() -> None:
            raise RuntimeError(f"postgresql://user:{CANARY}@db/tokens") from KeyError(CANARY)

        answer = service.client.get("/explodes")
        assert_problem(answer, 500, "internal_error")
        assert answer.headers["x-content-type-options"] == "nosniff"
        log = printed()
        assert "unhandled_exception" in log
        assert "builtins.RuntimeError" in log
        assert answer.headers["x-request-id"] in log
        for text in ("canary", "KeyError", "postgresql://"):
            assert text not in log
            assert text not in answer.text

    def test_a_database_fault_is_logged_without_parameters(self, service: Service, printed: Callable[[], str]) -> None:
        """OP1: neither the driver's message nor the statement's values."""
        device = service.device()
        service.sql("ALTER TABLE audit_events RENAME TO gone")
        service.sql("ALTER TABLE refresh_tokens RENAME TO gone_too")
        answers = [service.log_in(device.email, CANARY), service.refresh(device.refresh_token)]
        answers.append(service.register("sparrow@example.org", CANARY))
        assert [answer.status_code for answer in answers] == [503] * 3
        log = printed()
        assert log.count("database_unavailable") == 3
        for text in ("canary", "sparrow", device.refresh_token, device.access_token, device.email, "INSERT", "SELECT"):
            assert text not in log

    def test_what_a_secret_looks_like_is_taken_out(self, printed: Callable[[], str]) -> None:
        """OP1: whoever logs it, under whatever name, at whatever level, in this service or in a library."""
        samples = [
            "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "tvr_" + "A1b2" * 10,
            "ASIA" + "Q" * 16,
            "AKIA" + "Z" * 16,
            "IQoJb3JpZ2luX2Vj" + "x" * 40,
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            "postgresql://user:hunter22@db/tokens",
        ]
        for sample in samples:
            log.debug("seen", anything=sample, nested={"list": [f"a {sample} b"]})
            logging.getLogger("some.library").debug("sent %s", sample)
            logging.getLogger("botocore.parsers").debug("Response body: %s", sample)
        for name in ("password", "new_password", "secret_key", "Authorization", "session_token", "cookie"):
            log.info("named", **{name: "plain-canary-text"})
        text = printed()
        assert text.count('"seen"') == len(samples)
        assert text.count("[redacted]") >= 3 * len(samples)
        for sample in [*samples, "hunter22", "plain-canary-text"]:
            assert sample not in text

    def test_one_event_is_one_line(self, printed: Callable[[], str]) -> None:
        """OP1: nobody writes a line of the log by way of a value."""
        log.warning("odd", value='a\r\n{"event": "forged"}\x1b[2J\u2028b\x00')
        logging.getLogger("some.library").warning("odd %s", "a\nforged\x1b[2J")
        lines = printed().splitlines()
        assert len(lines) == 2
        assert [json.loads(line)["event"][:3] for line in lines] == ["odd", "odd"]
        assert not any("\x1b" in line for line in lines)
