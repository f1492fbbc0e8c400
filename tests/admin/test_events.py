"""The events for the operator's own server as staff see them: listed, sent again, and one of a test."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.events import queue
from tests.events.conftest import deliver
from tests.security.observed import assert_problem
from tests.support.receiver import Receiver, receiving
from tests.support.service import Service

WHY = {"reason": "ticket 4711"}
EVENTS = "/v1/admin/events"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def service(make_service: Callable[..., Service], receiver: Receiver) -> Service:
    return make_service(**receiver.settings)


def on_record(service: Service, event: str) -> list[Any]:
    found = service.sql("SELECT outcome, actor_id, detail FROM audit_events WHERE event = :event", event=event)
    return [
        (outcome, str(uuid.UUID(str(actor))), json.loads(d) if isinstance(d, str) else d) for outcome, actor, d in found
    ]


@pytest.mark.both_databases
class TestList:
    def test_is_paged_newest_first(self, service: Service) -> None:
        support = service.staff("support")
        for _ in range(3):
            service.clock.advance(seconds=1)
            service.device()
        first = support.get(f"{EVENTS}?limit=3").json()
        second = support.get(f"{EVENTS}?limit=50&cursor={first['next_cursor']}").json()
        moments = [event["created_at"] for event in first["items"] + second["items"]]
        assert (len(moments), second["next_cursor"]) == (8, None)
        assert moments == sorted(moments, reverse=True)
        assert len({event["event_id"] for event in first["items"] + second["items"]}) == 8

    def test_is_filtered_by_type_user_and_delivery(self, service: Service, receiver: Receiver) -> None:
        support, ada = service.staff("support"), service.device()
        deliver(service)
        service.device(ada.email)
        service.log_in(ada.email)

        def found(**filters: str) -> list[tuple[str, int, bool]]:
            items = support.get(EVENTS, params=filters).json()["items"]
            return sorted((one["type"], one["sequence"], one["delivered_at"] is not None) for one in items)

        told = [("session.started", 2, True), ("session.started", 3, False), ("session.started", 4, False)]
        assert found(user=ada.user_id) == [*told, ("user.registered", 1, True)]
        assert found(user=ada.user_id, type="session.started") == told
        assert found(user=ada.user_id, delivered="false") == told[1:]
        assert found(user=ada.user_id, delivered="true", type="user.registered") == [("user.registered", 1, True)]
        assert found(user=str(uuid.uuid4())) == []
        assert_problem(support.get(f"{EVENTS}?type=credential.issued"), 422, "invalid_request")

    def test_shows_what_was_sent(self, service: Service, receiver: Receiver) -> None:
        """AZ4: ids, and no address."""
        support = service.staff("support")
        deliver(service)
        listed = {event["event_id"]: event["body"] for event in support.get(EVENTS).json()["items"]}
        assert listed == {message.id: message.body.decode() for message in receiver.messages}
        assert "example.org" not in str(listed)


@pytest.mark.both_databases
class TestRedelivery:
    def test_sends_the_same_event_again(self, service: Service, receiver: Receiver) -> None:
        admin = service.staff()
        deliver(service)
        event_id = receiver.messages[0].id
        answer = admin.post(f"{EVENTS}/{event_id}/redeliver", WHY)
        assert (answer.status_code, answer.json()["delivered_at"], answer.json()["attempts"]) == (200, None, 0)
        deliver(service)
        first, *_, again = receiver.messages
        assert (again.id, again.body) == (first.id, first.body)
        ((outcome, actor, detail),) = on_record(service, "event.redelivered")
        assert (outcome, actor, detail["event_id"]) == ("done", admin.user_id, event_id)
        assert detail["reason"] == WHY["reason"]

    def test_gives_what_was_given_up_another_day(self, service: Service, receiver: Receiver) -> None:
        admin = service.staff()
        receiver.status = 500
        service.sql("DELETE FROM outgoing_events WHERE type <> 'user.registered'")
        deliver(service)
        service.clock.advance(days=2)
        admin = service.device(admin.email)
        service.sql("DELETE FROM outgoing_events WHERE type <> 'user.registered'")
        deliver(service)
        (event,) = admin.get(EVENTS).json()["items"]
        assert event["failed_at"] is not None
        assert event["fault"] == "status 500"
        admin.post(f"{EVENTS}/{event['event_id']}/redeliver")
        deliver(service)
        (event,) = admin.get(EVENTS).json()["items"]
        assert (event["failed_at"], event["attempts"]) == (None, 1)
        assert event["next_try_at"] is not None
        receiver.status = 204
        service.clock.advance(minutes=1)
        deliver(service)
        (event,) = admin.get(EVENTS).json()["items"]
        assert event["delivered_at"] is not None

    def test_leaves_alone_what_is_being_sent(self, service: Service, receiver: Receiver) -> None:
        admin = service.staff()
        run = service.runtime.platform.database.run
        taken = run("write", queue.take, service.clock.now(), most=9)
        answer = admin.post(f"{EVENTS}/{taken[0].id}/redeliver", WHY)
        assert (answer.status_code, answer.json()["attempts"]) == (200, 1)
        deliver(service)
        assert receiver.messages == []
        run("write", queue.note_delivered, service.clock.now(), taken[0])
        assert service.sql("SELECT count(*) FROM outgoing_events WHERE delivered_at IS NOT NULL") == [(1,)]

    def test_is_for_administrators_and_for_events_that_there_are(self, service: Service) -> None:
        """AZ1, AZ2."""
        support, user, admin = service.staff("support"), service.device(), service.staff()
        event_id = admin.get(EVENTS).json()["items"][0]["event_id"]
        for device in (support, user):
            assert_problem(device.post(f"{EVENTS}/{event_id}/redeliver", WHY), 403, "forbidden")
        assert_problem(admin.post(f"{EVENTS}/{uuid.uuid4()}/redeliver", WHY), 404, "not_found")
        assert service.sql("SELECT count(*) FROM outgoing_events WHERE attempts > 0") == [(0,)]


@pytest.mark.both_databases
class TestTest:
    def test_says_that_the_server_took_it(self, service: Service, receiver: Receiver) -> None:
        admin = service.staff()
        answer = admin.post("/v1/admin/webhooks/test", WHY).json()
        (message,) = receiver.messages
        assert (answer["event_id"], answer["type"], answer["attempts"]) == (message.id, "webhook.test", 1)
        assert (answer["user_id"], answer["sequence"], answer["fault"]) == (None, None, None)
        assert answer["delivered_at"] is not None
        ((outcome, actor, detail),) = on_record(service, "webhook.tested")
        assert (outcome, actor, detail) == ("done", admin.user_id, {**WHY, "event_id": message.id})

    def test_says_why_it_did_not_and_tries_once(self, service: Service, receiver: Receiver) -> None:
        admin = service.staff()
        service.sql("DELETE FROM outgoing_events")
        receiver.status = 403
        answer = admin.post("/v1/admin/webhooks/test").json()
        assert (answer["delivered_at"], answer["next_try_at"], answer["fault"]) == (None, None, "status 403")
        assert answer["failed_at"] is not None
        service.clock.advance(hours=1)
        deliver(service)
        assert len(receiver.messages) == 1

    def test_has_nowhere_to_go_without_a_server(self, make_service: Callable[..., Service]) -> None:
        service = make_service(webhook_url=None)
        admin = service.staff()
        assert_problem(admin.post("/v1/admin/webhooks/test", WHY), 404, "webhook_off")
        assert_problem(admin.post(f"{EVENTS}/{uuid.uuid4()}/redeliver", WHY), 404, "webhook_off")
        assert admin.get(EVENTS).json() == {"items": [], "next_cursor": None}
