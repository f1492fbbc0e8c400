"""Folders that others fill: who may, what a credential then carries, and what it costs whom."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from app.admin import prune
from app.upkeep import contribution_count
from app.vending import contributing
from tests.security.observed import assert_problem
from tests.sharing.test_grants import PATH, accept, give, prefix_of, recall, share
from tests.support.service import Device, Service

pytestmark = pytest.mark.usefixtures("hashing")

CONTRIBUTE = {"access": "contribute"}


def fill(owner: Device, grantee: Device, path: str = PATH, **members: Any) -> dict[str, Any]:
    """A grant by which its grantee contributes, and which they have accepted."""
    return give(owner, grantee, path, **CONTRIBUTE, **members)


def part_of(owner: Device, contributor: Device, path: str = PATH) -> str:
    return f"{prefix_of(owner, path)}by/{contributor.user_id}/"


def vend(device: Device, **wish: Any) -> dict[str, Any]:
    answer = device.vend(**{"include_shared": True, **wish})
    assert answer.status_code == 200, answer.text
    vended: dict[str, Any] = answer.json()
    return vended


def writes(device: Device, **wish: Any) -> list[str]:
    prefixes: list[str] = vend(device, **wish)["write_prefixes"]
    return prefixes


@pytest.fixture
def ada(service: Service) -> Device:
    return service.device("ada@example.org")


@pytest.fixture
def bob(service: Service) -> Device:
    return service.device("bob@example.org")


class TestGrant:
    def test_says_what_it_allows(self, service: Service, ada: Device, bob: Device) -> None:
        grant = share(ada, bob.email, **CONTRIBUTE, quota_bytes=1000)
        assert (grant["access"], grant["quota_bytes"]) == ("contribute", 1000)
        assert ada.get("/v1/grants").json()["items"] == [grant]
        (received,) = bob.get("/v1/grants/received").json()["items"]
        assert (received["access"], received["quota_bytes"]) == ("contribute", 1000)
        (event,) = service.sql("SELECT detail FROM audit_events WHERE event = 'grant.created'")
        assert '"access": "contribute"' in str(event[0]).replace("'", '"')

    def test_is_another_one_if_it_allows_something_else(self, ada: Device, bob: Device) -> None:
        first = share(ada, bob.email, **CONTRIBUTE, quota_bytes=1000)
        assert share(ada, bob.email, **CONTRIBUTE, quota_bytes=1000) == first
        for members in ({}, CONTRIBUTE, {**CONTRIBUTE, "quota_bytes": 1001}):
            answer = ada.post("/v1/grants", json={"grantee_email": bob.email, "path": PATH, **members})
            assert_problem(answer, 409, "grant_exists")

    @pytest.mark.parametrize("path", ["by/", "albums/by/", "albums/By/2026/", "BY/a/", "albums/b%79/", "a" * 216 + "/"])
    def test_has_no_part_of_somebody_in_its_path(self, ada: Device, bob: Device, path: str) -> None:
        """VC13: and leaves room for one. To be read, such a folder is shared as ever."""
        body = {"grantee_email": bob.email, "path": path}
        assert_problem(ada.post("/v1/grants", json={**body, **CONTRIBUTE}), 422, "invalid_path")
        assert ada.post("/v1/grants", json=body).status_code == 201

    @pytest.mark.parametrize(
        ("members", "member"),
        [
            ({"access": "write"}, "access"),
            ({"access": "read_write"}, "access"),
            ({"access": None}, "access"),
            ({"quota_bytes": 1}, "quota_bytes"),
            ({"access": "read", "quota_bytes": 1}, "quota_bytes"),
            ({"access": "contribute", "quota_bytes": 0}, "quota_bytes"),
            ({"access": "contribute", "quota_bytes": 2**53}, "quota_bytes"),
            ({"access": "contribute", "quota_bytes": "5"}, "quota_bytes"),
        ],
    )
    def test_makes_sense(self, ada: Device, bob: Device, members: dict[str, Any], member: str) -> None:
        answer = ada.post("/v1/grants", json={"grantee_email": bob.email, "path": PATH, **members})
        assert_problem(answer, 422, "invalid_request")
        assert [error["location"] for error in answer.json()["errors"]] == [f"body.{member}"]

    def test_is_refused_where_no_policy_has_room(self, make_service: Callable[..., Service]) -> None:
        """Behind a fence, beside a key, only what is read has room."""
        arn = "arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-000000000001"
        managed = "arn:aws:iam::aws:policy/AmazonRekognitionReadOnlyAccess"
        service = make_service(policy_arns=(managed,), kms_key_arn=arn)
        ada = service.device("ada@example.org")
        share(ada, "bob@example.org")
        answer = ada.post("/v1/grants", json={"grantee_email": "kim@example.org", "path": PATH, **CONTRIBUTE})
        assert_problem(answer, 422, "policy_too_large")


class TestCredential:
    def test_writes_in_the_contributors_own_part(self, service: Service, ada: Device, bob: Device) -> None:
        """VC13: under `by/` and the id of whoever it is vended to, as the policy says too."""
        fill(ada, bob)
        read = share(ada, bob.email, "other/")
        accept(bob, read)
        vended = vend(bob)
        assert vended["write_prefixes"] == [part_of(ada, bob)]
        assert set(vended["shared_prefixes"]) == {prefix_of(ada), prefix_of(ada, "other/")}
        assert f'{part_of(ada, bob)}*"' in service.sts.assumed[-1]["Policy"]
        (entry,) = bob.get("/v1/me/credentials").json()["items"]
        assert entry["write_prefixes"] == vended["write_prefixes"]
        (exported,) = bob.get("/v1/me/export").json()["credentials"]
        assert exported["write_prefixes"] == vended["write_prefixes"]

    @pytest.mark.parametrize("access", ["read", "read_delete"])
    def test_that_does_not_write_contributes_nothing(
        self, service: Service, ada: Device, bob: Device, access: str
    ) -> None:
        fill(ada, bob)
        vended = vend(bob, access=access)
        assert (vended["write_prefixes"], vended["shared_prefixes"]) == ([], [prefix_of(ada)])
        assert "/by/" not in service.sts.assumed[-1]["Policy"]
        assert service.sql("SELECT count(*) FROM contributions") == [(0,)]

    def test_without_what_is_shared_contributes_nothing(self, service: Service, ada: Device, bob: Device) -> None:
        fill(ada, bob)
        assert bob.vend().json()["write_prefixes"] == []
        assert bob.vend().json()["write_prefixes"] == [], "by the shortcut"
        assert "/by/" not in service.sts.assumed[-1]["Policy"]

    def test_goes_with_a_narrowed_prefix(self, ada: Device, bob: Device) -> None:
        grant = fill(ada, bob)
        vended = vend(bob, path="trips/", grant_ids=[grant["grant_id"]])
        assert vended["prefix"] == prefix_of(bob, "trips/")
        assert vended["write_prefixes"] == [part_of(ada, bob)]

    def test_of_one_kind_is_never_handed_out_as_another(self, service: Service, ada: Device, bob: Device) -> None:
        """VC9: reading, contributing, and reading again once the grant is another one, are four credentials."""
        grant = fill(ada, bob)
        keys = [vended["access_key_id"] for vended in (vend(bob), vend(bob, access="read"), bob.vend().json())]
        assert [vended["access_key_id"] for vended in (vend(bob), vend(bob, access="read"))] == keys[:2]
        ada.delete(f"/v1/grants/{grant['grant_id']}")
        recall(service)
        service.clock.advance(seconds=1)
        give(ada, bob)
        after = vend(bob)
        assert (after["write_prefixes"], after["shared_prefixes"]) == ([], [prefix_of(ada)])
        assert len({*keys, after["access_key_id"]}) == 4
        assert "/by/" not in service.sts.assumed[-1]["Policy"]

    def test_carries_only_what_was_accepted(self, ada: Device, bob: Device) -> None:
        """VC11: a stranger's folder is in no credential, until it is named."""
        grant = share(ada, bob.email, **CONTRIBUTE)
        assert writes(bob) == []
        assert writes(bob, grant_ids=[grant["grant_id"]]) == [part_of(ada, bob)]
        assert writes(bob) == [part_of(ada, bob)]

    def test_is_of_nobody_else(self, service: Service, ada: Device, bob: Device) -> None:
        grant = fill(ada, bob)
        eve = service.device("eve@example.org")
        vended = vend(eve, grant_ids=[grant["grant_id"]])
        assert (vended["shared_prefixes"], vended["write_prefixes"]) == ([], [])

    def test_ends_with_the_grant(self, service: Service, ada: Device, bob: Device) -> None:
        """VC13: withdrawn, or its owner disabled: what was vended is revoked, and the next one writes nowhere."""
        staff = service.staff()
        for end in (
            lambda grant: ada.delete(f"/v1/grants/{grant['grant_id']}"),
            lambda _: staff.post(f"/v1/admin/users/{ada.user_id}/disable", json={"reason": "a test"}),
        ):
            grant = fill(ada, bob)
            before = vend(bob)
            assert before["write_prefixes"] == [part_of(ada, bob)]
            assert end(grant).status_code in (200, 202)
            recall(service)
            revoked = {one["access_key_id"]: one["revoked_at"] for one in bob.get("/v1/me/credentials").json()["items"]}
            assert revoked[before["access_key_id"]] is not None
            service.clock.advance(seconds=1)
            assert writes(bob) == []

    def test_stays_with_who_contributes_by_two_grants(self, service: Service, ada: Device, bob: Device) -> None:
        """Of one folder: after a change of address. The one that lets them write counts."""
        give(ada, bob)
        service.sql("UPDATE users SET email = 'b@example.org', email_key = 'b@example.org' WHERE email LIKE 'bob%'")
        accept(bob, share(ada, "b@example.org", **CONTRIBUTE))
        vended = vend(bob)
        assert (vended["shared_prefixes"], vended["write_prefixes"]) == ([prefix_of(ada)], [part_of(ada, bob)])

    def test_comes_in_parts(self, service: Service, ada: Device, bob: Device) -> None:
        for number in range(7):
            fill(ada, bob, f"{number}/")
        parts = [vend(bob, shared_part=part) for part in (1, 2)]
        assert [one["shared_parts"] for one in parts] == [2, 2]
        places = [place for one in parts for place in one["write_prefixes"]]
        assert sorted(places) == [part_of(ada, bob, f"{number}/") for number in range(7)]
        assert all(len(assumed["Policy"]) <= 2048 for assumed in service.sts.assumed)

    def test_is_explained(self, ada: Device, bob: Device) -> None:
        """By the policy that it really has."""
        fill(ada, bob)
        for access, key, action, allowed in (
            ("read_write", f"{part_of(ada, bob)}a.jpg", "s3:PutObject", True),
            ("read_write", f"{part_of(ada, bob)}a.jpg", "s3:DeleteObject", True),
            ("read_write", f"{prefix_of(ada)}a.jpg", "s3:PutObject", False),
            ("read_write", f"{prefix_of(ada)}by/{uuid.uuid4()}/a.jpg", "s3:DeleteObject", False),
            ("read", f"{part_of(ada, bob)}a.jpg", "s3:PutObject", False),
        ):
            used = vend(bob, access=access)["access_key_id"]
            body = {"action": action, "key": key, "access_key_id": used}
            found = bob.post("/v1/access-checks", json=body).json()
            assert found["allowed"] is allowed, (access, key, action)
            if not allowed:
                assert "`write_prefixes`" in found["detail"]


