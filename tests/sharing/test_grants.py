"""Grants: who shares what with whom, what each gets to see of it, and what a credential carries."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from app.sharing import giving
from tests.support.service import PASSWORD, Device, Service

pytestmark = pytest.mark.usefixtures("hashing")

PATH = "albums/2026/"


def share(owner: Device, email: str, path: str = PATH, **members: Any) -> dict[str, Any]:
    answer = owner.post("/v1/grants", json={"grantee_email": email, "path": path, **members})
    assert answer.status_code == 201, answer.text
    grant: dict[str, Any] = answer.json()
    return grant


def accept(grantee: Device, grant: dict[str, Any]) -> None:
    answer = grantee.post(f"/v1/grants/received/{grant['grant_id']}/accept")
    assert (answer.status_code, answer.content) == (204, b"")


def accept_all(grantee: Device) -> None:
    for grant in grantee.get("/v1/grants/received").json()["items"]:
        accept(grantee, grant)


def give(owner: Device, grantee: Device, path: str = PATH, **members: Any) -> dict[str, Any]:
    """A grant that its grantee has accepted."""
    grant = share(owner, grantee.email, path, **members)
    accept(grantee, grant)
    return grant


def shared_with(device: Device, **wish: Any) -> list[str]:
    answer = device.vend(include_shared=True, **wish)
    assert answer.status_code == 200, answer.text
    prefixes: list[str] = answer.json()["shared_prefixes"]
    return prefixes


def recall(service: Service) -> None:
    """The job, until nothing waits."""
    assert service.client.portal is not None
    while service.client.portal.call(giving.recall_next, service.runtime.platform):
        pass


def events(service: Service, like: str = "grant.%") -> list[str]:
    return [event for (event,) in service.sql("SELECT event FROM audit_events WHERE event LIKE :l ORDER BY id", l=like)]


def prefix_of(owner: Device, path: str = PATH) -> str:
    return f"users/{owner.user_id}/{path}"


@pytest.fixture
def ada(service: Service) -> Device:
    return service.device("ada@example.org")


@pytest.fixture
def bob(service: Service) -> Device:
    return service.device("bob@example.org")


class TestCreate:
    def test_a_folder_is_shared_and_its_grantee_told(self, service: Service, ada: Device, bob: Device) -> None:
        grant = share(ada, "Bob@Example.org")
        assert grant == {
            "grant_id": grant["grant_id"],
            "grantee_email": "Bob@example.org",
            "prefix": prefix_of(ada),
            "path": PATH,
            "access": "read",
            "quota_bytes": None,
            "created_at": "2026-06-01T12:00:00Z",
            "expires_at": None,
        }
        assert ada.get("/v1/grants").json() == {"items": [grant], "next_cursor": None}
        (mail,) = service.mails("bob@example.org")  # as its holder has it
        assert mail.subject == "A folder was shared with you"
        for told in (ada.email, PATH, ada.user_id):
            assert told not in mail.text + mail.html
        assert events(service) == ["grant.created"]

    def test_the_same_again_is_what_is_there(self, service: Service, ada: Device, bob: Device) -> None:
        until = "2026-07-01T00:00:00Z"
        first = give(ada, bob, expires_at=until)
        assert share(ada, "BOB@example.org", expires_at="2026-07-01T02:00:00.4+02:00") == first
        assert len(service.mails(bob.email)) == 1
        answer = ada.post("/v1/grants", json={"grantee_email": bob.email, "path": PATH})
        assert (answer.status_code, answer.json()["code"]) == (409, "grant_exists")
        service.clock.advance(days=40)
        assert share(service.device(ada.email), bob.email)["grant_id"] != first["grant_id"]

    def test_only_a_folder_can_be(self, service: Service, ada: Device) -> None:
        for path in ("", "albums", "/a/", "../", "a/*/", "a/${x}/", "a/?/", "a//", 'a"/', "%2e%2e/", "é" * 200 + "/"):
            answer = ada.post("/v1/grants", json={"grantee_email": "bob@example.org", "path": path})
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_path"), path
        assert service.sql("SELECT count(*) FROM grants") == [(0,)]

    def test_a_name_that_no_policy_has_room_for_is_refused(self, make_service: Callable[..., Service]) -> None:
        service = make_service(policy_arns=("arn:aws:iam::aws:policy/AmazonRekognitionReadOnlyAccess",))
        ada = service.device("ada@example.org")
        share(ada, "bob@example.org")
        answer = ada.post("/v1/grants", json={"grantee_email": "bob@example.org", "path": "🏔" * 60 + "/"})
        assert (answer.status_code, answer.json()["code"]) == (422, "policy_too_large")

    def test_what_makes_no_sense_is_refused(self, service: Service, ada: Device) -> None:
        for members in (
            {"grantee_email": "nobody"},
            {"grantee_email": "ADA@example.org"},
            {"expires_at": "2026-06-01T12:00:00Z"},
            {"expires_at": "2026-06-01T12:00:00.9Z"},
            {"expires_at": 1780000000},
        ):
            answer = ada.post("/v1/grants", json={"grantee_email": "bob@example.org", "path": PATH} | members)
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["location"] == f"body.{next(iter(members))}"
        assert service.sql("SELECT count(*) FROM grants") == service.sql("SELECT count(*) FROM outbox") == [(0,)]

    def test_guests_do_not_share(self, service: Service) -> None:
        tokens = service.client.post("/v1/auth/guest", json={}).json()["tokens"]
        guest = Device(service, "", tokens["access_token"], tokens["refresh_token"], tokens["session_id"])
        answer = guest.post("/v1/grants", json={"grantee_email": "bob@example.org", "path": PATH})
        assert (answer.status_code, answer.json()["code"]) == (403, "sharing_not_allowed")

    def test_nor_who_has_not_verified_their_address(self, make_service: Callable[..., Service]) -> None:
        service = make_service(email_verification="required")
        ada = verified(service, "ada@example.org")
        service.sql("UPDATE users SET email_verified_at = NULL")
        answer = ada.post("/v1/grants", json={"grantee_email": "bob@example.org", "path": PATH})
        assert (answer.status_code, answer.json()["code"]) == (403, "sharing_not_allowed")

    def test_there_are_only_so_many(self, service: Service, ada: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.sharing.giving.MOST_TO_ONE", 2)
        monkeypatch.setattr("app.sharing.giving.MOST_IN_ALL", 3)
        share(ada, "bob@example.org", "a/")
        share(ada, "bob@example.org", "b/")
        third = ada.post("/v1/grants", json={"grantee_email": "bob@example.org", "path": "c/"})
        share(ada, "eve@example.org", "a/")
        fourth = ada.post("/v1/grants", json={"grantee_email": "kim@example.org", "path": "a/"})
        assert [answer.json()["code"] for answer in (third, fourth)] == ["too_many_grants"] * 2

    def test_and_so_fast(self, make_service: Callable[..., Service]) -> None:
        """Whoever shares uses up nobody else's, and who may not share, or shares again what is shared, uses up none."""
        service = make_service(rate_limits="on")
        ada, eve = service.device("ada@example.org"), service.device("eve@example.org")
        guest = service.client.post("/v1/auth/guest", json={}).json()["tokens"]["access_token"]
        body = {"grantee_email": "bob@example.org", "path": "a/"}
        for _ in range(11):
            answer = service.client.post("/v1/grants", json=body, headers={"Authorization": f"Bearer {guest}"})
            assert answer.status_code == 403
            assert ada.post("/v1/grants", json=body).status_code == 201
        more = [ada.post("/v1/grants", json=body | {"path": f"{number}/"}).status_code for number in range(10)]
        assert more == [201] * 9 + [429]
        assert eve.post("/v1/grants", json=body).status_code == 201


