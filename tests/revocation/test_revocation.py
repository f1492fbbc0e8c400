"""Revocation: what each sign-out and each wish writes, what the role is told of it, and who still opens what."""

import asyncio
import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy.orm import Session

from app.admin import prune
from app.records import audit
from app.records.actor import Actor
from app.records.models import EVERYONE
from app.revocation import denials, effective, floor, job, marks
from app.revocation.iam_writer import POLICY_NAME, PROBE, IamFailed, RoleDenials
from app.vending import vending
from tests.revocation.test_denials import Credential, of_device
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem
from tests.support.authenticator import enable
from tests.support.canned_iam import CannedIam, Managed
from tests.support.databases import SqliteDatabases
from tests.support.engine import eventually
from tests.support.outside import guest
from tests.support.redis import redis_server
from tests.support.service import PASSWORD, ROLE_ARN, Device, Service, running_service
from tests.vending.crowd import sign_in

ROLE = ROLE_ARN.rpartition("/")[2]
NEW_PASSWORD = "copper walnut lighthouse"
WHY = {"reason": "stolen phone"}
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def iam() -> Iterator[CannedIam]:
    canned = CannedIam()
    yield canned
    canned.close()


MakeTold = Callable[..., Service]


@pytest.fixture
def make_told(make_service: Callable[..., Service], iam: CannedIam) -> MakeTold:
    """A service that tells the role."""
    return lambda **changes: make_service(**({"revocation": "role_policy", "iam_endpoint_url": iam.url} | changes))


@pytest.fixture
def told(make_told: MakeTold) -> Service:
    return make_told()


def work(service: Service) -> bool:
    """One pass of the job."""
    assert service.client.portal is not None
    return service.client.portal.call(job.apply_next, service.runtime.platform, service.runtime.role_denials)


def policy(iam: CannedIam) -> str:
    return iam.policies.get((ROLE, POLICY_NAME), "")


def texts(iam: CannedIam) -> list[str]:
    """All that the role denies by, inline and managed."""
    return [policy(iam), *(one.document for one in iam.managed.values() if one.document != "{}")]


def opens(iam: CannedIam, one: Credential) -> bool:
    return all(one.opens(text) for text in texts(iam))


def work_all(service: Service) -> None:
    """Passes until there is nothing more to do."""
    for _ in range(60):
        if not work(service):
            return
        service.clock.advance(seconds=1)
    raise AssertionError("it never ends")


def credential(device: Device, *, issued_at: datetime | None = None) -> Credential:
    issued_at = issued_at or device.service.clock.now()
    return Credential(uuid.UUID(device.user_id), uuid.UUID(device.session_id), issued_at)


def revoked(service: Service, device: Device) -> list[bool]:
    rows = service.sql(
        "SELECT revoked_at IS NOT NULL FROM issued_credentials WHERE session_id = :id ORDER BY issued_at",
        id=stored(service, device.session_id),
    )
    return [bool(row[0]) for row in rows]


def stored(service: Service, an_id: str) -> Any:
    """An id as the database keeps it."""
    return an_id if service.runtime.platform.database.engine.dialect.name == "postgresql" else uuid.UUID(an_id).hex


def rows(service: Service) -> list[tuple[str, str]]:
    """Scope and subject of what was revoked."""
    found = service.sql("SELECT scope, subject_id FROM revocations ORDER BY scope, subject_id")
    return [(scope, str(uuid.UUID(str(subject)))) for scope, subject in found]


def cleaned(service: Service) -> bool:
    """Deletes what is of no more use."""
    service.runtime.platform.database.run("write", prune.delete_stale, service.clock.now())
    return True


def noted(service: Service, event: str = "credential.revoked") -> list[tuple[str | None, Any]]:
    """Actor and detail of the events, oldest first."""
    admin = service.staff(email=f"{uuid.uuid4()}@example.org")
    found = admin.get("/v1/admin/audit-events", params={"event": event}).json()["items"]
    return [(row["actor_id"], {one["name"]: one["value"] for one in row["detail"]}) for row in found[::-1]]


def again(device: Device) -> Device:
    """The same user on another device."""
    return device.service.device(device.email)