@pytest.mark.both_databases
class TestQuota:
    def test_of_the_grant_leaves_what_is_full_to_be_read(self, service: Service, ada: Device, bob: Device) -> None:
        grant = fill(ada, bob, quota_bytes=100)
        before = vend(bob)
        assert before["write_prefixes"] == [part_of(ada, bob)]
        service.sql("UPDATE contributions SET bytes = 99, counted_at = created_at")
        assert writes(bob) == [part_of(ada, bob)]
        service.sql("UPDATE contributions SET bytes = 100")
        after = vend(bob)
        assert (after["write_prefixes"], after["shared_prefixes"]) == ([], [prefix_of(ada)])
        assert grant["quota_bytes"] == 100

    def test_of_the_owner_does_so_too(self, service: Service, ada: Device, bob: Device) -> None:
        """VC11: it takes nothing else from the contributor."""
        staff = service.staff()
        fill(ada, bob)
        set_quota(staff, ada, 100)
        assert writes(bob) == [part_of(ada, bob)]
        service.sql("UPDATE usage SET bytes = 100, counted_at = next_count_at")
        assert writes(bob) == []
        assert vend(bob)["access"] == "read_write"

    def test_of_the_owner_when_lowered_takes_back_what_writes(self, service: Service, ada: Device, bob: Device) -> None:
        staff = service.staff()
        fill(ada, bob)
        set_quota(staff, ada, 100)
        before = vend(bob)
        service.sql("UPDATE usage SET bytes = 50")
        set_quota(staff, ada, 50)
        recall(service)
        revoked = {one["access_key_id"]: one["revoked_at"] for one in bob.get("/v1/me/credentials").json()["items"]}
        assert revoked[before["access_key_id"]] is not None
        service.clock.advance(seconds=1)
        assert writes(bob) == []

    def test_counts_whom_somebody_fills(self, service: Service, ada: Device, bob: Device) -> None:
        """The owner, though they ask for nothing, and the place if its grant has a quota."""
        staff = service.staff()
        set_quota(staff, ada, 100)
        service.sql("DELETE FROM usage")
        fill(ada, bob)
        vend(bob)
        assert service.sql("SELECT count(*) FROM usage") == [(1,)]
        assert service.sql("SELECT next_count_at FROM contributions") == [(None,)]
        fill(ada, bob, "more/", quota_bytes=10)
        vend(bob)
        assert service.sql("SELECT path FROM contributions WHERE next_count_at = created_at") == [("more/",)]

    def test_is_looked_at_again_once_the_credential_is_in_the_ledger(
        self, service: Service, ada: Device, bob: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A count that ends while STS works sees no credential to revoke. So the vend begins again."""
        fill(ada, bob, quota_bytes=100)
        assert writes(bob) == [part_of(ada, bob)]
        tablet, admit = service.device(bob.email), contributing.admit

        async def admit_and_fill(*args: Any, **kwargs: Any) -> Any:
            admitted = await admit(*args, **kwargs)
            service.sql("UPDATE contributions SET bytes = 100, counted_at = created_at")
            return admitted

        monkeypatch.setattr(contributing, "admit", admit_and_fill)
        assert writes(tablet) == []


def set_quota(staff: Device, user: Device, quota_bytes: int) -> None:
    path, body = f"/v1/admin/users/{user.user_id}", {"quota_bytes": quota_bytes, "reason": "a test"}
    answer = staff.service.client.patch(path, json=body, headers=staff.headers)
    assert answer.status_code == 200, answer.text


class TestPlaces:
    def test_are_noted_once(self, service: Service, ada: Device, bob: Device) -> None:
        fill(ada, bob)
        for device in (bob, bob, service.device(bob.email)):
            vend(device)
        rows = service.sql("SELECT path, bytes FROM contributions")
        assert rows == [(PATH, 0)]

    def test_outlive_the_grant(self, service: Service, ada: Device, bob: Device) -> None:
        """What lies there is deleted with the account of whoever put it there, however long that takes."""
        grant = fill(ada, bob)
        vend(bob)
        ada.delete(f"/v1/grants/{grant['grant_id']}")
        recall(service)
        service.clock.advance(days=91)
        service.runtime.platform.database.run("write", prune.delete_stale, service.clock.now())
        assert service.sql("SELECT count(*) FROM grants") == [(0,)]
        assert service.sql("SELECT path FROM contributions") == [(PATH,)]

    def test_are_in_the_contributors_export_alone(self, service: Service, ada: Device, bob: Device) -> None:
        fill(ada, bob)
        vend(bob)
        ours, theirs = (one.get("/v1/me/export").json() for one in (ada, bob))
        assert ours["contributions"] == []
        (place,) = theirs["contributions"]
        assert place["prefix"] == part_of(ada, bob)
        (given,) = ours["grants"]
        assert given["access"] == "contribute"

    def test_a_job_reaches_nothing_but_its_users_part(self, service: Service, ada: Device, bob: Device) -> None:
        """VC2: whatever the table says."""
        fill(ada, bob)
        vend(bob)
        portal = service.client.portal
        assert portal is not None

        async def reach(place: str) -> None:
            user_id = uuid.UUID(bob.user_id)
            await service.runtime.vending.issue_to_job(
                contribution_count.ORIGIN, user_id, access="read_write", place=place
            )

        portal.call(reach, part_of(ada, bob))
        for place in (prefix_of(ada), f"{prefix_of(ada)}by/{ada.user_id}/", f"users/{ada.user_id}/"):
            with pytest.raises(ValueError, match="own part"):
                portal.call(reach, place)


class TestTickets:
    WISH = {"path": "beach.jpg", "content_type": "image/jpeg", "size": 10}

    @pytest.fixture
    def service(self, make_service: Callable[..., Service]) -> Service:
        return make_service(upload_tickets="on")

    def test_are_for_a_key_in_the_contributors_part(self, service: Service, ada: Device, bob: Device) -> None:
        grant = share(ada, bob.email, **CONTRIBUTE, quota_bytes=10)
        bob.get("/v1/grants/received")
        answer = bob.post("/v1/uploads", json={**self.WISH, "grant_id": grant["grant_id"]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["key"] == f"{part_of(ada, bob)}beach.jpg"
        assert bob.get("/v1/grants/received").json()["items"][0]["accepted_at"] is not None

    @pytest.mark.parametrize(
        "kind", ["text/html", "image/svg+xml", "IMAGE/SVG+XML;a=b", "image/x+xml", "application/pdf", "imagex/a"]
    )
    def test_are_for_pictures_and_films(self, ada: Device, bob: Device, kind: str) -> None:
        grant = fill(ada, bob)
        body = {**self.WISH, "content_type": kind, "grant_id": grant["grant_id"]}
        assert_problem(bob.post("/v1/uploads", json=body), 422, "invalid_request")
        assert bob.post("/v1/uploads", json={**self.WISH, "content_type": kind}).status_code == 200, "of one's own"

    def test_are_refused_where_there_is_no_room(self, ada: Device, bob: Device) -> None:
        grant = fill(ada, bob, quota_bytes=100)
        body = {**self.WISH, "grant_id": grant["grant_id"]}
        assert_problem(bob.post("/v1/uploads", json={**body, "size": 101}), 403, "quota_exceeded")
        assert bob.post("/v1/uploads", json={**body, "size": 100}).status_code == 200

    def test_are_of_nobody_else_and_of_no_folder_that_is_read(self, service: Service, ada: Device, bob: Device) -> None:
        """AZ2: another's grant is the same 404 as none."""
        grant, read = fill(ada, bob), give(ada, bob, "read/")
        eve = service.device("eve@example.org")
        for device, grant_id in ((eve, grant["grant_id"]), (bob, read["grant_id"]), (bob, str(uuid.uuid4()))):
            assert_problem(device.post("/v1/uploads", json={**self.WISH, "grant_id": grant_id}), 404, "not_found")
        for path in ("../a.jpg", "a/", "%2e%2e/a.jpg", ""):
            answer = bob.post("/v1/uploads", json={**self.WISH, "path": path, "grant_id": grant["grant_id"]})
            assert_problem(answer, 422, "invalid_path")


@pytest.mark.parametrize("wish", [{}, {"access": "read_write"}, {"access": "read"}])
def test_the_cache_tells_wishes_apart(service: Service, ada: Device, bob: Device, wish: dict[str, str]) -> None:
    """VC9: one credential for each wish, asked for in any order, any number of times."""
    fill(ada, bob)
    expected = [part_of(ada, bob)] if wish.get("access") != "read" else []
    for _ in range(3):
        assert bob.vend(**wish).json()["write_prefixes"] == []
        assert writes(bob, **wish) == expected
    assert len(service.sts.assumed) == 2