def verified(service: Service, email: str) -> Device:
    service.register(email)
    service.sql("UPDATE users SET email_verified_at = created_at WHERE email = :email", email=email)
    return service.device(email)


class TestUnknownAddress:
    @pytest.mark.parametrize("verification", ["off", "required"])
    def test_nobody_learns_who_has_an_account(self, make_service: Callable[..., Service], verification: str) -> None:
        """AU9: known, unknown, disabled, unverified: the same bytes but for id and address, and as many mails."""
        service = make_service(email_verification=verification)
        ada, bob = verified(service, "ada@example.org"), verified(service, "known01@example.org")
        verified(service, "gone001@example.org")
        service.disable("gone001@example.org")
        service.register("unver01@example.org")
        seen = []
        for email in ("known01@example.org", "never01@example.org", "gone001@example.org", "unver01@example.org"):
            ((before,),) = service.sql("SELECT count(*) FROM outbox")
            answer = ada.post("/v1/grants", json={"grantee_email": email, "path": PATH})
            ((after,),) = service.sql("SELECT count(*) FROM outbox")
            listed = ada.get("/v1/grants").json()["items"][0]
            assert listed == answer.json()
            withdrawn = ada.delete(f"/v1/grants/{listed['grant_id']}")
            text = answer.text.replace(listed["grant_id"], "-").replace(email, "-")
            headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
            seen.append((answer.status_code, text, headers, after - before, withdrawn.status_code, withdrawn.json()))
        assert all(one == seen[0] for one in seen)
        assert seen[0][3] == 1
        kinds = service.sql("SELECT kind FROM outbox WHERE kind LIKE 'folder%' ORDER BY kind")
        expected = ["folder_shared"] * (1 if verification == "required" else 2)
        assert [kind for (kind,) in kinds] == sorted(expected + ["folder_waiting"] * (4 - len(expected)))
        assert bob.get("/v1/grants/received").json()["items"] == []

    def test_who_gets_the_address_gets_the_folder(self, service: Service, ada: Device) -> None:
        share(ada, "carol@example.org")
        assert service.mails("carol@example.org")[0].subject == "A folder is waiting for you"
        carol = service.device("Carol@example.org")
        (received,) = carol.get("/v1/grants/received").json()["items"]
        assert received["prefix"] == prefix_of(ada)
        assert events(service) == ["grant.created", "grant.bound"]

    def test_and_once_it_is_somebodys_it_stays_theirs(self, service: Service, ada: Device) -> None:
        share(ada, "carol@example.org")
        carol = service.device("carol@example.org")
        accept_all(carol)
        assert shared_with(carol) == [prefix_of(ada)]
        service.sql("UPDATE users SET email = 'c@example.org', email_key = 'c@example.org' WHERE email LIKE 'carol%'")
        other = service.device("carol@example.org")
        assert shared_with(other) == []
        assert shared_with(carol) == [prefix_of(ada)]

    def test_only_who_has_verified_it_where_that_is_asked_for(self, make_service: Callable[..., Service]) -> None:
        service = make_service(email_verification="required")
        ada, carol = verified(service, "ada@example.org"), verified(service, "carol@example.org")
        service.sql("UPDATE users SET email_verified_at = NULL WHERE email LIKE 'carol%'")
        share(ada, "carol@example.org")
        assert shared_with(carol) == carol.get("/v1/grants/received").json()["items"] == []
        service.sql("UPDATE users SET email_verified_at = created_at")
        accept_all(carol)
        assert shared_with(carol) == [prefix_of(ada)]


