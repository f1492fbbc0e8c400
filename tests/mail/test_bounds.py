"""How many mails one recipient gets: whatever strangers do, and whatever their owner has to be told."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

import pytest

from app.mail import bounds, outbox
from app.mail.bounds import BOUNDS, Kind
from tests.security.races import all_at_once
from tests.support.service import Device, Service

ADA = "ada@example.org"
STRANGERS = {"verify_email", "guest_upgrade", "change_email", "address_taken", "folder_shared", "folder_waiting"}
"""What anybody can have sent to an address that is not theirs."""


@pytest.fixture
def bounded(make_service: Callable[..., Service]) -> Service:
    return make_service(rate_limits="on")


def put(service: Service, kind: Kind, recipient: str = ADA, *, times: int = 1) -> None:
    for _ in range(times):
        service.runtime.platform.database.run(
            "write",
            outbox.put,
            service.runtime.platform.vault,
            service.clock.now(),
            kind,
            about=None,
            recipient=recipient,
        )


def take(service: Service, most: int = 1000, *, arrives: bool = True) -> list[str]:
    """What would be sent now, and is noted as sent where it arrives."""
    taken = service.runtime.platform.database.run(
        "write", outbox.take, service.runtime.platform.vault, service.clock.now(), most=most
    )
    for mail in taken.mails if arrives else ():
        service.runtime.platform.database.run("write", outbox.note_sent, service.clock.now(), mail)
    return [mail.kind for mail in taken.mails]


class TestKinds:
    def test_each_counts_against_a_bound(self) -> None:
        """AU24"""
        assert set(BOUNDS) == set(get_args(Kind))

    @pytest.mark.parametrize("kind", sorted(get_args(Kind)))
    def test_none_is_without_end(self, bounded: Service, kind: Kind) -> None:
        """AU24: twice as many of each kind as may be."""
        put(bounded, kind, times=BOUNDS[kind].most * 2)
        assert len(take(bounded)) == BOUNDS[kind].most <= 20
        bounded.clock.advance(minutes=59, seconds=59)
        put(bounded, kind)
        assert take(bounded) == []
        bounded.clock.advance(seconds=1)
        put(bounded, kind)
        assert take(bounded) == [kind]

    def test_what_strangers_cause_is_ten_in_all(self, bounded: Service) -> None:
        """AU24"""
        assert {kind for kind, bound in BOUNDS.items() if bound.counter == "strangers"} == STRANGERS
        for _ in range(4):
            for kind in sorted(STRANGERS):
                put(bounded, kind)  # type: ignore[arg-type]
                take(bounded)
        ((sent,),) = bounded.sql("SELECT count(*) FROM outbox WHERE failed_at IS NULL")
        assert sent == 10

    @pytest.mark.parametrize("kind", sorted(set(get_args(Kind)) - STRANGERS))
    def test_they_use_up_nothing_that_an_owner_needs(self, bounded: Service, kind: Kind) -> None:
        """AU24"""
        for stranger in sorted(STRANGERS):
            put(bounded, stranger, times=10)  # type: ignore[arg-type]
        take(bounded)
        put(bounded, kind)
        assert take(bounded) == [kind]

    def test_mails_that_nobody_waits_for_leave_room_for_a_link(self, bounded: Service) -> None:
        put(bounded, "folder_waiting", times=10)
        assert take(bounded) == ["folder_waiting"] * 5
        put(bounded, "verify_email", times=10)
        assert take(bounded) == ["verify_email"] * 5

    def test_one_notice_uses_up_no_other(self, bounded: Service) -> None:
        """Whoever stole a session would first cause many of one kind, and then what must not be noticed."""
        put(bounded, "passkey_added", times=20)
        put(bounded, "email_changed")
        assert Counter(take(bounded)) == {"passkey_added": 10, "email_changed": 1}


@pytest.mark.both_databases
class TestRecipient:
    def test_is_one_in_every_spelling(self, bounded: Service) -> None:
        for number in range(12):
            put(bounded, "verify_email", f"{'ADA' if number % 2 else 'ada'}+{number}@Example.org")
        assert len(take(bounded)) == 10
        put(bounded, "verify_email", "eve@example.org")
        put(bounded, "verify_email", "+@example.org")
        assert len(take(bounded)) == 2

    def test_is_kept_with_the_count_as_a_keyed_digest(self, bounded: Service) -> None:
        put(bounded, "verify_email")
        take(bounded)
        ((key,),) = bounded.sql("SELECT key FROM mail_counts")
        assert bytes(key) == bounds.keys_of(bounded.runtime.platform.vault, "verify_email", ADA)[0]

    def test_of_a_mail_that_is_tried_again_is_counted_once(self, bounded: Service) -> None:
        put(bounded, "verify_email")
        for _ in range(12):
            assert take(bounded, arrives=False) == ["verify_email"]
            bounded.clock.advance(minutes=5)
        assert bounded.sql("SELECT sum(mails) FROM mail_counts") == [(1,)]


@pytest.mark.both_databases
class TestAtOnce:
    def test_twenty_workers_send_no_more_than_one_would(self, bounded: Service) -> None:
        """AU24: each counts by one statement."""
        for number in range(60):
            put(bounded, "verify_email", ADA if number % 2 else "bob@example.org")
        sent: list[str] = []
        lock = threading.Lock()

        def work(_: int) -> None:
            kinds = take(bounded, most=3)
            with lock:
                sent.extend(kinds)

        all_at_once(work)
        take(bounded)
        counts = bounded.sql(
            "SELECT recipient, count(*) FROM outbox WHERE failed_at IS NULL GROUP BY recipient ORDER BY recipient"
        )
        assert [tuple(row) for row in counts] == [(ADA, 10), ("bob@example.org", 10)]


class TestMailBomb:
    @pytest.mark.usefixtures("hashing")
    @pytest.mark.all
    def test_of_many_senders_leaves_the_grants_and_drops_the_mails(self, bounded: Service) -> None:
        """AU24: 29 accounts share a folder with one address, which has no account."""
        senders: list[Device] = [bounded.device() for _ in range(29)]
        answers: list[Any] = [
            sender.post("/v1/grants", json={"grantee_email": ADA, "path": "a/"}) for sender in senders
        ]
        assert {answer.status_code for answer in answers} == {201}
        assert len(bounded.mails(ADA)) == 5
        assert bounded.sql("SELECT count(*) FROM grants") == [(29,)]
        dropped = bounded.runtime.platform.metrics.registry.get_sample_value(
            "tokenvend_mails_dropped_total", {"kind": "folder_waiting"}
        )
        assert dropped == 24
        assert bounded.register("ada@example.org").status_code == 201
        assert uuid.UUID(bounded.device(ADA).user_id)

    @pytest.mark.usefixtures("hashing")
    def test_does_not_keep_anybody_from_verifying_the_address(self, make_service: Callable[..., Service]) -> None:
        service = make_service(rate_limits="on", email_verification="required")
        put(service, "folder_waiting", times=29)
        assert service.register(ADA).status_code == 201
        verification = [mail for mail in service.mails(ADA) if mail.subject == "Verify your e-mail address"]
        answer = service.client.post("/v1/email-verifications/confirm", json={"token": verification[0].token})
        assert answer.status_code == 204
