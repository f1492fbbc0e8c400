"""What becomes of shared folders as their people are disabled, enabled and erased, and as time passes."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from app.admin import prune
from tests.sharing.test_grants import accept_all, give, prefix_of, recall, share, shared_with, verified
from tests.support.service import PASSWORD, Device, Service

pytestmark = pytest.mark.usefixtures("hashing")
WHY = {"reason": "a test"}


def revoked(device: Device) -> list[bool]:
    return [item["revoked_at"] is not None for item in device.get("/v1/me/credentials").json()["items"]]


@pytest.fixture
def ada(service: Service) -> Device:
    return service.device("ada@example.org")


@pytest.fixture
def bob(service: Service, ada: Device) -> Device:
    """With a credential that reads Ada's folder."""
    bob = service.device("bob@example.org")
    give(ada, bob)
    assert shared_with(bob) == [prefix_of(ada)]
    return bob


class TestDisabledOwner:
    def test_shares_nothing_until_enabled_again(self, service: Service, ada: Device, bob: Device) -> None:
        staff, eve = service.staff(), service.device()
        eve.vend()
        assert staff.post(f"/v1/admin/users/{ada.user_id}/disable", json=WHY).status_code == 200
        assert revoked(bob) == [False], "not before the job"
        recall(service)
        assert (revoked(bob), revoked(eve)) == ([True], [False])
        service.clock.advance(seconds=1)
        assert shared_with(bob) == bob.get("/v1/grants/received").json()["items"] == []
        assert staff.post(f"/v1/admin/users/{ada.user_id}/enable", json=WHY).status_code == 200
        recall(service)
        assert shared_with(bob) == [prefix_of(ada)]
        assert revoked(bob) == [False, False, True], "of what came after nothing is revoked"

    def test_takes_nothing_from_who_does_not_look(self, service: Service, ada: Device, bob: Device) -> None:
        kim, staff = service.device(), service.staff()
        give(ada, kim)
        kim.vend()
        staff.post(f"/v1/admin/users/{ada.user_id}/disable", json=WHY)
        recall(service)
        assert revoked(kim) == [False]
        assert service.sql("SELECT count(*) FROM grants WHERE recall_at IS NOT NULL") == [(0,)]


@pytest.mark.both_databases
class TestErasure:
    def test_of_the_owner_ends_what_they_share(self, service: Service, ada: Device, bob: Device) -> None:
        share(ada, "never@example.org")
        assert ada.erase().status_code == 202
        recall(service)
        assert revoked(bob) == [True]
        service.clock.advance(seconds=1)
        assert shared_with(bob) == []
        assert shared_with(service.device("never@example.org")) == []
        assert service.sql("SELECT DISTINCT grantee_email, grantee_email_key FROM grants") == [("", "")]

    def test_of_the_grantee_ends_it_too_and_keeps_no_address(self, service: Service, ada: Device, bob: Device) -> None:
        assert bob.erase().status_code == 202
        recall(service)
        assert ada.get("/v1/grants").json()["items"] == []
        again = service.device("bob@example.org")
        assert shared_with(again) == []
        assert service.sql("SELECT DISTINCT grantee_email, grantee_email_key FROM grants") == [("", "")]
        assert ada.get("/v1/me/export").json()["grants"][0]["grantee_email"] is None


def erase_by(staff: Device, user_id: str) -> int:
    path = f"/v1/admin/users/{user_id}"
    return staff.service.client.request("DELETE", path, json=WHY, headers=staff.headers).status_code


