"""What is of no more use goes after its time, and nothing else does."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.admin import prune
from app.mail import outbox
from app.mail.bounds import Kind
from app.records import single_use
from app.records.models import OutboxMail
from tests.security.races import all_at_once
from tests.support.service import Device, Service


def clean(service: Service) -> bool:
    return service.runtime.platform.database.run("write", prune.delete_stale, service.clock.now())


def count(service: Service, table: str) -> int:
    return int(service.sql(f"SELECT count(*) FROM {table}")[0][0])


def issue(service: Service, *, ttl: timedelta) -> None:
    service.runtime.platform.database.run(
        "write", single_use.issue, service.runtime.platform.vault, service.clock.now(), "oidc_nonce", ttl=ttl
    )


def put(service: Service, kind: Kind, **settled: datetime) -> None:
    def story(session: Session) -> None:
        outbox.put(
            session, service.runtime.platform.vault, service.clock.now(), kind, about=None, recipient="ada@example.org"
        )
        if settled:
            session.execute(update(OutboxMail).where(OutboxMail.kind == kind).values(**settled))

    service.runtime.platform.database.run("write", story)


def keep_alive(device: Device) -> None:
    """The app comes back, as often as it has to."""
    answer: Any = device.service.refresh(device.refresh_token).json()
    device.access_token, device.refresh_token = answer["access_token"], answer["refresh_token"]


@pytest.mark.both_databases
class TestMailCounts:
    def test_go_with_the_hour_that_they_count(self, service: Service) -> None:
        put(service, "folder_waiting")
        now = service.clock.now()
        service.runtime.platform.database.run("write", outbox.take, service.runtime.platform.vault, now, most=1)
        for seconds, left in ((3600, 1), (1, 0)):
            service.clock.advance(seconds=seconds)
            clean(service)
            assert count(service, "mail_counts") == left


@pytest.mark.both_databases
class TestSingleUseTokens:
    def test_go_a_day_after_they_expired(self, service: Service) -> None:
        issue(service, ttl=timedelta(minutes=5))
        issue(service, ttl=timedelta(days=3))
        service.clock.advance(days=1, minutes=5)
        clean(service)
        assert count(service, "single_use_tokens") == 2
        service.clock.advance(seconds=1)
        clean(service)
        assert count(service, "single_use_tokens") == 1


@pytest.mark.both_databases
class TestMails:
    def test_go_after_thirty_days_unless_they_still_wait(self, service: Service) -> None:
        now = service.clock.now()
        put(service, "email_changed", sent_at=now)
        put(service, "password_changed", failed_at=now)
        put(service, "mfa_enabled")
        service.clock.advance(days=30)
        clean(service)
        assert count(service, "outbox") == 3
        service.clock.advance(seconds=1)
        clean(service)
        assert service.sql("SELECT kind FROM outbox") == [("mfa_enabled",)]


@pytest.mark.both_databases
class TestEventsOut:
    def test_go_after_thirty_days_delivered_or_not(self, make_service: Callable[..., Service]) -> None:
        service = make_service(webhook_url="http://127.0.0.1:1", webhook_secret=("whsec_" + "A" * 32,))
        device = service.device()
        service.sql("UPDATE outgoing_events SET delivered_at = created_at WHERE type = 'session.started'")
        service.clock.advance(days=30)
        clean(service)
        assert count(service, "outgoing_events") == 2
        service.clock.advance(seconds=1)
        clean(service)
        assert count(service, "outgoing_events") == 0
        service.log_in(device.email)
        assert service.sql("SELECT sequence FROM outgoing_events") == [(3,)]  # no number comes twice


@pytest.mark.both_databases
class TestSessions:
    def test_go_ninety_days_after_they_ended(self, service: Service) -> None:
        ended, alive = service.device("ada@example.org"), service.device("ada@example.org")
        ended.delete(f"/v1/me/sessions/{ended.session_id}")
        for _ in range(5):
            service.clock.advance(days=18)
            keep_alive(alive)
        clean(service)
        assert count(service, "sessions") == 2
        service.clock.advance(seconds=1)
        clean(service)
        assert count(service, "sessions") == 1
        assert alive.get("/v1/me").status_code == 200
        assert service.refresh(ended.refresh_token).json()["code"] == "invalid_refresh_token"

    def test_that_nobody_ended_go_ninety_days_after_their_year(self, service: Service) -> None:
        service.device()
        service.clock.advance(days=365 + 90)
        clean(service)
        assert count(service, "sessions") == 1
        service.clock.advance(seconds=1)
        clean(service)
        assert (count(service, "sessions"), count(service, "refresh_tokens")) == (0, 0)

    def test_lose_the_refresh_tokens_that_expired(self, service: Service) -> None:
        device = service.device()
        service.clock.advance(days=29)
        keep_alive(device)
        service.clock.advance(days=3)
        clean(service)
        assert (count(service, "sessions"), count(service, "refresh_tokens")) == (1, 1)
        keep_alive(device)
        assert device.get("/v1/me").status_code == 200


@pytest.mark.both_databases
class TestImports:
    def test_go_with_their_reports_ninety_days_after_their_last_row(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prune, "BATCH", 2)
        admin = service.staff()
        for name in ("ada", "grace"):
            content = f'{{"email": "{name}@example.org"}}\n' + "{}\n" * 5
            headers = {**admin.headers, "Content-Type": "application/x-ndjson"}
            assert service.client.post("/v1/admin/user-imports", content=content, headers=headers).status_code == 201
            service.clock.advance(seconds=1)
        service.clock.advance(days=90, seconds=-2)
        clean(service)
        assert (count(service, "user_imports"), count(service, "user_import_problems")) == (2, 12)
        service.clock.advance(seconds=1)
        while clean(service):
            pass
        assert (count(service, "user_imports"), count(service, "user_import_problems")) == (1, 6)


@pytest.mark.both_databases
class TestBatches:
    def test_are_small_and_say_whether_there_is_more(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prune, "BATCH", 2)
        for _ in range(5):
            issue(service, ttl=timedelta(minutes=5))
        service.clock.advance(days=2)
        assert [(clean(service), count(service, "single_use_tokens")) for _ in range(3)] == [
            (True, 3),
            (True, 1),
            (False, 0),
        ]

    def test_of_many_replicas_leave_nothing_and_stop_nobody(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prune, "BATCH", 3)
        for _ in range(6):
            service.device("ada@example.org")
        service.clock.advance(days=500)

        def until_clean(_index: int) -> None:
            while clean(service):
                pass

        all_at_once(until_clean, crowd=6)
        until_clean(0)
        assert (count(service, "sessions"), count(service, "refresh_tokens")) == (0, 0)
        assert count(service, "users") == 1
