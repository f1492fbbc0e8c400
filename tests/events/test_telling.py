"""What the operator's server is told of: each act by its own event, in the act's own transaction, and no secret."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, get_args

import pytest
from sqlalchemy.orm import Session

from app.platform.problems import NotFound
from app.records import audit, outgoing
from app.records.audit import Origin
from app.records.models import Usage
from tests.security.races import all_at_once
from tests.support.service import PASSWORD, Device, Service

ADA = "ada@example.org"
BEN = "ben@example.org"
ORIGIN = Origin("request", "127.0.0.1")


def written(service: Service, user_id: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Types and data of the events of a user, in the order of their numbers."""
    rows = service.sql("SELECT type, data, user_id, sequence FROM outgoing_events ORDER BY sequence")
    return [
        (kind, json.loads(data) if isinstance(data, str) else data)
        for kind, data, about, _ in rows
        if user_id is None or (about is not None and uuid.UUID(str(about)) == uuid.UUID(user_id))
    ]


def newest(service: Service, device: Device) -> tuple[str, dict[str, Any]]:
    return written(service, device.user_id)[-1]


def disable(service: Service) -> Iterator[Any]:
    ada, admin = service.device(ADA), service.staff()
    yield ada
    admin.post(f"/v1/admin/users/{ada.user_id}/disable", {"reason": "canary: ada@example.org was rude"})
    yield ("user.disabled", {})


def erase(service: Service) -> Iterator[Any]:
    ada = service.device(ADA)
    yield ada
    assert ada.erase().status_code == 202
    yield ("user.erased", {})


def verify(service: Service) -> Iterator[Any]:
    ada = service.device(ADA)
    yield ada
    ada.service.client.post("/v1/email-verifications", json={"email": ADA})
    confirmed = service.client.post("/v1/email-verifications/confirm", json={"token": service.mails(ADA)[-1].token})
    assert confirmed.status_code == 204
    yield ("user.verified", {})


def share(service: Service) -> Iterator[Any]:
    ada, ben = service.device(ADA), service.device(BEN)
    yield ada
    answer = ada.post("/v1/grants", {"grantee_email": BEN, "path": "canary-folder/"})
    yield ("grant.created", {"grant_id": answer.json()["grant_id"], "grantee_id": ben.user_id})


def withdraw(service: Service) -> Iterator[Any]:
    ada = service.device(ADA)
    yield ada
    grant_id = ada.post("/v1/grants", {"grantee_email": BEN, "path": "canary-folder/"}).json()["grant_id"]
    ada.delete(f"/v1/grants/{grant_id}")
    yield ("grant.withdrawn", {"grant_id": grant_id, "grantee_id": None})


def link(service: Service) -> Iterator[Any]:
    ada = service.device(ADA)
    yield ada
    answer = ada.post("/v1/links", {"path": "canary-folder/"})
    yield ("link.created", {"link_id": answer.json()["link_id"]})


def end_link(service: Service) -> Iterator[Any]:
    ada = service.device(ADA)
    yield ada
    link_id = ada.post("/v1/links", {"path": "canary-folder/"}).json()["link_id"]
    ada.delete(f"/v1/links/{link_id}")
    yield ("link.withdrawn", {"link_id": link_id})


def revoke(service: Service) -> Iterator[Any]:
    ada = service.device(ADA)
    yield ada
    ada.vend()
    ada.post("/v1/credentials/revoke")
    yield ("credentials.revoked", {"count": 1})


ACTS: dict[str, Callable[[Service], Iterator[Any]]] = {
    "disabling": disable,
    "erasure": erase,
    "verification": verify,
    "grant": share,
    "grant withdrawn": withdraw,
    "link": link,
    "link ended": end_link,
    "revocation": revoke,
}


