"""What the bucket tells by SNS: signed messages of one topic, and what they change.

Certificates and signatures are real RSA; a server of the test is in the place of SNS, and answers for its host alone.
"""

import base64
import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote_plus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from app.aws import sns
from app.platform.fetcher import Fetcher
from app.records.models import Usage
from app.upkeep import usage_count
from tests.security.observed import assert_problem
from tests.security.races import all_at_once
from tests.support.clock import ManualClock
from tests.support.service import Device, Service

ARN = "arn:aws:sns:eu-central-1:123456789012:photos"
HOST = "https://sns.eu-central-1.amazonaws.com"
PATH = f"/SimpleNotificationService-{'0123abcd' * 4}.pem"
CERTIFICATE_URL = f"{HOST}{PATH}"
CONFIRM = f"{HOST}/?Action=ConfirmSubscription&TopicArn={ARN}&Token=abc"
ORDER = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_serial = itertools.count()


def make_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


KEY, OTHER_KEY = make_key(), make_key()


def certificate(key: rsa.RSAPrivateKey, begins_at: datetime, ends_at: datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(begins_at).not_valid_after(ends_at)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def made_up(number: int) -> str:
    return f"/SimpleNotificationService-{number:032x}.pem"


@dataclass
class Sns:
    """Its messages, and its server."""

    service: Service
    pages: dict[str, bytes]
    asked: list[str] = field(default_factory=list)

    def message(self, text: Any = "hello", *, version: str = "1", key: rsa.RSAPrivateKey = KEY, **changes: Any) -> Any:
        members = {
            "Type": "Notification",
            "MessageId": str(uuid.UUID(int=next(_serial))),
            "TopicArn": ARN,
            "Message": text if isinstance(text, str) else json.dumps(text),
            "Timestamp": f"{self.service.clock.now():%Y-%m-%dT%H:%M:%S}.000Z",
            "SignatureVersion": version,
            "SigningCertURL": CERTIFICATE_URL,
        } | changes
        named = ORDER.get(str(members["Type"]), ())
        signed = "".join(f"{name}\n{members[name]}\n" for name in named if members.get(name) is not None)
        digest = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = key.sign(signed.encode(), padding.PKCS1v15(), digest)
        return {"Signature": base64.b64encode(signature).decode(), **members}

    def send(self, message: Any, content_type: str = "text/plain; charset=UTF-8") -> Any:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.service.client.post("/v1/storage-events", content=body, headers={"Content-Type": content_type})

    def tell(self, *events: Any, **options: Any) -> None:
        """One notification of S3's, as S3 writes it."""
        answer = self.send(self.message({"Records": list(events)}, **options))
        assert answer.status_code == 204, answer.text


def event(name: str, key: str, size: int | None = None, bucket: str = "photos") -> Any:
    of_it = {"key": quote_plus(key)} | ({} if size is None else {"size": size})
    return {"eventName": name, "s3": {"bucket": {"name": bucket}, "object": of_it}}


@pytest.fixture
def make_sns(make_service: Callable[..., Service]) -> Iterator[Callable[..., Sns]]:
    servers: list[ThreadingHTTPServer] = []

    def make(**changes: Any) -> Sns:
        service = make_service(storage_events_topic_arn=ARN, **changes)
        now = service.clock.now()
        known = Sns(
            service,
            {PATH: certificate(KEY, now - timedelta(days=1), now + timedelta(days=1))},
        )

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known.asked.append(self.path)
                body = known.pages.get(self.path)
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        topic = service.runtime.storage_events
        assert topic is not None
        fetch = topic._fetch

        async def here(url: str) -> bytes:
            assert url.startswith(f"{HOST}/"), url
            return await fetch(url.replace(HOST, f"http://127.0.0.1:{server.server_port}"))

        topic._fetch = here
        return known

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def sns_of(make_sns: Callable[..., Sns]) -> Sns:
    return make_sns(quota_bytes=100)


def stored(device: Device) -> tuple[int, int]:
    usage_of = device.get("/v1/me/usage").json()
    return usage_of["bytes"], usage_of["objects"]


def own(device: Device, name: str = "a b+ü.jpg") -> str:
    return f"users/{device.user_id}/{name}"


class TestSignature:
    @pytest.mark.parametrize("version", ["1", "2"])
    def test_of_both_versions_is_verified(self, sns_of: Sns, version: str) -> None:
        assert sns_of.send(sns_of.message(version=version, Subject="Amazon S3 Notification")).status_code == 400
        device = sns_of.service.device()
        sns_of.tell(event("ObjectCreated:Put", own(device), 30), version=version, Subject="Amazon S3 Notification")
        assert stored(device) == (30, 1)

    def test_that_is_another_is_refused(self, sns_of: Sns) -> None:
        device = sns_of.service.device()
        good = sns_of.message({"Records": [event("ObjectCreated:Put", own(device), 30)]})
        forged = [
            good | {"Message": good["Message"].replace("30", "31")},
            good | {"MessageId": "another"},
            good | {"Subject": "added"},
            good | {"Signature": "AAAA"},
            good | {"Signature": "*"},
            good | {"SignatureVersion": "2"},
            good | {"Type": "SubscriptionConfirmation", "SubscribeURL": CONFIRM, "Token": "abc"},
            sns_of.message({"Records": [event("ObjectCreated:Put", own(device), 30)]}, key=OTHER_KEY),
        ]
        for message in forged:
            assert_problem(sns_of.send(message), 400, "invalid_storage_event")
        assert stored(device) == (0, 0)
        assert sns_of.service.client.get("/metrics").text.count('storage_events_total{outcome="refused"} 8.0') == 1
        assert sns_of.send(good).status_code == 204
        assert sns_of.asked == [PATH], "once for all of them"

    def test_by_a_certificate_that_has_ended_is_refused(self, sns_of: Sns) -> None:
        now = sns_of.service.clock.now()
        for number, (begins, ends) in enumerate([(-2, -1), (1, 2)]):
            place = made_up(number)
            sns_of.pages[place] = certificate(KEY, now + timedelta(days=begins), now + timedelta(days=ends))
            message = sns_of.message({"Records": []}, SigningCertURL=f"{HOST}{place}")
            assert_problem(sns_of.send(message), 400, "invalid_storage_event")

    @pytest.mark.parametrize(
        "page", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    )
    def test_by_no_certificate_is_refused(self, sns_of: Sns, page: bytes) -> None:
        sns_of.pages[made_up(0)] = page
        message = sns_of.message({"Records": []}, SigningCertURL=f"{HOST}{made_up(0)}")
        assert_problem(sns_of.send(message), 400, "invalid_storage_event")

    def test_whose_certificate_cannot_be_had_is_tried_again_later(self, sns_of: Sns) -> None:
        """SNS comes again after 429."""
        page = sns_of.pages.pop(PATH)
        message = sns_of.message({"Records": []})
        for _ in range(3):
            answer = sns_of.send(message)
            assert_problem(answer, 429, "rate_limited")
            assert int(answer.headers["retry-after"]) > 0
        assert len(sns_of.asked) == 1
        sns_of.pages[PATH] = page
        sns_of.service.clock.advance(seconds=sns.SOUGHT_EVERY)
        assert sns_of.send(message).status_code == 204

    def test_is_verified_whatever_certificates_strangers_make_up(
        self, sns_of: Sns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sns, "MOST_SOUGHT", 3)
        for number in range(5):
            for _ in range(2):
                message = sns_of.message({"Records": []}, key=OTHER_KEY, SigningCertURL=f"{HOST}{made_up(number)}")
                assert_problem(sns_of.send(message), 429, "rate_limited")
        assert sns_of.asked == [made_up(number) for number in range(5)], "each once in five seconds"
        topic = sns_of.service.runtime.storage_events
        assert topic is not None
        assert len(topic._searches) == 3
        assert sns_of.send(sns_of.message({"Records": []})).status_code == 204

    def test_by_one_certificate_is_verified_for_many_at_once(self, sns_of: Sns) -> None:
        messages = [sns_of.message({"Records": []}) for _ in range(6)]
        assert all_at_once(lambda index: sns_of.send(messages[index]).status_code, crowd=6) == [204] * 6
        assert sns_of.asked == [PATH]

    def test_of_made_up_certificates_is_limited_by_address(self, make_sns: Callable[..., Sns]) -> None:
        known = make_sns(rate_limits="on")
        for number in range(40):
            message = known.message({"Records": []}, SigningCertURL=f"{HOST}{made_up(number)}")
            assert_problem(known.send(message), 429, "rate_limited")
        assert len(known.asked) == 30
        known.service.clock.advance(minutes=1)
        for _ in range(40):  # what can be had does not count
            assert known.send(known.message({"Records": []})).status_code == 204


class TestMessage:
    @pytest.mark.parametrize(
        "url",
        [
            f"http://sns.eu-central-1.amazonaws.com{PATH}",
            f"https://sns.us-east-1.amazonaws.com{PATH}",
            f"https://sns.eu-central-1.amazonaws.com.evil.example{PATH}",
            f"https://sns.eu-central-1.amazonaws.com.cn{PATH}",
            f"https://evil.example/sns.eu-central-1.amazonaws.com{PATH}",
            f"https://sns.eu-central-1.amazonaws.com@evil.example{PATH}",
            f"https://evil.example@sns.eu-central-1.amazonaws.com{PATH}",
            f"https://sns.eu-central-1.amazonaws.com:444{PATH}",
            f"https://sns.eu-central-1.amazonaws.com{PATH}?x=.pem",
            f"https://sns.eu-central-1.amazonaws.com{PATH}#x",
            f"https://sns.eu-central-1.amazonaws.com{PATH}.txt",
            f"https://sns.eu-central-1.amazonaws.com{PATH.replace('0123', '012', 1)}",
            f"https://sns.eu-central-1.amazonaws.com{PATH.replace('abcd', 'abcg', 1)}",
            "https://sns.eu-central-1.amazonaws.com/a.pem",
            "https://sns.eu-central-1.amazonaws.com/?Action=x.pem",
            f"https://sns.eu-central-1.amazonaws.com/..{PATH}",
            f"https://sns.eu-central-1.amazonaws.com\\@evil.example{PATH}",
            f"https://sns.eu-central-1.amazonaws.com\n{PATH}",
            f"https://[::1{PATH}",
            "file:///a.pem",
            "",
        ],
    )
    def test_names_no_certificate_from_elsewhere(self, url: str) -> None:
        topic = sns.Topic(ARN, ManualClock(), Fetcher().get)
        assert not topic._is_own(url, sns._CERTIFICATE_PATH)
        assert topic._is_own(CERTIFICATE_URL, sns._CERTIFICATE_PATH)

    def test_is_of_the_topic_and_of_this_hour(self, sns_of: Sns) -> None:
        for change in (
            {"TopicArn": f"{ARN}2"},
            {"Timestamp": "2020-01-01T00:00:00.000Z"},
            {"Timestamp": "9999-12-31T23:59:59.999Z"},
            {"Timestamp": "0001-01-01T00:00:00.000Z"},
            {"Timestamp": "yesterday"},
            {"Type": "Other"},
            {"MessageId": 5},
            {"Message": None},
            {"SigningCertURL": ["x"]},
        ):
            assert_problem(sns_of.send(sns_of.message(**change)), 400, "invalid_storage_event")
        assert sns_of.asked == []

    def test_is_refused_where_it_is_none_of_s3s(self, sns_of: Sns) -> None:
        """Signed, but not to be read: never a 5xx."""
        for text in (
            *("", "hello", "[]", "5", "null", '{"Records": 5}', '{"Records": [5]}', '{"Records": [{}]}', "[" * 20_000),
            json.dumps({"Records": [event("ObjectCreated:Put", "users/x", -1)]}),
            json.dumps({"Records": [event("ObjectCreated:Put", "users/x", 2**70)]}),
            json.dumps({"Records": [event("ObjectCreated:Put", "users/x", True)]}),
            '{"source": "aws.s3"}',
        ):
            assert_problem(sns_of.send(sns_of.message(text)), 400, "invalid_storage_event")

    def test_is_json_in_plain_text(self, sns_of: Sns) -> None:
        for body in (b"", b"x", b"[]", b"\xff", b'{"Type": "\\ud800"}'):
            assert sns_of.send(body).json()["code"] in ("malformed_request", "invalid_storage_event")
        assert_problem(sns_of.send(sns_of.message(), "text/html"), 415, "unsupported_media_type")
        assert sns_of.send(b"x" * 70_000).status_code == 413

    def test_is_heard_by_nobody_without_a_topic(self, service: Service) -> None:
        assert_problem(service.client.post("/v1/storage-events", content=b"{}"), 404, "storage_events_off")


class TestSubscription:
    def test_is_confirmed(self, sns_of: Sns) -> None:
        path = CONFIRM.removeprefix(HOST)
        sns_of.pages[path] = b"<ConfirmSubscriptionResponse/>"
        message = sns_of.message(Type="SubscriptionConfirmation", SubscribeURL=CONFIRM, Token="abc")
        assert sns_of.send(message).status_code == 204
        assert sns_of.asked[-1] == path
        assert sns_of.service.sql("SELECT count(*) FROM audit_events WHERE event = 'storage_events.subscribed'") == [
            (1,)
        ]

    @pytest.mark.parametrize(
        "url",
        [
            CONFIRM.replace("eu-central-1.amazonaws.com", "eu-central-1.evil.example", 1),
            CONFIRM.replace("https", "http"),
            CONFIRM.replace("ConfirmSubscription", "Unsubscribe"),
            CONFIRM.replace(ARN, f"{ARN}2"),
            HOST,
        ],
    )
    def test_asks_nothing_else(self, sns_of: Sns, url: str) -> None:
        message = sns_of.message(Type="SubscriptionConfirmation", SubscribeURL=url, Token="abc")
        assert_problem(sns_of.send(message), 400, "invalid_storage_event")
        assert sns_of.asked == [PATH]


@pytest.mark.both_databases
class TestUsage:
    def test_grows_at_once_and_is_counted_soon(self, sns_of: Sns) -> None:
        device, other = sns_of.service.device(), sns_of.service.device()
        sns_of.tell(
            event("ObjectCreated:Put", own(device), 30),
            event("ObjectCreated:CompleteMultipartUpload", own(device, "b.jpg"), 12),
            event("ObjectCreated:Put", own(other), 5),
        )
        assert (stored(device), stored(other)) == ((42, 2), (5, 1))
        assert due(sns_of.service, device) == timedelta(seconds=900)
        sns_of.tell(event("ObjectRemoved:Delete", own(device)))
        assert stored(device) == (42, 2), "what went is known with the next count"
        assert due(sns_of.service, device) == timedelta(minutes=1)

    def test_of_eventbridge_is_the_same(self, sns_of: Sns) -> None:
        """Its keys are as they are, not encoded."""
        device = sns_of.service.device()
        of_it = {"bucket": {"name": "photos"}, "object": {"key": own(device), "size": 30}}
        created = {"source": "aws.s3", "detail-type": "Object Created", "detail": of_it}
        assert sns_of.send(sns_of.message(created)).status_code == 204
        assert stored(device) == (30, 1)
        assert sns_of.send(sns_of.message(created | {"detail-type": "Object Deleted"})).status_code == 204
        assert due(sns_of.service, device) == timedelta(minutes=1)
        assert sns_of.send(sns_of.message(created | {"detail-type": "Object Restore Completed"})).status_code == 204

    def test_of_others_is_ignored(self, sns_of: Sns) -> None:
        device = sns_of.service.device()
        sns_of.tell(
            event("ObjectCreated:Put", own(device), 30, bucket="photos2"),
            event("ObjectCreated:Put", f"logs/{device.user_id}/a.jpg", 30),
            event("ObjectCreated:Put", f"users/{device.user_id}", 30),
            event("ObjectCreated:Put", f"users/{device.user_id}0/a.jpg", 30),
            event("ObjectCreated:Put", f"users/{device.user_id.upper()}/a.jpg", 30),
            event("ObjectCreated:Put", f"users/{uuid.uuid4()}/a.jpg", 30),
            event("ObjectAcl:Put", own(device), 30),
        )
        test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}
        assert sns_of.send(sns_of.message(test)).status_code == 204
        assert stored(device) == (0, 0)

    def test_that_comes_twice_counts_once_here(self, sns_of: Sns) -> None:
        device = sns_of.service.device()
        message = sns_of.message({"Records": [event("ObjectCreated:Put", own(device), 30)]})
        assert [sns_of.send(message).status_code for _ in range(3)] == [204] * 3
        assert stored(device) == (30, 1)

    def test_at_the_quota_has_them_counted_at_once_and_revokes_nothing_yet(self, sns_of: Sns) -> None:
        """An event that came twice, or an object that took another one's place, is no reason to revoke."""
        device = sns_of.service.device()
        for access in ("read_write", "write"):  # both are cached
            assert device.vend(access=access).status_code == 200
        sns_of.tell(event("ObjectCreated:Put", own(device), 100))
        assert due(sns_of.service, device) == timedelta(0)
        for access in ("read_write", "write"):
            assert_problem(device.vend(access=access), 403, "quota_exceeded")
        assert sns_of.service.sql("SELECT count(*) FROM revocations") == [(0,)]

    def test_during_a_count_has_another_one_follow(self, sns_of: Sns) -> None:
        device = sns_of.service.device()
        sns_of.tell(event("ObjectCreated:Put", own(device), 100))
        database, clock = sns_of.service.runtime.platform.database, sns_of.service.clock
        claim, _ = database.run("write", usage_count._claim, clock.now(), sns_of.service.settings)
        assert claim is not None
        clock.advance(seconds=2)
        sns_of.tell(event("ObjectCreated:Put", own(device, "b.jpg"), 1))
        database.run(
            "write", usage_count._settle, clock.now(), sns_of.service.settings, claim, usage_count.Count(100, 1, None)
        )
        assert stored(device) == (100, 1)
        assert due(sns_of.service, device) == timedelta(minutes=1)

    def test_by_many_at_once_is_all_there(self, sns_of: Sns) -> None:
        device = sns_of.service.device()
        all_at_once(lambda index: sns_of.tell(event("ObjectCreated:Put", own(device, f"{index}.jpg"), 2)), crowd=8)
        assert stored(device) == (16, 8)

    def test_without_a_quota_is_not_kept(self, make_sns: Callable[..., Sns]) -> None:
        known = make_sns()
        device = known.service.device()
        known.tell(event("ObjectCreated:Put", own(device), 30))
        assert known.service.sql("SELECT count(*) FROM usage") == [(0,)]


