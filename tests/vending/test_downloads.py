"""Signed downloads: who gets which, until when, how often, and what stays of it. What an edge makes of them:
`tests/journeys/test_downloads.py`.
"""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from app.auth import keys
from app.policy import cdn_policy
from app.vending import cdn_keys, downloads
from tests.security.observed import assert_problem, stored_values
from tests.security.races import all_at_once
from tests.sharing.test_grants import PATH, accept, give, share
from tests.support.service import Device, Service

CDN = "https://cdn.example.org"
ID = "K2JCJMDEHXQW5F"
CALL = "/v1/downloads"


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service(cdn_url=CDN, cdn_key_pair_id=ID)


def ask(device: Device, **wish: Any) -> list[dict[str, Any]]:
    answer = device.post(CALL, json=wish)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def prefixes(items: list[dict[str, Any]]) -> list[str]:
    return [item["prefix"] for item in items]


def events(service: Service) -> list[dict[str, Any]]:
    rows = service.sql("SELECT detail FROM audit_events WHERE event = 'downloads.signed' ORDER BY id")
    return [json.loads(detail) if isinstance(detail, str) else detail for (detail,) in rows]


def private_key(service: Service) -> Any:
    """The newest."""
    [*_, row] = service.runtime.platform.database.run("read", keys.list_keys, "cdn")
    pem = service.runtime.platform.vault.decrypt(keys.SEALED_AS, row.private_key_encrypted, bound_to=row.kid)
    return serialization.load_pem_private_key(pem, None)


