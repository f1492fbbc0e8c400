"""Names that people have, and answers to pages that may not call."""

import pytest

from tests.support.service import Service, running_service


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "👨‍👩‍👧 Müller",
            "نمی‌خواهم",
            "Ada’s iPhone\u00a015",
            "Pixel \U0001fa77",  # the pink heart of Unicode 15
            "Ada \U0001fae9",  # the face with bags under its eyes, of Unicode 16
            "\U0010fffd \U0003ffff",  # nobody knows what these will be
            "\uf8ff Mac",  # Apple's logo
            "❤️",
        ],
        ids=ascii,
    )
    def test_of_every_script_and_device_are_taken(self, service: Service, name: str) -> None:
        service.register("ada@example.org", display_name=name)
        answer = service.log_in("ada@example.org", device_name=name)
        headers = {"Authorization": f"Bearer {answer.json()['tokens']['access_token']}"}
        assert service.client.get("/v1/me", headers=headers).json()["display_name"] == name
        assert service.client.get("/v1/me/sessions", headers=headers).json()["items"][0]["device_name"] == name

    @pytest.mark.parametrize("name", ["a\u202eb", "a\nb", "a\0b", "a\u2028b"])
    def test_that_would_mislead_are_refused(self, service: Service, name: str) -> None:
        assert service.register(display_name=name).status_code == 422

    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("Pixel\r\n7", "Pixel 7"),
            ("  Ada\0\u202ephone\x1b ", "Ada phone"),
            ("", None),
            ("\n\u2028", None),
            ("x" * 101, "x" * 100),
            ("ж" * 10_000, "ж" * 100),
            ("x" * 98 + "👨‍👩", "x" * 98 + "👨"),
        ],
        ids=ascii,
    )
    def test_of_a_device_are_mended_and_refuse_no_sign_in(self, service: Service, name: str, kept: str | None) -> None:
        service.register("ada@example.org")
        answer = service.log_in("ada@example.org", device_name=name)
        assert answer.status_code == 200, answer.text
        headers = {"Authorization": f"Bearer {answer.json()['tokens']['access_token']}"}
        assert service.client.get("/v1/me/sessions", headers=headers).json()["items"][0]["device_name"] == kept

    def test_of_a_device_are_mended_wherever_somebody_signs_in(self, service: Service) -> None:
        document = service.app.openapi()
        schemas = {
            name: schema["properties"]["device_name"]
            for name, schema in document["components"]["schemas"].items()
            if "device_name" in schema.get("properties", {}) and name.endswith("Request")
        }
        assert len(schemas) == 4
        for name, schema in schemas.items():
            assert not {"maxLength", "minLength", "pattern"} & schema.keys(), name
        answer = service.client.post("/v1/auth/guest", json={"device_name": "Pixel\n" * 100})
        assert answer.status_code == 200, answer.text


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

    @pytest.mark.parametrize("token", ["good", "bad"])
    def test_a_vend_and_its_refusal_name_the_page_that_may_read_it(self, database_url: str, token: str) -> None:
        """HT6: the hot path passes by the framework's router, not by this."""
        with running_service(database_url, cors_origins=("https://app.example.org",)) as service:
            device = service.device()
            headers = {**device.headers, "Origin": "https://app.example.org"}
            if token == "bad":
                headers["Authorization"] = "Bearer bad"
            answer = service.client.post("/v1/credentials", json={}, headers=headers)
            assert answer.status_code == (200 if token == "good" else 401)
            assert answer.headers["access-control-allow-origin"] == "https://app.example.org"


class TestDirectRoutes:
    def test_other_methods_are_the_frameworks_to_refuse(self, service: Service) -> None:
        answer = service.client.get("/v1/credentials")
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"

    def test_refusals_name_all_methods_of_an_address(self, service: Service) -> None:
        """RFC 9110 §15.5.6: and an address is not taken for the id of something."""
        for method, path, allowed in (
            ("POST", "/v1/me", "DELETE, GET, HEAD, PATCH"),
            ("OPTIONS", "/v1/me/passkeys", "GET, HEAD, POST"),
            ("PATCH", "/v1/me/passkeys/options", "POST"),
        ):
            answer = service.client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)

    def test_another_spelling_of_the_path_is_unknown(self, service: Service) -> None:
        for path in ("/v1/credentials/", "//v1/credentials", "/V1/credentials", "/v1/credentials%00"):
            assert service.client.post(path, json={}).status_code == 404

    def test_an_unforeseen_fault_is_a_problem(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """HT4: it says nothing but the request id."""
        device = service.device()

        async def fail(_key: object) -> None:
            raise ZeroDivisionError("secret")

        monkeypatch.setattr(service.runtime.session_states, "get", fail)
        answer = device.vend()
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "secret" not in answer.text
