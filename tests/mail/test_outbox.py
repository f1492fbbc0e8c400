"""The outbox: taken once, sent at least once, tried again for a day, and nothing left to read afterwards."""

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.problems import NotFound
from tests.mail.servers import HERE, Inbox, silent_server, smtp_server
from tests.security.races import all_at_once
from tests.support.logged import capture_logs
from tests.support.service import SECRET_KEY, Service

ADA = "ada@example.org"
TOKEN = "tvs_a-token-of-a-mail"


def put(service: Service, recipient: str = ADA, token: str | None = TOKEN, vault: Vault | None = None) -> None:
    service.runtime.platform.database.run(
        "write",
        outbox.put,
        vault or service.runtime.platform.vault,
        service.clock.now(),
        "verify_email",
        about=None,
        recipient=recipient,
        token=token,
    )


def send(service: Service) -> bool:
    assert service.client.portal is not None
    return service.client.portal.call(service.runtime.postman.send_waiting)


def state(service: Service) -> tuple[bool, bool, bool, int]:
    """Sent, given up, token kept, tries."""
    ((sent, failed, token, attempts),) = service.sql("SELECT sent_at, failed_at, token_encrypted, attempts FROM outbox")
    return sent is not None, failed is not None, token is not None, attempts


@pytest.fixture
def to(make_service: Callable[..., Service]) -> Callable[[int], Service]:
    def make(port: int) -> Service:
        return make_service(smtp_url=f"smtp://{HERE}:{port}", mail_from="Photos <photos@example.org>")

    return make


@pytest.mark.both_databases
class TestSending:
    def test_leaves_a_row_without_a_token(self, to: Callable[[int], Service]) -> None:
        inbox = Inbox()
        with smtp_server(inbox) as port:
            service = to(port)
            put(service)
            assert service.sql("SELECT count(*) FROM outbox WHERE token_encrypted IS NOT NULL") == [(1,)]
            assert send(service) is False
            assert state(service) == (True, False, False, 1)
            send(service)
        assert len(inbox.envelopes) == 1

    def test_goes_on_at_once_while_there_is_more(self, to: Callable[[int], Service]) -> None:
        inbox = Inbox()
        with smtp_server(inbox) as port:
            service = to(port)
            for number in range(10):
                put(service, f"ada{number}@example.org")
            assert [send(service), send(service)] == [True, False]
        assert sorted(envelope.rcpt_tos[0] for envelope in inbox.envelopes) == [
            f"ada{number}@example.org" for number in range(10)
        ]

    def test_begins_as_soon_as_the_mail_is_committed(self, make_service: Callable[..., Service]) -> None:
        """The worker of this process is woken: it need not look again first."""
        inbox = Inbox()
        with smtp_server(inbox) as port:
            service = make_service(background=True, smtp_url=f"smtp://{HERE}:{port}", mail_from="a@example.org")
            assert service.client.portal is not None
            sent = _told_when_sent(service)
            put(service)
            assert sent.wait(4.0)  # the job's own interval is 5 s
        assert len(inbox.envelopes) == 1


def _told_when_sent(service: Service) -> threading.Event:
    """Set once the transport took a mail."""
    transport, sent = service.runtime.postman.transport, threading.Event()
    deliver = transport.send

    async def send_and_tell(message: EmailMessage) -> None:
        await deliver(message)
        sent.set()

    transport.send = send_and_tell  # type: ignore[method-assign]
    return sent


@pytest.mark.both_databases
class TestWriting:
    def test_that_is_rolled_back_sends_nothing(self, service: Service) -> None:
        def story(session: Session, now: datetime) -> None:
            outbox.put(
                session, service.runtime.platform.vault, now, "verify_email", about=None, recipient=ADA, token=TOKEN
            )
            raise NotFound

        with pytest.raises(NotFound):
            service.runtime.platform.database.run("write", story, service.clock.now())
        assert service.mails(ADA) == []

    def test_keeps_the_token_encrypted(self, service: Service) -> None:
        put(service)
        ((sealed,),) = service.sql("SELECT token_encrypted FROM outbox")
        assert TOKEN.encode() not in bytes(sealed)

    def test_to_nobody_is_settled_at_once(self, service: Service) -> None:
        service.runtime.platform.database.run(
            "write",
            outbox.put,
            service.runtime.platform.vault,
            service.clock.now(),
            "verify_email",
            about=None,
            recipient=None,
            token=TOKEN,
        )
        assert state(service) == (False, True, False, 0)
        assert service.mails("") == []


