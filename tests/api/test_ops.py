"""What operators and verifiers ask: metrics, and who issues our tokens."""

from collections.abc import Callable

import pytest

from app.vending.saml_metadata import METADATA_PATH
from tests.security.observed import assert_problem
from tests.support.saml_sts import Provider
from tests.support.service import Service

TOKEN = "metrics-token-of-32-characters--"


class TestMetrics:
    def test_are_open_in_development(self, service: Service) -> None:
        answer = service.client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert "tokenvend_sts_calls_total" in answer.text

    def test_take_the_operators_token_alone_where_there_is_one(self, make_service: Callable[..., Service]) -> None:
        client = make_service(metrics_token=TOKEN).client
        for authorization in ("", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
            assert_problem(client.get("/metrics", headers={"Authorization": authorization}), 401, "unauthenticated")
        assert client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200

    def test_hold_no_secret_and_name_no_user(self, service: Service) -> None:
        """OP1."""
        device = service.device()
        vended = device.vend().json()
        text = service.client.get("/metrics").text
        for value in (
            device.user_id,
            device.session_id,
            device.access_token,
            vended["access_key_id"],
            vended["secret_access_key"],
            vended["session_token"],
        ):
            assert value not in text

    def test_are_off_in_production_without_a_token(
        self, make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        client = make_service(
            environment="production",
            rate_limits="on",
            public_url="https://testserver",
            smtp_url="smtp://127.0.0.1:9",
            mail_from="photos@example.org",
        ).client
        assert_problem(client.get("/metrics"), 404, "not_found")
        assert_problem(client.get("/metrics", headers={"Authorization": "Bearer "}), 404, "not_found")


class TestIssuers:
    def test_of_access_tokens_is_the_public_url(self, service: Service) -> None:
        document = service.client.get("/.well-known/openid-configuration").json()
        assert document["issuer"] == "http://testserver"
        assert document["id_token_signing_alg_values_supported"] == ["ES256"]
        keys = service.client.get(document["jwks_uri"].removeprefix("http://testserver")).json()["keys"]
        assert len(keys) == 1

    def test_by_saml_is_there_in_its_mode_alone(self, make_service: Callable[..., Service]) -> None:
        for mode in ("assume_role", "web_identity", "federation_token"):
            assert_problem(make_service(vending_mode=mode).client.get(METADATA_PATH), 404, "not_found")
        answer = make_service(vending_mode="saml").client.get(METADATA_PATH)
        assert answer.headers["content-type"].startswith("text/xml")
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert Provider.of(answer.content).entity_id == f"http://testserver{METADATA_PATH}"

    def test_of_sts_is_another_and_there_in_web_identity_mode_alone(self, make_service: Callable[..., Service]) -> None:
        for path in ("/sts/.well-known/openid-configuration", "/sts/jwks.json"):
            assert_problem(make_service().client.get(path), 404, "not_found")
        client = make_service(vending_mode="web_identity").client
        document = client.get("/sts/.well-known/openid-configuration").json()
        assert document["issuer"] == "http://testserver/sts"
        assert document["jwks_uri"] == "http://testserver/sts/jwks.json"
        kids = [
            {key["kid"] for key in client.get(path).json()["keys"]}
            for path in ("/sts/jwks.json", "/.well-known/jwks.json")
        ]
        assert kids[0]
        assert not kids[0] & kids[1]