class TestLists:
    def test_received_tells_who_shares_and_nothing_more(self, service: Service, bob: Device) -> None:
        service.register("ada@example.org", display_name="Ada")
        ada = service.device("ada@example.org")
        grant = share(ada, bob.email, expires_at="2026-07-01T00:00:00Z")
        assert bob.get("/v1/grants/received").json()["items"] == [
            {
                "grant_id": grant["grant_id"],
                "owner_display_name": "Ada",
                "owner_email": "ada@example.org",
                "prefix": prefix_of(ada),
                "path": PATH,
                "access": "read",
                "quota_bytes": None,
                "created_at": "2026-06-01T12:00:00Z",
                "expires_at": "2026-07-01T00:00:00Z",
                "accepted_at": None,
            }
        ]
        assert ada.get("/v1/grants/received").json()["items"] == bob.get("/v1/grants").json()["items"] == []

    def test_page_by_cursor_newest_first(self, service: Service, ada: Device, bob: Device) -> None:
        for number in range(5):
            give(ada, bob, f"{number}/")
            service.clock.advance(seconds=1 if number % 2 else 0)
        for device, path in ((ada, "/v1/grants"), (bob, "/v1/grants/received")):
            seen, cursor = [], ""
            while cursor is not None:
                page = device.get(f"{path}?limit=2&cursor={cursor}" if cursor else f"{path}?limit=2").json()
                seen += [item["path"] for item in page["items"]]
                cursor = page["next_cursor"]
            assert sorted(seen) == [f"{number}/" for number in range(5)]
            assert seen[0] == "4/"
            assert device.get(f"{path}?cursor=x").status_code == 422


@pytest.mark.both_databases
class TestWithdraw:
    def test_takes_it_from_its_grantee(self, service: Service, ada: Device, bob: Device) -> None:
        grant = give(ada, bob)
        before = bob.vend(include_shared=True).json()
        answer = ada.delete(f"/v1/grants/{grant['grant_id']}")
        assert (answer.status_code, answer.json()) == (202, {"effective_by": "2026-06-01T13:00:05Z"})
        assert ada.get("/v1/grants").json()["items"] == bob.get("/v1/grants/received").json()["items"] == []
        recall(service)
        service.clock.advance(seconds=1)
        after = bob.vend(include_shared=True).json()
        assert after["shared_prefixes"] == []
        assert after["access_key_id"] != before["access_key_id"]
        revoked = {item["access_key_id"]: item["revoked_at"] for item in bob.get("/v1/me/credentials").json()["items"]}
        assert (revoked[before["access_key_id"]], revoked[after["access_key_id"]]) == ("2026-06-01T12:00:00Z", None)
        assert events(service) == ["grant.created", "grant.accepted", "grant.withdrawn"]
        assert events(service, "credential.revoked") == ["credential.revoked"]

    def test_who_shares_and_withdraws_cuts_nobody_off(self, service: Service, ada: Device, bob: Device) -> None:
        """Only what a session holds that carries the folder is revoked."""
        own = bob.vend().json()
        grant = give(ada, bob)
        assert ada.delete(f"/v1/grants/{grant['grant_id']}").json() == {"effective_by": "2026-06-01T13:00:05Z"}
        recall(service)
        assert bob.vend().json()["access_key_id"] == own["access_key_id"]
        assert service.sql("SELECT count(*) FROM revocations") == [(0,)]

    def test_leaves_other_devices_of_its_grantee_alone(self, service: Service, ada: Device, bob: Device) -> None:
        """VC11: whoever never asked for what is shared loses nothing by it."""
        tablet = service.device(bob.email)
        grant, own = give(ada, bob), tablet.vend().json()
        before = bob.vend(include_shared=True).json()
        ada.delete(f"/v1/grants/{grant['grant_id']}")
        recall(service)
        assert service.sql("SELECT scope FROM revocations") == [("session",)]
        assert tablet.vend().json()["access_key_id"] == own["access_key_id"]
        service.clock.advance(seconds=1)
        assert bob.vend(include_shared=True).json()["access_key_id"] != before["access_key_id"]
        revoked = {
            item["access_key_id"] for item in bob.get("/v1/me/credentials").json()["items"] if item["revoked_at"]
        }
        assert revoked == {before["access_key_id"]}

    def test_says_when_it_holds_by_what_its_owner_took_back_before(self, make_service: Callable[..., Service]) -> None:
        """Not by whether anybody looked: that is for nobody to learn."""
        service = make_service(rate_limits="on", revocation="role_policy", iam_endpoint_url="http://127.0.0.1:1")
        ada, bob = service.device("ada@example.org"), service.device("bob@example.org")
        giving = [share(ada, bob.email, f"{number}/") for number in range(8)]
        ends = [ada.delete(f"/v1/grants/{grant['grant_id']}").json()["effective_by"] for grant in giving]
        assert ends == ["2026-06-01T12:01:05Z"] * 6 + ["2026-06-01T13:00:05Z"] * 2

    def test_its_grantee_leaves_it(self, service: Service, ada: Device, bob: Device) -> None:
        """Nothing of theirs is revoked for it, and its owner goes on seeing it."""
        grant = give(ada, bob)
        assert shared_with(bob) == [prefix_of(ada)]
        left = bob.delete(f"/v1/grants/{grant['grant_id']}")
        assert (left.status_code, left.json()) == (202, {"effective_by": "2026-06-01T13:00:00Z"})
        recall(service)
        assert shared_with(bob) == bob.get("/v1/grants/received").json()["items"] == []
        assert ada.get("/v1/grants").json()["items"] == [grant]
        assert share(ada, bob.email) == grant
        assert bob.delete(f"/v1/grants/{grant['grant_id']}").status_code == 404
        assert events(service) == ["grant.created", "grant.accepted", "grant.left"]
        assert service.sql("SELECT count(*) FROM revocations") == [(0,)]
        assert "grant.left" not in ada.get("/v1/me/export").text
        assert ada.delete(f"/v1/grants/{grant['grant_id']}").status_code == 202

    def test_whose_folders_were_left_twice_shares_no_more_with_them(
        self, service: Service, ada: Device, bob: Device
    ) -> None:
        """Nor does anybody get mails of it; to its owner it looks like any other."""
        for path in ("a/", "b/"):
            grant = give(ada, bob, path)
            assert shared_with(bob) == [prefix_of(ada, path)]
            bob.delete(f"/v1/grants/{grant['grant_id']}")
        service.clock.advance(days=2)
        ada, bob = service.device(ada.email), service.device(bob.email)
        ada.delete(f"/v1/grants/{grant['grant_id']}")
        again, mails = share(ada, bob.email, "b/"), len(service.mails(bob.email))
        assert shared_with(bob) == []
        assert again in ada.get("/v1/grants").json()["items"]
        assert len(service.mails(bob.email)) == mails
        assert shared_with(bob) == []
        give(service.device("kim@example.org"), bob, "c/")
        assert len(shared_with(bob)) == 1

    def test_one_of_others_looks_like_none(self, service: Service, ada: Device, bob: Device) -> None:
        """AZ2."""
        grant, eve = give(ada, bob), service.device()
        foreign, absent = (eve.delete(f"/v1/grants/{id_}") for id_ in (grant["grant_id"], uuid.uuid4()))
        assert foreign.status_code == absent.status_code == 404
        assert shared_with(bob) == [prefix_of(ada)]
        assert ada.delete(f"/v1/grants/{grant['grant_id']}").status_code == 202
        assert ada.delete(f"/v1/grants/{grant['grant_id']}").status_code == 404

    def test_an_invitation_too(self, service: Service, ada: Device) -> None:
        grant = share(ada, "carol@example.org")
        assert ada.delete(f"/v1/grants/{grant['grant_id']}").status_code == 202
        assert shared_with(service.device("carol@example.org")) == []

    def test_says_when_a_credential_ends_that_was_revoked_before(self, make_service: Callable[..., Service]) -> None:
        """With `REVOCATION=off` it works until it expires, whoever revoked it."""
        service = make_service(credential_max_ttl=7200)
        service.sts.caller_arn = "arn:aws:iam::123456789012:user/broker"
        ada, bob = service.device("ada@example.org"), service.device("bob@example.org")
        grant = give(ada, bob)
        expiration = bob.vend(include_shared=True, duration_seconds=7200).json()["expiration"]
        bob.post("/v1/credentials/revoke")
        service.clock.advance(seconds=60)
        effective_by = ada.delete(f"/v1/grants/{grant['grant_id']}").json()["effective_by"]
        assert effective_by >= expiration


