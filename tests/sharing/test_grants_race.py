"""Withdrawing a grant while credentials that carry it are on their way into the ledger: none is missed (PostgreSQL)."""

import threading
from collections.abc import Iterator

import pytest

from tests.sharing.test_grants import give, prefix_of, recall, share
from tests.support.databases import PostgresDatabases
from tests.support.service import Device, Service, running_service

pytestmark = pytest.mark.usefixtures("hashing")


@pytest.fixture
def on_postgresql(postgres_databases: PostgresDatabases) -> Iterator[Service]:
    url = postgres_databases.create()
    with running_service(url) as service:
        yield service
    postgres_databases.drop(url)


class TestWithdrawal:
    def test_waits_for_a_vend_whose_row_is_not_committed(self, on_postgresql: Service) -> None:
        """The vend has read the grants for the second time before they end: so who revokes has to see its row.

        The vend's statement holds its user for share. The job locks the same user, and looks into the ledger only then;
        without that lock it would look while the row is not committed, and revoke nothing.
        """
        service = on_postgresql
        ada, bob = service.device("ada@example.org"), service.device("bob@example.org")
        grant = give(ada, bob)
        assert bob.vend(include_shared=True).status_code == 200
        service.sql("DELETE FROM issued_credentials")
        with service.runtime.platform.database.engine.connect() as vend:
            statement = "SELECT id FROM users WHERE email = 'bob@example.org' FOR SHARE"
            vend.exec_driver_sql(statement)
            assert ada.delete(f"/v1/grants/{grant['grant_id']}").status_code == 202, "it locks nobody"
            recalling = threading.Thread(target=recall, args=(service,))
            recalling.start()
            recalling.join(0.5)
            assert recalling.is_alive(), "it did not wait for the vend"
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
            recalling.join(10)
        ((revoked_at,),) = service.sql("SELECT revoked_at FROM issued_credentials")
        assert revoked_at is not None


@pytest.mark.slow("twenty at once, again and again")
class TestErasure:
    def test_two_who_share_with_each_other_go_at_once(self, on_postgresql: Service) -> None:
        """Each locks the grants that they have in common in the same order."""
        service = on_postgresql
        for round_ in range(3):
            people = [service.device(f"{name}{round_}@example.org") for name in ("ada", "bob")]
            for owner, grantee in (people, people[::-1]):
                for number in range(20):
                    share(owner, grantee.email, f"{number}/")
            statuses: list[int] = []
            start = threading.Barrier(2)

            def erase(who: Device, start: threading.Barrier = start, statuses: list[int] = statuses) -> None:
                start.wait()
                statuses.append(who.erase().status_code)

            threads = [threading.Thread(target=erase, args=(who,)) for who in people]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert statuses == [202, 202]
            recall(service)
        assert service.sql("SELECT count(*) FROM grants WHERE withdrawn_at IS NULL OR recall_at IS NOT NULL") == [(0,)]
