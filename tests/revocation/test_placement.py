"""What stands in which document, and that no step of any sequence undoes a revocation."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.revocation import denials, placement
from app.revocation.denials import Denial, Names, Sheet, names_of
from app.revocation.placement import Document
from tests.revocation.test_denials import DENIALS, NOON, Credential, of_all, of_device, of_user

INLINE, MANAGED = 8192, 6144
HOUR = timedelta(hours=1)


def sessions(count: int) -> list[Denial]:
    return [of_device(uuid.uuid4(), uuid.uuid4()) for _ in range(count)]


def users(count: int, apart: timedelta = timedelta(0)) -> list[Denial]:
    return [of_user(uuid.uuid4(), NOON + apart * number) for number in range(count)]


@dataclass
class Role:
    """Documents as the database has them, and `texts` as the engine has them."""

    documents: list[Document]
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.texts = self.texts or [denials.write(one.holds) for one in self.documents]

    def begin(self, wanted: Names) -> placement.Write | None:
        """The claim. None where there is nothing to write. Raises `Full`."""
        found = placement.plan(wanted, self.documents)
        if found is None:
            raise Full
        write = found.write
        if write is not None:
            one = self.documents[write.number]
            holds = placement.may_hold(one, write.names, wanted)
            self.documents[write.number] = replace(one, holds=holds, sure=False)
        return write

    def arrive(self, write: placement.Write) -> None:
        text = denials.write(write.names)
        assert len(text) <= self.documents[write.number].capacity
        self.texts[write.number] = text

    def settle(self, write: placement.Write) -> None:
        one = self.documents[write.number]
        self.documents[write.number] = replace(one, holds=write.names, sure=True, stale=False)

    def write_all(self, wanted: Names) -> list[int]:
        """The numbers of the documents in the order in which they were written."""
        numbers = []
        while (write := self.begin(wanted)) is not None:
            self.arrive(write)
            self.settle(write)
            numbers.append(write.number)
            assert len(numbers) < 50
        return numbers

    def opens(self, credential: Credential) -> bool:
        return all(credential.opens(text) for text in self.texts)


class Full(Exception):
    """No document has room."""


def empty(*capacities: int) -> Role:
    return Role([Document(capacity, {}) for capacity in capacities])


def with_managed(count: int = 5) -> Role:
    return empty(INLINE, *[MANAGED] * count)


def room(role: Role, make: Callable[[int], list[Denial]]) -> int:
    """How many there is room for."""
    known = make(3000)
    least, most = 0, len(known)
    while most - least > 1:
        middle = (least + most) // 2
        fits = placement.plan(names_of(known[:middle]), role.documents) is not None
        least, most = (middle, most) if fits else (least, middle)
    return least


class TestSheet:
    @given(st.lists(DENIALS, max_size=30))
    def test_knows_the_length_of_its_text(self, denied: list[Denial]) -> None:
        """It takes exactly what fits: with one character less the last one has no room."""
        names = names_of(denied)
        length = len(denials.write(names))
        exact, short = Sheet(length), Sheet(length - 1)
        assert all(exact.put(*item) for item in names.items())
        assert exact.names == names
        assert not names or not all(short.put(*item) for item in names.items())


class TestRoom:
    """VC11: the floor for everybody is the last resort."""

    def test_is_almost_five_times_that_of_the_inline_policy(self) -> None:
        of_sessions = [room(empty(INLINE), sessions), room(with_managed(), sessions)]
        of_seconds = [room(role, lambda n: users(n, timedelta(seconds=1))) for role in (empty(INLINE), with_managed())]
        of_one_second = [room(role, users) for role in (empty(INLINE), with_managed())]
        assert of_sessions == [298, 1408]
        assert of_seconds == [42, 197]
        assert of_one_second == [186, 876]

    def test_is_taken_in_order_and_by_one_document_after_the_other(self) -> None:
        role = with_managed(2)
        assert role.write_all(names_of(sessions(600))) == [0, 1, 2]

    def test_ends(self) -> None:
        with pytest.raises(Full):
            with_managed().write_all(names_of(sessions(1500)))

    def test_of_a_document_that_cannot_be_written_is_not_counted(self) -> None:
        role = empty(1024, 1024, 1024)
        first = names_of(sessions(60))
        role.write_all(first)
        role.documents[1] = replace(role.documents[1], usable=False)
        more = first | names_of(sessions(20))
        assert role.write_all(more) == [2]
        # What it has been told before stays there.
        assert role.documents[1].holds.items() <= first.items()


class TestPlace:
    def test_stays_so_that_one_revocation_is_one_write(self) -> None:
        role = with_managed()
        wanted = names_of(sessions(900))
        role.write_all(wanted)
        for one in sessions(20):
            wanted = wanted | names_of([one])
            assert len(role.write_all(wanted)) == 1

    def test_stays_for_a_user_who_is_revoked_again(self) -> None:
        role = with_managed()
        known = users(60, timedelta(seconds=1))
        role.write_all(names_of(known))
        assert known[-1].user_id is not None
        again = of_user(known[-1].user_id, NOON + HOUR)
        assert role.write_all(names_of([*known, again])) == [1]

    def test_that_was_freed_is_taken_first(self) -> None:
        role = with_managed()
        known = sessions(900)
        role.write_all(names_of(known))
        gone = set(list(role.documents[0].holds)[:100])
        left = [one for one in known if one.pattern not in gone]
        assert role.write_all(names_of(left)) == [0]
        assert role.write_all(names_of([*left, *sessions(50)])) == [0]

    def test_is_given_up_only_once_another_document_denies_it(self) -> None:
        """The inline policy gets less room: the rest goes elsewhere first."""
        role = with_managed()
        wanted = names_of(sessions(280))
        role.write_all(wanted)
        role.documents[0] = replace(role.documents[0], capacity=2048)
        assert role.write_all(wanted) == [1, 0]
        assert sum(len(one.holds) for one in role.documents) == 280

    def test_of_a_floor_is_written_before_its_names_go(self) -> None:
        role = with_managed()
        role.write_all(names_of(sessions(900)))
        assert role.write_all(names_of([of_all()])) == [0, 1, 2, 3]
        assert [len(one.holds) for one in role.documents] == [1, 0, 0, 0, 0, 0]

    def test_in_doubt_is_written_again(self) -> None:
        role = with_managed()
        wanted = names_of(sessions(3))
        assert role.begin(wanted) is not None
        assert role.write_all(wanted) == [0]

    def test_of_a_stale_document_is_written_again_last(self) -> None:
        role = with_managed()
        known = sessions(500)
        role.write_all(names_of(known))
        role.documents[0] = replace(role.documents[0], stale=True)
        assert role.write_all(names_of([*known, *sessions(1)])) == [1, 0]


@dataclass
class Row:
    denial: Denial
    expires_at: datetime


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["session", "user", "again", "pass", "pass", "lost", "unsettled", "unclaimed", "later"]),
        st.integers(1, 6),
    ),
    min_size=1,
    max_size=40,
)


@dataclass
class World:
    """Rows as the database has them, one writer at a time, and a clock."""

    role: Role
    now: datetime = NOON
    rows: dict[str, Row] = field(default_factory=dict)
    revoked: list[Credential] = field(default_factory=list)

    def revoke(self, denial: Denial) -> None:
        self.rows[denial.pattern] = Row(denial, self.now + HOUR)
        assert denial.user_id is not None
        session_id = denial.session_id or uuid.uuid4()
        self.revoked.append(Credential(denial.user_id, session_id, self.now - timedelta(seconds=1)))

    def wanted(self) -> Names:
        self.rows = {name: row for name, row in self.rows.items() if row.expires_at > self.now}
        return names_of(row.denial for row in self.rows.values())

    def claim(self) -> placement.Write | None:
        try:
            return self.role.begin(self.wanted())
        except Full:
            floor = max(row.denial.not_before for row in self.rows.values())
            self.rows = {denials.EVERYBODY: Row(of_all(floor), self.now + HOUR)}
            return self.role.begin(self.wanted())

    def alive(self) -> Iterable[Credential]:
        return (one for one in self.revoked if one.issued_at + HOUR > self.now)

    def act(self, kind: str, number: int) -> None:
        second = self.now.replace(microsecond=0) + timedelta(seconds=1)
        if kind == "session":
            for _ in range(number):
                self.revoke(Denial("session", uuid.uuid4(), uuid.uuid4(), second))
        elif kind == "user":
            for _ in range(number):
                self.revoke(of_user(uuid.uuid4(), second))
        elif kind == "again" and (known := [row.denial for row in self.rows.values() if row.denial.scope == "user"]):
            self.revoke(replace(known[number % len(known)], not_before=second))
        elif kind == "later":
            self.now += timedelta(minutes=9)
        elif kind in ("pass", "lost", "unsettled") and (write := self.claim()) is not None:
            # A process dies before IAM, or between IAM and the database, or not at all.
            if kind != "lost":
                self.role.arrive(write)
            if kind == "pass":
                self.role.settle(write)
        self.now += timedelta(seconds=1)


class TestAnySequence:
    @settings(max_examples=100, deadline=None)
    @given(ACTS, st.lists(st.integers(300, 900), min_size=1, max_size=4))
    def test_denies_for_good_what_was_denied_once(self, acts: list[tuple[str, int]], capacities: list[int]) -> None:
        """VC11: by the union of the documents as they are at the engine, at each step, whoever dies when."""
        world = World(empty(*capacities))
        denied: set[Credential] = set()
        for kind, number in acts:
            world.act(kind, number)
            opened = {one for one in world.alive() if world.role.opens(one)}
            assert not denied & opened
            denied |= set(world.alive()) - opened
        while (write := world.claim()) is not None:
            world.role.arrive(write)
            world.role.settle(write)
        assert not any(world.role.opens(one) for one in world.alive())
