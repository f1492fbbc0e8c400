"""The service under a path of a host, behind a proxy that cuts the path off and behind one that leaves it."""

from collections.abc import Callable
from urllib.parse import urljoin

import pytest

from app.vending.saml_metadata import METADATA_PATH
from tests.support.service import Service

MakeService = Callable[..., Service]
HOST = "http://testserver"
PUBLIC_URL = f"{HOST}/eu/tokens"
AS_IT_ARRIVES = pytest.mark.parametrize("path", ["", "/eu/tokens"], ids=["stripped", "whole"])


@AS_IT_ARRIVES
class TestPath:
    def test_leads_to_every_address(self, make_service: MakeService, path: str) -> None:
        client = make_service(public_url=PUBLIC_URL).client
        for address in (
            "/healthz",
            "/readyz",
            "/console",
            "/demo",
            "/docs",
            "/account/verify-email",
            "/account/icon.svg",
        ):
            assert client.get(path + address).status_code == 200, address
        assert client.post(f"{path}/v1/auth/guest", json={}).status_code == 200
        assert client.get(f"{path}/nowhere").json()["code"] == "not_found"

    def test_is_part_of_all_that_the_service_says_of_itself(self, make_service: MakeService, path: str) -> None:
        client = make_service(public_url=PUBLIC_URL, vending_mode="web_identity").client
        for issuer, keys in (("", "/.well-known/jwks.json"), ("/sts", "/sts/jwks.json")):
            document = client.get(f"{path}{issuer}/.well-known/openid-configuration").json()
            assert (document["issuer"], document["jwks_uri"]) == (PUBLIC_URL + issuer, PUBLIC_URL + keys)
            assert "keys" in client.get(path + keys).json()
        saml = make_service(public_url=PUBLIC_URL, vending_mode="saml").client
        assert f'entityID="{PUBLIC_URL}{METADATA_PATH}"' in saml.get(path + METADATA_PATH).text
        (server,) = client.get(f"{path}/openapi.json").json()["servers"]
        assert server["url"] == "/eu/tokens"

    def test_is_in_the_links_of_mails(self, make_service: MakeService, path: str) -> None:
        service = make_service(public_url=PUBLIC_URL, email_verification="required")
        body = {"email": "ada@example.org", "password": "violet tractor moonlight"}
        assert service.client.post(f"{path}/v1/users", json=body).status_code == 201
        (mail,) = service.mails("ada@example.org")
        assert f"{PUBLIC_URL}/account/verify-email#token=" in mail.text
        answer = service.client.post(f"{path}/v1/email-verifications/confirm", json={"token": mail.token})
        assert answer.status_code == 204

    def test_is_kept_where_a_page_has_another_address(self, make_service: MakeService, path: str) -> None:
        client = make_service(public_url=PUBLIC_URL).client
        for page in ("console", "demo", "docs"):
            answer = client.get(f"{path}/{page}/", follow_redirects=False)
            assert answer.status_code == 307
            assert urljoin(f"{PUBLIC_URL}/{page}/", answer.headers["location"]) == f"{PUBLIC_URL}/{page}"

    def test_lets_balancers_ask_for_health_by_any_host(self, make_service: MakeService, path: str) -> None:
        client = make_service(public_url=PUBLIC_URL).client
        assert client.get(f"{path}/healthz", headers={"Host": "10.0.0.7:8000"}).status_code == 200
        assert client.get(f"{path}/v1/me", headers={"Host": "10.0.0.7:8000"}).json()["code"] == "host_not_allowed"


class TestPathOfOurs:
    """The last segment of a path is also one of the service's own."""

    @pytest.mark.parametrize("name", ["v1", "account", "console", "docs", "demo", "healthz"])
    def test_is_told_from_the_service_s_own(self, make_service: MakeService, name: str) -> None:
        client = make_service(public_url=f"{HOST}/{name}").client
        for path in ("", f"/{name}"):
            assert client.get(f"{path}/account/verify-email").status_code == 200
            assert client.get(f"{path}/account/account.js").status_code == 200
            assert client.get(f"{path}/console/main.js").status_code == 200
            assert client.get(f"{path}/v1/me").status_code == 401
            assert client.get(f"{path}/healthz").status_code == 200


class TestOtherPaths:
    @pytest.mark.parametrize("path", ["/eu", "/tokens", "/eu/tokensX", "/eu/tokens/eu/tokens", "/EU/tokens"])
    def test_lead_nowhere(self, make_service: MakeService, path: str) -> None:
        client = make_service(public_url=PUBLIC_URL).client
        assert client.get(f"{path}/healthz").status_code == 404

    def test_are_written_with_escapes_or_without(self, make_service: MakeService) -> None:
        client = make_service(public_url=f"{HOST}/my%20photos").client
        assert client.get("/my%20photos/healthz").status_code == 200
