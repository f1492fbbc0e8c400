"""Delivery: signed, once at a time, at least once, tried again for a day, and never where it must not go."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.events import courier as couriers
from app.events import queue
from app.platform.reach import Reach
from app.records import audit
from app.records.audit import Origin
from tests.events.conftest import deliver
from tests.mail.servers import silent_server
from tests.security.races import all_at_once
from tests.support.engine import eventually
from tests.support.logged import capture_logs
from tests.support.odd_http import OddServer, http
from tests.support.receiver import OTHER_SECRET, SECRET, Receiver
from tests.support.service import SECRET_KEY, Service

USER = uuid.UUID("5b1c6a2e-7d43-4b0e-8a37-1c2d3e4f5a6b")


def tell(service: Service, times: int = 1) -> None:
    def story(session: Session, now: datetime) -> None:
        for _ in range(times):
            audit.record(session, Origin("", "test"), "user.disabled", now, subject_id=USER)

    service.runtime.platform.database.run("write", story, service.clock.now())


def state(service: Service) -> tuple[bool, bool, int, str | None]:
    """Delivered, given up, tries, fault."""
    ((delivered, failed, attempts, fault),) = service.sql(
        "SELECT delivered_at, failed_at, attempts, fault FROM outgoing_events"
    )
    return delivered is not None, failed is not None, attempts, fault


@pytest.mark.both_databases
class TestMessages:
    def test_are_signed_by_each_secret(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        """OP10: as Standard Webhooks say, so that either may be known while one is changed."""
        service = telling(webhook_secret=(SECRET, OTHER_SECRET))
        tell(service)
        deliver(service)
        (message,) = receiver.messages
        assert message.is_signed_by(SECRET)
        assert message.is_signed_by(OTHER_SECRET)
        assert not message.is_signed_by("whsec_" + "A" * 32)
        assert message.headers["webhook-timestamp"] == str(int(service.clock.now().timestamp()))
        assert (message.path, message.headers["content-type"]) == ("/told", "application/json")

    def test_have_the_members_of_the_specification(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        service = telling()
        tell(service)
        service.clock.advance(seconds=30)
        deliver(service)
        (message,) = receiver.messages
        assert message.event == {
            "id": message.id,
            "type": "user.disabled",
            "timestamp": "2026-06-01T12:00:00Z",
            "data": {"user_id": str(USER), "sequence": 1},
        }
        assert state(service) == (True, False, 1, None)
        deliver(service)
        assert len(receiver.messages) == 1

    def test_go_on_at_once_while_there_are_more(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        service = telling()
        tell(service, times=40)
        receiver.delay = 0.05
        deliver(service)
        assert sorted(event["data"]["sequence"] for event in receiver.events) == list(range(1, 41))
        assert 2 <= receiver.most_at_once <= couriers.AT_ONCE

    def test_begin_as_soon_as_the_act_is_committed(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        """The job of this process is woken: it need not look again first."""
        service = telling(background=True)
        there = threading.Event()
        courier = service.runtime.courier
        assert courier is not None
        send = courier.send

        async def send_and_say(*arguments: Any, **more: Any) -> int:
            status = await send(*arguments, **more)
            there.set()
            return status

        courier.send = send_and_say  # type: ignore[method-assign]
        tell(service)
        assert there.wait(4.0)  # the job's own interval is 5 s


@pytest.mark.both_databases
class TestFailures:
    def test_are_tried_again_at_growing_intervals_for_a_day(
        self, telling: Callable[..., Service], receiver: Receiver
    ) -> None:
        receiver.status = 503
        service = telling()
        tell(service)
        began, waits = service.clock.now(), list[timedelta]()
        while not state(service)[1]:
            tried_at = service.clock.now()
            deliver(service)
            if not state(service)[1]:
                service.clock.advance(seconds=_seconds_left(service) - 1)
                tries = len(receiver.messages)
                deliver(service)
                assert len(receiver.messages) == tries, "it was tried before its time"
                service.clock.advance(seconds=1)
                waits.append(service.clock.now() - tried_at)
        assert timedelta(hours=19) < service.clock.now() - began <= timedelta(hours=24)
        assert 12 <= len(receiver.messages) <= 18
        assert timedelta(seconds=20) < waits[0] < timedelta(seconds=45)
        assert len({message.id for message in receiver.messages}) == 1
        assert len({message.body for message in receiver.messages}) == 1
        assert len({message.headers["webhook-signature"] for message in receiver.messages}) > 1
        assert state(service)[3] == "status 503"

    def test_end_when_the_server_is_well_again(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        receiver.status = 500
        service = telling()
        tell(service)
        deliver(service)
        assert state(service) == (False, False, 1, "status 500")
        receiver.status = 200
        service.clock.advance(minutes=1)
        deliver(service)
        assert state(service) == (True, False, 2, None)

    def test_of_one_event_hold_back_no_other(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        receiver.status = 500
        service = telling()
        tell(service)
        deliver(service)
        receiver.status = 204
        tell(service)
        deliver(service)
        assert [event["data"]["sequence"] for event in receiver.events] == [1, 2]

    def test_are_counted(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        receiver.status = 500
        service = telling()
        tell(service, times=2)
        deliver(service)
        service.clock.advance(seconds=90)
        receiver.status = 204
        metrics = service.runtime.platform.metrics
        sample = metrics.registry.get_sample_value
        assert sample("tokenvend_webhook_waiting") == 2
        deliver(service)
        assert sample("tokenvend_webhook_deliveries_total", {"outcome": "failed"}) == 2
        assert sample("tokenvend_webhook_deliveries_total", {"outcome": "delivered"}) == 2
        assert (sample("tokenvend_webhook_waiting"), sample("tokenvend_webhook_age_seconds")) == (0, 0)
        tell(service)
        receiver.status = 500
        service.clock.advance(seconds=40)
        deliver(service)
        assert sample("tokenvend_webhook_age_seconds") == 40

    def test_log_neither_address_nor_secret_nor_answer(
        self, telling: Callable[..., Service], receiver: Receiver
    ) -> None:
        """OP10."""
        receiver.status, receiver.body = 500, b"canary of an answer"
        service = telling()
        tell(service)
        with capture_logs() as logged:
            deliver(service)
        (entry,) = [entry for entry in logged if entry["event"] == "webhook_waits"]
        assert (entry["kind"], entry["reason"]) == ("user.disabled", "status 500")
        for secret in ("canary", str(receiver.port), SECRET, SECRET.removeprefix("whsec_")):
            assert secret not in str(logged)


def _seconds_left(service: Service) -> float:
    ((next_try_at,),) = service.sql("SELECT next_try_at FROM outgoing_events")
    due = datetime.fromisoformat(next_try_at) if isinstance(next_try_at, str) else next_try_at
    return (due.replace(tzinfo=None) - service.clock.now().replace(tzinfo=None)).total_seconds()


class TestAnswers:
    """OP10: redirects are not followed; time and size are bounded."""

    def test_that_lead_elsewhere_are_not_followed(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        for status in (301, 302, 307, 308):
            receiver.messages.clear()
            receiver.status, receiver.headers = status, {"Location": f"{receiver.url}/elsewhere"}
            service = telling()
            service.sql("DELETE FROM outgoing_events")
            tell(service)
            deliver(service)
            assert [message.path for message in receiver.messages] == ["/told"]
            assert state(service) == (False, False, 1, f"status {status}")

    def test_that_are_long_are_not_read_to_their_end(self, make_service: Callable[..., Service]) -> None:
        with closing(OddServer(http("200 OK", b"x" * 100_000, length=10**12))) as odd:
            service = make_service(webhook_url=odd.url, webhook_secret=(SECRET,))
            tell(service)
            deliver(service)
        assert state(service) == (True, False, 1, None)

    def test_that_do_not_come_are_not_awaited(
        self, make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(couriers, "WITHIN", 0.3)
        with closing(OddServer(None)) as odd:
            service = make_service(webhook_url=odd.url, webhook_secret=(SECRET,))
            tell(service)
            deliver(service)
            assert odd.requests == 1
        assert state(service)[:3] == (False, False, 1)
        assert state(service)[3] in ("timeout", "ReadTimeoutError")


@pytest.mark.both_databases
class TestTaking:
    def test_by_twenty_at_once_gives_each_event_to_one(self, telling: Callable[..., Service]) -> None:
        service = telling()
        tell(service, times=40)
        now = service.clock.now()
        run = service.runtime.platform.database.run
        taken = all_at_once(lambda _: run("write", queue.take, now, most=3))
        ids = [event.id for events in taken for event in events]
        assert len(ids) == len(set(ids)) >= 3
        assert all(len(events) <= 3 for events in taken)

    def test_is_for_as_long_as_the_lease(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        """Who dies before the event is noted as delivered leaves it to another: it is delivered at least once."""
        service = telling()
        tell(service)
        run = service.runtime.platform.database.run
        (first,) = run("write", queue.take, service.clock.now(), most=9)
        service.clock.advance(seconds=59)
        deliver(service)
        assert receiver.messages == []
        service.clock.advance(seconds=1)
        deliver(service)
        assert [message.id for message in receiver.messages] == [str(first.id)]
        # Who was only slow changes nothing any more.
        run("write", queue.note_failed, service.clock.now(), first, "late", for_good=True)
        assert state(service) == (True, False, 2, None)

    @pytest.mark.parametrize(("delay", "ends"), [(0.3, True), (9.0, False)])
    def test_by_a_replica_that_stops_ends_with_a_note(
        self,
        telling: Callable[..., Service],
        receiver: Receiver,
        monkeypatch: pytest.MonkeyPatch,
        delay: float,
        ends: bool,
    ) -> None:
        """Or each new version of the service would have another replica send again what had just been taken."""
        monkeypatch.setattr(couriers, "STOPS_WITHIN", 1.0)
        service = telling()
        tell(service)
        receiver.delay = delay
        courier = service.runtime.courier
        assert courier is not None

        async def stop() -> None:
            working = asyncio.create_task(courier.deliver_waiting())
            assert await asyncio.to_thread(eventually, lambda: bool(receiver.messages))
            working.cancel()
            async with asyncio.timeout(5):
                with pytest.raises(asyncio.CancelledError):
                    await working

        assert service.client.portal is not None
        service.client.portal.call(stop)
        assert state(service)[:2] == (ends, False)

    def test_lasts_longer_than_a_try(self) -> None:
        assert timedelta(seconds=3 * couriers.WITHIN) < queue.LEASE

    @pytest.mark.all
    def test_a_killed_replicas_event_is_delivered_by_another(
        self, telling: Callable[..., Service], receiver: Receiver, database_url: str
    ) -> None:
        """kill -9 between taking and delivering: the replica waits for a server that never answers."""
        service = telling()
        tell(service)
        with silent_server() as silent:
            arguments = [database_url, SECRET_KEY, str(silent), SECRET, service.clock.now().isoformat()]
            replica = subprocess.Popen([sys.executable, "-c", REPLICA, *arguments], stdout=subprocess.PIPE, text=True)
            assert replica.stdout is not None
            assert replica.stdout.readline() == "taken\n"
            os.kill(replica.pid, signal.SIGKILL)
            replica.wait(timeout=60)
            replica.stdout.close()
        deliver(service)
        assert receiver.messages == []
        service.clock.advance(minutes=1)
        deliver(service)
        assert len(receiver.messages) == 1
        assert state(service) == (True, False, 2, None)


REPLICA = """
import asyncio, sys
from datetime import datetime
from app.compose import build_runtime
from app.events.courier import Courier
from tests.support.clock import ManualClock
from tests.support.service import test_settings

