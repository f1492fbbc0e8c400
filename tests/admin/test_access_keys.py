"""Whose an access key is, whatever state its user, its session and STS are in; and what STS decodes."""

from collections.abc import Callable

import pytest

from tests.admin.test_audit_events import staff
from tests.security.observed import assert_problem
from tests.support.service import Service

KEYS = "/v1/admin/access-keys"
DECODE = "/v1/admin/authorization-messages/decode"
STRANGE = "ASIASTRANGE000000001"


class TestLookUp:
    def test_it_says_user_device_issuance_and_account(self, service: Service) -> None:
        support, ada = staff(service, "support"), service.device()
        service.sql("UPDATE sessions SET device_name = 'Ada''s phone'")
        vended = ada.vend(access="read", path="albums/").json()
        answer = support.get(f"{KEYS}/{vended['access_key_id']}")
        assert answer.json() == {
            "access_key_id": vended["access_key_id"],
            "account": "123456789012",
            "alive": True,
            "credential": {
                "credential_id": vended["credential_id"],
                "user_id": ada.user_id,
                "session_id": ada.session_id,
                "link_id": None,
                "access": "read",
                "prefix": f"users/{ada.user_id}/albums/",
                "shared_prefixes": [],
                "write_prefixes": [],
                "issued_at": "2026-06-01T12:00:00Z",
                "expiration": "2026-06-01T13:00:00Z",
                "revoked_at": None,
                "effective_by": None,
            },
            "user": {"user_id": ada.user_id, "email": ada.email, "display_name": None, "status": "active"},
            "session": {
                "session_id": ada.session_id,
                "device_name": "Ada's phone",
                "created_at": "2026-06-01T12:00:00Z",
                "last_used_at": "2026-06-01T12:00:00Z",
                "ended_at": None,
            },
        }
        assert answer.headers["cache-control"] == "no-store"

    def test_it_says_when_the_key_is_dead(self, service: Service) -> None:
        support, ada = staff(service, "support"), service.device()
        revoked = ada.vend().json()["access_key_id"]
        expiring = ada.vend(path="a/", duration_seconds=900).json()["access_key_id"]
        service.sql(
            "UPDATE issued_credentials SET revoked_at = issued_at WHERE access_key_id = :key",
            key=revoked,
        )
        service.clock.advance(minutes=14)
        assert support.get(f"{KEYS}/{revoked}").json()["alive"] is False
        assert support.get(f"{KEYS}/{expiring}").json()["alive"] is True
        service.clock.advance(minutes=1)
        support = staff(service, "support")
        assert support.get(f"{KEYS}/{expiring}").json()["alive"] is False

    def test_it_finds_what_outlived_its_session_and_its_user(self, service: Service) -> None:
        support, ada = staff(service, "support"), service.device()
        key = ada.vend().json()["access_key_id"]
        assert ada.erase().status_code == 202
        known = support.get(f"{KEYS}/{key}").json()
        assert (known["user"]["status"], known["user"]["email"]) == ("erased", None)
        assert known["session"]["ended_at"] is not None
        assert known["credential"]["user_id"] == ada.user_id
        service.sql(
            "DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE ended_at IS NOT NULL)"
        )
        service.sql("DELETE FROM sessions WHERE ended_at IS NOT NULL")
        assert support.get(f"{KEYS}/{key}").json()["session"] is None

    @pytest.mark.parametrize("code", ["AccessDenied", "Throttling", "InternalFailure"])
    def test_a_fault_of_sts_costs_the_account_alone(self, service: Service, code: str) -> None:
        support, ada = staff(service, "support"), service.device()
        key = ada.vend().json()["access_key_id"]
        service.sts.fail(code, 500 if code == "InternalFailure" else 400, times=2)
        answer = support.get(f"{KEYS}/{key}")
        assert answer.status_code == 200
        assert (answer.json()["account"], answer.json()["user"]["user_id"]) == (None, ada.user_id)

    def test_a_key_that_was_not_vended_has_its_account_alone(self, service: Service) -> None:
        """The service's own base key too: nothing more is said of it."""
        support = staff(service, "support")
        for key in (STRANGE, "AKIATESTTESTTEST"):
            known = support.get(f"{KEYS}/{key}").json()
            assert known == {
                "access_key_id": key,
                "account": "123456789012",
                "alive": None,
                "credential": None,
                "user": None,
                "session": None,
            }

    def test_one_that_nobody_knows_is_a_404(self, service: Service) -> None:
        service.sts.fail("ValidationError")
        assert_problem(staff(service, "support").get(f"{KEYS}/{STRANGE}"), 404, "not_found")

    @pytest.mark.parametrize(
        "key", ["ASIA", "A" * 129, "ASIA-STRANGE-0000001", "ASIASTRANGE%0a00000001", "ÄSIASTRANGE000000001"]
    )
    def test_what_is_no_access_key_id_is_not_asked_about(self, service: Service, key: str) -> None:
        support = staff(service, "support")
        answer = support.get(f"{KEYS}/{key}")
        assert_problem(answer, 422, "invalid_request")
        assert len(key) < 5 or key not in answer.text
        assert service.sts.forms == []

    def test_it_is_not_for_users(self, service: Service) -> None:
        assert_problem(service.device().get(f"{KEYS}/{STRANGE}"), 403, "forbidden")
        assert service.sts.forms == []


