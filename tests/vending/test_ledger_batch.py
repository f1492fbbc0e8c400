"""Entries that are written together stand or fall alone."""

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.aws.sts_client import StsCredential
from app.platform.problems import AccountDisabled, InternalError, InvalidToken
from app.records.audit import Origin
from app.records.models import User
from app.vending import ledger
from app.vending.ledger import Entry
from app.vending.orders import Order
from tests.support.databases import PostgresDatabases
from tests.support.engine import eventually
from tests.support.service import Device, Service, running_service
from tests.vending.crowd import sign_in


def entry_for(device: Device) -> Entry:
    service = device.service
    order = Order(
        user_id=uuid.UUID(device.user_id),
        session_id=uuid.UUID(device.session_id),
        access="read",
        prefix=f"users/{device.user_id}/",
        duration=3600,
        policy="{}",
        terms=service.runtime.vending.terms,
    )
    now = service.clock.now()
    credential = StsCredential("ASIAEXAMPLE", "secret", "token", now + timedelta(hours=1), "request")
    return Entry(uuid.uuid4(), Origin("r" * 32, "127.0.0.1"), order, credential, now)


@pytest.mark.both_databases
class TestRecord:
    def test_each_has_its_own_outcome(self, service: Service) -> None:
        alive, ended, disabled = service.device(), service.device(), service.device()
        ended.delete(f"/v1/me/sessions/{ended.session_id}")
        service.disable(disabled.email)
        entries = [entry_for(device) for device in (alive, ended, disabled)]
        outcome = asyncio.run(ledger.record(service.runtime.platform.database, entries))
        assert [type(outcome[entry]) for entry in entries] == [type(None), InvalidToken, AccountDisabled]
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(1,)]
        refused = service.sql(
            "SELECT count(*) FROM audit_events WHERE event = 'credential.issued' AND outcome = 'refused'"
        )
        assert refused == [(2,)]

    def test_one_whose_account_was_erased_meanwhile_is_refused_alone(self, service: Service) -> None:
        """Its session's row may be gone by then."""
        alive, erased, gone = service.device(), service.device(), service.device()
        entries = [entry_for(device) for device in (alive, erased, gone)]
        erased.erase()
        service.sql("DELETE FROM refresh_tokens")
        service.sql("DELETE FROM sessions WHERE user_id IN (SELECT id FROM users WHERE email = :e)", e=gone.email)
        outcome = asyncio.run(ledger.record(service.runtime.platform.database, entries))
        assert [type(outcome[entry]) for entry in entries] == [type(None), InvalidToken, InvalidToken]

    def test_one_that_cannot_be_written_fails_alone(self, service: Service) -> None:
        good, bad = entry_for(service.device()), entry_for(service.device())
        bad = replace(bad, id=good.id)
        outcome = asyncio.run(ledger.record(service.runtime.platform.database, [good, bad]))
        assert outcome[good] is None
        assert isinstance(outcome[bad], InternalError)
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(1,)]


@pytest.fixture
def on_postgresql(postgres_databases: PostgresDatabases) -> Iterator[Service]:
    url = postgres_databases.create()
    with running_service(url) as service:
        yield service
    postgres_databases.drop(url)


class TestLocks:
    def test_users_in_the_order_in_which_administrators_are(self, on_postgresql: Service) -> None:
        """Who asks whether the last one leaves locks them all: in another order each would wait for the other."""
        database = on_postgresql.runtime.platform.database
        while True:
            lower, higher = sorted(sign_in(on_postgresql, 2), key=lambda device: device.user_id)
            if lower.session_id > higher.session_id:
                break
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        entries = [entry_for(device) for device in (lower, higher)]
        lock = select(User.id).with_for_update()
        with database.engine.connect() as administrator, ThreadPoolExecutor(1) as pool:
            administrator.execute(lock.where(User.id == uuid.UUID(lower.user_id)))
            vends = pool.submit(asyncio.run, ledger.record(database, entries))
            assert eventually(lambda: on_postgresql.sql(waiting) == [(1,)])
            administrator.execute(lock.where(User.id == uuid.UUID(higher.user_id)).with_for_update(nowait=True))
            administrator.commit()
            assert list(vends.result().values()) == [None, None]