@pytest.mark.both_databases
class TestAccept:
    """VC11: what a stranger shares changes nothing for its grantee until they accept it."""

    def test_nothing_is_carried_before(self, service: Service, ada: Device, bob: Device) -> None:
        grant = share(ada, bob.email)
        assert shared_with(bob) == []
        ((listed,),) = [bob.get("/v1/grants/received").json()["items"]]
        assert listed["accepted_at"] is None
        service.clock.advance(seconds=1)
        accept(bob, grant)
        assert shared_with(bob) == [prefix_of(ada)]
        assert bob.get("/v1/grants/received").json()["items"][0]["accepted_at"] == "2026-06-01T12:00:01Z"
        assert ada.get("/v1/grants").json()["items"] == [grant], "its owner does not learn of it"
        assert events(service) == ["grant.created", "grant.accepted"]
        assert "grant.accepted" not in ada.get("/v1/me/export").text

    def test_again_is_the_same(self, service: Service, ada: Device, bob: Device) -> None:
        grant = give(ada, bob)
        service.clock.advance(seconds=1)
        accept(bob, grant)
        assert bob.get("/v1/grants/received").json()["items"][0]["accepted_at"] == "2026-06-01T12:00:00Z"
        assert events(service) == ["grant.created", "grant.accepted"]

    def test_what_is_not_the_callers_or_over_looks_like_none(self, service: Service, ada: Device, bob: Device) -> None:
        """AZ2: not even to who gave it."""
        eve = service.device()
        withdrawn, left, past, suspended = (
            share(owner, bob.email, path, **members)["grant_id"]
            for owner, path, members in (
                (ada, "a/", {}),
                (ada, "b/", {}),
                (ada, "c/", {"expires_at": "2026-06-01T12:00:01Z"}),
                (eve, "d/", {}),
            )
        )
        foreign = share(ada, service.device().email, "e/")["grant_id"]
        ada.delete(f"/v1/grants/{withdrawn}")
        bob.delete(f"/v1/grants/{left}")
        service.disable(eve.email)
        service.clock.advance(seconds=1)
        for device, grant_id in (
            *((bob, one) for one in (withdrawn, left, past, suspended, foreign, str(uuid.uuid4()))),
            (ada, foreign),
        ):
            answer = device.post(f"/v1/grants/received/{grant_id}/accept")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert service.sql("SELECT count(*) FROM grants WHERE accepted_at IS NOT NULL") == [(0,)]

    def test_by_naming_it(self, service: Service, ada: Device, bob: Device) -> None:
        grant = share(ada, bob.email)["grant_id"]
        other = share(ada, bob.email, "b/")["grant_id"]
        assert shared_with(bob, grant_ids=[grant, str(uuid.uuid4())]) == [prefix_of(ada)]
        assert shared_with(bob) == [prefix_of(ada)], "and by nothing else"
        accepted = service.sql("SELECT id FROM grants WHERE accepted_at IS NOT NULL")
        assert [str(uuid.UUID(str(one))) for (one,) in accepted] == [grant]
        bob.delete(f"/v1/grants/{other}")
        assert shared_with(bob, grant_ids=[other]) == [], "not where it was declined"

    def test_a_waiting_one_too(self, service: Service, ada: Device) -> None:
        grant = share(ada, "carol@example.org")
        carol = service.device("carol@example.org")
        accept(carol, grant)
        assert shared_with(carol) == [prefix_of(ada)]
        assert events(service) == ["grant.created", "grant.bound", "grant.accepted"]

    def test_a_waiting_one_of_before_is_accepted_by_nobody_yet(self, service: Service, ada: Device) -> None:
        """Grants from before that was asked count as accepted, but nobody had received this one."""
        share(ada, "carol@example.org")
        service.sql("UPDATE grants SET accepted_at = created_at")
        carol = service.device("carol@example.org")
        assert shared_with(carol) == []
        accept_all(carol)
        assert shared_with(carol) == [prefix_of(ada)]

    def test_an_unaccepted_one_shortens_fills_and_revokes_nothing(
        self, service: Service, ada: Device, bob: Device
    ) -> None:
        eve = service.device()
        give(ada, bob)
        before = bob.vend(include_shared=True).json()
        strange = [
            share(eve, bob.email, f"{number}{'x' * 180}/", expires_at="2026-06-01T12:17:30Z") for number in range(5)
        ]
        vended = bob.vend(include_shared=True).json()
        assert vended["access_key_id"] == before["access_key_id"]
        assert (vended["expires_in"], vended["shared_parts"]) == (3600, 1)
        for grant in strange:
            assert eve.delete(f"/v1/grants/{grant['grant_id']}").status_code == 202
        recall(service)
        assert bob.vend(include_shared=True).json()["access_key_id"] == before["access_key_id"]
        assert service.sql("SELECT count(*) FROM revocations") == [(0,)]

    def test_those_who_withdraw_first_are_barred_too(self, service: Service, bob: Device) -> None:
        """Else whoever is not wanted takes each folder back before it can be declined, and shares the next one."""
        eve = service.device()
        for path in ("a/", "b/"):
            eve.delete(f"/v1/grants/{share(eve, bob.email, path)['grant_id']}")
        service.clock.advance(days=2)
        eve, bob = service.device(eve.email), service.device(bob.email)
        mails = len(service.mails(bob.email))
        grant = share(eve, bob.email, "c/")
        assert bob.get("/v1/grants/received").json()["items"] == []
        assert len(service.mails(bob.email)) == mails
        assert eve.get("/v1/grants").json()["items"] == [grant]

    def test_but_nobody_of_whom_something_was_accepted(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob)
        for path in ("a/", "b/"):
            ada.delete(f"/v1/grants/{share(ada, bob.email, path)['grant_id']}")
        grant = share(ada, bob.email, "c/")
        assert grant["grant_id"] in [item["grant_id"] for item in bob.get("/v1/grants/received").json()["items"]]