@pytest.mark.both_databases
class TestRefusals:
    def test_are_tried_again_at_growing_intervals_for_a_day(self, to: Callable[[int], Service]) -> None:
        inbox = Inbox(rcpt="450 later")
        waits: list[timedelta] = []
        with smtp_server(inbox) as port:
            service = to(port)
            put(service)
            began = service.clock.now()
            while not state(service)[1]:
                tried_at = service.clock.now()
                send(service)
                tries = state(service)[3]
                if not state(service)[1]:
                    service.clock.advance(seconds=_seconds_left(service) - 1)
                    send(service)
                    assert state(service)[3] == tries, "it was tried before its time"
                    service.clock.advance(seconds=1)
                    waits.append(service.clock.now() - tried_at)
        assert timedelta(hours=19) < service.clock.now() - began <= timedelta(hours=24)
        assert 12 <= state(service)[3] <= 18
        assert timedelta(seconds=20) < waits[0] < timedelta(seconds=45)
        assert max(waits) > timedelta(hours=2.9)
        assert state(service)[:3] == (False, True, False)

    def test_for_good_are_not_tried_again(self, to: Callable[[int], Service]) -> None:
        with smtp_server(Inbox(rcpt="550 no such user")) as port:
            service = to(port)
            put(service)
            with capture_logs() as logged:
                send(service)
        assert state(service) == (False, True, False, 1)
        (event,) = [entry for entry in logged if entry["event"] == "mail_given_up"]
        assert (event["reason"], event["kind"]) == ("recipient_refused_550", "verify_email")
        assert ADA not in str(logged)
        assert TOKEN not in str(logged)

    def test_end_when_the_server_is_well_again(self, to: Callable[[int], Service]) -> None:
        inbox = Inbox(data="451 later")
        with smtp_server(inbox) as port:
            service = to(port)
            put(service)
            send(service)
            assert state(service) == (False, False, True, 1)
            inbox.data = ""
            service.clock.advance(minutes=1)
            send(service)
        assert state(service) == (True, False, False, 2)

    def test_in_production_without_starttls_wait(self, make_service: Callable[..., Service]) -> None:
        inbox = Inbox()
        with smtp_server(inbox, host="127.0.0.2") as port:
            service = make_service(
                environment="production",
                smtp_url=f"smtp://127.0.0.2:{port}",
                mail_from="photos@example.org",
                public_url="https://testserver",
                rate_limits="on",
                AWS_REGION="eu-central-1",
            )
            put(service)
            with capture_logs() as logged:
                send(service)
        assert state(service) == (False, False, True, 1)
        assert inbox.envelopes == []
        assert [entry["reason"] for entry in logged if entry["event"] == "mail_waits"] == ["no_starttls"]

    def test_of_a_token_sealed_with_another_key_leave_it_to_a_replica_that_has_it(self, service: Service) -> None:
        put(service, vault=Vault("another-secret-key-of-32-characters!"))
        send(service)
        assert state(service) == (False, False, True, 1)
        assert service.mails(ADA) == []


def _seconds_left(service: Service) -> float:
    """Until the mail is tried again."""
    ((next_try_at,),) = service.sql("SELECT next_try_at FROM outbox")
    due = datetime.fromisoformat(next_try_at) if isinstance(next_try_at, str) else next_try_at
    return (due.replace(tzinfo=None) - service.clock.now().replace(tzinfo=None)).total_seconds()


@pytest.mark.both_databases
class TestTaking:
    def test_by_twenty_at_once_gives_each_mail_to_one(self, service: Service) -> None:
        for number in range(40):
            put(service, f"ada{number}@example.org")
        now = service.clock.now()
        taken = [
            each.mails
            for each in all_at_once(
                lambda _: service.runtime.platform.database.run(
                    "write", outbox.take, service.runtime.platform.vault, now, most=3
                )
            )
        ]
        ids: list[uuid.UUID] = [mail.id for mails in taken for mail in mails]
        assert len(ids) == len(set(ids))
        assert all(len(mails) <= 3 for mails in taken)
        assert len(ids) >= 3

    def test_is_for_as_long_as_the_lease(self, service: Service) -> None:
        """Who dies before the mail is noted as sent leaves it to another: it is sent at least once."""
        put(service)
        take = service.runtime.platform.database.run
        assert take("write", outbox.take, service.runtime.platform.vault, service.clock.now(), most=9).count == 1
        assert service.mails(ADA) == []
        service.clock.advance(minutes=4, seconds=59)
        assert service.mails(ADA) == []
        service.clock.advance(seconds=1)
        assert [mail.token for mail in service.mails(ADA)] == [TOKEN]

    @pytest.mark.all
    def test_a_killed_workers_mail_is_sent_by_another(
        self, to: Callable[[int], Service], database_url: str, tmp_path: Path
    ) -> None:
        """kill -9 between taking and sending: the worker waits for a server that never answers."""
        inbox = Inbox()
        with smtp_server(inbox) as port, silent_server() as silent:
            service = to(port)
            put(service)
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, database_url, SECRET_KEY, str(silent), service.clock.now().isoformat()],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert worker.stdout is not None
            assert worker.stdout.readline() == "taken\n"
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait(timeout=60)
            worker.stdout.close()
            send(service)
            assert inbox.envelopes == []
            service.clock.advance(minutes=5)
            send(service)
        assert [envelope.rcpt_tos for envelope in inbox.envelopes] == [[ADA]]
        assert state(service) == (True, False, False, 2)


WORKER = """
import asyncio, sys
from datetime import datetime
from app.mail import transport
from app.compose import build_runtime
from tests.support.clock import ManualClock
from tests.support.service import test_settings

url, secret_key, port, now = sys.argv[1:]

class Telling(transport.SmtpTransport):
    def _prepare(self, client):
        print("taken", flush=True)
        super()._prepare(client)

transport.SmtpTransport = Telling
settings = test_settings(database_url=url, secret_key=secret_key, smtp_url=f"smtp://127.0.0.1:{port}")
runtime = build_runtime(settings, clock=ManualClock(datetime.fromisoformat(now)))
asyncio.run(runtime.postman.send_waiting())
"""