class TestOwnWish:
    def test_revokes_what_every_device_has(self, service: Service, hashing: CountingContext) -> None:
        phone, bob = service.device(), service.device()
        tablet = again(phone)
        for device in (phone, tablet, bob):
            assert device.vend().status_code == 200
        tablet.vend(path="albums/", duration_seconds=900)
        service.clock.advance(minutes=20)  # the second one of the tablet's has expired
        answer = again(phone).post("/v1/credentials/revoke")
        assert answer.status_code == 202
        assert answer.json()["revoked"] == 2
        assert [revoked(service, device) for device in (phone, bob)] == [[True], [False]]
        assert sorted(revoked(service, tablet)) == [False, True]
        assert rows(service) == [("user", phone.user_id)]
        assert noted(service) == [(phone.user_id, {"reason": "own_wish", "count": "2"})]

    def test_says_when_they_expire_where_nobody_tells_the_engine(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        device.vend()
        device.vend(path="a/", duration_seconds=900)
        assert device.post("/v1/credentials/revoke").json() == {"revoked": 2, "effective_by": "2026-06-01T13:00:00Z"}
        service.clock.advance(minutes=1)
        assert device.post("/v1/credentials/revoke").json() == {"revoked": 0, "effective_by": "2026-06-01T13:00:00Z"}

    def test_of_nothing_is_effective_now_and_not_told_to_the_engine(self, told: Service, iam: CannedIam) -> None:
        """VC11: whoever never held a credential takes no room from those who did."""
        (device,) = sign_in(told, 1)
        assert device.post("/v1/credentials/revoke").json() == {"revoked": 0, "effective_by": "2026-06-01T12:00:00Z"}
        assert rows(told) == [("user", device.user_id)]
        assert not work(told)
        assert (policy(iam), iam.forms) == ("", [])
        told.clock.advance(minutes=11)
        assert cleaned(told)
        assert rows(told) == []

    def test_says_within_what_time_the_engine_refuses_them(self, make_told: MakeTold) -> None:
        service = make_told(revocation_delay=90)
        (device,) = sign_in(service, 1)
        device.vend()
        assert device.post("/v1/credentials/revoke").json()["effective_by"] == "2026-06-01T12:01:30Z"

    def test_promises_nothing_that_iam_does_not_keep(self, told: Service, iam: CannedIam) -> None:
        (device,) = sign_in(told, 1)
        device.vend()
        iam.fail("AccessDenied", 403)
        device.post("/v1/credentials/revoke")
        work(told)
        told.clock.advance(seconds=2)
        device.vend()
        assert device.post("/v1/credentials/revoke").json()["effective_by"] == "2026-06-01T13:00:02Z"

    def test_is_limited_by_user(self, make_service: Callable[..., Service]) -> None:
        service = make_service(rate_limits="on")
        ada, bob = sign_in(service, 2)
        statuses = [ada.post("/v1/credentials/revoke").status_code for _ in range(11)]
        assert statuses == [202] * 10 + [429]
        assert bob.post("/v1/credentials/revoke").status_code == 202


class TestAdministrators:
    def test_revoke_what_a_user_has_who_goes_on(self, service: Service, hashing: CountingContext) -> None:
        admin, ada = service.staff(), service.device()
        ada.vend()
        answer = admin.post(f"/v1/admin/users/{ada.user_id}/revoke-credentials", WHY)
        assert (answer.status_code, answer.json()["id"]) == (200, ada.user_id)
        assert revoked(service, ada) == [True]
        assert noted(service) == [(admin.user_id, {"reason": "stolen phone", "count": "1"})]
        service.clock.advance(seconds=1)
        assert ada.vend().status_code == 200

    def test_support_may_not(self, service: Service, hashing: CountingContext) -> None:
        support, ada = service.staff("support"), service.device()
        ada.vend()
        assert_problem(support.post(f"/v1/admin/users/{ada.user_id}/revoke-credentials", WHY), 403, "forbidden")
        assert revoked(service, ada) == [False]
        assert rows(service) == []

    def test_find_when_a_key_stops(self, told: Service, hashing: CountingContext) -> None:
        """Once the engine was told it is a matter of seconds; before that nothing but the expiry is sure."""
        admin, ada = told.staff(), told.device()
        key = ada.vend().json()["access_key_id"]

        def known() -> Any:
            found = admin.get(f"/v1/admin/access-keys/{key}").json()
            return found["alive"], found["credential"]["revoked_at"], found["credential"]["effective_by"]

        assert known() == (True, None, None)
        ada.post("/v1/credentials/revoke")
        assert known() == (False, "2026-06-01T12:00:00Z", "2026-06-01T13:00:00Z")
        work(told)
        assert known() == (False, "2026-06-01T12:00:00Z", "2026-06-01T12:01:00Z")


Act = Callable[[Service, Device, Device], Any]


def lose_password(service: Service, email: str) -> None:
    service.client.post("/v1/password-resets", json={"email": email})
    body = {"token": service.mails(email)[-1].token, "new_password": NEW_PASSWORD}
    assert service.client.post("/v1/password-resets/confirm", json=body).status_code == 204


def reuse(service: Service, phone: Device) -> None:
    stolen = phone.refresh_token
    newer = service.refresh(stolen).json()["refresh_token"]
    assert service.refresh(newer).status_code == 200
    assert_problem(service.refresh(stolen), 401, "refresh_token_reused")


def administer(service: Service, phone: Device, act: str) -> None:
    answer = service.staff(email=f"{uuid.uuid4()}@example.org").post(f"/v1/admin/users/{phone.user_id}/{act}", WHY)
    assert answer.status_code == 200, answer.text


def erase_by_admin(service: Service, phone: Device) -> None:
    admin = service.staff(email=f"{uuid.uuid4()}@example.org")
    path = f"/v1/admin/users/{phone.user_id}"
    assert service.client.request("DELETE", path, json=WHY, headers=admin.headers).status_code == 202


CHANGE = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
TRIGGERS: dict[str, tuple[Act, bool, bool]] = {
    "logout": (lambda s, a, b: s.client.post("/v1/auth/logout", json={"refresh_token": a.refresh_token}), True, False),
    "own_device": (lambda s, a, b: a.delete(f"/v1/me/sessions/{a.session_id}"), True, False),
    "other_device": (lambda s, a, b: b.delete(f"/v1/me/sessions/{a.session_id}"), True, False),
    "all_devices": (lambda s, a, b: a.delete("/v1/me/sessions"), True, True),
    "reuse": (lambda s, a, b: reuse(s, a), True, False),
    "password_change": (lambda s, a, b: b.put("/v1/me/password", CHANGE), True, False),
    "password_reset": (lambda s, a, b: lose_password(s, a.email), True, True),
    "second_factor": (lambda s, a, b: enable(b), True, False),
    "erasure": (lambda s, a, b: a.erase(), True, True),
    "admin_sign_out": (lambda s, a, b: administer(s, a, "sign-out"), True, True),
    "admin_disable": (lambda s, a, b: administer(s, a, "disable"), True, True),
    "admin_reset_mfa": (lambda s, a, b: administer(s, a, "reset-mfa"), True, True),
    "admin_erasure": (lambda s, a, b: erase_by_admin(s, a), True, True),
}
"""What is done, and whether it takes phone and tablet of a user their credentials."""


@pytest.mark.both_databases
@pytest.mark.parametrize("name", TRIGGERS)
class TestTriggers:
    def test_revoke_what_the_devices_have_that_they_sign_out(
        self, told: Service, iam: CannedIam, hashing: CountingContext, name: str
    ) -> None:
        """The engine denies these and no others, and whoever goes on is served from the cache as before."""
        act, *signed_out = TRIGGERS[name]
        phone, bob = told.device(), told.device()
        tablet = again(phone)
        devices = phone, tablet, bob
        keys = [device.vend().json()["access_key_id"] for device in devices]
        act(told, phone, tablet)
        expected = [*signed_out, False]
        assert [revoked(told, device) for device in devices] == [[one] for one in expected]
        gone = [device for device, one in zip(devices, expected, strict=True) if one]
        assert rows(told) == sorted(("session", device.session_id) for device in gone)
        work(told)
        assert [credential(device).opens(policy(iam)) for device in devices] == [not one for one in expected]
        served = [device.vend().json().get("access_key_id") for device in devices]
        assert served == [None if one else key for key, one in zip(keys, expected, strict=True)]

    def test_write_nothing_where_nothing_is_out(self, told: Service, hashing: CountingContext, name: str) -> None:
        phone = told.device()
        tablet = again(phone)
        TRIGGERS[name][0](told, phone, tablet)
        assert rows(told) == []
        assert noted(told) == []


class TestGuest:
    def test_who_is_disabled_keeps_the_session_and_loses_the_credentials(
        self, told: Service, iam: CannedIam, hashing: CountingContext
    ) -> None:
        device = guest(told)
        device.vend()
        administer(told, device, "disable")
        assert (revoked(told, device), rows(told)) == ([True], [("user", device.user_id)])
        work(told)
        assert not credential(device).opens(policy(iam))
        administer(told, device, "enable")
        told.clock.advance(seconds=1)
        assert device.vend().status_code == 200
        assert credential(device).opens(policy(iam))


@pytest.mark.both_databases
class TestVendingAgain:
    @pytest.fixture(autouse=True)
    def asked_again_soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The clock of the service stands still while it waits for it."""
        monkeypatch.setattr(vending, "LONGEST_WAIT", 0.2)

    def test_gives_no_credential_that_was_cached(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        first = device.vend().json()
        device.post("/v1/credentials/revoke")
        service.clock.advance(seconds=1)
        second = device.vend().json()
        assert second["access_key_id"] != first["access_key_id"]
        assert device.vend().json()["access_key_id"] == second["access_key_id"]

    @pytest.mark.all
    def test_nor_one_of_the_shared_cache(self, tmp_path: Path, sqlite_databases: SqliteDatabases) -> None:
        url = sqlite_databases.create(tmp_path)
        with redis_server() as redis, ExitStack() as stack:
            one, other = (stack.enter_context(running_service(url, cache_url=redis.url)) for _ in range(2))
            (device,) = sign_in(one, 1)
            elsewhere = Device(other, "", device.access_token, "", device.session_id, device.user_id)
            first = device.vend().json()["credential_id"]
            assert elsewhere.vend().json()["credential_id"] == first
            device.post("/v1/credentials/revoke")
            for service in (one, other):
                service.clock.advance(seconds=1)
            second = elsewhere.vend().json()["credential_id"]
            assert (second != first, device.vend().json()["credential_id"]) == (True, second)

    def test_waits_for_the_next_second(self, told: Service, iam: CannedIam) -> None:
        """STS tells seconds apart, not less: a credential of the same one would be revoked too."""
        (device,) = sign_in(told, 1)
        told.clock.advance(milliseconds=400)
        device.vend()
        device.post("/v1/credentials/revoke")
        work(told)
        moved = threading.Timer(0.1, told.clock.advance, kwargs={"milliseconds": 600})
        moved.start()
        answer = device.vend()
        moved.join()
        assert answer.status_code == 200
        assert not credential(device, issued_at=NOON).opens(policy(iam))
        assert credential(device, issued_at=told.clock.now()).opens(policy(iam))

    def test_is_refused_while_sts_lags_behind(self, told: Service) -> None:
        """Its clock has not reached the second of the revocation: what it issues is denied."""
        (device,) = sign_in(told, 1)
        device.vend()
        device.post("/v1/credentials/revoke")
        answer = device.vend()
        assert_problem(answer, 503, "sts_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        told.clock.advance(seconds=1)
        assert device.vend().status_code == 200

    def test_covers_what_sts_issued_by_a_clock_that_is_ahead(self, told: Service, iam: CannedIam) -> None:
        (device,) = sign_in(told, 1)
        ahead = timedelta(seconds=40)
        told.sts._clock = Ahead(told.clock, ahead)
        device.vend()
        device.post("/v1/credentials/revoke")
        work(told)
        assert not credential(device, issued_at=told.clock.now() + ahead).opens(policy(iam))
        assert device.vend().status_code == 503
        told.clock.advance(seconds=1)
        assert device.vend().status_code == 200
        assert credential(device, issued_at=told.clock.now() + ahead).opens(policy(iam))

    def test_drops_what_was_on_its_way(self, service: Service) -> None:
        """A credential that STS issued before the revocation, and that the ledger got after it, is seen by nobody."""
        (device,) = sign_in(service, 1)
        revoke_once = iter([True])

        def revoke_meanwhile(form: dict[str, str]) -> None:
            if form["Action"] == "AssumeRole" and next(revoke_once, False):
                assert device.post("/v1/credentials/revoke").status_code == 202
                service.clock.advance(seconds=1)

        service.sts.before_answer = revoke_meanwhile
        answer = device.vend()
        assert answer.status_code == 200
        assert answer.json()["access_key_id"] == "ASIACANNED0000000002"
        assert device.vend().json()["access_key_id"] == "ASIACANNED0000000002"

    def test_drops_what_waited_for_the_revocation_at_the_ledger(self, service: Service) -> None:
        """The ledger's statement has begun when the revocation is committed, and so does not see it."""
        (device,) = sign_in(service, 1)
        begun, threads = threading.Event(), []

        def revoke_slowly(session: Session) -> None:
            actor = Actor(uuid.UUID(device.user_id), uuid.UUID(device.session_id), "user", NOON, False, False)
            effective.revoke_own(session, audit.COMMAND_LINE, service.clock.now(), service.settings, actor)
            begun.set()
            eventually(lambda: waits_for_a_lock(service), within=1)
            service.clock.advance(seconds=1)

        def meanwhile(form: dict[str, str]) -> None:
            if form["Action"] == "AssumeRole" and not threads:
                threads.append(
                    threading.Thread(target=service.runtime.platform.database.run, args=("write", revoke_slowly))
                )
                threads[0].start()
                assert begun.wait(20)

        service.sts.before_answer = meanwhile
        answer = device.vend()
        threads[0].join()
        assert answer.status_code == 200
        assert answer.json()["access_key_id"] == "ASIACANNED0000000002"

    @pytest.mark.parametrize("seed", range(6))
    def test_never_gives_what_was_on_its_way_at_a_revocation_of_nothing(self, told: Service, seed: int) -> None:
        """VC11: the engine is told of nobody who has nothing in the ledger, and yet nothing slips through.

        The revocation comes at any moment of the vend: before STS is asked, while it works, or at the ledger.
        """
        random, devices = Random(seed), sign_in(told, 6)
        told.sts.before_answer = lambda _form: time.sleep(random.uniform(0, 0.03))
        pause = [random.uniform(0, 0.06) for _ in devices]

        def revoke(device: Device, seconds: float) -> None:
            time.sleep(seconds)
            assert device.post("/v1/credentials/revoke").status_code == 202

        with ThreadPoolExecutor(2 * len(devices)) as threads:
            vends = [threads.submit(device.vend) for device in devices]
            list(threads.map(revoke, devices, pause))
        answers = [vend.result() for vend in vends]
        for device, answer in zip(devices, answers, strict=True):
            # Its clock stands still, so nothing that STS issues is of a later second than the revocation.
            known = told.sql(
                "SELECT r.withheld FROM revocations r JOIN issued_credentials c ON c.user_id = r.user_id"
                " WHERE c.access_key_id = :key AND c.revoked_at IS NOT NULL",
                key=answer.json().get("access_key_id", ""),
            )
            assert answer.status_code == 503 or [bool(withheld) for (withheld,) in known] == [False], device.user_id
        told.clock.advance(seconds=1)
        assert [device.vend().status_code for device in devices] == [200] * len(devices)

    def test_that_takes_longer_than_a_revocation_is_remembered_gives_nothing_of_before(self, told: Service) -> None:
        (device,) = sign_in(told, 1)
        once = iter([True])

        def freeze(form: dict[str, str]) -> None:
            if form["Action"] == "AssumeRole" and next(once, False):
                device.post("/v1/credentials/revoke")
                told.clock.advance(minutes=11)
                assert cleaned(told)

        told.sts.before_answer = freeze
        assert device.vend().json()["access_key_id"] == "ASIACANNED0000000002"


def waits_for_a_lock(service: Service) -> bool:
    """Whether another session of PostgreSQL's does; SQLite does not say."""
    if service.runtime.platform.database.engine.dialect.name == "sqlite":
        return False
    return service.sql("SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)]


@dataclass
class Ahead:
    clock: Any
    by: timedelta

    def now(self) -> datetime:
        return self.clock.now() + self.by

    def monotonic(self) -> float:
        return self.clock.monotonic()


def revoke_many(service: Service, count: int, random: Random | None = None) -> list[Credential]:
    """As many devices, each of a user of its own, with a credential in the ledger, signed out one by one."""
    known = [Credential(uuid.uuid4(), uuid.uuid4(), service.clock.now()) for _ in range(count)]
    issue(service, known, random)

    def revoke_each(session: Session) -> None:
        for one in known:
            marks.revoke_sessions(
                session,
                audit.COMMAND_LINE,
                service.clock.now(),
                user_id=one.user_id,
                session_ids=[one.session_id],
                actor_id=None,
                reason="test",
            )

    service.runtime.platform.database.run("write", revoke_each)
    return known


def issue(service: Service, known: list[Credential], random: Random | None = None) -> None:
    for one in known:
        service.sql(
            "INSERT INTO issued_credentials (id, user_id, session_id, access_key_id, access, prefix,"
            " role_session_name, issued_at, expires_at) VALUES (:id, :user, :session, :key, 'read', 'p', :name,"
            " :issued, :expires)",
            id=stored(service, str(uuid.uuid4())),
            user=stored(service, str(one.user_id)),
            session=stored(service, str(one.session_id)),
            key=uuid.uuid4().hex,
            name=one.name,
            issued=moment(service, one.issued_at),
            expires=moment(service, one.issued_at + timedelta(minutes=random.randint(15, 60) if random else 60)),
        )


def moment(service: Service, at: datetime) -> Any:
    """A time as the database keeps it."""
    if service.runtime.platform.database.engine.dialect.name == "postgresql":
        return at
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


class TestPolicy:
    def test_is_written_by_the_job_that_the_sign_out_wakes(
        self, database_url: str, iam: CannedIam, hashing: CountingContext
    ) -> None:
        settings = {"revocation": "role_policy", "iam_endpoint_url": iam.url}
        with running_service(database_url, background=True, **settings) as service:
            assert eventually(lambda: bool(service.client.get("/healthz")))
            phone = service.device()
            phone.vend()
            phone.delete("/v1/me/sessions")
            assert eventually(lambda: not credential(phone).opens(policy(iam)))

    @pytest.mark.all
    def test_of_a_thousand_revocations_is_one_write(self, told: Service, iam: CannedIam) -> None:
        """And where there is no room for them, one floor for all, which log, metric and audit tell of."""
        known = revoke_many(told, 1000)
        assert work(told)
        told.clock.advance(seconds=1)
        assert not work(told)
        assert len(iam.writes) == 1
        assert not any(one.opens(policy(iam)) for one in known)
        assert rows(told) == [("everyone", str(EVERYONE))]
        assert Credential(uuid.uuid4(), uuid.uuid4(), told.clock.now()).opens(policy(iam))
        assert 'tokenvend_revocation_floors_total{cause="administrator"} 1.0' in told.client.get("/metrics").text
        ((actor, detail),) = noted(told, "credential.all_revoked")
        assert (actor, detail["revocations"]) == (None, "1000")

    @pytest.mark.all
    def test_of_everybody_makes_each_key_a_dead_one(self, told: Service) -> None:
        """Of those that nobody revoked, too, the look-up says when they stop."""
        bystander, support = told.device(), told.staff("support")
        before = bystander.vend().json()["access_key_id"]
        revoke_many(told, 1000)
        assert work(told)
        told.clock.advance(seconds=1)
        after = bystander.vend().json()["access_key_id"]
        found = [support.get(f"/v1/admin/access-keys/{key}").json() for key in (before, after)]
        assert [one["alive"] for one in found] == [False, True]
        assert found[0]["credential"]["revoked_at"] is not None
        assert found[0]["credential"]["effective_by"] < found[0]["credential"]["expiration"]
        assert found[1]["credential"]["effective_by"] is None

    def test_of_everybody_shows_wherever_credentials_are_told_of(self, make_told: MakeTold) -> None:
        """The user's list, the administrators', the counts; but not in one that had expired by then."""
        told = make_told(revocation_policy_size=1024)
        bystander = told.device()
        bystander.vend(duration_seconds=900)
        told.clock.advance(minutes=16)
        bystander, support = again(bystander), told.staff("support")
        bystander.vend()
        revoke_many(told, 60)
        assert work(told)
        told.clock.advance(seconds=1)
        bystander.vend()
        own = bystander.get("/v1/me/credentials").json()["items"]
        assert [one["revoked_at"] is not None for one in own] == [False, True, False]
        assert support.get(f"/v1/admin/users/{bystander.user_id}/credentials").json()["items"] == own
        exported = bystander.get("/v1/me/export").json()["credentials"]
        assert [one["revoked_at"] for one in exported[::-1]] == [one["revoked_at"] for one in own]
        assert support.get("/v1/admin/stats", params={"window": "1h"}).json()["buckets"][-1]["live_credentials"] == 1

    def test_waits_a_second_after_a_write_and_takes_all_that_came_meanwhile(
        self, told: Service, iam: CannedIam
    ) -> None:
        revoke_many(told, 1)
        work(told)
        known = revoke_many(told, 20)
        assert work(told)
        assert len(iam.writes) == 1
        told.clock.advance(seconds=1)
        work(told)
        assert len(iam.writes) == 2
        assert not any(one.opens(policy(iam)) for one in known)

    @pytest.mark.parametrize("seed", range(12))
    def test_of_any_set_fits_and_denies_the_revoked_alone(self, make_told: MakeTold, iam: CannedIam, seed: int) -> None:
        """Unless all have to go: then whoever has an older credential too, and nobody who gets a new one."""
        random = Random(seed)
        told = make_told(revocation_policy_size=random.choice([1024, 2048, 8192]))
        revoked_ones: list[Credential] = []
        others: list[Credential] = []
        for _ in range(random.randint(1, 5)):
            revoked_ones += revoke_many(told, random.randint(0, 12), random)
            users = [Credential(uuid.uuid4(), uuid.uuid4(), told.clock.now()) for _ in range(random.randint(0, 4))]
            issue(told, users, random)
            for one in users:
                told.runtime.platform.database.run(
                    "write",
                    marks.revoke_user,
                    audit.COMMAND_LINE,
                    told.clock.now(),
                    user_id=one.user_id,
                    actor_id=None,
                    session_id=None,
                    reason="test",
                )
            revoked_ones += users
            others += [Credential(uuid.uuid4(), uuid.uuid4(), told.clock.now()) for _ in range(3)]
            others += [
                Credential(one.user_id, one.session_id, told.clock.now() + timedelta(seconds=1)) for one in users
            ]
            told.clock.advance(seconds=random.randint(2, 60))
            while work(told) and told.clock.now() < NOON + timedelta(hours=1):
                told.clock.advance(seconds=1)
            assert len(policy(iam)) <= told.settings.revocation_policy_size
            assert [one for one in revoked_ones if one.opens(policy(iam))] == []
            raised = any(scope == "everyone" for scope, _ in rows(told))
            floors = [
                row.not_before for row in told.runtime.platform.database.run("read", floor.told, told.clock.now())
            ]
            for one in others:
                assert one.opens(policy(iam)) or (raised and one.issued_at < max(floors))

    def test_is_gone_once_nothing_revoked_can_be_alive(self, told: Service, iam: CannedIam) -> None:
        first = revoke_many(told, 1)[0]
        told.clock.advance(minutes=30)
        second = revoke_many(told, 1)[0]
        work(told)
        told.clock.advance(minutes=34)  # the first expired 4 minutes ago, by our clock
        work(told)
        assert not first.opens(policy(iam))
        told.clock.advance(minutes=2)
        work(told)
        assert (first.opens(policy(iam)), second.opens(policy(iam))) == (True, False)
        told.clock.advance(minutes=30)
        work(told)
        assert iam.policies == {}
        told.clock.advance(minutes=1)
        assert not work(told)

    def test_comes_back_within_the_hour_where_somebody_took_it_away(self, told: Service, iam: CannedIam) -> None:
        (one,) = revoke_many(told, 1)
        work(told)
        iam.policies.clear()
        told.clock.advance(minutes=59)
        assert not work(told)
        told.clock.advance(minutes=2)
        work(told)
        assert not one.opens(policy(iam))

    def test_is_never_written_where_it_is_off(self, service: Service) -> None:
        revoke_many(service, 3)
        assert not work(service)
        assert service.runtime.role_denials is None

    def test_has_what_was_revoked_while_it_was_off(self, database_url: str, service: Service, iam: CannedIam) -> None:
        known = revoke_many(service, 2)
        with running_service(database_url, revocation="role_policy", iam_endpoint_url=iam.url) as later:
            work(later)
        assert not any(one.opens(policy(iam)) for one in known)


ARNS = [f"arn:aws:iam::123456789012:policy/denials-{number}" for number in range(1, 6)]


@pytest.fixture
def spilling(make_told: MakeTold, iam: CannedIam) -> Service:
    """A service that has managed policies besides the inline one."""
    iam.managed = {arn: Managed() for arn in ARNS}
    return make_told(revocation_policy_arns=",".join(ARNS))


@pytest.mark.all
class TestManagedPolicies:
    """VC11: what the inline policy has no room for is denied by managed ones, before everybody is revoked."""

    def test_take_what_the_inline_one_has_no_room_for(self, spilling: Service, iam: CannedIam) -> None:
        bystander = Credential(uuid.uuid4(), uuid.uuid4(), spilling.clock.now())
        known = revoke_many(spilling, 1000)
        work_all(spilling)
        assert not any(opens(iam, one) for one in known)
        assert opens(iam, bystander)
        assert len(rows(spilling)) == 1000
        assert [len(one.versions) for one in iam.managed.values()] == [2, 2, 2, 2, 1]
        metrics = spilling.client.get("/metrics").text
        assert 'tokenvend_revocation_floors_total{cause="administrator"} 0.0' in metrics
        assert "tokenvend_revocations_pending 0.0" in metrics

    def test_leave_the_floor_to_when_all_are_full(self, spilling: Service, iam: CannedIam) -> None:
        known = revoke_many(spilling, 1000)
        work_all(spilling)
        known += revoke_many(spilling, 450)
        work_all(spilling)
        assert rows(spilling) == [("everyone", str(EVERYONE))]
        assert not any(opens(iam, one) for one in known)
        # The floor is written before any of the names that it replaces goes.
        first = next(form for form in iam.writes if "aws:TokenIssueTime" in form.get("PolicyDocument", ""))
        assert iam.writes.index(first) == 5
        assert [one.document for one in iam.managed.values()] == [PROBE] * 4 + ["{}"]

    def test_are_written_one_for_one_revocation(self, spilling: Service, iam: CannedIam) -> None:
        revoke_many(spilling, 700)
        work_all(spilling)
        for _ in range(8):
            before = len(iam.writes)
            (one,) = revoke_many(spilling, 1)
            work_all(spilling)
            assert len(iam.writes) == before + 1
            assert not opens(iam, one)
        assert max(len(one.versions) for one in iam.managed.values()) <= 4

    def test_let_go_of_what_cannot_be_alive(self, spilling: Service, iam: CannedIam) -> None:
        known = revoke_many(spilling, 400)
        work_all(spilling)
        spilling.clock.advance(minutes=66)
        work_all(spilling)
        assert all(opens(iam, one) for one in known)
        assert iam.policies == {}
        assert iam.managed[ARNS[0]].document == PROBE

    def test_come_back_within_the_hour_where_somebody_changed_one(self, spilling: Service, iam: CannedIam) -> None:
        known = revoke_many(spilling, 400)
        work_all(spilling)
        iam.policies.clear()
        iam.managed[ARNS[0]] = Managed()
        spilling.clock.advance(minutes=59)
        assert not work(spilling)
        spilling.clock.advance(minutes=2)
        work_all(spilling)
        assert not any(opens(iam, one) for one in known)

    def test_have_others_in_their_place_where_iam_refuses_one(self, spilling: Service, iam: CannedIam) -> None:
        """One that is gone, or that the service may not write, holds up nothing but the pass that finds out."""
        del iam.managed[ARNS[0]], iam.managed[ARNS[1]]
        known = revoke_many(spilling, 600)
        work_all(spilling)
        assert not any(opens(iam, one) for one in known)
        assert len(rows(spilling)) == 600
        metrics = spilling.client.get("/metrics").text
        assert 'tokenvend_revocation_writes_total{outcome="refused"} 2.0' in metrics

    def test_take_it_too_where_the_roles_other_inline_policies_leave_less_room(
        self, spilling: Service, iam: CannedIam
    ) -> None:
        iam.policies[(ROLE, "of-others")] = "x" * 7000
        known = revoke_many(spilling, 280)
        work_all(spilling)
        assert not any(opens(iam, one) for one in known)
        assert len(rows(spilling)) == 280

    def test_that_are_no_longer_named_have_their_names_written_elsewhere(
        self, spilling: Service, iam: CannedIam, database_url: str
    ) -> None:
        known = revoke_many(spilling, 400)
        work_all(spilling)
        fewer = {"revocation": "role_policy", "iam_endpoint_url": iam.url, "revocation_policy_arns": ",".join(ARNS[2:])}
        with running_service(database_url, clock=spilling.clock, **fewer) as later:
            work_all(later)
        del iam.managed[ARNS[0]], iam.managed[ARNS[1]]
        assert not any(opens(iam, one) for one in known)

    @pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 7])
    def test_keep_what_was_denied_whoever_dies_when(self, make_told: MakeTold, iam: CannedIam, after: int) -> None:
        """A process dies at the nth call to IAM, before it or after it, while names move from one to another."""
        iam.managed = {arn: Managed() for arn in ARNS[:2]}
        told = make_told(revocation_policy_size=1024, revocation_policy_arns=",".join(ARNS[:2]))
        known = revoke_many(told, 25)
        users = revoke_users(told, 6)
        work_all(told)
        assert not any(opens(iam, one) for one in [*known, *users])
        calls = itertools.count(1)

        def die(_form: dict[str, str]) -> None:
            if next(calls) == after:
                iam.fail("InternalFailure", 503)
            assert not any(opens(iam, one) for one in [*known, *users])

        iam.before_answer = die
        for _ in range(3):
            told.clock.advance(seconds=5)
            revoke_users(told, 0, users)
            work(told)
        told.clock.advance(minutes=2)
        work_all(told)
        assert not any(opens(iam, one) for one in [*known, *users])

    def test_start_from_what_the_version_before_has_written(self, spilling: Service, iam: CannedIam) -> None:
        """It knew the inline policy alone, and noted its digest. None of its names goes before it is elsewhere."""
        known = revoke_many(spilling, 100)
        work_all(spilling)
        spilling.sql("DELETE FROM role_documents")
        known += revoke_many(spilling, 300)
        everybody_of_before = known[:100]
        iam.before_answer = lambda form: assert_denied(iam, everybody_of_before)
        work_all(spilling)
        assert not any(opens(iam, one) for one in known)