class TestInvitation:
    def test_is_not_for_who_holds_the_address_after_its_holder(self, service: Service, ada: Device) -> None:
        """An address that was verified, and whose holder erased their account, may be anybody's later."""
        share(ada, "carol@example.org")
        carol = service.device("carol@example.org")
        service.sql("UPDATE users SET email_verified_at = created_at WHERE email = 'carol@example.org'")
        assert carol.erase().status_code == 202
        assert service.sql("SELECT DISTINCT grantee_email, grantee_email_key FROM grants") == [("", "")]
        assert shared_with(service.device("carol@example.org")) == []

    def test_stays_with_who_changes_their_address(self, service: Service, ada: Device) -> None:
        share(ada, "carol@example.org")
        carol = service.device("carol@example.org")
        service.sql("UPDATE users SET email_verified_at = created_at WHERE email = 'carol@example.org'")
        body = {"new_email": "new@example.org", "password": PASSWORD}
        assert carol.post("/v1/me/email", json=body).status_code == 202
        token = service.mails("new@example.org")[-1].token
        assert carol.post("/v1/me/email/confirm", json={"token": token}).status_code == 204
        later = service.device("carol@example.org")
        assert shared_with(later) == later.get("/v1/grants/received").json()["items"] == []
        accept_all(carol)
        assert shared_with(carol) == [prefix_of(ada)]

    def test_that_nobody_took_up_is_nobodys_after_a_month(self, service: Service, ada: Device) -> None:
        """Its owner sees no difference."""
        grant = share(ada, "carol@example.org")
        service.clock.advance(days=30, seconds=1)
        ada = service.device(ada.email)
        assert shared_with(service.device("carol@example.org")) == []
        assert ada.get("/v1/grants").json()["items"] == [grant]

    def test_is_mailed_once_a_day(self, service: Service, ada: Device) -> None:
        for hours in (0, 1, 24):
            service.clock.advance(hours=hours)
            share(service.device(ada.email), "carol@example.org", f"{hours}/")
        assert len(service.mails("carol@example.org")) == 2


