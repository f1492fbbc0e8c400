"""Withdrawing a grant while credentials that carry it are on their way into the ledger: none is missed (PostgreSQL)."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app import sharing
from tests.credentials.test_grants import prefix_of, share
from tests.support.databases import PostgresDatabases
from tests.support.service import Service, running_service

pytestmark = pytest.mark.usefixtures("hashing")


@pytest.fixture
def on_postgresql(postgres_databases: PostgresDatabases) -> Iterator[Service]:
    url = postgres_databases.create()
    with running_service(url) as service:
        yield service
    postgres_databases.drop(url)


class TestWithdrawal:
    def test_waits_for_a_vend_whose_row_is_not_committed(self, on_postgresql: Service) -> None:
        """The vend has read the grants for the second time before they end: so the end has to see its row.

        The vend's statement holds its user for share. Who withdraws locks the same user, and looks into the ledger only
        then; without that lock it would look while the row is not committed, and revoke nothing.
        """
        service = on_postgresql
        ada, bob = service.device("ada@example.org"), service.device("bob@example.org")
        grant = share(ada, bob.email)
        assert bob.vend(include_shared=True).status_code == 200
        service.sql("DELETE FROM issued_credentials")
        with service.runtime.database.engine.connect() as vend:
            statement = "SELECT id FROM users WHERE email = 'bob@example.org' FOR SHARE"
            vend.exec_driver_sql(statement)
            answers: list[Any] = []
            withdrawing = threading.Thread(target=lambda: answers.append(ada.delete(f"/v1/grants/{grant['grant_id']}")))
            withdrawing.start()
            withdrawing.join(0.5)
            assert withdrawing.is_alive(), "it did not wait for the vend"
            vend.exec_driver_sql(
                "INSERT INTO issued_credentials (id, user_id, session_id, access_key_id, access, prefix, shared, "
                "role_session_name, issued_at, expires_at) VALUES (gen_random_uuid(), %s, %s, 'ASIA', 'read', 'p', "
                "%s, 'n', %s, %s)",
                (
                    bob.user_id,
                    bob.session_id,
                    f'[{{"grant_id": "{grant["grant_id"]}", "prefix": "{prefix_of(ada)}"}}]',
                    service.clock.now(),
                    service.clock.now().replace(hour=23),
                ),
            )
            vend.commit()
            withdrawing.join(10)
        assert answers[0].status_code == 202
        assert answers[0].json()["effective_by"] == "2026-06-01T23:00:00Z"
        ((revoked_at,),) = service.sql("SELECT revoked_at FROM issued_credentials")
        assert revoked_at is not None

    def test_is_seen_by_a_vend_that_waited_for_it(self, on_postgresql: Service) -> None:
        """The vend's row comes after: its second look finds the grant ended, and it is dropped unseen."""
        service = on_postgresql
        ada, bob = service.device("ada@example.org"), service.device("bob@example.org")
        grant = share(ada, bob.email)
        looked = threading.Event()
        answers: list[Any] = []

        def vend() -> None:
            answers.append(bob.vend(include_shared=True))

        def hold(_session: Any) -> None:
            """Right before the withdrawal is committed: the vend is at the ledger then, and waits."""
            if looked.is_set():
                return
            looked.set()
            vending.start()
            vending.join(0.5)
            assert vending.is_alive()

        vending = threading.Thread(target=vend)
        found = sharing.revoke_carriers

        def revoke_carriers(session: Any, *arguments: Any, **named: Any) -> bool:
            carries = found(session, *arguments, **named)
            hold(session)
            return carries

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sharing, "revoke_carriers", revoke_carriers)
            assert ada.delete(f"/v1/grants/{grant['grant_id']}").status_code == 202
        vending.join(10)
        (answer,) = answers
        assert (answer.status_code, answer.json()["shared_prefixes"]) == (200, [])
        assert len(service.sts.assumed) == 2

    def test_two_at_once_do_not_lock_each_other_out(self, on_postgresql: Service) -> None:
        """Each locks both users, in the order of their ids, whoever of them withdraws."""
        service = on_postgresql
        ada, bob = service.device("ada@example.org"), service.device("bob@example.org")
        for owner, grantee in ((ada, bob), (bob, ada)):
            for number in range(8):
                share(owner, grantee.email, f"{number}/")
        pairs = [
            (who, item["grant_id"]) for who in (ada, bob) for item in who.get("/v1/grants?limit=50").json()["items"]
        ]
        statuses: list[int] = []

        def work(mine: list[Any]) -> None:
            for who, grant_id in mine:
                statuses.append(who.delete(f"/v1/grants/{grant_id}").status_code)

        threads = [threading.Thread(target=work, args=(pairs[offset::4],)) for offset in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert statuses == [202] * 16
