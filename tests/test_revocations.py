"""Revocations: what each act leaves in the database, for whom."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit, revocations
from app.models import DeviceSession, IssuedCredential, Revocation, User
from tests.support.service import Service


def run(service: Service, story: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return service.runtime.database.run("write", story, *args, **kwargs)


def add_user(session: Session, service: Service, *, devices: int, guest: bool = False) -> list[DeviceSession]:
    """A user with as many devices, each with a credential in the ledger."""
    now, user_id = service.clock.now(), uuid.uuid4()
    session.add(User(id=user_id, guest=guest, status="active", role="user", created_at=now))
    session.flush()
    made = [
        DeviceSession(
            id=uuid.uuid4(),
            user_id=user_id,
            method="guest",
            created_at=now,
            authenticated_at=now,
            last_used_at=now,
            expires_at=now + timedelta(days=1),
        )
        for _ in range(devices)
    ]
    session.add_all(made)
    for device in made:
        issue(session, service, user_id, device.id)
    return made


def issue(session: Session, service: Service, user_id: uuid.UUID, session_id: uuid.UUID) -> uuid.UUID:
    """Writes a credential of an hour to the ledger."""
    now, credential_id = service.clock.now(), uuid.uuid4()
    session.add(
        IssuedCredential(
            id=credential_id,
            user_id=user_id,
            session_id=session_id,
            access_key_id=credential_id.hex,
            access="read",
            prefix="p",
            role_session_name="n",
            issued_at=now,
            expires_at=now + timedelta(hours=1),
        )
    )
    return credential_id


def rows(service: Service) -> set[tuple[str, uuid.UUID]]:
    """Scope and subject of each."""
    found = service.runtime.database.run(
        "read", lambda session: session.execute(select(Revocation.scope, Revocation.subject_id)).all()
    )
    return {(scope, subject_id) for scope, subject_id in found}


def revoked(service: Service) -> set[uuid.UUID]:
    """The sessions whose credentials the ledger has as revoked."""
    found = service.runtime.database.run(
        "read",
        lambda session: session.scalars(
            select(IssuedCredential.session_id).where(IssuedCredential.revoked_at.is_not(None))
        ).all(),
    )
    return set(found)


class TestAllSessionsOfAUser:
    def revoke(self, service: Service, user_id: uuid.UUID, keeping: uuid.UUID | None = None) -> None:
        run(
            service,
            revocations.revoke_sessions,
            audit.COMMAND_LINE,
            service.clock.now(),
            user_id=user_id,
            keeping=keeping,
            actor_id=user_id,
            reason="sign_out",
        )

    def test_are_named_one_by_one_where_they_are_few(self, service: Service) -> None:
        kept, *others = run(service, add_user, service, devices=4)
        run(service, add_user, service, devices=1)  # somebody else
        self.revoke(service, kept.user_id, keeping=kept.id)
        assert rows(service) == {("session", device.id) for device in others}
        assert revoked(service) == {device.id for device in others}

    def test_are_named_by_their_user_where_they_are_many(self, service: Service) -> None:
        """The kept one loses its credential too, and is given another one."""
        devices = run(service, add_user, service, devices=revocations.MOST_NAMED + 2)
        self.revoke(service, devices[0].user_id, keeping=devices[0].id)
        assert rows(service) == {("user", devices[0].user_id)}
        assert revoked(service) == {device.id for device in devices}

    def test_are_not_what_a_job_works_with(self, service: Service) -> None:
        (device,) = run(service, add_user, service, devices=1)
        run(service, issue, service, device.user_id, uuid.uuid5(device.user_id, "usage"))
        self.revoke(service, device.user_id)
        assert rows(service) == {("session", device.id)}
        assert revoked(service) == {device.id}