class TestVend:
    def test_carries_what_is_shared_when_asked(self, service: Service, ada: Device, bob: Device) -> None:
        grant = give(ada, bob)
        assert bob.vend().json()["shared_prefixes"] == []
        vended = bob.vend(include_shared=True, path="mine/", access="read").json()
        assert (vended["shared_prefixes"], vended["shared_part"], vended["shared_parts"]) == ([prefix_of(ada)], 1, 1)
        statements = {one["Sid"]: one for one in json.loads(service.sts.assumed[-1]["Policy"])["Statement"]}
        assert statements["Shared"] == {
            "Sid": "Shared",
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::photos/{prefix_of(ada)}*"],
        }
        assert statements["List"]["Condition"]["StringLike"]["s3:prefix"][2:] == [f"{prefix_of(ada)}*"]
        (kept,) = service.sql("SELECT shared FROM issued_credentials WHERE shared IS NOT NULL")
        carried = json.loads(kept[0]) if isinstance(kept[0], str) else kept[0]
        assert carried == [{"grant_id": grant["grant_id"], "prefix": prefix_of(ada)}]
        assert bob.vend(include_shared=True, path="mine/", access="read").json() == vended, "it is cached"

    def test_every_key_is_traced_to_what_it_reaches(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob)
        vended, staff = bob.vend(include_shared=True).json(), service.staff()
        own = bob.get("/v1/me/credentials").json()["items"][0]
        found = staff.get(f"/v1/admin/access-keys/{vended['access_key_id']}").json()["credential"]
        listed = staff.get(f"/v1/admin/users/{bob.user_id}/credentials").json()["items"][0]
        assert {tuple(entry["shared_prefixes"]) for entry in (own, found, listed)} == {(prefix_of(ada),)}

    def test_takes_nothing_but_true_and_false(self, bob: Device) -> None:
        for wanted in (0, 1, "true", None):
            answer = bob.vend(include_shared=wanted)
            assert (answer.status_code, answer.json()["errors"][0]["location"]) == (422, "body.include_shared")

    def test_is_not_for_writing(self, service: Service, bob: Device) -> None:
        answer = bob.vend(include_shared=True, access="write")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "not_for_write")
        assert service.sts.forms == []

    def test_a_folder_of_who_is_disabled_is_left_out(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob)
        service.disable(ada.email)
        assert shared_with(bob) == bob.get("/v1/grants/received").json()["items"] == []


