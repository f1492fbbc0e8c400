"""What gives way where the engine has no room for all revocations, and that strangers never bring it so far."""

import math
import os
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.records.audit import Origin
from app.records.models import EVERYONE, DeviceSession, IssuedCredential, Revocation, User
from app.revocation import allowances, denials, effective, floor, job, marks
from app.revocation.floor import Floor
from tests.revocation.test_marks import add_user, issue, run
from tests.support.service import Device, Service
from tests.vending.crowd import sign_in

AGED = timedelta(days=2)
SIZE = 8192
Fits = Callable[[Sequence[Revocation]], bool]


@pytest.fixture
def bounded(make_service: Callable[..., Service]) -> Service:
    return make_service(rate_limits="on", revocation="role_policy", iam_endpoint_url="http://127.0.0.1:1")


def fits(rows: Sequence[Revocation]) -> bool:
    return len(denials.build(job._denials(rows))) <= SIZE


def revoke(service: Service, user_id: uuid.UUID, *, address: str, reason: str = "own_wish") -> None:
    origin, now = Origin("some request", address), service.clock.now()
    who = {"user_id": user_id, "actor_id": user_id, "session_id": None}
    run(service, marks.revoke_user, origin, now, **who, reason=reason)


def make_room(service: Service, fits: Fits = fits) -> Floor | None:
    return run(service, floor.make_room, service.clock.now(), fits)  # type: ignore[no-any-return]


def told(service: Service) -> Sequence[Revocation]:
    return run(service, floor.told, service.clock.now())  # type: ignore[no-any-return]


def add_guests(session: Session, service: Service, count: int) -> list[tuple[uuid.UUID, uuid.UUID]]:
    return add_users(session, service, count, guest=True)


