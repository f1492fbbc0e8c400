"""Names that people have, and answers to pages that may not call."""

import pytest

from tests.support.service import Service, running_service


class TestNames:
    @pytest.mark.parametrize("name", ["👨‍👩‍👧 Müller", "نمی‌خواهم", "Ada’s iPhone\u00a015"])
    def test_of_every_script_and_device_are_taken(self, service: Service, name: str) -> None:
        service.register("ada@example.org", display_name=name)
        answer = service.log_in("ada@example.org", device_name=name)
        headers = {"Authorization": f"Bearer {answer.json()['tokens']['access_token']}"}
        assert service.client.get("/v1/me", headers=headers).json()["display_name"] == name
        assert service.client.get("/v1/me/sessions", headers=headers).json()["items"][0]["device_name"] == name

    @pytest.mark.parametrize("name", ["a\u202eb", "a\nb", "a\0b", "a\u2028b"])
    def test_that_would_mislead_are_refused(self, service: Service, name: str) -> None:
        assert service.register(display_name=name).status_code == 422


class TestCors:
    def test_a_refused_preflight_is_a_problem(self, database_url: str) -> None:
        """HT4, HT6"""
        with running_service(database_url, cors_origins=("https://app.example.org",)) as service:
            asked = {"Access-Control-Request-Method": "POST"}
            evil = service.client.options("/v1/credentials", headers={"Origin": "https://evil.example", **asked})
            assert (evil.status_code, evil.json()["code"]) == (400, "origin_not_allowed")
            assert "access-control-allow-origin" not in evil.headers
            own = service.client.options("/v1/credentials", headers={"Origin": "https://app.example.org", **asked})
            assert own.headers["access-control-allow-origin"] == "https://app.example.org"