class TestNamed:
    """`grant_ids`: of all that is shared the client names what it needs, so nobody's grants crowd out another's."""

    def test_only_the_named_ones_are_carried(self, service: Service, ada: Device, bob: Device) -> None:
        a, b, c = (give(ada, bob, path)["grant_id"] for path in ("a/", "b/", "c/"))
        for named, expected in (([c], ["c/"]), ([c, a, a], ["a/", "c/"]), ([], []), (None, ["a/", "b/", "c/"])):
            prefixes = shared_with(bob, grant_ids=named)
            assert sorted(prefixes) == [prefix_of(ada, path) for path in expected], named
        before = len(service.sts.assumed)
        assert shared_with(bob, grant_ids=[a, c.upper()]) == shared_with(bob, grant_ids=[c, a])
        assert len(service.sts.assumed) == before, "it is cached, however they are named"
        assert ada.delete(f"/v1/grants/{b}").status_code == 202
        service.clock.advance(seconds=1)
        assert shared_with(bob, grant_ids=[b, c]) == [prefix_of(ada, "c/")]

    def test_a_stranger_crowds_nobody_out(
        self, service: Service, ada: Device, bob: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.sharing.receiving.MOST_PACKED", 12)
        eve = service.device("eve@example.org")
        for number in range(12):
            give(eve, bob, f"{number:02}{'x' * 60}/")
        service.clock.advance(seconds=1)
        grant = give(ada, bob)
        first = bob.vend(include_shared=True).json()
        parts = [shared_with(bob, shared_part=number) for number in range(1, first["shared_parts"] + 1)]
        assert len(parts) > 1
        assert not any(prefix_of(ada) in part for part in parts)
        vended = bob.vend(include_shared=True, grant_ids=[grant["grant_id"]]).json()
        assert (vended["shared_prefixes"], vended["shared_part"], vended["shared_parts"]) == ([prefix_of(ada)], 1, 1)

    def test_those_of_others_look_like_none(self, service: Service, ada: Device, bob: Device) -> None:
        """AZ2: not even to who gave them."""
        grant, eve = give(ada, bob)["grant_id"], service.device()
        assert shared_with(bob, grant_ids=[grant]) == [prefix_of(ada)]
        for device in (ada, eve):
            foreign, absent = (
                device.vend(include_shared=True, grant_ids=[id_]).json() for id_ in (grant, str(uuid.uuid4()))
            )
            assert foreign == absent
            assert foreign["shared_prefixes"] == []

    def test_what_waits_is_bound_and_carried(self, service: Service, ada: Device) -> None:
        grant = share(ada, "carol@example.org")["grant_id"]
        carol = service.device("carol@example.org")
        assert shared_with(carol, grant_ids=[grant]) == [prefix_of(ada)]

    def test_they_come_in_parts_too(self, ada: Device, bob: Device) -> None:
        named = [give(ada, bob, f"{number:02}{'x' * 60}/")["grant_id"] for number in range(12)]
        first = bob.vend(include_shared=True, grant_ids=named[2:]).json()
        parts = [
            shared_with(bob, grant_ids=named[2:], shared_part=number + 1) for number in range(first["shared_parts"])
        ]
        assert len(parts) > 1
        assert sorted(prefix for part in parts for prefix in part) == [
            prefix_of(ada, f"{number:02}{'x' * 60}/") for number in range(2, 12)
        ]

    def test_what_makes_no_sense_is_refused(self, service: Service, bob: Device) -> None:
        wishes: tuple[dict[str, Any], ...] = (
            {"grant_ids": []},
            {"grant_ids": [str(uuid.uuid4())], "include_shared": False},
            {"grant_ids": ["x"], "include_shared": True},
            {"grant_ids": [1], "include_shared": True},
            {"grant_ids": str(uuid.uuid4()), "include_shared": True},
            {"grant_ids": [str(uuid.uuid4())] * 101, "include_shared": True},
        )
        for wish in wishes:
            answer = bob.vend(**wish)
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["location"].startswith("body.grant_ids"), wish
        assert service.sts.forms == []
        assert bob.vend(grant_ids=None).status_code == 200

    def test_a_folder_that_came_twice_is_carried_once(self, service: Service, ada: Device, bob: Device) -> None:
        """By the grant that ends last: bob had another address before."""
        give(ada, bob, expires_at="2026-06-01T12:50:00Z")
        service.sql("UPDATE users SET email = 'b@example.org', email_key = 'b@example.org' WHERE email LIKE 'bob%'")
        service.clock.advance(seconds=1)
        share(ada, bob.email, "other/")
        share(ada, "b@example.org")
        accept_all(bob)
        assert len(bob.get("/v1/grants/received").json()["items"]) == 2
        vended = bob.vend(include_shared=True).json()
        assert (vended["shared_prefixes"], vended["expires_in"]) == ([prefix_of(ada)], 3600)


@pytest.mark.both_databases
class TestExpiry:
    """A credential ends before what it carries: no engine has to know of the expiry."""

    def test_a_wish_without_a_duration_is_shortened(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob, expires_at="2026-06-01T12:50:00Z")
        vended = bob.vend(include_shared=True).json()
        assert (vended["shared_prefixes"], vended["expiration"]) == ([prefix_of(ada)], "2026-06-01T12:45:00Z")
        service.clock.advance(minutes=1)
        assert bob.vend(include_shared=True).json()["access_key_id"] == vended["access_key_id"], "it is cached"
        assert bob.vend().json()["expires_in"] == 3600

    def test_a_duration_that_is_longer_leaves_it_out(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob, expires_at="2026-06-01T12:50:00Z")
        assert shared_with(bob, duration_seconds=3600) == []
        vended = bob.vend(include_shared=True, duration_seconds=2700).json()
        assert (vended["shared_prefixes"], vended["expires_in"]) == ([prefix_of(ada)], 2700)

    def test_nothing_is_vended_for_its_last_quarter_of_an_hour(
        self, service: Service, ada: Device, bob: Device
    ) -> None:
        give(ada, bob, expires_at="2026-06-01T12:16:00Z")
        assert bob.vend(include_shared=True).json()["expiration"] == "2026-06-01T12:15:00Z"
        service.clock.advance(seconds=1)
        assert shared_with(bob) == []

    def test_no_credential_outlives_its_grant(self, service: Service, ada: Device, bob: Device) -> None:
        """Every few minutes of the last hour, cached or not."""
        give(ada, bob, expires_at="2026-06-01T13:10:00Z")
        carried = 0
        for _ in range(25):
            vended = bob.vend(include_shared=True).json()
            carried += len(vended["shared_prefixes"])
            assert not vended["shared_prefixes"] or vended["expiration"] <= "2026-06-01T13:10:00Z"
            service.clock.advance(seconds=181)
            tokens = service.refresh(bob.refresh_token).json()
            bob.access_token, bob.refresh_token = tokens["access_token"], tokens["refresh_token"]
        assert carried > 15
        assert len(service.sts.assumed) < 10

    @pytest.mark.parametrize("minutes", [2, 3, 50])
    def test_nor_where_sts_is_ahead_of_us(self, service: Service, ada: Device, bob: Device, minutes: int) -> None:
        """What ends too soon for its clock is left out, and all else is carried."""
        give(ada, bob, "soon/", expires_at="2026-06-01T12:16:00Z")
        give(ada, bob, "later/")
        service.sts._clock = type("Ahead", (), {"now": lambda self: service.clock.now() + timedelta(minutes=minutes)})()
        answer = bob.vend(include_shared=True, duration_seconds=900)
        assert (answer.status_code, answer.json()["shared_prefixes"]) == (200, [prefix_of(ada, "later/")])
        assert shared_with(bob) == [prefix_of(ada, "later/")]
        assert len(service.sts.assumed) == 4, "two for each wish"

    def test_it_gets_a_shorter_one_where_that_does(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob, expires_at="2026-06-01T12:46:30Z")
        service.sts._clock = type("Ahead", (), {"now": lambda self: service.clock.now() + timedelta(minutes=3)})()
        vended = bob.vend(include_shared=True).json()
        assert (vended["shared_prefixes"], vended["expiration"]) == ([prefix_of(ada)], "2026-06-01T12:33:00Z")


@pytest.mark.both_databases
class TestMeanwhile:
    """What happens to a grant while STS works wins over what STS then issues."""

    @pytest.mark.parametrize("how", ["withdrawn", "left", "disabled"])
    def test_nobody_gets_what_has_ended(self, service: Service, ada: Device, bob: Device, how: str) -> None:
        grant, phone = give(ada, bob), service.device(bob.email)

        def end(_form: dict[str, str]) -> None:
            service.sts.before_answer = lambda form: None
            if how == "disabled":
                service.disable(ada.email)
            else:
                who = ada if how == "withdrawn" else phone
                assert who.delete(f"/v1/grants/{grant['grant_id']}").status_code == 202

        service.sts.before_answer = end
        assert shared_with(bob) == []
        assert len(service.sts.assumed) == 2
        assert "Shared" not in service.sts.assumed[1]["Policy"]

    def test_what_waits_for_the_same_credential_neither(self, service: Service, ada: Device, bob: Device) -> None:
        grant = give(ada, bob)
        assert shared_with(bob) == [prefix_of(ada)]
        ada.delete(f"/v1/grants/{grant['grant_id']}")
        service.clock.advance(seconds=1)
        again = give(ada, bob)
        assert again["grant_id"] != grant["grant_id"]
        before = len(service.sts.assumed)
        assert shared_with(bob) == [prefix_of(ada)]
        assert len(service.sts.assumed) == before + 1, "what was issued for the withdrawn grant is not found again"


class TestParts:
    def test_more_than_a_policy_holds_is_split(self, service: Service, ada: Device, bob: Device) -> None:
        for number in range(25):
            give(ada, bob, f"albums/{number:04}/")
            service.clock.advance(seconds=1)
        first = bob.vend(include_shared=True).json()
        parts = [shared_with(bob, shared_part=number) for number in range(1, first["shared_parts"] + 1)]
        assert [prefix for part in parts for prefix in part] == [prefix_of(ada, f"albums/{n:04}/") for n in range(25)]
        assert len(parts) > 2
        assert all(len(form["Policy"]) <= 2048 for form in service.sts.assumed)
        assert all(f"users/{bob.user_id}/*" in form["Policy"] for form in service.sts.assumed)
        beyond = bob.vend(include_shared=True, shared_part=len(parts) + 1)
        assert (beyond.status_code, beyond.json()["code"]) == (422, "invalid_shared_part")

    def test_without_shares_there_is_one(self, bob: Device) -> None:
        for part, status in ((0, 422), (-1, 422), (1, 200), (2, 422), (10**30, 422)):
            assert bob.vend(include_shared=True, shared_part=part).status_code == status
            assert bob.vend(shared_part=part).status_code == status

    def test_smaller_ones_where_sts_packs_badly(self, service: Service, ada: Device, bob: Device) -> None:
        for number in range(6):
            give(ada, bob, f"{number}/")
            service.clock.advance(seconds=1)
        service.sts.fail("PackedPolicyTooLarge")
        vended = bob.vend(include_shared=True).json()
        assert (len(vended["shared_prefixes"]), vended["shared_parts"]) == (3, 2)
        assert [len(shared_with(bob, shared_part=part)) for part in (1, 2)] == [3, 3], "it is remembered"
        other = service.device("kim@example.org")
        give(ada, other, "1/")
        give(ada, other, "2/")
        assert len(shared_with(other)) == 2, "of each user alone"

    def test_what_fits_into_none_is_said_and_hinders_nobody(self, service: Service, ada: Device, bob: Device) -> None:
        for number in range(2):
            give(ada, bob, f"{number}/")
            service.clock.advance(seconds=1)
        service.sts.fail("PackedPolicyTooLarge", times=2)  # both, then the first alone
        vended = bob.vend(include_shared=True).json()
        assert (vended["shared_prefixes"], vended["shared_parts"]) == ([prefix_of(ada, "1/")], 2)
        answer = bob.vend(include_shared=True, shared_part=2)
        assert (answer.status_code, answer.json()["code"]) == (422, "policy_too_large")

        assert len(shared_with(bob, access="read")) == 2, "a smaller policy may have room"

    def test_one_wish_asks_sts_only_so_often(self, service: Service, ada: Device, bob: Device) -> None:
        for number in range(10):
            give(ada, bob, f"{number}/")
            service.clock.advance(seconds=1)
        service.sts.fail("PackedPolicyTooLarge", times=4)  # of 10, of 5, of 2 and of 1
        before = len(service.sts.forms)
        assert bob.vend(include_shared=True).json()["code"] == "policy_too_large"
        assert len(service.sts.forms) - before == 4
        assert len(shared_with(bob)) == 1, "the next goes on from there"

    def test_nor_one_beside_a_long_path(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob, "é" * 60 + "/")
        path = "é" * 60 + "/"
        vended = bob.vend(include_shared=True, path=path).json()
        assert (vended["shared_prefixes"], vended["shared_parts"]) == ([], 2)
        assert bob.vend(include_shared=True, path=path, shared_part=2).json()["code"] == "policy_too_large"
        assert len(shared_with(bob)) == 1

    def test_an_own_path_that_is_too_long_is_said_as_ever(self, bob: Device) -> None:
        answer = bob.vend(include_shared=True, path="🏔" * 60 + "/")
        assert (answer.status_code, answer.json()["code"]) == (422, "policy_too_large")
