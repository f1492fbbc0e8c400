"""Hosts and origins of the settings, as browsers send them, however an operator wrote them."""

from collections.abc import Callable

import pytest

from tests.support.logged import capture_logs
from tests.support.service import SECRET_KEY, Service

MakeService = Callable[..., Service]
SHELLS = ("capacitor://localhost", "ionic://localhost", "tauri://localhost", "chrome-extension://abcdefghijklmnop")


class TestHost:
    @pytest.mark.parametrize("url", ["https://fotos.Bücher.example", "https://fotos.xn--bcher-kva.example:443/\n"])
    def test_of_the_public_url_is_the_one_that_browsers_send(self, make_service: MakeService, url: str) -> None:
        client = make_service(public_url=url).client
        host = "fotos.xn--bcher-kva.example"
        answer = client.get("/.well-known/openid-configuration", headers={"Host": host})
        assert answer.json()["issuer"] == f"https://{host}"

    def test_that_is_not_answered_is_told_to_the_operator_with_the_setting(self, make_service: MakeService) -> None:
        """Strangers may send any number of them, and in production learn nothing of the settings."""
        setting = "TOKENVEND_ALLOWED_HOSTS"
        service = make_service()
        with capture_logs() as logs:
            answers = [service.client.get("/v1/me", headers={"Host": f"{number}.example"}) for number in range(3)]
            service.clock.advance(seconds=61)
            service.client.get("/v1/me", headers={"Host": "late.exam\tple"})
        told = [line for line in logs if line["event"] == "host_not_allowed"]
        assert [line["host"] for line in told] == ["0.example", "late.exam ple"]
        assert setting in told[0]["mend"]
        assert setting in answers[0].json()["detail"]
        strict = make_service(
            environment="production",
            rate_limits="on",
            smtp_url="smtp://127.0.0.1:9",
            public_url="https://testserver",
            mail_from="photos@example.org",
            AWS_REGION="eu-central-1",
        )
        detail = strict.client.get("/v1/me", headers={"Host": "0.example"}).json()["detail"]
        assert "TOKENVEND" not in detail


class TestOrigins:
    @pytest.mark.parametrize("origin", SHELLS)
    def test_of_app_shells_may_call(self, make_service: MakeService, origin: str) -> None:
        client = make_service(cors_origins=",".join(SHELLS)).client
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = client.options("/v1/credentials", headers=asked)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        answer = client.options("/v1/credentials", headers=asked | {"Origin": f"{origin}.evil.example"})
        assert answer.json()["code"] == "origin_not_allowed"


class TestSecretKey:
    @pytest.mark.parametrize(("end", "warned"), [("\n", 1), ("", 0)])
    def test_that_ends_in_white_space_works_and_is_told_of_once(
        self, make_service: MakeService, end: str, warned: int
    ) -> None:
        with capture_logs() as logs:
            service = make_service(secret_key=SECRET_KEY + end)
            assert service.device().vend().status_code == 200
        told = [entry for entry in logs if entry["event"] == "secret_key_ends_in_white_space"]
        assert len(told) == warned
        assert SECRET_KEY not in str(told)