@pytest.mark.both_databases
class TestWaiting:
    """What waits for an address is for its next holder, and for nobody who comes to hold it after them."""

    def test_ends_with_the_account_that_holds_it(self, service: Service, ada: Device) -> None:
        """Also where addresses are not verified: the first to register one holds it."""
        share(ada, "carol@example.org")
        assert service.device("carol@example.org").erase().status_code == 202
        later = service.device("carol@example.org")
        assert shared_with(later) == later.get("/v1/grants/received").json()["items"] == []
        assert ada.get("/v1/grants").json()["items"] == []

    def test_and_where_an_administrator_erases_it(self, service: Service, ada: Device) -> None:
        share(ada, "carol@example.org")
        carol, staff = service.device("carol@example.org"), service.staff()
        staff.post(f"/v1/admin/users/{carol.user_id}/disable", json=WHY)
        assert erase_by(staff, carol.user_id) == 202
        assert service.device("carol@example.org").get("/v1/grants/received").json()["items"] == []

    def test_goes_along_where_its_holder_changes_their_address(self, service: Service, ada: Device) -> None:
        share(ada, "carol@example.org")
        carol = service.device("carol@example.org")
        body = {"new_email": "carol@example.com", "password": PASSWORD}
        assert carol.post("/v1/me/email", json=body).status_code == 202
        token = service.mails("carol@example.com")[0].token
        assert carol.post("/v1/me/email/confirm", json={"token": token}).status_code == 204
        later = service.device("carol@example.org")
        assert shared_with(later) == later.get("/v1/grants/received").json()["items"] == []
        accept_all(carol)
        assert shared_with(carol) == [prefix_of(ada)]

    def test_stays_where_whoever_leaves_never_showed_that_it_is_theirs(
        self, make_service: Callable[..., Service]
    ) -> None:
        """Else anybody could end what waits for an address, by an account that they cannot even sign in to."""
        service = make_service(email_verification="required")
        ada, staff = verified(service, "ada@example.org"), verified(service, "staff@example.org")
        service.sql("UPDATE users SET role = 'admin' WHERE email = 'staff@example.org'")
        share(ada, "carol@example.org")
        service.register("carol@example.org")
        ((stranger,),) = service.sql("SELECT id FROM users WHERE email = 'carol@example.org'")
        assert erase_by(staff, str(uuid.UUID(str(stranger)))) == 202
        (received,) = verified(service, "carol@example.org").get("/v1/grants/received").json()["items"]
        assert received["prefix"] == prefix_of(ada)


class TestExport:
    def test_lists_what_was_given_and_received(self, service: Service, ada: Device, bob: Device) -> None:
        ours, theirs = (device.get("/v1/me/export").json() for device in (ada, bob))
        (given,), (received,) = ours["grants"], theirs["grants"]
        assert (given["by_the_user"], given["grantee_email"], given["prefix"]) == (True, bob.email, prefix_of(ada))
        assert (received["by_the_user"], received["grantee_email"]) == (False, None)
        assert (given["accepted_at"], received["accepted_at"]) == (None, "2026-06-01T12:00:00Z")
        assert theirs["credentials"][0]["shared_prefixes"] == [prefix_of(ada)]
        assert ada.email not in str(theirs)

    def test_does_not_tell_the_owner_that_somebody_took_it_up(self, service: Service, ada: Device) -> None:
        share(ada, "carol@example.org")
        carol = service.device("carol@example.org")
        accept_all(carol)
        assert shared_with(carol) == [prefix_of(ada)]
        told = [event["event"] for event in ada.get("/v1/me/export").json()["events"]]
        assert "grant.created" in told
        assert not {"grant.bound", "grant.accepted"} & set(told)
        assert ada.get("/v1/me/export").json()["grants"][0]["accepted_at"] is None
        assert carol.user_id not in ada.get("/v1/me/export").text


@pytest.mark.both_databases
class TestCleaning:
    def test_grants_go_ninety_days_after_they_are_over(self, service: Service, ada: Device, bob: Device) -> None:
        ended = give(ada, bob, "b/")
        give(ada, bob, "c/", expires_at="2026-06-02T12:00:00Z")
        ada.delete(f"/v1/grants/{ended['grant_id']}")
        recall(service)
        left: list[Any] = []
        for days, seconds in ((90, 0), (0, 1), (1, 0)):
            service.clock.advance(days=days, seconds=seconds)
            service.runtime.platform.database.run("write", prune.delete_stale, service.clock.now())
            left.append([path for (path,) in service.sql("SELECT path FROM grants ORDER BY path")])
        assert left == [["albums/2026/", "b/", "c/"], ["albums/2026/", "c/"], ["albums/2026/"]]