def assert_denied(iam: CannedIam, known: list[Credential]) -> None:
    assert not any(opens(iam, one) for one in known)


def revoke_users(service: Service, count: int, again: list[Credential] | None = None) -> list[Credential]:
    """Revokes all that users have, each with a credential in the ledger: new users, or the same `again`."""
    known = again or [Credential(uuid.uuid4(), uuid.uuid4(), service.clock.now()) for _ in range(count)]
    issue(service, [Credential(one.user_id, one.session_id, service.clock.now()) for one in known])
    for one in known:
        service.runtime.platform.database.run(
            "write",
            marks.revoke_user,
            audit.COMMAND_LINE,
            service.clock.now(),
            user_id=one.user_id,
            actor_id=None,
            session_id=None,
            reason="test",
        )
    return known


@pytest.mark.both_databases
class TestEverybodysFloor:
    def test_lets_each_vend_anew_unseen(self, make_told: MakeTold, iam: CannedIam) -> None:
        told = make_told(revocation_policy_size=1024)
        (device,) = sign_in(told, 1)
        first = device.vend().json()["access_key_id"]
        told.clock.advance(minutes=1)
        revoke_many(told, 60)
        work(told)
        assert not credential(device, issued_at=NOON).opens(policy(iam))
        told.clock.advance(seconds=1)
        assert device.vend().json()["access_key_id"] != first
        assert credential(device).opens(policy(iam))


