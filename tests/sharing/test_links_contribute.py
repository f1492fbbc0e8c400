"""Links by which people contribute: who becomes a contributor, what they get, and what bounds it."""

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response

from app.admin import prune
from app.records.models import Link
from app.sharing import links
from app.upkeep import contribution_count
from app.upkeep.contribution_count import Claim
from app.upkeep.usage_count import Count
from app.vending import contributing
from tests.sharing.test_links import PATH, code_of, events, issued_by, make, open_link, secret_of
from tests.support.databases import PostgresDatabases
from tests.support.logged import capture_logs
from tests.support.service import Device, Service, running_service

pytestmark = pytest.mark.usefixtures("hashing")

WHY = {"reason": "a test"}


def let_fill(owner: Device, path: str = PATH, **members: Any) -> dict[str, Any]:
    return make(owner, path, access="contribute", **members)


def join(service: Service, link: dict[str, Any], name: str = "Grandma") -> dict[str, Any]:
    answer = open_link(service, link, contributor_name=name)
    assert answer.status_code == 200, answer.text
    opened: dict[str, Any] = answer.json()
    return opened


def come_back(service: Service, link: dict[str, Any], opened: dict[str, Any]) -> Response:
    return open_link(service, link, contributor_token=opened["contributor"]["token"])


@pytest.fixture
def ada(service: Service) -> Device:
    return service.device("ada@example.org")


class TestMaking:
    def test_says_what_it_allows(self, service: Service, ada: Device) -> None:
        assert let_fill(ada, quota_bytes=1000)["access"] == "contribute"
        service.clock.advance(seconds=1)
        make(ada)
        read, filled = ada.get("/v1/links").json()["items"]
        assert (filled["access"], filled["quota_bytes"], filled["max_contributors"]) == ("contribute", 1000, 50)
        assert (read["access"], read["quota_bytes"], read["max_contributors"]) == ("read", None, None)
        (listed, _) = service.staff().get("/v1/admin/links").json()["items"]
        assert listed["access"] == "read"

    @pytest.mark.parametrize("path", ["by/", "albums/By/", "albums/b%79/", "a" * 216 + "/"])
    def test_has_no_part_of_somebody_in_its_path(self, ada: Device, path: str) -> None:
        """VC13"""
        assert code_of(ada.post("/v1/links", json={"path": path, "access": "contribute"})) == (422, "invalid_path")
        assert ada.post("/v1/links", json={"path": path}).status_code == 201

    @pytest.mark.parametrize(
        ("members", "member"),
        [
            ({"quota_bytes": 1}, "quota_bytes"),
            ({"max_contributors": 1}, "max_contributors"),
            ({"access": "contribute", "quota_bytes": 0}, "quota_bytes"),
            ({"access": "contribute", "max_contributors": 0}, "max_contributors"),
            ({"access": "contribute", "max_contributors": 201}, "max_contributors"),
        ],
    )
    def test_makes_sense(self, ada: Device, members: dict[str, Any], member: str) -> None:
        answer = ada.post("/v1/links", json={"path": PATH, **members})
        assert code_of(answer) == (422, "invalid_request")
        assert [error["location"] for error in answer.json()["errors"]] == [f"body.{member}"]


