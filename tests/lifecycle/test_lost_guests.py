"""Guests who can never come back are erased, pictures included; everybody else stays."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from app.lifecycle import lost_guests
from app.records.models import User
from tests.security.races import all_at_once
from tests.support.outside import guest
from tests.support.service import Device, Service
from tests.vending.crowd import sign_in


def work(service: Service) -> bool:
    assert service.client.portal is not None
    return service.client.portal.call(lost_guests.erase_next, service.runtime.platform)


def status(service: Service, device: Device) -> str:
    with service.runtime.platform.database.engine.connect() as connection:
        return str(connection.execute(select(User.status).where(User.id == UUID(device.user_id))).scalar_one())


def erased(service: Service) -> list[Any]:
    return service.sql("SELECT actor_id, address FROM audit_events WHERE event = 'user.erasure_requested'")


@pytest.mark.both_databases
class TestGuest:
    def test_is_erased_when_nothing_opens_the_account_any_more(self, service: Service) -> None:
        """Idle for 30 days the session has ended; 90 days later the guest goes the way of every erased account."""
        device = guest(service)
        service.clock.advance(days=119)
        work(service)
        assert status(service, device) == "active"
        service.clock.advance(days=2)
        work(service)
        assert status(service, device) == "erased"
        assert erased(service) == [(None, "lost guests")]
        assert service.sql("SELECT count(*) FROM erasures WHERE completed_at IS NULL") == [(1,)]

    def test_who_signed_out_is_kept_for_ninety_days(self, service: Service) -> None:
        device = guest(service)
        service.clock.advance(days=5)
        device.access_token = service.refresh(device.refresh_token).json()["access_token"]
        assert device.delete("/v1/me/sessions").status_code == 204
        service.clock.advance(days=115)
        work(service)
        assert status(service, device) == "erased"

    def test_who_signed_out_of_late_is_kept_until_then(self, service: Service) -> None:
        """Looked at on the 120th day, when the last session has ended less than 90 days before."""
        device = guest(service)
        for _ in range(2):
            service.clock.advance(days=20)
            tokens = service.refresh(device.refresh_token).json()
            device.access_token, device.refresh_token = tokens["access_token"], tokens["refresh_token"]
        assert device.delete("/v1/me/sessions").status_code == 204
        service.clock.advance(days=81)
        work(service)
        assert status(service, device) == "active"
        service.clock.advance(days=31)
        work(service)
        assert status(service, device) == "erased"

    def test_who_comes_back_now_and_then_stays(self, service: Service) -> None:
        device = guest(service)
        for _ in range(12):
            service.clock.advance(days=29)
            device.refresh_token = service.refresh(device.refresh_token).json()["refresh_token"]
            work(service)
        assert status(service, device) == "active"
        assert erased(service) == []

    def test_whose_sessions_were_cleaned_is_erased(self, service: Service) -> None:
        """Old sessions are deleted ninety days after their end, maybe before anybody looks at the guest."""
        device = guest(service)
        service.sql("DELETE FROM refresh_tokens")
        service.sql("DELETE FROM sessions")
        service.clock.advance(days=121)
        work(service)
        assert status(service, device) == "erased"

    def test_of_the_version_before_is_due_at_once_and_then_looked_at_again(self, service: Service) -> None:
        """Its rows have the column's default."""
        device = guest(service)
        service.sql("UPDATE users SET guest_review_at = '1970-01-01 00:00:00'")
        work(service)
        assert status(service, device) == "active"
        with service.runtime.platform.database.engine.connect() as connection:
            due_at = connection.execute(select(User.guest_review_at)).scalar_one()
        assert due_at == service.clock.now() + lost_guests.REVIEWED_EVERY


class TestOthers:
    def test_stay_however_long_they_are_away(self, service: Service) -> None:
        """Registered users, guests who were upgraded, and guests whom an administrator has disabled."""
        (user,) = sign_in(service, 1)
        upgraded, disabled = guest(service), guest(service)
        body = {"email": "ada@example.org", "password": "violet tractor moonlight"}
        assert upgraded.post("/v1/me/upgrade", body).json() == {"status": "active"}
        service.sql("UPDATE users SET status = 'disabled' WHERE guest")
        service.clock.advance(days=1000)
        work(service)
        assert [status(service, device) for device in (user, upgraded, disabled)] == ["active", "active", "disabled"]


@pytest.mark.both_databases
class TestManyUsers:
    def test_are_not_all_read_to_find_who_is_due(self, service: Service) -> None:
        """An index has the guests by the moment at which they are looked at."""
        assert len([guest(service) for _ in range(3)]) == 3
        due = select(User.id).where(*lost_guests._due(service.clock.now())).order_by(User.guest_review_at).limit(100)
        with service.runtime.platform.database.engine.connect() as connection:
            sqlite = connection.dialect.name == "sqlite"
            if not sqlite:
                connection.execute(text("SET enable_seqscan = off"))
            compiled = due.compile(connection, compile_kwargs={"literal_binds": True})
            plan = str(list(connection.execute(text(f"EXPLAIN {'QUERY PLAN' if sqlite else ''} {compiled}"))))
        assert "ix_users_guests_due" in plan


@pytest.mark.both_databases
class TestReplicas:
    def test_erase_each_guest_once(self, service: Service) -> None:
        guests = [guest(service) for _ in range(10)]
        service.clock.advance(days=121)
        passes = all_at_once(lambda _: sum(lost_guests.prune(service.runtime.platform)), 3)
        assert sum(passes) == 10
        assert len(erased(service)) == 10
        assert {status(service, device) for device in guests} == {"erased"}

    def test_leave_to_each_other_what_they_claimed(self, service: Service) -> None:
        guest(service)
        service.clock.advance(days=121)
        now, run = service.clock.now(), service.runtime.platform.database.run
        assert len(run("write", lost_guests._claim, now)) == 1
        assert list(run("write", lost_guests._claim, now)) == []
        service.clock.advance(minutes=5)
        assert len(run("write", lost_guests._claim, service.clock.now())) == 1

    def test_say_whether_there_may_be_more(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lost_guests, "BATCH", 2)
        for _ in range(3):
            guest(service)
        service.clock.advance(days=121)
        assert service.runtime.platform.database.run("read", lost_guests.count, service.clock.now()) == 3
        assert work(service)
        assert not work(service)
        assert len(erased(service)) == 3