class TestDecode:
    def test_it_says_why(self, service: Service) -> None:
        support = staff(service, "support")
        answer = support.post(DECODE, json={"encoded_message": "qk0Zx_-/+="})
        assert (answer.status_code, answer.json()) == (200, {"decoded_message": '{"allowed":false}'})
        assert service.sts.forms[-1]["EncodedMessage"] == "qk0Zx_-/+="

    @pytest.mark.parametrize("client", ["signed", "boto3"])
    def test_nonsense_is_the_callers(self, make_service: object, client: str) -> None:
        service: Service = make_service(sts_client=client)  # type: ignore[operator]
        support = staff(service, "support")
        service.sts.fail("InvalidAuthorizationMessageException")
        answer = support.post(DECODE, json={"encoded_message": "nonsense"})
        assert_problem(answer, 422, "invalid_request")
        assert [error["location"] for error in answer.json()["errors"]] == ["body.encoded_message"]
        assert "nonsense" not in answer.text

    @pytest.mark.parametrize(
        ("code", "status", "problem"),
        [("AccessDenied", 403, "sts_refused"), ("Throttling", 400, "sts_throttled"), ("Odd", 500, "sts_unavailable")],
    )
    def test_a_fault_of_sts_is_a_503(self, service: Service, code: str, status: int, problem: str) -> None:
        support = staff(service, "support")
        service.sts.fail(code, status, times=2)
        answer = support.post(DECODE, json={"encoded_message": "qk0Zx"})
        assert_problem(answer, 503, problem)
        assert int(answer.headers["Retry-After"]) >= 1

    def test_another_engine_that_cannot_says_so(self, make_service: Callable[..., Service]) -> None:
        """SeaweedFS knows no such action, and refuses with the code of a missing permission."""
        service = make_service(s3_endpoint_url="http://127.0.0.1:8333")
        service.sts.fail("AccessDenied", 403)
        answer = staff(service, "support").post(DECODE, {"encoded_message": "tUqAvBJYqEXAMPLE"})
        assert_problem(answer, 404, "decoding_unavailable")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"encoded_message": ""},
            {"encoded_message": "a" * 10_241},
            {"encoded_message": "a\nb"},
            {"encoded_message": "a b"},
            {"encoded_message": 1},
            {"encoded_message": "a", "role": "admin"},
        ],
        ids=lambda body: str(body)[:30],
    )
    def test_what_is_no_message_is_not_asked_about(self, service: Service, body: dict[str, object]) -> None:
        assert_problem(staff(service, "support").post(DECODE, json=body), 422, "invalid_request")
        assert service.sts.forms == []

    def test_it_is_not_for_users(self, service: Service) -> None:
        assert_problem(service.device().post(DECODE, json={"encoded_message": "a"}), 403, "forbidden")
        assert service.sts.forms == []