@pytest.mark.both_databases
class TestContributing:
    def test_gives_a_part_of_ones_own(self, service: Service, ada: Device) -> None:
        """VC7, VC13: with a name of their own at STS, by which one denial of the link reaches them."""
        link = let_fill(ada)
        opened = join(service, link)
        contributor_id = opened["contributor"]["id"]
        place = f"users/{ada.user_id}/{PATH}by/{contributor_id}/"
        assert opened["write_prefix"] == place
        assert opened["credentials"]["write_prefixes"] == [place]
        form = service.sts.forms[-1]
        assert form["RoleSessionName"].startswith(f"link.{link['link_id']}.")
        assert len(form["RoleSessionName"]) == 64
        assert form["SourceIdentity"] == ada.user_id
        assert f'{place}*"' in form["Policy"]
        (entry,) = ada.get("/v1/me/credentials").json()["items"]
        assert (entry["link_id"], entry["write_prefixes"]) == (link["link_id"], [place])
        assert events(service) == ["link.created", "link.joined", "link.opened"]
        (listed,) = ada.get("/v1/links").json()["items"]
        assert listed["contributors"] == [
            {"id": contributor_id, "name": "Grandma", "created_at": "2026-06-01T12:00:00Z"}
        ]

    def test_lasts_by_the_token(self, service: Service, ada: Device) -> None:
        link = let_fill(ada)
        first, other = join(service, link), join(service, link, "Uncle")
        service.clock.advance(hours=2)
        again = come_back(service, link, first).json()
        assert again["contributor"] == first["contributor"]
        assert again["write_prefix"] == first["write_prefix"] != other["write_prefix"]
        assert service.sql("SELECT count(*) FROM link_contributors") == [(2,)]
        assert first["contributor"]["token"] not in str(service.sql("SELECT * FROM link_contributors"))

    def test_is_for_whoever_says_a_name(self, service: Service, ada: Device) -> None:
        """All who look share one credential, which writes nowhere. It is never a contributor's, nor the other way."""
        link = let_fill(ada)
        seen = [open_link(service, link).json() for _ in range(3)]
        opened = join(service, link)
        after = open_link(service, link).json()
        keys = {one["credentials"]["access_key_id"] for one in (*seen, after)}
        assert len(keys) == 1
        assert opened["credentials"]["access_key_id"] not in keys
        assert {(one["write_prefix"], one["contributor"]) for one in (*seen, after)} == {(None, None)}
        assert "/by/" not in service.sts.forms[0]["Policy"]
        assert come_back(service, link, opened).json()["credentials"]["access_key_id"] not in keys

    def test_is_not_for_who_has_a_link_that_is_read(self, service: Service, ada: Device) -> None:
        opened = join(service, make(ada))
        assert (opened["write_prefix"], opened["contributor"]) == (None, None)
        assert service.sql("SELECT count(*) FROM link_contributors") == [(0,)]

    def test_by_a_token_of_another_link_is_refused(self, service: Service, ada: Device) -> None:
        link, other = let_fill(ada), let_fill(ada, "other/")
        opened = join(service, other)
        for token in (opened["contributor"]["token"], "tvc_x", ""):
            answer = open_link(service, link, contributor_token=token)
            assert code_of(answer) == (404, "contributor_not_found")

    def test_is_for_so_many(self, service: Service, ada: Device) -> None:
        link = let_fill(ada, max_contributors=2)
        first = join(service, link)
        join(service, link)
        assert code_of(open_link(service, link, contributor_name="C")) == (409, "too_many_contributors")
        assert come_back(service, link, first).status_code == 200
        assert open_link(service, link).status_code == 200

    def test_takes_no_room_from_others_where_it_fails(self, service: Service, ada: Device) -> None:
        """Whoever tries again and again would else be all the contributors that there may be."""
        ends_at = service.clock.now() + timedelta(hours=1)
        link = let_fill(ada, max_contributors=1, expires_at=ends_at.isoformat())
        service.clock.advance(minutes=50)
        for _ in range(2):
            assert code_of(open_link(service, link, contributor_name="Grandma")) == (404, "link_not_found")
        for table in ("link_contributors", "contributions"):
            assert service.sql(f"SELECT count(*) FROM {table}") == [(0,)]

    def test_by_a_token_lasts_where_it_fails(self, service: Service, ada: Device) -> None:
        ends_at = service.clock.now() + timedelta(hours=1)
        link = let_fill(ada, expires_at=ends_at.isoformat())
        opened = join(service, link)
        service.clock.advance(minutes=50)
        assert code_of(come_back(service, link, opened)) == (404, "link_not_found")
        for table in ("link_contributors", "contributions"):
            assert service.sql(f"SELECT count(*) FROM {table}") == [(1,)]

    def test_is_explained_to_the_owner(self, service: Service, ada: Device) -> None:
        """By the policy that the contributor's credential has, not by that of the owner's own."""
        opened = join(service, let_fill(ada))
        used = opened["credentials"]["access_key_id"]
        for action, key, allowed in (
            ("s3:PutObject", f"{opened['write_prefix']}a.jpg", True),
            ("s3:PutObject", f"users/{ada.user_id}/{PATH}a.jpg", False),
            ("s3:GetObject", f"users/{ada.user_id}/{PATH}a.jpg", True),
            ("s3:GetObjectTagging", f"users/{ada.user_id}/{PATH}a.jpg", False),
        ):
            question = {"action": action, "key": key, "access_key_id": used}
            assert ada.post("/v1/access-checks", json=question).json()["allowed"] is allowed, (action, key)

    def test_ends_with_the_link(self, service: Service, ada: Device) -> None:
        """VC13: withdrawn, or its owner disabled or revoked."""
        staff = service.staff()
        for end, code in (
            (lambda link: ada.delete(f"/v1/links/{link['link_id']}"), "link_not_found"),
            (lambda _: ada.post("/v1/credentials/revoke"), None),
            (lambda _: staff.post(f"/v1/admin/users/{ada.user_id}/disable", json=WHY), "link_not_found"),
        ):
            link = let_fill(ada)
            opened = join(service, link)
            assert end(link).status_code in (200, 202)
            assert issued_by(service, link) == [True]
            service.clock.advance(seconds=1)
            answer = come_back(service, link, opened)
            assert (answer.json().get("code"), answer.status_code) == (code, 404 if code else 200)

    def test_names_are_gone_with_the_owner_and_with_the_link(self, service: Service, ada: Device) -> None:
        join(service, let_fill(ada))
        kim = service.device("kim@example.org")
        old = let_fill(kim)
        join(service, old)
        kim.delete(f"/v1/links/{old['link_id']}")
        assert ada.erase().status_code == 202
        assert service.sql("SELECT count(*) FROM link_contributors") == [(1,)]
        service.clock.advance(days=91)
        while service.runtime.platform.database.run("write", prune.delete_stale, service.clock.now()):
            pass
        for table in ("link_contributors", "links"):
            assert service.sql(f"SELECT count(*) FROM {table}") == [(0,)]

    def test_needs_the_password_too(self, service: Service, ada: Device) -> None:
        link = let_fill(ada, password="open sesame 58")
        assert code_of(open_link(service, link, contributor_name="A")) == (401, "link_password_required")
        assert service.sql("SELECT count(*) FROM link_contributors") == [(0,)]

    @pytest.mark.parametrize("name", ["", "a\x07", "x" * 61, 5])
    def test_names_can_be_printed(self, service: Service, ada: Device, name: Any) -> None:
        answer = open_link(service, let_fill(ada), contributor_name=name)
        assert code_of(answer) == (422, "invalid_request")

    def test_tokens_stay_out_of_the_log(self, service: Service, ada: Device) -> None:
        """OP1"""
        with capture_logs() as lines:
            link = let_fill(ada)
            opened = join(service, link)
            come_back(service, link, opened)
        assert opened["contributor"]["token"] not in str(lines)
        assert secret_of(link) not in str(lines)


