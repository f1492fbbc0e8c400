"""A state machine over accounts and sessions, with a model of who is signed in and who may sign in."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from httpx2 import Response
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from tests.security.cheap_hashing import CountingContext
from tests.support.databases import SqliteDatabases
from tests.support.service import Service, running_service

GRACE = 30
ACCESS_TTL = 900
_serial = itertools.count()


@dataclass
class Person:
    email: str
    password: str
    id: str = ""
    registered: bool = True
    verified: bool = False
    disabled: bool = False
    devices: "list[Device]" = field(default_factory=list)

    def may_sign_in(self) -> bool:
        return self.registered and self.verified and not self.disabled


@dataclass
class Device:
    person: Person
    access_token: str
    refresh_token: str
    minted_at: float
    spent: list[str] = field(default_factory=list)
    alive: bool = True

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}


class Accounts(RuleBasedStateMachine):
    service: Service
    people: Bundle[Person] = Bundle("people")
    devices: Bundle[Device] = Bundle("devices")

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Person] = []

    # -- what people do

    @rule(target=people, verified=st.booleans())
    def register(self, verified: bool) -> Person:
        person = Person(f"person{next(_serial)}@example.org", f"violet tractor {next(_serial)}")
        answer = self.service.register(person.email, person.password)
        assert (answer.status_code, answer.json()) == (201, {"status": "verification_required"})
        self.known.append(person)
        if verified:
            self.verify(person)
        return person

    @rule(target=devices)
    def begin(self) -> Device:
        """Somebody new, who does all that it takes."""
        return self.sign_in(self.register(verified=True))

    @rule(person=people)
    def verify(self, person: Person) -> None:
        if not person.registered or person.verified or person.disabled:
            return
        self.post("/v1/email-verifications", {"email": person.email}, 202)
        self.post("/v1/email-verifications/confirm", {"token": self.token(person)}, 204)
        person.verified = True

    @rule(target=devices, person=people)
    def sign_in(self, person: Person) -> Device:
        answer = self.service.log_in(person.email, person.password)
        if not person.registered:
            assert_code(answer, 401, "invalid_login")
        elif not person.verified:
            assert_code(answer, 403, "email_not_verified")
        elif person.disabled:
            assert_code(answer, 403, "account_disabled")
        else:
            assert answer.status_code == 200, answer.text
            tokens = answer.json()["tokens"]
            device = Device(person, tokens["access_token"], tokens["refresh_token"], self.now())
            person.devices.append(device)
            return device
        return multiple()

    @rule(person=people)
    def sign_in_with_a_wrong_password(self, person: Person) -> None:
        assert_code(self.service.log_in(person.email, person.password + "!"), 401, "invalid_login")

    @rule(device=devices)
    def refresh(self, device: Device) -> None:
        answer = self.service.refresh(device.refresh_token)
        if not device.alive:
            assert_code(answer, 401, "invalid_refresh_token")
        elif device.person.disabled:
            assert_code(answer, 403, "account_disabled")
        else:
            assert answer.status_code == 200, answer.text
            device.spent.append(device.refresh_token)
            device.refresh_token = answer.json()["refresh_token"]
            device.access_token, device.minted_at = answer.json()["access_token"], self.now()

    @rule(device=devices)
    def lose_an_answer(self, device: Device) -> None:
        """The same token again, at once, gives the same successor."""
        if not device.alive or device.person.disabled:
            return
        first, second = self.service.refresh(device.refresh_token), self.service.refresh(device.refresh_token)
        assert first.json()["refresh_token"] == second.json()["refresh_token"]
        device.spent.append(device.refresh_token)
        device.refresh_token = second.json()["refresh_token"]
        device.access_token, device.minted_at = second.json()["access_token"], self.now()

    @rule(device=devices, which=st.integers(0, 5))
    def replay(self, device: Device, which: int) -> None:
        """A spent token, later: the session was stolen, so it ends for all."""
        if not device.spent:
            return
        self.service.clock.advance(seconds=GRACE + 1)
        answer = self.service.refresh(device.spent[which % len(device.spent)])
        if not device.alive:
            assert_code(answer, 401, "invalid_refresh_token")
        elif device.person.disabled:
            assert_code(answer, 403, "account_disabled")
        else:
            assert_code(answer, 401, "refresh_token_reused")
            device.alive = False

    @rule(device=devices)
    def sign_out(self, device: Device) -> None:
        self.post("/v1/auth/logout", {"refresh_token": device.refresh_token}, 204)
        device.alive = False

    @rule(device=devices)
    def sign_out_everywhere(self, device: Device) -> None:
        if self.expected(device) == 200:
            assert self.service.client.delete("/v1/me/sessions", headers=device.headers).status_code == 204
            self.end_all(device.person)

    @rule(device=devices)
    def change_the_password(self, device: Device) -> None:
        if self.expected(device) != 200:
            return
        person, new = device.person, f"purple lantern {next(_serial)}"
        body = {"current_password": person.password, "new_password": new}
        answer = self.service.client.put("/v1/me/password", json=body, headers=device.headers)
        assert answer.status_code == 204, answer.text
        person.password = new
        self.end_all(person, keeping=device)

    @rule(person=people)
    def reset_the_password(self, person: Person) -> None:
        self.post("/v1/password-resets", {"email": person.email}, 202)
        if not person.registered or person.disabled:
            return
        new = f"golden harbour {next(_serial)}"
        token = self.token(person)
        self.post("/v1/password-resets/confirm", {"token": token, "new_password": new}, 204)
        self.post("/v1/password-resets/confirm", {"token": token, "new_password": new}, 400)
        person.password, person.verified = new, True
        self.end_all(person)

    @rule(device=devices)
    def erase(self, device: Device) -> None:
        if self.expected(device) != 200:
            return
        person = device.person
        answer = self.service.client.request(
            "DELETE", "/v1/me", json={"password": person.password}, headers=device.headers
        )
        assert answer.status_code == 202, answer.text
        person.registered = False
        self.end_all(person)

    # -- what happens to them

    @rule(person=people)
    def disable(self, person: Person) -> None:
        if person.registered:
            self.service.disable(person.email)
            person.disabled = True

    @rule(person=people)
    def enable(self, person: Person) -> None:
        if person.registered:
            self.service.sql("UPDATE users SET status = 'active' WHERE email = :email", email=person.email)
            person.disabled = False

    @rule(seconds=st.integers(1, 1200))
    def time_passes(self, seconds: int) -> None:
        self.service.clock.advance(seconds=seconds)

    # -- what must hold

    @invariant()
    def each_device_is_what_the_model_says(self) -> None:
        for person in self.known[-3:]:
            for device in person.devices[-3:]:
                me = self.service.client.get("/v1/me", headers=device.headers)
                assert me.status_code == self.expected(device), me.text
                vend = self.service.client.post("/v1/credentials", json={}, headers=device.headers)
                assert vend.status_code == self.expected(device), vend.text
                if me.status_code == 200:
                    person.id = person.id or me.json()["id"]
                    assert me.json()["id"] == person.id
                    assert vend.json()["prefix"] == f"users/{person.id}/"

    def expected(self, device: Device) -> int:
        if not device.alive or not device.person.registered or self.now() >= device.minted_at + ACCESS_TTL:
            return 401
        return 403 if device.person.disabled else 200

    def now(self) -> float:
        return self.service.clock.now().timestamp()

    def end_all(self, person: Person, keeping: Device | None = None) -> None:
        for device in person.devices:
            device.alive = device.alive and device is keeping

    def post(self, path: str, body: dict[str, str], status: int) -> None:
        answer = self.service.client.post(path, json=body)
        assert answer.status_code == status, answer.text

    def token(self, person: Person) -> str:
        return str(self.service.mails(person.email)[-1].token)


def assert_code(answer: Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


class TestAccounts:
    def test_are_what_the_model_says(
        self, tmp_path: Path, sqlite_databases: SqliteDatabases, hashing: CountingContext, in_full: bool
    ) -> None:
        """AZ5, TK10, TK14, VC6: whatever people do, in whatever order."""
        with running_service(sqlite_databases.create(tmp_path), email_verification="required") as service:
            Accounts.service = service
            checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
            stories = 25 if in_full else 5
            run_state_machine_as_test(
                Accounts,
                settings=settings(
                    max_examples=stories, stateful_step_count=40, deadline=None, suppress_health_check=checks
                ),
            )