FAULTS = [("Throttling", 400, "throttled"), ("AccessDenied", 403, "refused"), ("InternalFailure", 503, "unavailable")]


@pytest.mark.both_databases
class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_of_iam_delay_it_and_nothing_else(
        self, told: Service, iam: CannedIam, hashing: CountingContext, fault: tuple[str, int, str]
    ) -> None:
        code, status, kind = fault
        phone = told.device()
        phone.vend()
        iam.fail(code, status, times=2)
        assert phone.delete("/v1/me/sessions").status_code == 204
        work(told)
        told.clock.advance(seconds=30)
        assert told.client.get("/readyz").status_code == 200
        work(told)
        metrics = told.client.get("/metrics").text
        assert "tokenvend_revocations_pending 1.0" in metrics
        assert "tokenvend_revocation_age_seconds 30.0" in metrics
        assert f'tokenvend_revocation_writes_total{{outcome="{kind}"}} 2.0' in metrics
        assert credential(phone).opens(policy(iam))
        told.clock.advance(minutes=2)
        work(told)
        assert not credential(phone).opens(policy(iam))
        told.clock.advance(seconds=2)
        work(told)
        assert "tokenvend_revocations_pending 0.0" in told.client.get("/metrics").text

    def test_are_met_later_each_time_a_minute_at_most(self, told: Service, iam: CannedIam) -> None:
        revoke_many(told, 1)
        iam.fail("Throttling", 400, times=1000)
        tries = []
        for second in range(400):
            before = len(iam.forms)
            if told.sql("SELECT count(*) FROM role_policies WHERE next_try_at > :now", now=now(told)) == [(0,)]:
                work(told)
            tries += [second] if len(iam.forms) > before else []
            told.clock.advance(seconds=1)
        waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
        assert len(tries) < 15
        assert 45 <= max(waits) <= 76

    def test_a_role_without_room_for_it_gets_one_floor_for_all(self, told: Service, iam: CannedIam) -> None:
        """Its other inline policies count too."""
        known = revoke_many(told, 3)
        iam.fail("LimitExceeded", 409)
        assert work(told)
        assert rows(told) == [("everyone", str(EVERYONE))]
        told.clock.advance(seconds=2)
        work(told)
        assert not any(one.opens(policy(iam)) for one in known)
        assert 'tokenvend_revocation_floors_total{cause="administrator"} 1.0' in told.client.get("/metrics").text

    def test_an_iam_that_does_not_answer_is_one(self, make_told: MakeTold) -> None:
        told = make_told(iam_endpoint_url="http://127.0.0.1:1")
        revoke_many(told, 1)
        assert work(told)
        assert 'outcome="unavailable"} 1.0' in told.client.get("/metrics").text

    def test_who_dies_between_database_and_iam_is_followed_by_another(self, told: Service, iam: CannedIam) -> None:
        (one,) = revoke_many(told, 1)
        claimed = told.runtime.platform.database.run("write", job._claim, told.clock.now(), told.settings)
        assert claimed is not None  # and then the process died
        assert work(told)
        assert iam.forms == []
        told.clock.advance(seconds=31)
        work(told)
        assert not one.opens(policy(iam))

    def test_who_was_too_slow_has_it_written_again(self, told: Service, iam: CannedIam) -> None:
        """Its write may be the last to arrive, with a policy of before."""
        revoke_many(told, 1)
        late: list[Credential] = []

        def overtake(_form: dict[str, str]) -> None:
            iam.before_answer = lambda form: None
            told.clock.advance(seconds=31)
            late.extend(revoke_many(told, 1))
            work_beside(told)

        iam.before_answer = overtake
        work(told)
        assert late[0].opens(policy(iam))
        told.clock.advance(seconds=1)
        work(told)
        assert not late[0].opens(policy(iam))

    def test_two_replicas_write_one_at_a_time(self, database_url: str, iam: CannedIam) -> None:
        settings = {"revocation": "role_policy", "iam_endpoint_url": iam.url}
        with ExitStack() as stack:
            one, other = (stack.enter_context(running_service(database_url, **settings)) for _ in range(2))
            known = revoke_many(one, 5)
            gate, inside = threading.Event(), threading.Event()

            def hold(_form: dict[str, str]) -> None:
                inside.set()
                gate.wait(20)

            iam.before_answer = hold
            first = threading.Thread(target=work, args=(one,))
            first.start()
            assert inside.wait(20)
            assert work(other)
            gate.set()
            first.join()
            assert len(iam.writes) == 1
            assert not any(one.opens(policy(iam)) for one in known)