class TestBounds:
    def test_of_the_link_leaves_the_folder_to_be_read(self, service: Service, ada: Device) -> None:
        """What all have contributed counts together."""
        link = let_fill(ada, quota_bytes=100)
        first, other = join(service, link), join(service, link, "Uncle")
        service.sql("UPDATE contributions SET bytes = 49, counted_at = created_at")
        assert come_back(service, link, first).json()["write_prefix"] == first["write_prefix"]
        service.sql("UPDATE contributions SET bytes = 50")
        for opened in (first, other):
            again = come_back(service, link, opened).json()
            assert (again["write_prefix"], again["contributor"]) == (None, opened["contributor"])
            assert again["credentials"]["write_prefixes"] == []

    def test_of_the_owner_too(self, service: Service, ada: Device) -> None:
        link = let_fill(ada)
        opened = join(service, link)
        service.sql("UPDATE users SET quota_bytes = 100 WHERE email = 'ada@example.org'")
        assert come_back(service, link, opened).json()["write_prefix"] is not None
        service.sql("UPDATE usage SET bytes = 100, counted_at = next_count_at")
        assert come_back(service, link, opened).json()["write_prefix"] is None

    def test_new_credentials_count_for_the_address_and_as_those_of_newcomers(
        self, make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """VC12: viewers of the same link are none the worse."""
        service = make_service(rate_limits="on")
        ada = service.device("ada@example.org")
        service.sql("UPDATE users SET created_at = '2026-01-01 00:00:00'")
        link = let_fill(ada)
        hits: list[tuple[str, str]] = []
        limiter = service.runtime.platform.limiter
        hit = limiter.hit

        async def count(name: Any, key: str) -> None:
            hits.append((name, key))
            await hit(name, key)

        monkeypatch.setattr(limiter, "hit", count)
        open_link(service, link)
        assert not any("newcomers" in name for name, _ in hits)
        hits.clear()
        opened = join(service, link)
        names = [name for name, _ in hits]
        assert {"new_credential_from", "new_credential_of_newcomers_from", "new_credential_for_newcomers"} <= set(names)
        assert ("new_credential", opened["contributor"]["id"]) in hits

    def test_is_looked_at_again_once_the_credential_is_in_the_ledger(
        self, service: Service, ada: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link = let_fill(ada, quota_bytes=100)
        opened, admit = join(service, link), contributing.admit_by_link
        service.clock.advance(minutes=40)

        async def admit_and_fill(*args: Any) -> Any:
            admitted = await admit(*args)
            service.sql("UPDATE contributions SET bytes = 100, counted_at = created_at")
            return admitted

        monkeypatch.setattr(contributing, "admit_by_link", admit_and_fill)
        assert come_back(service, link, opened).json()["write_prefix"] is None

    def test_a_count_that_reaches_the_quota_revokes_what_the_link_gave(self, service: Service, ada: Device) -> None:
        link = let_fill(ada, quota_bytes=100)
        join(service, link)
        database = service.runtime.platform.database

        def recall(session: Any) -> None:
            row = session.get_one(Link, uuid.UUID(link["link_id"]))
            links.recall(session, contribution_count.ORIGIN, service.clock.now(), row)

        database.run("write", recall)
        assert issued_by(service, link) == [True]

    def test_two_counts_at_once_do_not_both_miss_that_it_is_reached(
        self, postgres_databases: PostgresDatabases
    ) -> None:
        url = postgres_databases.create()
        with running_service(url) as service:
            ada = service.device("ada@example.org")
            link = let_fill(ada, quota_bytes=100)
            first, other = (uuid.UUID(join(service, link, name)["contributor"]["id"]) for name in ("A", "B"))
            platform, now = service.runtime.platform, service.clock.now()
            place_id = contributing.place_id(other, uuid.UUID(ada.user_id), PATH)
            claim = Claim(place_id, uuid.UUID(ada.user_id), "", 0, now, Count(0, 0, None))
            counted = (now, platform.settings, claim, Count(60, 1, None))
            second = threading.Thread(
                target=platform.database.run, args=("write", contribution_count._settle, *counted)
            )
            with platform.database.engine.connect() as count:
                count.exec_driver_sql("SELECT id FROM users WHERE email = 'ada@example.org' FOR UPDATE")
                count.exec_driver_sql("UPDATE contributions SET bytes = 60 WHERE contributor_id = %s", (first,))
                second.start()
                second.join(0.5)
                assert second.is_alive(), "it did not wait for the first count"
                count.commit()
                second.join(10)
            assert issued_by(service, link) == [True, True]
        postgres_databases.drop(url)
