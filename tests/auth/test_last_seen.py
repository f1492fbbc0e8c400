"""When users were last seen: noted without waiting, and filled in for those of earlier versions."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from app.auth import last_seen
from app.records.models import Backfill, User
from tests.support.databases import PostgresDatabases
from tests.support.service import Service, running_service


@pytest.mark.both_databases
class TestFilling:
    def test_takes_the_last_use_of_any_session(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """In batches. Users who were seen meanwhile keep what they have, and users without a session have none."""
        monkeypatch.setattr(last_seen, "BATCH", 2)
        devices = [service.device() for _ in range(5)]
        service.clock.advance(minutes=30)
        service.refresh(devices[0].refresh_token)
        used_at = service.clock.now()
        service.sql("UPDATE users SET last_seen_at = NULL")
        service.clock.advance(minutes=30)
        service.refresh(devices[1].refresh_token)
        service.sql("DELETE FROM refresh_tokens")
        run = service.runtime.platform.database.run
        passes = 1
        while run("write", last_seen.fill):
            passes += 1
        assert passes == 4
        found = {
            user.id: user.last_seen_at for user in run("read", lambda session: session.scalars(select(User)).all())
        }
        first, second, *others = (UUID(device.user_id) for device in devices)
        assert found[first] == used_at
        assert found[second] == service.clock.now()
        assert {found[other] for other in others} == {used_at - timedelta(minutes=30)}
        assert run("read", lambda session: session.get(Backfill, last_seen.NAME)) is None
        assert run("write", last_seen.fill) is False


@pytest.mark.all
def test_a_refresh_does_not_wait_for_the_user(postgres_databases: PostgresDatabases) -> None:
    """A sign-out holds the user and waits for the session that a refresh holds. Neither may wait for the other."""
    with running_service(postgres_databases.create()) as service:
        device = service.device()
        service.clock.advance(hours=2)
        with service.runtime.platform.database.engine.begin() as held:
            held.execute(select(User.id).where(User.id == UUID(device.user_id)).with_for_update())
            answer = service.refresh(device.refresh_token)
            assert answer.status_code == 200, answer.text
        (before,) = service.sql("SELECT last_seen_at FROM users")
        service.refresh(answer.json()["refresh_token"])
        (after,) = service.sql("SELECT last_seen_at FROM users")
        assert before < after