def work_beside(service: Service) -> None:
    """A pass of another replica, while the service's own is under way."""
    asyncio.run(job.apply_next(service.runtime.platform, service.runtime.role_denials))


def now(service: Service) -> Any:
    return moment(service, service.clock.now())


class TestOfAws:
    """The shape of the calls, by moto's reading of AWS's own model."""

    @pytest.fixture
    def client(self) -> Iterator[Any]:
        server = ThreadedMotoServer("127.0.0.1", port=0)
        server.start()
        host, port = server.get_host_and_port()
        session = boto3.Session("AKIATESTTESTTEST", "test", region_name="us-east-1")
        client = session.client("iam", endpoint_url=f"http://{host}:{port}")
        client.create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")
        yield client
        client.delete_role(RoleName=ROLE)
        client.close()
        server.stop()

    def test_the_policy_is_put_and_taken_away(self, client: Any) -> None:
        role = RoleDenials(ROLE_ARN, lambda: client)
        asyncio.run(role.write(PROBE))
        found = client.get_role_policy(RoleName=ROLE, PolicyName=POLICY_NAME)["PolicyDocument"]
        assert found["Statement"][0]["Effect"] == "Deny"
        asyncio.run(role.write(""))
        asyncio.run(role.write(""))
        assert client.list_role_policies(RoleName=ROLE)["PolicyNames"] == []

    def test_versions_are_added_and_the_oldest_deleted(self, client: Any) -> None:
        """Five at most, which moto holds to, and never the one in effect."""
        arn = client.create_policy(PolicyName="denials", PolicyDocument=PROBE)["Policy"]["Arn"]
        role = RoleDenials(ROLE_ARN, lambda: client, [arn])
        documents = [denials.build([of_device(uuid.uuid4(), uuid.uuid4())]) for _ in range(9)]
        for document in documents:
            asyncio.run(role.write(document, arn))
            default = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found = client.get_policy_version(PolicyArn=arn, VersionId=default)["PolicyVersion"]["Document"]
            assert found == json.loads(document)
        asyncio.run(role.try_out_managed(arn))
        versions = client.list_policy_versions(PolicyArn=arn)["Versions"]
        assert sorted(one["VersionId"] for one in versions) == ["v10", "v8", "v9"]
        asyncio.run(role.write("", arn))
        default = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        found = client.get_policy_version(PolicyArn=arn, VersionId=default)["PolicyVersion"]["Document"]
        assert found == json.loads(PROBE)
        assert asyncio.run(role.unattached()) == [arn]
        client.attach_role_policy(RoleName=ROLE, PolicyArn=arn)
        assert asyncio.run(role.unattached()) == []
        client.detach_role_policy(RoleName=ROLE, PolicyArn=arn)

    @pytest.mark.parametrize("profile", ["absent", None])
    def test_without_credentials_it_fails_as_iam_does(self, profile: str | None) -> None:
        """A profile that is not there, and a machine that has none."""
        role = RoleDenials(ROLE_ARN, lambda: boto3.Session(profile_name=profile).client("iam", region_name="us-east-1"))
        with pytest.raises(IamFailed, match=r"ProfileNotFound|NoCredentialsError"):
            asyncio.run(role.write(PROBE))

    def test_of_a_role_that_is_not_there_it_says_so(self, client: Any) -> None:
        with pytest.raises(IamFailed, match="NoSuchEntity"):
            asyncio.run(RoleDenials(f"{ROLE_ARN}-not", lambda: client).write(PROBE))
