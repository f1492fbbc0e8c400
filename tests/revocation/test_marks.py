"""Revocations: what each act leaves in the database, for whom."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.auth import sessions
from app.platform.problems import QuotaExceeded
from app.records import audit
from app.records.audit import Origin
from app.records.models import DeviceSession, IssuedCredential, Revocation, User
from app.revocation import allowances, effective, floor, job, marks
from app.revocation.allowances import Cause
from tests.support.service import Service


def run(service: Service, story: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return service.runtime.platform.database.run("write", story, *args, **kwargs)


def add_user(
    session: Session, service: Service, *, devices: int, guest: bool = False, age: timedelta = timedelta(0)
) -> list[DeviceSession]:
    """A user with as many devices, each with a credential in the ledger."""
    now, user_id = service.clock.now(), uuid.uuid4()
    session.add(User(id=user_id, guest=guest, status="active", role="user", created_at=now - age))
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
    """Scope and subject of each that the engine is told of."""
    found = service.runtime.platform.database.run(
        "read",
        lambda session: session.execute(
            select(Revocation.scope, Revocation.subject_id).where(~Revocation.withheld)
        ).all(),
    )
    return {(scope, subject_id) for scope, subject_id in found}


def revoked(service: Service) -> set[uuid.UUID]:
    """The sessions whose credentials the ledger has as revoked."""
    found = service.runtime.platform.database.run(
        "read",
        lambda session: session.scalars(
            select(IssuedCredential.session_id).where(IssuedCredential.revoked_at.is_not(None))
        ).all(),
    )
    return set(found)


@pytest.mark.both_databases
class TestAllSessionsOfAUser:
    def revoke(self, service: Service, user_id: uuid.UUID, keeping: uuid.UUID | None = None) -> None:
        run(
            service,
            marks.revoke_sessions,
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
        devices = run(service, add_user, service, devices=marks.MOST_NAMED + 2)
        self.revoke(service, devices[0].user_id, keeping=devices[0].id)
        assert rows(service) == {("user", devices[0].user_id)}
        assert revoked(service) == {device.id for device in devices}

    def test_are_not_what_a_job_works_with(self, service: Service) -> None:
        (device,) = run(service, add_user, service, devices=1)
        run(service, issue, service, device.user_id, uuid.uuid5(device.user_id, "usage"))
        self.revoke(service, device.user_id)
        assert rows(service) == {("session", device.id)}
        assert revoked(service) == {device.id}


@pytest.mark.both_databases
class TestDevicesThatGoOn:
    CAUSE = Cause(allowances.WITHDRAWN)

    def test_are_named_with_the_second_and_others_are_left_alone(self, service: Service) -> None:
        carrier, other = run(service, add_user, service, devices=2)
        now = service.clock.now()
        run(
            service,
            marks.revoke_devices,
            audit.COMMAND_LINE,
            now,
            user_id=carrier.user_id,
            session_ids=[carrier.id, uuid.uuid4()],
            cause=self.CAUSE,
        )
        assert (rows(service), revoked(service)) == ({("session", carrier.id)}, {carrier.id})
        (denial,) = job._denials(run(service, floor.told, now))
        assert (denial.goes_on, denial.not_before) == (True, now + timedelta(seconds=1))
        assert states(service, carrier, other) == [now + timedelta(seconds=1), None]

    def test_that_end_later_need_their_name_alone(self, service: Service) -> None:
        carrier, _ = run(service, add_user, service, devices=2)
        order = {"user_id": carrier.user_id, "session_ids": [carrier.id]}
        now = service.clock.now()
        run(service, marks.revoke_devices, audit.COMMAND_LINE, now, **order, cause=self.CAUSE)
        run(service, issue, service, carrier.user_id, carrier.id)
        end = {"actor_id": carrier.user_id, "reason": "logout"}
        run(service, marks.revoke_sessions, audit.COMMAND_LINE, now, **order, **end)
        (denial,) = job._denials(run(service, floor.told, now))
        assert (denial.session_id, denial.goes_on) == (carrier.id, False)


def states(service: Service, *devices: DeviceSession) -> list[datetime | None]:
    """Before which second what each session holds is revoked."""
    found = run(service, sessions.states, [device.id for device in devices])
    return [found[device.id].not_before for device in devices]


AGED = timedelta(days=2)
NEWCOMERS, NEWCOMERS_WITHDRAWN, NEWCOMERS_REUSED = 16, 26, 32
"""Users, devices and devices that have room at the engine, whose policy has the default size."""
OF_AN_ADDRESS, OF_AN_ADDRESS_REUSED = 27, 73
"""Users and devices of those who are no newcomers."""


@pytest.mark.both_databases
class TestShares:
    """VC11: what costs a stranger nothing takes a small share of the engine's room."""

    @pytest.fixture
    def bounded(self, make_service: Callable[..., Service]) -> Service:
        return make_service(rate_limits="on", revocation="role_policy", iam_endpoint_url="http://127.0.0.1:1")

    def meet(self, service: Service, count: int, *, guest: bool = False, age: timedelta = AGED) -> list[DeviceSession]:
        return [run(service, add_user, service, devices=1, guest=guest, age=age)[0] for _ in range(count)]

    def revoke(
        self, service: Service, device: DeviceSession, *, address: str = "192.0.2.1", by: uuid.UUID | None = None
    ) -> datetime:
        """When what the user holds ends, as they are told."""
        origin, now = Origin("some request", address), service.clock.now()
        who = {"user_id": device.user_id, "actor_id": by or device.user_id, "session_id": None}
        run(service, marks.revoke_user, origin, now, **who, reason="own_wish")
        return run(service, effective.effective_by, now, service.settings, device.user_id)

    def end(self, service: Service, device: DeviceSession, reason: str, *, address: str = "192.0.2.1") -> None:
        who = {"user_id": device.user_id, "actor_id": None, "session_ids": [device.id]}
        now = service.clock.now()
        run(service, marks.revoke_sessions, Origin("some request", address), now, **who, reason=reason)

    @pytest.mark.parametrize(("guest", "age"), [(True, AGED), (False, timedelta(hours=23))])
    def test_of_newcomers_is_one_for_all_of_them(self, bounded: Service, guest: bool, age: timedelta) -> None:
        """Beyond it what they hold is revoked wherever it may be handed out, and ends when it expires."""
        now = bounded.clock.now()
        devices = self.meet(bounded, NEWCOMERS + 3, guest=guest, age=age)
        ends = [self.revoke(bounded, one, address=f"192.0.2.{number}") for number, one in enumerate(devices)]
        soon, late = now + timedelta(minutes=1), now + timedelta(hours=1)
        assert ends == [soon] * NEWCOMERS + [late] * 3
        assert len(rows(bounded)) == NEWCOMERS
        assert revoked(bounded) == {device.id for device in devices}
        assert states(bounded, *devices) == [now + timedelta(seconds=1)] * len(devices)

    def test_of_one_address_is_its_own(self, bounded: Service) -> None:
        now = bounded.clock.now()
        """Of what others leave free it takes a part, so there is always something left for the next address."""
        devices = self.meet(bounded, OF_AN_ADDRESS + 2)
        ends = [self.revoke(bounded, device, address=f"2001:db8::{n:x}") for n, device in enumerate(devices)]
        assert ends[-3:] == [now + timedelta(minutes=1)] + [now + timedelta(hours=1)] * 2
        (other,) = self.meet(bounded, 1)
        assert self.revoke(bounded, other, address="2001:db8:0:1::1") == now + timedelta(minutes=1)

    def test_is_free_again_once_nothing_of_it_is_alive(self, bounded: Service) -> None:
        for device in self.meet(bounded, NEWCOMERS, guest=True):
            self.revoke(bounded, device)
        bounded.clock.advance(minutes=66)
        (device,) = self.meet(bounded, 1, guest=True)
        assert self.revoke(bounded, device) == bounded.clock.now() + timedelta(minutes=1)

    def test_is_none_for_administrators_who_cover_what_was_withheld(self, bounded: Service) -> None:
        devices = self.meet(bounded, NEWCOMERS + 1, guest=True)
        for device in devices:
            self.revoke(bounded, device)
        withheld, admin = devices[-1], uuid.uuid4()
        assert ("user", withheld.user_id) not in rows(bounded)
        assert self.revoke(bounded, withheld, by=admin) == bounded.clock.now() + timedelta(minutes=1)
        assert ("user", withheld.user_id) in rows(bounded)

    def test_is_larger_where_a_refresh_token_came_twice(self, bounded: Service) -> None:
        """Though whoever has an account can do that to themself."""
        for device in self.meet(bounded, OF_AN_ADDRESS):
            self.revoke(bounded, device)
        (stolen,) = self.meet(bounded, 1)
        self.end(bounded, stolen, allowances.REUSE)
        assert ("session", stolen.id) in rows(bounded)
        for device in self.meet(bounded, OF_AN_ADDRESS_REUSED + 2):
            self.end(bounded, device, allowances.REUSE, address="192.0.2.2")
        assert len(rows(bounded)) < OF_AN_ADDRESS + 1 + OF_AN_ADDRESS_REUSED

    def test_follows_the_room_that_there_is(self, make_service: Callable[..., Service]) -> None:
        """VC11: five managed policies make it almost five times as large."""
        arns = [f"arn:aws:iam::123456789012:policy/deny-{number}" for number in range(5)]
        service = make_service(
            rate_limits="on",
            revocation="role_policy",
            revocation_policy_arns=",".join(arns),
            iam_endpoint_url="http://127.0.0.1:1",
        )
        for device in self.meet(service, 5 * NEWCOMERS + 2, guest=True):
            self.revoke(service, device)
        assert len(rows(service)) == 5 * NEWCOMERS

    def test_of_newcomers_holds_where_they_use_a_refresh_token_twice(self, bounded: Service) -> None:
        """Anybody can do that to an account that cost nothing."""
        for device in self.meet(bounded, NEWCOMERS_REUSED + 3, guest=True):
            self.end(bounded, device, allowances.REUSE)
        assert len(rows(bounded)) == NEWCOMERS_REUSED

    def test_is_not_used_up_by_revoking_again(self, bounded: Service) -> None:
        devices = self.meet(bounded, NEWCOMERS, guest=True)
        for _ in range(2):
            for device in devices:
                self.revoke(bounded, device)
        for device in devices:
            run(bounded, issue, bounded, device.user_id, device.id)
            assert self.revoke(bounded, device) == bounded.clock.now() + timedelta(minutes=1)

    def test_of_what_owners_take_back_is_apart(self, bounded: Service) -> None:
        """A withdrawal revokes what somebody else holds: it is the owner's account that counts."""
        owners = self.meet(bounded, NEWCOMERS_WITHDRAWN + 1, guest=True)
        grantees = self.meet(bounded, len(owners))
        now, told = bounded.clock.now(), []
        for owner, grantee in zip(owners, grantees, strict=True):
            cause = run(bounded, allowances.cause_of_owner, now, owner.user_id)
            who = {"user_id": grantee.user_id, "session_ids": [grantee.id]}
            run(bounded, marks.revoke_devices, Origin("", "sharing"), now, **who, cause=cause)
            told.append(("session", grantee.id) in rows(bounded))
        assert told == [True] * NEWCOMERS_WITHDRAWN + [False]
        (guest,) = self.meet(bounded, 1, guest=True)
        self.revoke(bounded, guest)
        assert ("user", guest.user_id) in rows(bounded)

    def test_of_quotas_is_apart(self, bounded: Service) -> None:
        """Else a few guests who revoke their own would let every newcomer upload beyond a quota."""
        for device in self.meet(bounded, NEWCOMERS + 1, guest=True):
            self.revoke(bounded, device)
        (full,) = self.meet(bounded, 1, guest=True)
        who = {"user_id": full.user_id, "actor_id": None, "session_id": None}
        run(bounded, marks.revoke_user, Origin("", "usage"), bounded.clock.now(), **who, reason=QuotaExceeded.code)
        assert ("user", full.user_id) in rows(bounded)

    def test_shows_in_the_look_up_of_a_key(self, bounded: Service) -> None:
        devices = self.meet(bounded, NEWCOMERS + 1, guest=True)
        for device in devices:
            self.revoke(bounded, device)
        stated = run(bounded, effective_by_of_each, bounded, [devices[0].user_id, devices[-1].user_id])
        assert stated == [bounded.clock.now() + timedelta(hours=1)] * 2  # nobody has told the engine yet
        run(bounded, lambda session: session.execute(update(Revocation).values(applied_at=bounded.clock.now())))
        stated = run(bounded, effective_by_of_each, bounded, [devices[0].user_id, devices[-1].user_id])
        assert stated == [bounded.clock.now() + timedelta(minutes=1), bounded.clock.now() + timedelta(hours=1)]


def effective_by_of_each(session: Session, service: Service, user_ids: list[uuid.UUID]) -> list[datetime | None]:
    found = [
        session.scalars(select(IssuedCredential).where(IssuedCredential.user_id == user_id)).one()
        for user_id in user_ids
    ]
    return [effective.effective_by_of(session, service.settings, one) for one in found]