@pytest.mark.both_databases
class TestActs:
    @pytest.mark.parametrize("act", ACTS)
    def test_are_told_by_their_own_event(self, telling: Callable[..., Service], act: str) -> None:
        service = telling()
        steps = ACTS[act](service)
        device, expected = next(steps), next(steps)
        told = written(service, device.user_id)
        assert expected in told
        assert not any("canary" in str(data) for _, data in told)
        assert "example.org" not in str(written(service))
        assert [number for (number,) in numbers(service, device)] == list(range(1, len(told) + 1))

    def test_of_a_newcomer_are_a_registration_and_a_sign_in(self, telling: Callable[..., Service]) -> None:
        service = telling()
        service.register(ADA)
        tokens = service.log_in(ADA).json()["tokens"]
        assert written(service) == [
            ("user.registered", {"how": "registered"}),
            ("session.started", {"method": "password", "session_id": tokens["session_id"]}),
        ]

    def test_of_guests_and_of_the_invited_say_how(self, telling: Callable[..., Service]) -> None:
        service = telling()
        admin = service.staff()
        service.client.post("/v1/auth/guest", json={})
        admin.post("/v1/admin/users", {"email": BEN})
        how = [data["how"] for kind, data in written(service) if kind == "user.registered"]
        assert sorted(how) == ["guest", "invited", "registered"]

    def test_that_fill_a_quota_are_told_with_the_revocation(self, telling: Callable[..., Service]) -> None:
        service = telling()
        ada, admin = service.device(ADA), service.staff()

        def fill(session: Session, now: datetime) -> None:
            usage = {"bytes": 70, "objects": 1, "exceeded": False, "next_count_at": now, "attempts": 0}
            progress = {"bytes_so_far": 0, "objects_so_far": 0}
            session.add(Usage(user_id=uuid.UUID(ada.user_id), **usage, **progress))

        service.runtime.platform.database.run("write", fill, service.clock.now())
        admin.patch(f"/v1/admin/users/{ada.user_id}", {"quota_bytes": 60, "reason": "full"})
        assert written(service, ada.user_id)[-2:] == [
            ("quota.exceeded", {"stored_bytes": 70, "quota_bytes": 60}),
            ("credentials.revoked", {"count": 0}),
        ]

    def test_that_are_refused_are_not_told(self, telling: Callable[..., Service]) -> None:
        service = telling()
        service.log_in(ADA, "a wrong password")
        service.disable(service.device(BEN).email)
        before = written(service)
        service.log_in(BEN)
        service.register(BEN, PASSWORD)
        assert written(service) == before

    def test_are_not_told_without_a_server(self, service: Service) -> None:
        service.device()
        assert written(service) == []
        assert service.sql("SELECT count(*) FROM event_sequences") == [(0,)]
        assert service.runtime.courier is None
        assert "events" not in [job.name for job in service.runtime.jobs]


def numbers(service: Service, device: Device) -> list[Any]:
    found = service.sql("SELECT sequence, user_id FROM outgoing_events ORDER BY sequence")
    return [(number,) for number, about in found if uuid.UUID(str(about)) == uuid.UUID(device.user_id)]


@pytest.mark.both_databases
class TestTransaction:
    def test_that_is_rolled_back_tells_nothing(self, telling: Callable[..., Service]) -> None:
        service = telling()
        user_id = uuid.uuid4()

        def story(session: Session, now: datetime, problem: Exception | None) -> None:
            audit.record(session, ORIGIN, "user.disabled", now, subject_id=user_id)
            if problem is not None:
                raise problem

        run = service.runtime.platform.database.run
        with pytest.raises(NotFound):
            run("write", story, service.clock.now(), NotFound())
        assert written(service) == []
        with pytest.raises(NotFound):  # a refusal that keeps its writes keeps its events
            run("write", story, service.clock.now(), NotFound(keeps_writes=True))
        run("write", story, service.clock.now(), None)
        assert written(service, str(user_id)) == [("user.disabled", {})] * 2
        assert service.sql("SELECT last FROM event_sequences") == [(2,)]

    def test_numbers_several_events_in_their_order(self, telling: Callable[..., Service]) -> None:
        service = telling()
        one, other = sorted((uuid.uuid4(), uuid.uuid4()))

        def story(session: Session, now: datetime) -> None:
            for user_id in (other, one, other):
                audit.record(session, ORIGIN, "email.verified", now, subject_id=user_id)
            audit.record(session, ORIGIN, "user.disabled", now, subject_id=other)
            audit.record(session, ORIGIN, "credential.all_revoked", now, before="", sources=2)

        service.runtime.platform.database.run("write", story, service.clock.now())
        told = written(service, str(other))
        assert [kind for kind, _ in told] == ["user.verified", "user.verified", "user.disabled"]
        assert written(service, str(one)) == [("user.verified", {})]
        assert service.sql("SELECT user_id, sequence FROM outgoing_events WHERE type = 'credentials.revoked'") == [
            (None, None)
        ]

    def test_of_twenty_at_once_gives_each_number_once(self, telling: Callable[..., Service]) -> None:
        service = telling()
        ids = [uuid.uuid4() for _ in range(3)]

        def story(session: Session, order: list[uuid.UUID], now: datetime) -> None:
            for user_id in order:
                audit.record(session, ORIGIN, "user.disabled", now, subject_id=user_id)

        def act(number: int) -> None:
            order = ids if number % 2 else ids[::-1]  # in two orders, which would deadlock
            service.runtime.platform.database.run("write", story, order, service.clock.now())

        all_at_once(act)
        for user_id in ids:
            device = Device(service, "", "", "", "", str(user_id))
            assert numbers(service, device) == [(number,) for number in range(1, 21)]


class TestTable:
    def test_names_audit_events_and_types_that_there_are(self) -> None:
        assert outgoing.TOLD.keys() <= set(get_args(audit.Event))
        told = {telling.type for telling in outgoing.TOLD.values()}
        of_others = {"webhook.test", "object.created", "object.removed"}  # not by the audit
        assert told | of_others == set(get_args(outgoing.EventType))

    def test_has_no_event_of_the_hot_path(self) -> None:
        """Those are written by one statement on a line, which tells nobody."""
        assert "credential.issued" not in outgoing.TOLD

    def test_tells_no_words_of_people(self) -> None:
        """OP10: an administrator's reason, a folder's path and an address stay here."""
        members = {member for telling in outgoing.TOLD.values() for member in telling.members}
        assert members.isdisjoint({"reason", "path", "email", "label", "address"})
