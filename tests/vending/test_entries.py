"""What the cache of credentials holds: whoever floods it loses their own entries, and nobody who uses theirs."""

import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.aws.sts_client import StsCredential
from app.vending import entries
from app.vending.entries import ACCOUNTS, NEWCOMERS, Entries, Issued
from app.vending.orders import Order, Terms

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
TERMS = Terms("assume_role", "arn:aws:iam::123456789012:role/vending")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of the real bounds."""
    monkeypatch.setattr(entries, "MOST", 100)
    monkeypatch.setattr(entries, "MOST_OF_NEWCOMERS", 25)
    monkeypatch.setattr(entries, "MOST_OF_AN_ADDRESS", 10)
    monkeypatch.setattr(entries, "MOST_OF_A_USER", 5)


def order(user_id: uuid.UUID | None = None, path: str = "") -> Order:
    user_id = user_id or uuid.uuid4()
    return Order(user_id, user_id, "read", f"users/{user_id}/{path}", 3600, "{}", TERMS)


def keep(held: Entries, wanted: Order, newcomer_at: str | None = None) -> Order:
    credential = StsCredential("ASIA", "secret", "token", NOON + timedelta(hours=1), None)
    held.keep(wanted, Issued(uuid.uuid4(), wanted, credential, NOON), newcomer_at)
    return wanted


class TestRoom:
    def test_is_made_by_what_was_used_least_recently(self) -> None:
        held = Entries()
        orders = [keep(held, order()) for _ in range(100)]
        assert held.use(orders[0]) is not None
        keep(held, order())
        assert len(held) == 100
        assert held.use(orders[0]) is not None, "a hit renews its place"
        assert held.use(orders[1]) is None

    def test_costs_a_few_looks_where_all_were_used(self) -> None:
        held = Entries()
        orders = [keep(held, order()) for _ in range(100)]
        for wanted in orders:
            held.use(wanted)
        keep(held, order())
        assert [held.use(wanted) is None for wanted in orders[:16]].count(True) == 1
        assert all(held.use(wanted) for wanted in orders[16:])

    def test_is_for_one_entry_of_an_order(self) -> None:
        held, wanted = Entries(), order()
        for newcomer_at in ("192.0.2.1", "192.0.2.2", None, None):
            keep(held, wanted, newcomer_at)
        assert len(held) == 1
        assert held._queues.keys() == {wanted.user_id, ACCOUNTS}


class TestUser:
    def test_keeps_theirs_whoever_contributes_by_their_links(self) -> None:
        """VC12: and so do those who only look."""
        held, owner = Entries(), uuid.uuid4()
        own, viewers = keep(held, order(owner)), keep(held, replace(order(owner), link_id=uuid.uuid4()))
        filling = [replace(viewers, contributor_id=uuid.uuid4()) for _ in range(20)]
        for number, one in enumerate(filling):
            keep(held, one, f"192.0.2.{number}")
        assert all(held.use(one) is not None for one in (own, viewers, *filling))

    def test_pushes_out_nobody_but_themself(self) -> None:
        """VC12: the cache keeps a share for each user."""
        held, user_id = Entries(), uuid.uuid4()
        other = keep(held, order())
        first = keep(held, order(user_id))
        for number in range(1000):
            held.use(first)
            keep(held, order(user_id, f"{number}/"))
        assert len(held) == 1 + 5
        assert held.use(other) is not None
        assert held.use(first) is not None, "they go on using it"


class TestNewcomers:
    def test_of_one_address_push_out_none_elsewhere(self) -> None:
        """VC12: thirty guests and more of one address leave newcomers of other addresses what they have."""
        held = Entries()
        elsewhere = [keep(held, order(), f"198.51.100.{number}") for number in range(10)]
        for _ in range(1000):
            keep(held, order(), "192.0.2.1")
        assert len(held) == 10 + 10
        assert all(held.use(wanted) for wanted in elsewhere)

    def test_of_many_addresses_push_out_no_account(self) -> None:
        """VC12: a hundred addresses with thirty guests each, and five entries of each guest."""
        held = Entries()
        accounts = [keep(held, order()) for _ in range(75)]
        for address in range(100):
            for _ in range(30):
                user_id = uuid.uuid4()
                for path in range(5):
                    keep(held, order(user_id, f"{path}/"), f"192.0.2.{address}")
        assert len(held) == 100
        assert all(held.use(wanted) for wanted in accounts)

    def test_keep_a_share_where_accounts_fill_the_rest(self) -> None:
        held = Entries()
        newcomers = [keep(held, order(), f"192.0.2.{number}") for number in range(40)]
        for _ in range(1000):
            keep(held, order())
        assert [held.use(wanted) is not None for wanted in newcomers].count(True) == 25
        assert len(held) == 100


class TestBounds:
    def test_hold_whatever_is_kept_and_used(self) -> None:
        chance = random.Random(7)
        held, users = Entries(), [uuid.uuid4() for _ in range(60)]
        known: list[Order] = []
        for _ in range(5000):
            wanted = order(chance.choice(users), f"{chance.randrange(8)}/")
            known.append(wanted)
            address = chance.choice([None, *(f"192.0.2.{number}" for number in range(5))])
            keep(held, wanted, address)
            held.use(chance.choice(known))
            assert len(held) <= 100
        sizes = {name: len(queue) for name, queue in held._queues.items()}
        assert sizes[ACCOUNTS] + sizes[NEWCOMERS] == len(held)
        assert all(0 < sizes[user_id] <= 5 for user_id in users if user_id in sizes)
        assert all(size <= 10 for name, size in sizes.items() if str(name).startswith("192."))
        for queue in held._queues.values():
            assert all(held.use(wanted) for wanted in queue)