url, secret_key, port, secret, now = sys.argv[1:]
send = Courier.send

async def tell_and_send(self, *arguments, **more):
    print("taken", flush=True)
    return await send(self, *arguments, **more)

Courier.send = tell_and_send
where = {"webhook_url": f"http://127.0.0.1:{port}", "webhook_secret": (secret,)}
runtime = build_runtime(
    test_settings(database_url=url, secret_key=secret_key, **where), clock=ManualClock(datetime.fromisoformat(now))
)
asyncio.run(runtime.courier.deliver_waiting())
"""

PUBLIC = ["93.184.215.14", "2606:4700::1111", "64:ff9b::5db8:d70e", "::ffff:93.184.215.14"]
PRIVATE = ["127.0.0.1", "10.0.0.8", "172.16.9.9", "192.168.1.1", "100.64.0.1", "::1", "fd12:3456::1", "::ffff:10.0.0.8"]
NEVER = [
    *("169.254.169.254", "169.254.170.2", "fe80::1", "fe80::1%lo", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"),
    *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "240.0.0.1", "no address", ""),
]


class TestReach:
    """OP10: what an address has to be is decided by the address, not by a name."""

    @pytest.mark.parametrize("address", PUBLIC)
    def test_to_public_addresses_is_by_tls(self, address: str) -> None:
        assert Reach(private=False, plain=False).permits(address, tls=True)
        assert not Reach(private=True, plain=False).permits(address, tls=False)
        assert Reach(private=False, plain=True).permits(address, tls=False)

    @pytest.mark.parametrize("address", PRIVATE)
    def test_to_private_addresses_is_by_a_setting(self, address: str) -> None:
        for tls in (True, False):
            assert Reach(private=True, plain=False).permits(address, tls=tls)
            assert not Reach(private=False, plain=True).permits(address, tls=tls)

    @pytest.mark.parametrize("address", NEVER)
    def test_to_metadata_is_never(self, address: str) -> None:
        for tls in (True, False):
            assert not Reach(private=True, plain=True).permits(address, tls=tls)


class TestConnections:
    def test_to_a_private_address_need_the_setting(self, telling: Callable[..., Service], receiver: Receiver) -> None:
        """OP10: by a name, so that the settings cannot tell."""
        name = f"http://localhost:{receiver.port}/told"
        for private, expected in (("off", (False, "AddressRefused")), ("on", (True, None))):
            service = telling(webhook_url=name, webhook_private=private)
            service.sql("DELETE FROM outgoing_events")
            tell(service)
            deliver(service)
            delivered, _, _, fault = state(service)
            assert (delivered, fault) == expected
        assert len(receiver.messages) == 1

    def test_to_a_name_that_changes_go_where_was_looked(
        self, telling: Callable[..., Service], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OP10: a name that is public when it is checked, and leads inside when it is connected to (DNS rebinding)."""
        asked = []

        def change(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            address = "169.254.169.254" if len(asked) == 1 else "127.0.0.1"
            return [(2, 1, 6, "", (address, port))]

        service = telling(webhook_url=f"http://rebinding.example:{receiver.port}/told")
        tell(service)
        monkeypatch.setattr("app.platform.guarded_pools.socket.getaddrinfo", change)
        deliver(service)
        monkeypatch.undo()
        assert asked == ["rebinding.example"]
        assert state(service)[3] == "AddressRefused"
        assert receiver.messages == []

    def test_use_no_proxy(
        self, telling: Callable[..., Service], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with closing(OddServer(http("200 OK", b""))) as proxy:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            service = telling()
            tell(service)
            deliver(service)
            assert (len(receiver.messages), proxy.requests) == (1, 0)
