"""What a signed-in user may ask for, and the answer."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.policy.test_session_policy import HOSTILE
from tests.support.service import ROLE_ARN, Device, Service
from tests.vending.crowd import sign_in

GOLDEN = Path(__file__).parents[1] / "policy" / "golden"
GOLDEN_USER = "0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a"

HOSTILE_EMAILS = [
    "*@example.org",
    "a?b@example.org",
    "${*}@example.org",
    "users/@example.org",
    "%2e%2e/@example.org",
    "x'--@example.org",
]

OURS_TO_DECIDE = [
    "policy",
    "Policy",
    "prefix",
    "role_arn",
    "role_session_name",
    "user_id",
    "bucket",
    "source_identity",
    "policy_arns",
    "tags",
]


def sent_policy(service: Service) -> str:
    return service.sts.assumed[-1]["Policy"]


class TestAnswer:
    def test_has_everything_an_s3_client_needs(self, service: Service) -> None:
        device = service.device()
        answer = device.vend()
        assert answer.status_code == 200
        body = answer.json()
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", body.pop("credential_id"))
        assert body == {
            "access_key_id": "ASIACANNED0000000001",
            "secret_access_key": "canned-secret-key-1",
            "session_token": "canned-session-token-1",
            "expiration": "2026-06-01T13:00:00Z",
            "expires_in": 3600,
            "server_time": "2026-06-01T12:00:00Z",
            "access": "read_write",
            "bucket": "photos",
            "prefix": f"users/{device.user_id}/",
            "shared_prefixes": [],
            "write_prefixes": [],
            "shared_part": 1,
            "shared_parts": 1,
            "region": "us-east-1",
            "endpoint_url": None,
            "force_path_style": False,
        }

    def test_names_the_engine_as_clients_reach_it(self, make_service: Any) -> None:
        service = make_service(
            s3_endpoint_url="http://10.0.0.7:8333",
            s3_public_endpoint_url="https://s3.example.org",
            s3_force_path_style=True,
        )
        (device,) = sign_in(service, 1)
        body = device.vend().json()
        assert (body["endpoint_url"], body["force_path_style"]) == ("https://s3.example.org", True)

    def test_is_never_stored_on_the_way(self, service: Service) -> None:
        """VC5: new and cached, JSON and container."""
        (device,) = sign_in(service, 1)
        answers = [device.vend(), device.vend(), device.get("/v1/credentials/container"), device.vend(path="no")]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 422]
        assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}

    @pytest.mark.parametrize("body", [None, {}, {"access": "read_write", "path": "", "duration_seconds": None}])
    def test_every_member_of_the_wish_may_be_left_out(self, service: Service, body: Any) -> None:
        (device,) = sign_in(service, 1)
        answer = device.post("/v1/credentials", json=body) if body is not None else device.post("/v1/credentials")
        assert answer.status_code == 200
        assert (answer.json()["access"], answer.json()["expires_in"]) == ("read_write", 3600)


class TestPrefix:
    def test_comes_from_the_random_id_alone(self, service: Service) -> None:
        """VC1: whatever a person typed at registration, the policy is the golden one but for the id."""
        for email in HOSTILE_EMAILS:
            assert service.register(email, display_name="*/${aws:username}/../").status_code == 201, email
            device = service.device(email)
            prefix = device.vend().json()["prefix"]
            assert re.fullmatch(r"users/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/", prefix)
            assert sent_policy(service).replace(device.user_id, GOLDEN_USER) == golden("read_write.own.aws")
            assert service.sts.assumed[-1]["RoleArn"] == ROLE_ARN

    @pytest.mark.parametrize("access", ["read", "write", "read_write"])
    def test_is_narrowed_to_the_path(self, service: Service, access: str) -> None:
        """VC2: the policy that STS gets is the golden one, byte by byte."""
        (device,) = sign_in(service, 1)
        answer = device.vend(access=access, path="albums/2026/")
        assert answer.json()["prefix"] == f"users/{device.user_id}/albums/2026/"
        assert sent_policy(service).replace(device.user_id, GOLDEN_USER) == golden(f"{access}.narrowed.aws")

    def test_is_in_the_partition_of_the_role(self, make_service: Any) -> None:
        service = make_service(role_arn=ROLE_ARN.replace("arn:aws:", "arn:aws-cn:"))
        (device,) = sign_in(service, 1)
        assert device.vend().status_code == 200
        assert sent_policy(service).replace(device.user_id, GOLDEN_USER) == golden("read_write.own.aws-cn")

    def test_hostile_paths_never_reach_sts(self, service: Service) -> None:
        """VC2: nothing that a caller writes widens the policy."""
        (device,) = sign_in(service, 1)
        for name, path in HOSTILE.items():
            body = json.dumps({"path": path}).encode()
            headers = device.headers | {"Content-Type": "application/json"}
            answer = service.client.post("/v1/credentials", content=body, headers=headers)
            assert answer.status_code == (400 if "surrogate" in name else 422), name
            assert path.strip("/.") == "" or path not in answer.text
            if "surrogate" not in name:
                answer = device.get("/v1/credentials/container", params={"path": path})
                assert answer.status_code == 422, name
        assert service.sts.forms == []
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(0,)]


def golden(name: str) -> str:
    return json.dumps(json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8")), separators=(",", ":"))


class TestWish:
    @pytest.mark.parametrize("duration", [900, 901, 3600])
    def test_duration_is_what_sts_is_asked_for(self, service: Service, duration: int) -> None:
        (device,) = sign_in(service, 1)
        assert device.vend(duration_seconds=duration).json()["expires_in"] == duration
        assert service.sts.assumed[0]["DurationSeconds"] == str(duration)

    def test_a_duration_that_is_not_possible_is_refused(self, service: Service) -> None:
        """VC3: 900 to the configured maximum, as a whole number."""
        (device,) = sign_in(service, 1)
        for duration in (899, 3601, 0, -1, 10**9, 10**30):
            assert refusal(device, duration_seconds=duration) == (422, "invalid_duration"), duration
        oddities: list[Any] = [1e9, 900.5, "900", True, [900], {}]
        for oddity in oddities:
            assert refusal(device, duration_seconds=oddity) == (422, "invalid_request"), oddity
        assert service.sts.forms == []

    def test_the_maximum_is_the_operators(self, make_service: Any) -> None:
        """VC3: max and max + 1."""
        service = make_service(credential_ttl=900, credential_max_ttl=1800)
        (device,) = sign_in(service, 1)
        assert device.vend().json()["expires_in"] == 900
        assert device.vend(duration_seconds=1800).json()["expires_in"] == 1800
        assert device.vend(duration_seconds=1801).json()["code"] == "invalid_duration"

    def test_a_lease_is_for_writing_in_one_folder(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        for wish, locations in (
            ({}, ["body.path"]),
            ({"access": "read_write"}, ["body.access", "body.path"]),
            ({"access": "read", "path": "albums/"}, ["body.access"]),
        ):
            answer = device.vend(purpose="upload", **wish)
            assert [error["location"] for error in answer.json()["errors"]] == locations
        for oddity in ("download", "", 1, ["upload"]):
            assert refusal(device, purpose=oddity, path="albums/") == (422, "invalid_request")
        assert service.sts.forms == []
        leases = [device.vend(purpose="upload", path="albums/", **more).json() for more in ({}, {"access": "write"})]
        assert leases[0]["access_key_id"] == leases[1]["access_key_id"]
        assert (leases[0]["access"], leases[0]["expires_in"]) == ("write", 3600)
        service.clock.advance(seconds=1)
        plain = device.vend(access="write", path="albums/", purpose=None).json()
        assert service.sts.assumed[0]["Policy"] == service.sts.assumed[1]["Policy"]
        assert plain["access_key_id"] != leases[0]["access_key_id"]
        details = [
            detail if isinstance(detail, dict) else json.loads(detail)
            for (detail,) in service.sql(
                "SELECT detail FROM audit_events WHERE event = 'credential.issued' ORDER BY id"
            )
        ]
        assert [detail.get("purpose") for detail in details] == ["upload", None]

    def test_a_lease_may_live_longer(self, make_service: Any) -> None:
        service = make_service(credential_ttl=900, credential_max_ttl=1800, upload_max_ttl=3600)
        (device,) = sign_in(service, 1)
        lease = {"purpose": "upload", "path": "albums/"}
        assert device.vend(**lease).json()["expires_in"] == 3600
        assert device.vend(**lease, duration_seconds=900).json()["expires_in"] == 900
        assert device.vend(**lease, duration_seconds=3601).json()["code"] == "invalid_duration"
        assert device.vend(duration_seconds=1801).json()["code"] == "invalid_duration"

    def test_what_only_the_service_decides_is_refused(self, service: Service) -> None:
        """VC3, AZ3: no policy, role or session name of the client's."""
        (device,) = sign_in(service, 1)
        for extra in OURS_TO_DECIDE:
            assert refusal(device, **{extra: "*"}) == (422, "invalid_request"), extra
        assert service.sts.forms == []

    def test_an_unknown_access_is_refused(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        oddities: list[Any] = ["admin", "READ", "read ", "", None, ["read"], "delete"]
        for access in oddities:
            assert refusal(device, access=access) == (422, "invalid_request"), access
        assert service.sts.forms == []


def refusal(device: Device, **wish: Any) -> tuple[int, str]:
    answer = device.vend(**wish)
    return answer.status_code, answer.json()["code"]


@pytest.mark.both_databases
class TestCaller:
    def test_the_disabled_get_none_at_once(self, service: Service) -> None:
        """VC6, AZ5: not even what is in memory already."""
        (device,) = sign_in(service, 1)
        assert device.vend().status_code == 200
        service.disable(device.email)
        answer = device.vend()
        assert (answer.status_code, answer.json()["code"]) == (403, "account_disabled")
        assert "ASIA" not in answer.text
        assert service.sql(
            "SELECT outcome FROM audit_events WHERE event = 'access.refused' AND actor_id IS NOT NULL"
        ) == [("refused",)]

    def test_the_signed_out_get_none_at_once(self, service: Service) -> None:
        """VC6: the cached credential of an ended session is not handed out again."""
        (device,) = sign_in(service, 1)
        assert device.vend().status_code == 200
        assert device.delete(f"/v1/me/sessions/{device.session_id}").status_code == 204
        answer = device.vend()
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")

    def test_one_user_may_ask_only_so_often(self, make_service: Any) -> None:
        """VC8: by user, not by address; cached answers count too, but for those of the container endpoint."""
        service = make_service(rate_limits="on")
        eager, calm = sign_in(service, 2)
        statuses = [eager.vend().status_code for _ in range(61)]
        assert statuses == [200] * 60 + [429]
        refused = eager.vend()
        assert refused.json()["code"] == "rate_limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert eager.get("/v1/credentials/container").status_code == 200
        assert eager.get("/v1/credentials/container", params={"access": "read"}).status_code == 429
        assert calm.vend().status_code == 200
        assert len(service.sts.assumed) == 2


class TestContainer:
    @pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer "])
    def test_is_what_the_sdks_read(self, service: Service, scheme: str) -> None:
        (device,) = sign_in(service, 1)
        answer = service.client.get(
            "/v1/credentials/container", headers={"Authorization": scheme + device.access_token}
        )
        assert answer.status_code == 200
        assert answer.json() == {
            "AccessKeyId": "ASIACANNED0000000001",
            "SecretAccessKey": "canned-secret-key-1",
            "Token": "canned-session-token-1",
            "Expiration": "2026-06-01T13:00:00Z",
        }

    def test_is_the_same_credential(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        vended = device.vend(access="read", path="albums/").json()
        contained = device.get("/v1/credentials/container", params={"access": "read", "path": "albums/"}).json()
        assert contained["AccessKeyId"] == vended["access_key_id"]
        assert len(service.sts.assumed) == 1

    def test_needs_an_access_token(self, service: Service) -> None:
        for header in (None, "", " ", "Bearer", "Bearer ", "Basic eDp5", "nonsense", "a b c"):
            headers = {} if header is None else {"Authorization": header}
            answer = service.client.get("/v1/credentials/container", headers=headers)
            assert answer.status_code == 401, header
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    def test_takes_no_refresh_token(self, service: Service) -> None:
        """TK4."""
        (device,) = sign_in(service, 1)
        for header in (device.refresh_token, f"Bearer {device.refresh_token}"):
            answer = service.client.get("/v1/credentials/container", headers={"Authorization": header})
            assert answer.status_code == 401

    def test_only_it_takes_a_bare_token(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        answer = service.client.post("/v1/credentials", headers={"Authorization": device.access_token})
        assert answer.status_code == 401


class TestWhileStsIsDown:
    @pytest.mark.parametrize("end", ["DELETE FROM sessions", "UPDATE users SET status = 'disabled'"])
    def test_a_session_that_ended_meanwhile_gets_not_even_its_old_one(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, end: str
    ) -> None:
        """AZ5: an old credential goes out because STS fails, and that takes up to four seconds."""
        device = service.device()
        old = device.vend().json()
        service.clock.advance(minutes=40)
        device.access_token = service.refresh(device.refresh_token).json()["access_token"]
        service.sts.fail("ServiceUnavailable", 503, times=20)
        assert device.vend().json()["credential_id"] == old["credential_id"], "stale, but alive"
        obtain = service.runtime.vending.broker.obtain

        async def slowly(order: Any) -> Any:
            service.sql("DELETE FROM refresh_tokens")
            service.sql(end)
            return await obtain(order)

        monkeypatch.setattr(service.runtime.vending.broker, "obtain", slowly)
        assert device.vend().status_code in (401, 403)

    def test_what_is_revoked_meanwhile_is_not_given_out(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """VC9: the session goes on, and what it held until then is revoked while STS is failing."""
        device = service.device()
        old = device.vend().json()
        service.clock.advance(minutes=40)
        device.access_token = service.refresh(device.refresh_token).json()["access_token"]
        service.sts.fail("ServiceUnavailable", 503, times=20)
        assert device.vend().json()["credential_id"] == old["credential_id"], "stale, but alive"
        obtain = service.runtime.vending.broker.obtain

        async def slowly(order: Any) -> Any:
            if order.not_before is None:
                answer = await asyncio.to_thread(device.post, "/v1/credentials/revoke")
                assert answer.status_code == 202
                service.clock.advance(seconds=1)
            return await obtain(order)

        monkeypatch.setattr(service.runtime.vending.broker, "obtain", slowly)
        assert device.vend().status_code == 503