def add_users(
    session: Session, service: Service, count: int, *, guest: bool = False, age: timedelta = timedelta(0)
) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Users, each with a session and a credential: ids of users and sessions."""
    now = service.clock.now()
    made = [(uuid.uuid4(), uuid.uuid4()) for _ in range(count)]
    session.execute(
        insert(User),
        [{"id": one, "guest": guest, "status": "active", "role": "user", "created_at": now - age} for one, _ in made],
    )
    moments = {"created_at": now, "authenticated_at": now, "last_used_at": now, "expires_at": now + timedelta(days=1)}
    session.execute(
        insert(DeviceSession), [{"id": device, "user_id": one, "method": "guest", **moments} for one, device in made]
    )
    session.execute(
        insert(IssuedCredential),
        [
            {
                "id": uuid.uuid4(),
                "user_id": one,
                "session_id": device,
                "access_key_id": device.hex,
                "access": "read",
                "prefix": "p",
                "role_session_name": "n",
                "issued_at": now,
                "expires_at": now + timedelta(hours=1),
            }
            for one, device in made
        ],
    )
    return made


def act(
    session: Session, service: Service, number: int, user: tuple[uuid.UUID, uuid.UUID], address: str | None = None
) -> None:
    """One of the ways in which users have their own credentials revoked."""
    (user_id, device), now = user, service.clock.now()
    origin = Origin("some request", address or f"198.51.100.{number % 100}")
    if number % 4 == 0:
        who = {"user_id": user_id, "actor_id": user_id, "session_id": device}
        marks.revoke_user(session, origin, now, **who, reason="own_wish")
        return
    reason = ("logout", allowances.REUSE, "erased")[number % 4 - 1]
    actor_id = None if reason == allowances.REUSE else user_id
    who = {"user_id": user_id, "session_ids": [device], "actor_id": actor_id}
    marks.revoke_sessions(session, origin, now, **who, reason=reason)


def again(device: Device) -> Device:
    """The same device, with an access token of now."""
    who = {"user_id": uuid.UUID(device.user_id), "session_id": uuid.UUID(device.session_id)}
    device.access_token = device.service.runtime.tokens.mint(**who, authenticated_at=device.service.clock.now())
    return device


@pytest.mark.all
@pytest.mark.both_databases
class TestStrangers:
    def test_any_number_of_guests_of_a_hundred_addresses_never_raise_the_floor(self, bounded: Service) -> None:
        """VC11: and a bystander is served the same credential from the cache as long as ever.

        A thousand do in the suite, which is far beyond any share. `GUESTS=10000` tries all, for some minutes.
        """
        a_minute = math.ceil(int(os.environ.get("GUESTS", "1000")) / 60)
        (bystander,) = sign_in(bounded, 1)
        key = bystander.vend().json()["access_key_id"]
        at_most = 0
        for minute in range(60):
            guests = run(bounded, add_guests, bounded, a_minute)
            for start in range(0, len(guests), 50):

                def act_all(session: Session, start: int = start, guests: Any = guests) -> None:
                    for number, guest in enumerate(guests[start : start + 50], start):
                        act(session, bounded, number, guest)

                run(bounded, act_all)
            claim = run(bounded, job._claim, bounded.clock.now(), bounded.settings)
            assert claim is not None
            assert claim.raised is None
            at_most = max(at_most, len(claim.document))
            if minute < 29:  # more than half of its life is left
                assert again(bystander).vend().json()["access_key_id"] == key
            bounded.clock.advance(minutes=1)
        assert bounded.sql("SELECT count(*) FROM users WHERE guest") == [(60 * a_minute,)]
        assert bounded.sql("SELECT count(*) FROM issued_credentials WHERE revoked_at IS NOT NULL") == [(60 * a_minute,)]
        assert bounded.sql("SELECT count(*) FROM audit_events WHERE event = 'credential.all_revoked'") == [(0,)]
        assert at_most < SIZE / 4

    @pytest.mark.parametrize("addresses", [1, 100])
    def test_with_accounts_of_yesterday_never_raise_it_either(self, bounded: Service, addresses: int) -> None:
        """VC11: by refresh tokens that they use twice at one address, or by all ways at a hundred."""
        strangers = run(bounded, add_users, bounded, 400, age=AGED)

        def act_and_vend(session: Session, numbers: range) -> None:
            for number in numbers:
                way = 2 if addresses == 1 else number
                act(session, bounded, way, strangers[number], f"198.51.100.{number % addresses}")
                issue(session, bounded, *strangers[number])

        for first in range(0, 400, 20):
            run(bounded, act_and_vend, range(first, first + 20))
            bounded.clock.advance(seconds=1)
        (bystander,) = run(bounded, add_user, bounded, devices=1, age=AGED)
        revoke(bounded, bystander.user_id, address="192.0.2.1")
        if addresses == 1:
            assert bystander.user_id in {row.subject_id for row in told(bounded)}, "there is room elsewhere"
        assert fits(told(bounded)) or make_room(bounded) is None

    def test_give_way_before_anybody_else_does(self, bounded: Service) -> None:
        """VC11: they are not what brings the floor about, however little room there is."""
        (guest,) = run(bounded, add_user, bounded, devices=1, guest=True)
        (ada,) = run(bounded, add_user, bounded, devices=1, age=AGED)
        for number, user in enumerate((guest, ada)):
            revoke(bounded, user.user_id, address=f"192.0.2.{number}")
        assert make_room(bounded, lambda rows: len(rows) == 1) is None
        assert [row.subject_id for row in told(bounded)] == [ada.user_id]
        now = bounded.clock.now()
        ends = [run(bounded, effective.effective_by, now, bounded.settings, one.user_id) for one in (guest, ada)]
        assert ends == [now + timedelta(hours=1), now + timedelta(minutes=1)]


@pytest.mark.both_databases
class TestUsersWhoGoOn:
    def meet(self, service: Service, count: int) -> list[DeviceSession]:
        """Users who revoke what they have, a second apart."""
        devices = []
        for number in range(count):
            devices += run(service, add_user, service, devices=1, age=AGED)
            revoke(service, devices[-1].user_id, address=f"192.0.2.{number}")
            service.clock.advance(seconds=1)
        return devices

    def test_share_one_second_where_each_has_none_of_room(self, bounded: Service) -> None:
        """One statement for all: more than four times as many fit."""
        devices = self.meet(bounded, 60)
        assert not fits(told(bounded))
        assert make_room(bounded) is None
        (moment,) = {row.not_before for row in told(bounded)}
        assert moment == bounded.clock.now() + timedelta(seconds=1)
        assert fits(told(bounded))
        assert len(devices) == len(told(bounded))

    def test_keep_what_they_got_since(self, bounded: Service) -> None:
        devices = self.meet(bounded, 50)
        run(bounded, issue, bounded, devices[0].user_id, devices[0].id)
        before = {row.subject_id: row.not_before for row in told(bounded)}
        assert make_room(bounded) is None
        after = {row.subject_id: row.not_before for row in told(bounded)}
        assert after[devices[0].user_id] == before[devices[0].user_id]
        assert len(set(after.values())) == 2
        assert len(run(bounded, unrevoked)) == 1

    def test_are_revoked_once_more_before_everybody_is(self, bounded: Service) -> None:
        devices = self.meet(bounded, 50)
        for device in devices:
            run(bounded, issue, bounded, device.user_id, device.id)
        bounded.clock.advance(seconds=1)
        assert make_room(bounded) is None
        assert run(bounded, unrevoked) == []
        assert len({row.not_before for row in told(bounded)}) == 1


def unrevoked(session: Session) -> Sequence[uuid.UUID]:
    return session.scalars(select(IssuedCredential.id).where(IssuedCredential.revoked_at.is_(None))).all()


@pytest.mark.both_databases
class TestFloor:
    def test_names_its_cause_and_leaves_what_is_withheld(self, bounded: Service) -> None:
        devices = [run(bounded, add_user, bounded, devices=1, age=AGED)[0] for _ in range(4)]
        for number, device in enumerate(devices):
            revoke(bounded, device.user_id, address=f"192.0.2.{number // 2}", reason=("own_wish", "x")[number == 0])
        withheld = devices[-1].user_id
        run(bounded, withhold, withheld)
        raised = make_room(bounded, lambda rows: False)
        assert raised is not None
        assert (raised.revocations, raised.cause, raised.sources) == (3, "own_act", 2)
        assert raised.reasons == {"own_wish": 2, "x": 1}
        assert [row.subject_id for row in told(bounded)] == [EVERYONE]
        assert bounded.sql("SELECT count(*) FROM revocations WHERE withheld") == [(1,)]
        ((detail,),) = bounded.sql("SELECT detail FROM audit_events WHERE event = 'credential.all_revoked'")
        assert "own_wish: 2, x: 1" in str(detail)


def withhold(session: Session, subject_id: uuid.UUID) -> None:
    session.execute(update(Revocation).where(Revocation.subject_id == subject_id).values(withheld=True))
