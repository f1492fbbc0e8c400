"""Users, devices, grants and revocations in any order, with a model of who may read what, asked of the engine."""

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from httpx2 import Client
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.sharing.giving import LEFT_BEFORE_BARRED
from tests.journeys.deployment import PASSWORD, Deployment, Keys, Person, keys_of, person
from tests.journeys.shared_folder import accept, get, share

REFUSED_WITHIN = 20.0
PATHS = ("a/", "a/x/", "b/")
KEYS = ("a/p.jpg", "a/x/p.jpg", "b/p.jpg", "p.jpg")
PEOPLE = 3
people = st.integers(0, PEOPLE - 1)


@dataclass(eq=False)
class Held:
    """A credential, and what the model says that it reads."""

    whose: int
    device: int
    keys: Keys
    grants: frozenset[tuple[int, str]]
    """Owner and path of each that it carries."""
    alive: bool = True

    def reads(self, owner: int, key: str) -> bool:
        mine = owner == self.whose
        return self.alive and (mine or any(owner == other and key.startswith(path) for other, path in self.grants))


@dataclass(frozen=True)
class Device:
    whose: int
    http: Client = field(repr=False)


class Sharing(RuleBasedStateMachine):
    deployment: Deployment
    """Set by the test."""

    @initialize()
    def meet(self) -> None:
        self.stack = ExitStack()
        self.people: list[Person] = [self.stack.enter_context(person(self.deployment)) for _ in range(PEOPLE)]
        self.devices = [Device(number, one.http) for number, one in enumerate(self.people)]
        self.devices.append(Device(0, self._second_device(self.people[0])))
        self.grants: dict[tuple[int, int, str], str] = {}
        """Owner, grantee and path → id: what owners see."""
        self.left: set[tuple[int, int, str]] = set()
        self.accepted: set[tuple[int, int, str]] = set()
        self.welcome: set[tuple[int, int]] = set()
        """Owner and grantee, who accepted something of theirs once."""
        self.times_left: Counter[tuple[int, int]] = Counter()
        self.times_withdrawn: Counter[tuple[int, int]] = Counter()
        """Before the grantee accepted or left it."""
        self.held: list[Held] = []
        for one in self.people:
            for key in KEYS:
                self.deployment.as_owner.put_object(Bucket=self.deployment.bucket, Key=one.prefix + key, Body=b"p")

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    @rule(owner=people, step=st.integers(1, PEOPLE - 1), path=st.sampled_from(PATHS))
    def share(self, owner: int, step: int, path: str) -> None:
        grantee = (owner + step) % PEOPLE
        which = (owner, grantee, path)
        unwanted = self.times_left[owner, grantee]
        unwanted += 0 if (owner, grantee) in self.welcome else self.times_withdrawn[owner, grantee]
        if which not in self.grants and unwanted >= LEFT_BEFORE_BARRED:
            self.left.add(which)
            self.times_left[owner, grantee] += 1
        grant_id = share(self.people[owner], self.people[grantee], path)
        assert self.grants.setdefault(which, grant_id) == grant_id

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def withdraw(self, data: Any) -> None:
        which = data.draw(st.sampled_from(sorted(self.grants)))
        owner, grantee, path = which
        self._delete(self.people[owner], self.grants.pop(which))
        if which not in self.left | self.accepted:
            self.times_withdrawn[owner, grantee] += 1
        self.left.discard(which)
        self.accepted.discard(which)
        theirs = [one for one in self.held if one.whose == grantee and one.alive]
        carriers = {one.device for one in theirs if (owner, path) in one.grants}
        if carriers:
            self._end([one for one in theirs if one.device in carriers])

    @precondition(lambda self: self.grants.keys() - self.left)
    @rule(data=st.data())
    def accept(self, data: Any) -> None:
        """Once or again; what is held carries no more for it."""
        which = data.draw(st.sampled_from(sorted(self.grants.keys() - self.left)))
        owner, grantee, _ = which
        accept(self.people[grantee], self.grants[which])
        self.accepted.add(which)
        self.welcome.add((owner, grantee))

    @precondition(lambda self: self.grants.keys() - self.left)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        """What its grantee holds goes on."""
        which = data.draw(st.sampled_from(sorted(self.grants.keys() - self.left)))
        owner, grantee, _ = which
        self._delete(self.people[grantee], self.grants[which])
        self.left.add(which)
        self.times_left[owner, grantee] += 1

    @rule(number=st.integers(0, PEOPLE))
    def revoke(self, number: int) -> None:
        device = self.devices[number]
        assert device.http.post("/v1/credentials/revoke").status_code == 202
        self._end([one for one in self.held if one.whose == device.whose and one.alive])

    @rule(number=st.integers(0, PEOPLE), shared=st.booleans(), access=st.sampled_from(["read", "read_write"]))
    def vend(self, number: int, shared: bool, access: str) -> None:
        device = self.devices[number]
        answer = device.http.post("/v1/credentials", json={"include_shared": shared, "access": access})
        assert answer.status_code == 200, answer.text
        theirs = self.accepted - self.left
        expected = {(owner, path) for owner, grantee, path in theirs if shared and grantee == device.whose}
        prefixes = {self.people[owner].prefix + path for owner, path in expected}
        assert set(answer.json()["shared_prefixes"]) == prefixes
        held = Held(device.whose, number, keys_of(answer.json()), frozenset(expected))
        if all(one.keys != held.keys for one in self.held):  # else it is a cached one
            self.held.append(held)
            self._check(held)

    @rule(number=st.integers(0, PEOPLE))
    def list_received(self, number: int) -> None:
        device = self.devices[number]
        items = device.http.get("/v1/grants/received").json()["items"]
        theirs = {which for which in self.grants.keys() - self.left if which[1] == device.whose}
        expected = {self.grants[which] for which in theirs}
        assert {item["grant_id"] for item in items} == expected

    @invariant()
    def nobody_reads_more(self) -> None:
        """The newest and the oldest that was ever handed out."""
        for held in {
            id(one): one for one in (*getattr(self, "held", [])[-1:], *getattr(self, "held", [])[:1])
        }.values():
            self._check(held)

    def _delete(self, person: Person, grant_id: str) -> None:
        answer = person.http.delete(f"/v1/grants/{grant_id}")
        assert answer.status_code == 202, answer.text

    def _check(self, held: Held) -> None:
        for owner in range(PEOPLE):
            for key in KEYS:
                status = get(self.deployment, held.keys, self.people[owner].prefix + key)
                assert (status == 200) == held.reads(owner, key), (held, owner, key, status)

    def _end(self, revoked: list[Held]) -> None:
        """Waits until the engine was told: how long that takes is not what this is about."""
        deadline = time.monotonic() + REFUSED_WITHIN
        for one in revoked:
            one.alive = False
            while get(self.deployment, one.keys, f"{self.people[one.whose].prefix}p.jpg") == 200:
                assert time.monotonic() < deadline, "it was not revoked"
                time.sleep(0.02)

    def _second_device(self, of: Person) -> Client:
        http = self.stack.enter_context(Client(base_url=self.deployment.url, timeout=10))
        email = of.http.get("/v1/me").json()["email"]
        answer = http.post("/v1/auth/login", json={"email": email, "password": PASSWORD})
        http.headers["Authorization"] = f"Bearer {answer.json()['tokens']['access_token']}"
        return http
