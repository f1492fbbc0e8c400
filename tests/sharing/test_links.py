"""Links: who makes and ends them, what whoever has one gets, and what becomes of it as its owner comes and goes."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from httpx2 import Response

from app.admin import prune
from app.revocation import floor, job
from app.sharing import links
from tests.support.logged import capture_logs
from tests.support.service import PASSWORD, Device, Service

pytestmark = pytest.mark.usefixtures("hashing")

PATH = "albums/2026/"
WHY = {"reason": "a test"}
WORD = "open sesame 58"


def make(owner: Device, path: str = PATH, **members: Any) -> dict[str, Any]:
    answer = owner.post("/v1/links", json={"path": path, **members})
    assert answer.status_code == 201, answer.text
    link: dict[str, Any] = answer.json()
    return link


def secret_of(link: dict[str, Any]) -> str:
    return str(link["url"].partition("#")[2])


def open_link(service: Service, link: dict[str, Any], **members: Any) -> Response:
    return service.client.post("/v1/links/open", json={"secret": secret_of(link), **members})


def code_of(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def events(service: Service) -> list[str]:
    return [event for (event,) in service.sql("SELECT event FROM audit_events WHERE event LIKE 'link.%' ORDER BY id")]


def issued_by(service: Service, link: dict[str, Any]) -> list[bool]:
    """For each credential of the link, oldest first: whether it is revoked."""
    rows = service.sql(
        "SELECT revoked_at FROM issued_credentials WHERE link_id = :id ORDER BY issued_at",
        id=link["link_id"].replace("-", "") if service.settings.database_url.startswith("sqlite") else link["link_id"],
    )
    return [revoked_at is not None for (revoked_at,) in rows]


@pytest.fixture
def ada(service: Service) -> Device:
    return service.device("ada@example.org")


class TestMaking:
    def test_answers_with_an_address_that_is_shown_once(self, service: Service, ada: Device) -> None:
        link = make(ada, label="For grandma", expires_at="2026-07-01T00:00:00Z")
        assert link == {
            "link_id": link["link_id"],
            "url": link["url"],
            "path": PATH,
            "access": "read",
            "expires_at": "2026-07-01T00:00:00Z",
            "created_at": "2026-06-01T12:00:00Z",
        }
        assert re.fullmatch(r"http://testserver/album#tvl_[\w-]{22}", link["url"])
        listed = {
            "link_id": link["link_id"],
            "path": PATH,
            "access": "read",
            "quota_bytes": None,
            "max_contributors": None,
            "contributors": [],
            "label": "For grandma",
            "has_password": False,
            "created_at": "2026-06-01T12:00:00Z",
            "expires_at": "2026-07-01T00:00:00Z",
            "opened_at": None,
        }
        assert ada.get("/v1/links").json() == {"items": [listed], "next_cursor": None}
        assert secret_of(link) not in json.dumps(service.sql("SELECT * FROM links"), default=str)
        assert events(service) == ["link.created"]

    def test_leads_into_the_app_where_it_has_its_own_pages(self, make_service: Callable[..., Service]) -> None:
        service = make_service(app_link_base="https://photos.example.org/app")
        assert make(service.device())["url"].startswith("https://photos.example.org/app/album#tvl_")

    def test_only_a_folder_can_be_linked(self, service: Service, ada: Device) -> None:
        for path in ("", "albums", "/a/", "../", "a/*/", "a/${x}/", "a/?/", "a//", 'a"/', "%2e%2e/", "é" * 200 + "/"):
            answer = ada.post("/v1/links", json={"path": path})
            assert code_of(answer) == (422, "invalid_path"), path
        assert service.sql("SELECT count(*) FROM links") == [(0,)]

    def test_what_makes_no_sense_is_refused(self, service: Service, ada: Device) -> None:
        for members in (
            {"expires_at": "2026-06-01T12:00:00Z"},
            {"expires_at": 1780000000},
            {"password": "short"},
            {"label": ""},
            {"label": "a\x07"},
            {"access": "write"},
        ):
            answer = ada.post("/v1/links", json={"path": PATH} | members)
            assert answer.status_code == 422, members
            assert answer.json()["errors"][0]["location"] == f"body.{next(iter(members))}"
        assert service.sql("SELECT count(*) FROM links") == [(0,)]

    def test_guests_make_none(self, service: Service) -> None:
        tokens = service.client.post("/v1/auth/guest", json={}).json()["tokens"]
        guest = Device(service, "", tokens["access_token"], tokens["refresh_token"], tokens["session_id"])
        assert code_of(guest.post("/v1/links", json={"path": PATH})) == (403, "sharing_not_allowed")

    def test_one_user_has_so_many(self, service: Service, ada: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(links, "MOST", 2)
        first = make(ada)
        make(ada)
        assert code_of(ada.post("/v1/links", json={"path": PATH})) == (409, "too_many_links")
        assert ada.delete(f"/v1/links/{first['link_id']}").status_code == 202
        make(ada)
        make(service.device())


@pytest.mark.both_databases
class TestOpening:
    def test_gives_a_credential_for_that_folder(self, service: Service, ada: Device) -> None:
        link = make(ada)
        opened = open_link(service, link).json()
        credentials = opened.pop("credentials")
        assert (opened.pop("write_prefix"), opened.pop("contributor")) == (None, None)
        assert opened == {"link_id": link["link_id"], "access": "read", "path_name": "2026", "expires_at": None}
        assert credentials["prefix"] == f"users/{ada.user_id}/{PATH}"
        assert (credentials["access"], credentials["shared_prefixes"]) == ("read", [])
        form = service.sts.forms[-1]
        assert form["RoleSessionName"] == f"link.{link['link_id']}"
        assert form["SourceIdentity"] == ada.user_id
        assert service.sql("SELECT opened_at IS NOT NULL FROM links") == [(True,)]
        assert events(service) == ["link.created", "link.opened"]

    def test_policy_reads_and_lists_the_folder(self, service: Service, ada: Device) -> None:
        """VC13"""
        open_link(service, make(ada))
        place = f"users/{ada.user_id}/{PATH}"
        assert json.loads(service.sts.forms[-1]["Policy"])["Statement"] == [
            {
                "Sid": "Objects",
                "Effect": "Allow",
                "Action": ["s3:GetObject"],
                "Resource": f"arn:aws:s3:::photos/{place}*",
            },
            {
                "Sid": "List",
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": "arn:aws:s3:::photos",
                "Condition": {"StringLike": {"s3:prefix": [f"{place}*", place]}},
            },
        ]

    def test_is_in_the_ledger_with_the_link(self, service: Service, ada: Device) -> None:
        link = make(ada)
        vended = open_link(service, link).json()["credentials"]
        (mine,) = ada.get("/v1/me/credentials").json()["items"]
        assert (mine["link_id"], mine["credential_id"]) == (link["link_id"], vended["credential_id"])
        found = service.staff().get(f"/v1/admin/access-keys/{vended['access_key_id']}").json()
        assert (found["credential"]["link_id"], found["user"]["user_id"]) == (link["link_id"], ada.user_id)
        assert found["session"] is None
        ((actor, subject, detail),) = service.sql(
            "SELECT actor_id, subject_id, detail FROM audit_events WHERE event = 'credential.issued'"
        )
        assert actor is None
        assert str(subject).replace("-", "") == ada.user_id.replace("-", "")
        assert link["link_id"] in str(detail)

    def test_costs_one_call_of_sts_for_all_viewers(self, service: Service, ada: Device) -> None:
        link = make(ada)
        before = len(service.sts.forms)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: open_link(service, link), range(200)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["credentials"]["access_key_id"] for answer in answers}) == 1
        assert len(service.sts.forms) == before + 1
        assert issued_by(service, link) == [False]
        assert events(service) == ["link.created", "link.opened"], "and one line a minute in the audit"
        service.clock.advance(minutes=2)
        open_link(service, link)
        assert events(service)[2:] == ["link.opened"]

    def test_needs_the_right_secret(self, service: Service, ada: Device) -> None:
        link = make(ada)
        for wrong in (
            "",
            "tvl_",
            "tvl_" + "A" * 22,
            secret_of(link)[:-1],
            secret_of(link) + "A",
            link["link_id"],
            "\ud83d",
        ):
            answer = service.client.post("/v1/links/open", content=json.dumps({"secret": wrong}), headers=JSON)
            assert answer.status_code in (400, 404), wrong
        assert code_of(service.client.post("/v1/links/open", json={"secret": "tvl_" + "A" * 22})) == NOWHERE

    def test_ends_with_the_link(self, service: Service, ada: Device) -> None:
        link = make(ada, expires_at="2026-06-01T14:00:00Z")
        assert open_link(service, link).json()["credentials"]["expiration"] == "2026-06-01T13:00:00Z"
        service.clock.advance(minutes=61)
        assert open_link(service, link).json()["credentials"]["expiration"] == "2026-06-01T13:46:00Z"
        service.clock.advance(minutes=42)
        assert open_link(service, link).json()["credentials"]["expiration"] == "2026-06-01T13:58:00Z"
        service.clock.advance(minutes=2)
        assert code_of(open_link(service, link)) == NOWHERE, "a credential lives a quarter of an hour at least"
        service.clock.advance(hours=1)
        assert code_of(open_link(service, link)) == NOWHERE
        assert ada.get("/v1/links").status_code == 401  # the device's token has expired too

    def test_is_refused_while_the_owner_is_disabled(self, service: Service, ada: Device) -> None:
        """VC13"""
        link, staff = make(ada), service.staff()
        assert open_link(service, link).status_code == 200
        staff.post(f"/v1/admin/users/{ada.user_id}/disable", json=WHY)
        assert code_of(open_link(service, link)) == NOWHERE
        report = service.client.post("/v1/links/report", json={"secret": secret_of(link)})
        assert code_of(report) == NOWHERE
        assert issued_by(service, link) == [True]
        service.clock.advance(seconds=1)
        staff.post(f"/v1/admin/users/{ada.user_id}/enable", json=WHY)
        assert open_link(service, link).status_code == 200
        assert issued_by(service, link) == [True, False]

    def test_ends_with_the_account(self, service: Service, ada: Device) -> None:
        """VC13"""
        link = make(ada, label="For grandma")
        assert open_link(service, link).status_code == 200
        assert ada.erase(PASSWORD).status_code == 202
        assert code_of(open_link(service, link)) == NOWHERE
        assert issued_by(service, link) == [True]
        assert service.sql("SELECT path, label FROM links") == [("", None)]
        assert events(service)[-1] == "link.withdrawn"

    def test_goes_on_after_a_revocation_with_another_credential(self, service: Service, ada: Device) -> None:
        """VC13"""
        link = make(ada)
        first = open_link(service, link).json()["credentials"]
        assert ada.post("/v1/credentials/revoke").json()["revoked"] == 1
        assert issued_by(service, link) == [True]
        service.clock.advance(seconds=1)
        assert open_link(service, link).json()["credentials"]["access_key_id"] != first["access_key_id"]

    def test_goes_on_when_the_owner_signs_out(self, service: Service, ada: Device) -> None:
        link = make(ada)
        first = open_link(service, link).json()["credentials"]
        assert ada.delete("/v1/me/sessions").status_code == 204
        assert open_link(service, link).json()["credentials"]["access_key_id"] == first["access_key_id"]
        assert issued_by(service, link) == [False]


JSON = {"Content-Type": "application/json"}
NOWHERE = (404, "link_not_found")


@pytest.mark.both_databases
class TestWithdrawing:
    def test_ends_the_link_and_its_credentials(self, service: Service, ada: Device) -> None:
        link, other = make(ada), make(ada)
        ada.vend()
        for one in (link, other):
            open_link(service, one)
        answer = ada.delete(f"/v1/links/{link['link_id']}")
        assert answer.status_code == 202
        assert answer.json() == {"effective_by": "2026-06-01T13:00:00Z"}  # this engine is told of no revocation
        assert code_of(open_link(service, link)) == NOWHERE
        assert (issued_by(service, link), issued_by(service, other)) == ([True], [False])
        assert service.sql("SELECT count(*) FROM issued_credentials WHERE revoked_at IS NULL") == [(2,)]
        assert [one["link_id"] for one in ada.get("/v1/links").json()["items"]] == [other["link_id"]]
        assert code_of(ada.delete(f"/v1/links/{link['link_id']}")) == (404, "not_found")

    def test_is_the_owners_alone(self, service: Service, ada: Device) -> None:
        link, eve = make(ada), service.device()
        assert code_of(eve.delete(f"/v1/links/{link['link_id']}")) == (404, "not_found")
        assert eve.get("/v1/links").json()["items"] == []
        assert open_link(service, link).status_code == 200

    def test_by_an_administrator(self, service: Service, ada: Device) -> None:
        link, staff = make(ada), service.staff()
        open_link(service, link)
        (shown,) = staff.get(f"/v1/admin/links?user_id={ada.user_id}").json()["items"]
        assert (shown["link_id"], shown["owner_email"], shown["path"]) == (link["link_id"], ada.email, PATH)
        assert secret_of(link) not in json.dumps(shown)
        url = f"/v1/admin/links/{link['link_id']}"
        assert staff.post(f"{url}/withdrawal", json=WHY).status_code == 202
        assert code_of(open_link(service, link)) == NOWHERE
        assert issued_by(service, link) == [True]
        again = service.client.request("DELETE", url, json=WHY, headers=staff.headers)
        assert code_of(again) == (404, "not_found")
        assert service.staff("support").post(f"{url}/withdrawal", json=WHY).status_code == 403

    def test_tells_the_engine_of_the_link_by_name(self, make_service: Callable[..., Service]) -> None:
        """VC13"""
        service = make_service(revocation="role_policy", iam_endpoint_url="http://127.0.0.1:1")
        ada = service.device()
        link, other = make(ada), make(ada)
        for one in (link, other):
            open_link(service, one)
        ada.delete(f"/v1/links/{link['link_id']}")
        told = service.runtime.platform.database.run("read", floor.told, service.clock.now())
        (denial,) = job._denials(told)
        assert denial.pattern == f"*:link.{link['link_id']}*"
        assert denial.before is None
        ada.post("/v1/credentials/revoke")
        told = service.runtime.platform.database.run("read", floor.told, service.clock.now())
        patterns = {denial.pattern: denial.before is None for denial in job._denials(told)}
        assert patterns == {
            f"*:link.{link['link_id']}*": True,
            f"*:link.{other['link_id']}*": False,
            f"*:{ada.user_id}.*": False,
        }

    def test_leaves_room_for_the_owners_own_revocation(self, make_service: Callable[..., Service]) -> None:
        """VC13: links that there is no room for are told once an administrator acts, also those that ended."""
        service = make_service(rate_limits="on", revocation="role_policy", iam_endpoint_url="http://127.0.0.1:1")
        ada, staff = service.device(), service.staff()
        for _ in range(links.MOST):
            assert open_link(service, make(ada)).status_code == 200
            service.clock.advance(seconds=1)
        ada.vend()

        def withheld() -> dict[str, set[bool]]:
            found: dict[str, set[bool]] = {}
            for scope, is_withheld in service.sql("SELECT scope, withheld FROM revocations"):
                found.setdefault(scope, set()).add(bool(is_withheld))
            return found

        assert ada.post("/v1/credentials/revoke").json()["revoked"] == links.MOST + 1
        assert withheld() == {"user": {False}, "link": {True}}
        (first, *_) = ada.get("/v1/links").json()["items"]
        assert ada.delete(f"/v1/links/{first['link_id']}").status_code == 202
        staff.post(f"/v1/admin/users/{ada.user_id}/disable", json=WHY)
        assert withheld() == {"user": {False}, "link": {False}}


class TestPassword:
    def test_is_asked_for(self, service: Service, ada: Device) -> None:
        link = make(ada, password=WORD)
        assert ada.get("/v1/links").json()["items"][0]["has_password"]
        for members in ({}, {"password": None}, {"password": "open sesame 59"}, {"password": ""}):
            assert code_of(open_link(service, link, **members)) == (401, "link_password_required")
        assert issued_by(service, link) == []
        assert open_link(service, link, password=WORD).status_code == 200
        assert WORD not in json.dumps(service.sql("SELECT * FROM links"), default=str)

    def test_is_guessed_twenty_times_from_an_address_and_no_more(self, make_service: Callable[..., Service]) -> None:
        service = make_service(rate_limits="on", trusted_proxies="127.0.0.1")
        link = make(service.device(), password=WORD)

        def open_from(address: str, password: str) -> int:
            body, headers = {"secret": secret_of(link), "password": password}, {"X-Forwarded-For": address}
            return service.client.post("/v1/links/open", json=body, headers=headers).status_code

        for _ in range(19):
            assert open_from("203.0.113.7", "wrong wrong") == 401
            assert open_from("203.0.113.7", WORD) == 200, "which gives nobody more guesses"
            service.clock.advance(seconds=2)
        assert open_from("203.0.113.7", "wrong wrong") == 401
        assert open_from("203.0.113.7", WORD) == 429
        assert open_from("203.0.113.8", WORD) == 200, "nobody locks out the others"
        refused = service.sql("SELECT detail FROM audit_events WHERE event = 'link.opened' AND outcome = 'refused'")
        assert len(refused) >= 1
        assert "wrong_password" in str(refused[0])


class TestReports:
    def test_are_for_staff(self, service: Service, ada: Device) -> None:
        link, staff = make(ada), service.staff()
        make(ada)
        for _ in range(3):
            answer = service.client.post("/v1/links/report", json={"secret": secret_of(link)})
            assert (answer.status_code, answer.content) == (204, b"")
        (shown,) = staff.get("/v1/admin/links?reported=true").json()["items"]
        assert (shown["link_id"], shown["reports"], shown["reported_at"]) == (
            link["link_id"],
            3,
            "2026-06-01T12:00:00Z",
        )
        assert len(staff.get("/v1/admin/links").json()["items"]) == 2
        assert events(service).count("link.reported") == 1
        assert "reports" not in ada.get("/v1/links").json()["items"][0]

    def test_need_a_link_that_opens(self, service: Service, ada: Device) -> None:
        link = make(ada, password=WORD)
        assert code_of(service.client.post("/v1/links/report", json={"secret": "tvl_x"})) == NOWHERE
        answer = service.client.post("/v1/links/report", json={"secret": secret_of(link)})
        assert code_of(answer) == (401, "link_password_required")
        assert service.sql("SELECT reports FROM links") == [(0,)]


def test_secret_is_in_no_log(service: Service, ada: Device) -> None:
    link = make(ada)
    with capture_logs() as logged:
        open_link(service, link)
    assert secret_of(link) not in str(logged)
    assert secret_of(link) not in json.dumps(service.sql("SELECT * FROM audit_events"), default=str)


def test_are_limited_by_address(make_service: Callable[..., Service]) -> None:
    service = make_service(rate_limits="on")
    link = make(service.device())
    answers = [open_link(service, link).status_code for _ in range(121)]
    assert (answers.count(200), answers[-1]) == (120, 429)


def test_are_in_the_export_and_deleted_in_the_end(service: Service, ada: Device) -> None:
    link = make(ada, label="For grandma")
    make(ada)
    ada.delete(f"/v1/links/{link['link_id']}")
    exported = {one["link_id"]: one for one in ada.get("/v1/me/export").json()["links"]}
    assert len(exported) == 2
    assert exported[link["link_id"]]["label"] == "For grandma"
    assert exported[link["link_id"]]["withdrawn_at"] == "2026-06-01T12:00:00Z"
    open_link(service, make(ada))
    service.client.post("/v1/links/report", json={"secret": secret_of(make(ada))})
    events = ada.get("/v1/me/export").json()["events"]
    assert {one["address"] for one in events if one["event"] in ("link.opened", "credential.issued")} == {None}
    assert "link.reported" not in {one["event"] for one in events}
    service.clock.advance(days=91)
    platform = service.runtime.platform
    while platform.database.run("write", prune.delete_stale, service.clock.now()):
        pass
    assert service.sql("SELECT count(*) FROM links") == [(3,)]