class TestSignature:
    def test_is_that_of_botocore(self, service: Service) -> None:
        """Byte for byte: policy, signature, and how both stand in a URL."""
        device = service.device()
        for path in ("", "albums/2026/", "Fotos/Zürich 🏔/", "100%41/", "a+b/"):
            (item,) = ask(device, path=path)
            key = private_key(service)
            signer = CloudFrontSigner(ID, lambda text, key=key: key.sign(text, padding.PKCS1v15(), hashes.SHA1()))
            until = datetime.fromisoformat(item["expires_at"])
            policy = signer.build_policy(f"{item['base_url']}*", until)
            assert f"{item['base_url']}a.jpg?{item['query']}" == signer.generate_presigned_url(
                f"{item['base_url']}a.jpg", policy=policy
            )

    def test_stands_in_the_cookies_too(self, service: Service) -> None:
        (item,) = ask(service.device())
        cookies = {cookie["name"]: cookie["value"] for cookie in item["cookies"]}
        assert list(cookies) == ["CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id"]
        query = "&".join(f"{name.removeprefix('CloudFront-')}={value}" for name, value in cookies.items())
        assert query == item["query"]

    def test_is_spelt_so_that_every_query_and_cookie_takes_it(self, service: Service) -> None:
        (item,) = ask(service.device(), path="Fotos/Zürich 🏔/")
        for cookie in item["cookies"]:
            assert set(cookie["value"]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~")


class TestAnswer:
    def test_is_one_folder_with_its_url_and_end(self, service: Service) -> None:
        device = service.device()
        answer = device.post(CALL, json={"path": PATH})
        assert answer.headers["Cache-Control"] == "no-store"
        (item,) = answer.json()["items"]
        assert item.keys() == {"prefix", "base_url", "query", "cookies", "expires_at"}
        assert item["prefix"] == f"users/{device.user_id}/{PATH}"
        assert item["base_url"] == f"{CDN}/users/{device.user_id}/{PATH}"
        assert item["expires_at"] == "2026-06-01T12:15:00Z"

    def test_needs_no_body(self, service: Service) -> None:
        device = service.device()
        answer = service.client.post(CALL, headers=device.headers)
        assert prefixes(answer.json()["items"]) == [f"users/{device.user_id}/"]

    def test_is_the_same_until_the_next_line(self, service: Service) -> None:
        """Then it changes, before the earlier one has ended."""
        device = service.device()
        first = device.post(CALL, json={}).content
        service.clock.advance(seconds=449)
        assert device.post(CALL, json={}).content == first
        service.clock.advance(seconds=1)
        (later,) = ask(device)
        assert later["expires_at"] == "2026-06-01T12:22:30Z"

    def test_is_the_same_of_every_replica(self, make_service: Callable[..., Service]) -> None:
        one, other = (make_service(cdn_url=CDN, cdn_key_pair_id=ID) for _ in range(2))
        device = one.device()
        assert ask(device) == ask(Device(other, *[getattr(device, name) for name in DEVICE]))

    @pytest.mark.parametrize(
        ("at", "grid", "until"),
        [(0, 450, 900), (1, 450, 900), (449.9, 450, 900), (450, 450, 1350), (899, 450, 1350), (61, 60, 180)],
    )
    def test_ends_at_the_second_line_ahead(self, at: float, grid: int, until: int) -> None:
        start = datetime(2026, 6, 1, 12, tzinfo=UTC)
        ends = downloads.expiry(start + timedelta(seconds=at), grid)
        assert (ends - start).total_seconds() == until
        assert grid < until - at <= 2 * grid

    def test_follows_another_grid(self, make_service: Callable[..., Service]) -> None:
        (item,) = ask(make_service(cdn_url=CDN, cdn_key_pair_id=ID, cdn_grid=3600).device())
        assert item["expires_at"] == "2026-06-01T14:00:00Z"


DEVICE = ("email", "access_token", "refresh_token", "session_id", "user_id")


class TestRefused:
    @pytest.mark.parametrize("settings", [{}, {"cdn_url": CDN}, {"cdn_key_pair_id": ID}])
    def test_without_a_cdn(self, make_service: Callable[..., Service], settings: dict[str, str]) -> None:
        service = make_service(**settings)
        assert_problem(service.device().post(CALL, json={}), 404, "cdn_off")
        assert events(service) == []

    @pytest.mark.parametrize(
        "path",
        ["/", "albums", "a//", "../", "a/../", "%2e%2e/", "*/", "?/", "a*/", "$/", "a\\/", "a\n/", "é" * 200 + "/"],
    )
    def test_a_path_that_leads_out(self, service: Service, path: str) -> None:
        """VC2."""
        assert_problem(service.device().post(CALL, json={"path": path}), 422, "invalid_path")
        assert events(service) == []

    @pytest.mark.parametrize(
        "body", [{"path": 1}, {"grant_ids": ["x"]}, {"grant_ids": "x"}, {"link": {}}, {"prefix": "users/"}]
    )
    def test_what_makes_no_sense(self, service: Service, body: dict[str, Any]) -> None:
        assert_problem(service.device().post(CALL, json=body), 422, "invalid_request")

    def test_who_is_not_signed_in(self, service: Service) -> None:
        assert service.client.post(CALL, json={}).status_code == 401

    def test_who_signed_out_was_disabled_or_erased_from_the_next_request_on(self, service: Service) -> None:
        """VC6, AZ5: though the same signature is in memory."""
        for end, status in ((sign_out, 401), (disable, 403), (erase, 401)):
            device = service.device()
            ask(device)
            end(device)
            assert device.post(CALL, json={}).status_code == status, end
            assert len([one for one in events(service) if device.user_id in one["prefix"]]) == 1

    def test_more_than_the_limit(self, make_service: Callable[..., Service]) -> None:
        """VC8."""
        service = make_service(cdn_url=CDN, cdn_key_pair_id=ID, rate_limits="on")
        one, other = service.device(), service.device()
        assert [one.post(CALL, json={}).status_code for _ in range(61)] == [200] * 60 + [429]
        assert one.post(CALL, json={}).headers["Retry-After"]
        assert other.post(CALL, json={}).status_code == 200


def sign_out(device: Device) -> None:
    device.post("/v1/auth/logout", json={"refresh_token": device.refresh_token})


def disable(device: Device) -> None:
    device.service.disable(device.email)


def erase(device: Device) -> None:
    assert device.erase().status_code == 202


class TestShared:
    @pytest.fixture
    def ada(self, service: Service) -> Device:
        return service.device("ada@example.org")

    @pytest.fixture
    def bob(self, service: Service) -> Device:
        return service.device("bob@example.org")

    def test_accepted_folders_follow_the_own_one(self, ada: Device, bob: Device) -> None:
        give(ada, bob)
        share(ada, bob.email, "trips/")
        assert prefixes(ask(bob, path="mine/")) == [f"users/{bob.user_id}/mine/", f"users/{ada.user_id}/{PATH}"]

    def test_named_folders_are_accepted_and_others_left_out(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob)
        waiting = share(ada, bob.email, "trips/")
        anothers = share(ada, "carol@example.org", "secret/")
        items = ask(bob, grant_ids=[waiting["grant_id"], anothers["grant_id"]])
        assert prefixes(items) == [f"users/{bob.user_id}/", f"users/{ada.user_id}/trips/"]
        assert len(ask(bob)) == 3

    def test_none_is_one_can_ask_for(self, ada: Device, bob: Device) -> None:
        give(ada, bob)
        assert prefixes(ask(bob, grant_ids=[])) == [f"users/{bob.user_id}/"]

    def test_one_that_ended_is_signed_no_more(self, service: Service, ada: Device, bob: Device) -> None:
        for end in (withdraw, leave):
            grant = give(ada, bob)
            assert len(ask(bob)) == 2
            end(ada, bob, grant)
            for wish in ({}, {"grant_ids": [grant["grant_id"]]}):
                assert len(ask(bob, **wish)) == 1, end

    def test_one_of_a_disabled_owner_is_signed_no_more(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob)
        service.disable(ada.email)
        assert len(ask(bob)) == 1

    def test_no_signature_outlives_its_grant(self, service: Service, ada: Device, bob: Device) -> None:
        give(ada, bob, expires_at="2026-06-01T12:10:00Z")
        own, shared = ask(bob)
        assert (own["expires_at"], shared["expires_at"]) == ("2026-06-01T12:15:00Z", "2026-06-01T12:10:00Z")
        policy = base64.b64decode(shared["cookies"][0]["value"].translate(str.maketrans("-_~", "+=/")))
        until = datetime(2026, 6, 1, 12, 10, tzinfo=UTC)
        assert policy.decode() == cdn_policy.policy(CDN, f"users/{ada.user_id}/{PATH}", until)
        service.clock.advance(minutes=10)
        assert len(ask(bob)) == 1

    def test_acceptance_by_name_is_not_anothers(self, ada: Device, bob: Device, service: Service) -> None:
        grant = share(ada, bob.email)
        carol = service.device("carol@example.org")
        assert len(ask(carol, grant_ids=[grant["grant_id"]])) == 1
        accept(bob, grant)


def withdraw(owner: Device, _grantee: Device, grant: dict[str, Any]) -> None:
    owner.delete(f"/v1/grants/{grant['grant_id']}")


def leave(_owner: Device, grantee: Device, grant: dict[str, Any]) -> None:
    grantee.delete(f"/v1/grants/{grant['grant_id']}")


@pytest.mark.both_databases
class TestAudit:
    def test_has_a_row_for_each_user_folder_and_line(self, service: Service) -> None:
        device, friend = service.device(), service.device()
        grant = give(friend, device)
        for _ in range(3):
            ask(device)
            ask(device, path=PATH, grant_ids=[])
        expires_at, own = "2026-06-01T12:15:00Z", f"users/{device.user_id}/"
        common = {"expires_at": expires_at, "key_pair_id": ID}
        assert events(service) == [
            *sorted(
                (
                    {"prefix": own, "grant_id": None, **common},
                    {"prefix": f"users/{friend.user_id}/{PATH}", "grant_id": grant["grant_id"], **common},
                ),
                key=lambda one: str(one["prefix"]),
            ),
            {"prefix": f"{own}{PATH}", "grant_id": None, **common},
        ]
        service.clock.advance(seconds=450)
        ask(device, grant_ids=[])
        assert [one["expires_at"] for one in events(service)][3:] == ["2026-06-01T12:22:30Z"]

    def test_has_one_row_though_another_replica_signed_it(self, make_service: Callable[..., Service]) -> None:
        one, other = (make_service(cdn_url=CDN, cdn_key_pair_id=ID) for _ in range(2))
        device = one.device()
        ask(device)
        ask(Device(other, *[getattr(device, name) for name in DEVICE]))
        assert len(events(one)) == 1

    def test_says_whose_request_it_was(self, service: Service) -> None:
        device = service.device()
        answer = device.post(CALL, json={})
        columns = "actor_id, subject_id, session_id, request_id, outcome"
        [(actor, subject, session, request, outcome)] = service.sql(
            f"SELECT {columns} FROM audit_events WHERE event = 'downloads.signed'"
        )
        ids = [str(value).replace("-", "") for value in (actor, subject, session)]
        assert ids == [id_.replace("-", "") for id_ in (device.user_id, device.user_id, device.session_id)]
        assert (request, outcome) == (answer.headers["X-Request-ID"], "done")

    def test_a_signature_is_handed_out_only_with_its_row(self, service: Service) -> None:
        device = service.device()
        service.sql("ALTER TABLE audit_events RENAME TO gone")
        assert device.post(CALL, json={}).status_code in (500, 503)


class TestSecrets:
    def test_neither_signature_nor_private_key_is_stored_or_told(self, service: Service) -> None:
        """OP1."""
        (item,) = ask(service.device())
        signature = item["query"].partition("&Signature=")[2].partition("&")[0]
        stored = "\n".join(map(str, stored_values(service)))
        assert signature not in stored
        assert "PRIVATE KEY" not in stored
        assert signature not in service.client.get("/metrics").text

    def test_the_key_is_of_its_purpose_alone(self, service: Service) -> None:
        """TK18: no access token is signed with it, and no JWKS has it."""
        service.device()
        assert [key["kty"] for key in service.client.get("/.well-known/jwks.json").json()["keys"]] == ["EC"]
        assert [purpose for (purpose,) in service.sql("SELECT purpose FROM signing_keys ORDER BY purpose")] == [
            "access",
            "cdn",
        ]


class TestWork:
    def test_signatures_are_made_once_for_a_line(self, service: Service) -> None:
        device = service.device()
        for _ in range(3):
            ask(device)
        counted = [line for line in service.client.get("/metrics").text.splitlines() if "cdn_signatures_total{" in line]
        assert sorted(counted) == [
            'tokenvend_cdn_signatures_total{source="memory"} 2.0',
            'tokenvend_cdn_signatures_total{source="signed"} 1.0',
        ]

    def test_what_is_kept_is_bounded(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("MOST_KEPT", "MOST_RECORDED"):
            monkeypatch.setattr(downloads, name, 3)
        device = service.device()
        for turn in range(8):
            ask(device, path=f"{turn}/")
            assert len(service.runtime.downloads._signed) <= 3
            assert len(service.runtime.downloads._recorded) <= 3
        ask(device, path="0/")
        assert len(events(service)) == 8

    def test_no_connection_is_held_while_signing(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []

        def sign(*arguments: Any) -> Any:
            seen.append(service.runtime.platform.database.connections_in_use)
            return signed(*arguments)

        signed = downloads.sign
        monkeypatch.setattr(downloads, "sign", sign)
        ask(service.device())
        assert seen == [0]


class TestKeys:
    def new_key(self, service: Service, **options: Any) -> str:
        platform = service.runtime.platform
        return str(platform.database.run("write", cdn_keys.add, platform.vault, service.clock.now(), **options).kid)

    def names(self, service: Service) -> dict[str, list[str]]:
        return dict(service.runtime.platform.database.run("read", cdn_keys.names))

    def signs(self, service: Service, device: Device) -> tuple[str, str]:
        """The id that a signature names, and the kid of the key that made it."""
        (item,) = ask(device, grant_ids=[])
        parts = dict(part.split("=", 1) for part in item["query"].split("&"))
        signature, policy = (
            base64.b64decode(parts[name].translate(str.maketrans("-_~", "+=/"))) for name in ("Signature", "Policy")
        )
        platform = service.runtime.platform
        for row in platform.database.run("read", keys.list_keys, "cdn"):
            pem = platform.vault.decrypt(keys.SEALED_AS, row.private_key_encrypted, bound_to=row.kid)
            key: Any = serialization.load_pem_private_key(pem, None)
            if key.sign(policy, padding.PKCS1v15(), hashes.SHA1()) == signature:
                return parts["Key-Pair-Id"], row.kid
        raise AssertionError("none of the keys made it")

    def test_a_new_one_signs_once_its_id_is_set(self, make_service: Callable[..., Service]) -> None:
        """And replicas with the old id go on with the old key: CloudFront knows both meanwhile."""
        old = make_service(cdn_url=CDN, cdn_key_pair_id="KFIRST")
        device = old.device()
        id_, first = self.signs(old, device)
        assert id_ == "KFIRST"
        second = self.new_key(old)
        restarted = make_service(cdn_url=CDN, cdn_key_pair_id="KFIRST")
        copy = [getattr(device, name) for name in DEVICE]
        assert self.signs(restarted, Device(restarted, *copy)) == ("KFIRST", first)
        switched = make_service(cdn_url=CDN, cdn_key_pair_id="KSECOND")
        assert self.names(switched) == {first: ["KFIRST"], second: ["KSECOND"]}
        assert self.signs(switched, Device(switched, *copy)) == ("KSECOND", second)
        assert self.signs(old, device) == ("KFIRST", first)
        back = make_service(cdn_url=CDN, cdn_key_pair_id="KFIRST")
        assert self.signs(back, Device(back, *copy)) == ("KFIRST", first)

    def test_a_mistyped_id_is_put_right(self, make_service: Callable[..., Service]) -> None:
        """Every id that is new is the newest key's."""
        service = make_service(cdn_url=CDN, cdn_key_pair_id="KWRONG")
        device = service.device()
        _, kid = self.signs(service, device)
        right = make_service(cdn_url=CDN, cdn_key_pair_id="KRIGHT")
        assert self.signs(right, Device(right, *[getattr(device, n) for n in DEVICE])) == ("KRIGHT", kid)

    def test_no_second_one_waits(self, service: Service) -> None:
        """An id could be taken for that of the wrong key."""
        self.new_key(service)
        with pytest.raises(cdn_keys.NewestKeyWaits):
            self.new_key(service)
        self.new_key(service, although_one_waits=True)
        assert len(service.sql("SELECT kid FROM signing_keys WHERE purpose = 'cdn'")) == 3

    @pytest.mark.both_databases
    def test_is_one_though_many_replicas_start_at_once(self, make_service: Callable[..., Service]) -> None:
        service = make_service()
        platform, now = service.runtime.platform, service.clock.now()

        def start(_number: int) -> str:
            return str(platform.database.run("write", cdn_keys.bind, platform.vault, now, ID).kid)

        kids = set(all_at_once(start, 8))
        assert len(kids) == 1
        assert self.names(service) == {kids.pop(): [ID]}
        assert service.sql("SELECT count(*) FROM signing_keys WHERE purpose = 'cdn'") == [(1,)]

    def test_without_an_id_there_is_none(self, make_service: Callable[..., Service]) -> None:
        service = make_service(cdn_url=CDN)
        assert service.sql("SELECT kid FROM signing_keys WHERE purpose = 'cdn'") == []

    def test_of_another_secret_signs_nothing(self, make_service: Callable[..., Service]) -> None:
        service = make_service(cdn_url=CDN, cdn_key_pair_id=ID)
        service.sql("UPDATE signing_keys SET kid = 'moved' WHERE purpose = 'cdn'")
        service.sql("UPDATE cdn_key_pairs SET kid = 'moved'")
        again = make_service(cdn_url=CDN, cdn_key_pair_id=ID)
        assert_problem(again.device().post(CALL, json={}), 503, "keys_unavailable")

    def test_comes_back_with_the_database(self, make_service: Callable[..., Service]) -> None:
        """A service that could not read it at its start reads it at the first request."""
        service = make_service(cdn_url=CDN, cdn_key_pair_id=ID)
        service.runtime.downloads.keys._loaded = None
        assert len(ask(service.device())) == 1

    def test_each_act_is_audited(self, service: Service) -> None:
        self.new_key(service)
        rows = service.sql("SELECT event FROM audit_events WHERE event LIKE 'signing_key.%' ORDER BY id")
        created, named = "signing_key.created", "signing_key.named"
        assert [event for (event,) in rows] == [created, created, named, created]