def due(service: Service, device: Device) -> timedelta:
    """Until the next count."""
    with service.runtime.platform.database.engine.connect() as connection:
        rows = Usage.__table__.select().where(Usage.user_id == uuid.UUID(device.user_id))
        at: datetime = connection.execute(rows).one().next_count_at
    return at.astimezone(UTC) - service.clock.now()


def told(service: Service) -> list[tuple[str, int, Any]]:
    rows = service.sql("SELECT type, sequence, data FROM outgoing_events WHERE type LIKE 'object.%' ORDER BY sequence")
    return [(kind, number, json.loads(data) if isinstance(data, str) else data) for kind, number, data in rows]


@pytest.mark.both_databases
class TestTelling:
    """What the operator's own server is told, whether users have a quota or not."""

    @pytest.fixture
    def telling(self, make_sns: Callable[..., Sns]) -> Sns:
        return make_sns(webhook_url="http://127.0.0.1:1/told", webhook_secret=("whsec_" + "A" * 32,))

    def test_is_of_each_object_of_a_user(self, telling: Sns) -> None:
        device = telling.service.device()
        made = event("ObjectCreated:Put", own(device), 30)
        made["s3"]["object"] |= {"eTag": "d41d8cd9", "versionId": "v1", "sequencer": "01"}
        strangers = [event("ObjectCreated:Put", f"users/{uuid.uuid4()}/a", 1), event("ObjectCreated:Put", "a/b", 1)]
        telling.tell(made, event("ObjectRemoved:Delete", own(device)), *strangers)
        key = own(device)
        assert told(telling.service) == [
            ("object.created", 3, {"key": key, "size": 30, "etag": "d41d8cd9", "version_id": "v1"}),
            ("object.removed", 4, {"key": key}),
        ]

    def test_is_once_however_often_it_is_told_here(self, telling: Sns) -> None:
        device = telling.service.device()
        numbered = [event("ObjectCreated:Put", own(device), 30) for _ in range(2)]
        for number, one in enumerate(numbered):
            one["s3"]["object"]["sequencer"] = str(number)
        for _ in range(2):
            telling.tell(*numbered, numbered[0])
        telling.tell(numbered[0] | {"eventTime": "2026-12-01T00:00:00Z"})
        assert [number for _, number, _ in told(telling.service)] == [3, 4]
        telling.tell(event("ObjectCreated:Put", own(device), 30), event("ObjectCreated:Put", own(device), 31))
        telling.tell(event("ObjectCreated:Put", own(device), 30))  # without a number of S3's, by its text
        assert [number for _, number, _ in told(telling.service)] == [3, 4, 5, 6]

    def test_is_once_when_it_comes_many_times_at_once(self, telling: Sns) -> None:
        device = telling.service.device()
        messages = [telling.message({"Records": [event("ObjectCreated:Put", own(device), 30)]}) for _ in range(6)]
        assert all_at_once(lambda index: telling.send(messages[index]).status_code, crowd=6) == [204] * 6
        assert [number for _, number, _ in told(telling.service)] == [3]

    def test_reads_eventbridge_too(self, telling: Sns) -> None:
        device = telling.service.device()
        of_object = {"key": own(device), "size": 30, "etag": "d41d8cd9", "version-id": "v1", "sequencer": "01"}
        detail = {"bucket": {"name": "photos"}, "object": of_object}
        message = {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}
        assert telling.send(telling.message(message)).status_code == 204
        data = {"key": own(device), "size": 30, "etag": "d41d8cd9", "version_id": "v1"}
        assert told(telling.service) == [("object.created", 3, data)]

    def test_is_of_nobody_who_is_erased_and_nothing_without_a_server(
        self, telling: Sns, make_sns: Callable[..., Sns]
    ) -> None:
        device = telling.service.device()
        device.erase()
        telling.tell(event("ObjectRemoved:Delete", own(device)))
        assert told(telling.service) == []
        silent = make_sns()
        silent.tell(event("ObjectCreated:Put", own(silent.service.device()), 30))
        assert told(silent.service) == []
