"""A user's own account, read and changed."""

import pytest

from tests.support.service import Service


class TestUpdate:
    def test_changes_the_name(self, service: Service) -> None:
        device = service.device()
        answer = device.patch("/v1/me", json={"display_name": "Ada"})
        assert (answer.status_code, answer.json()["display_name"]) == (200, "Ada")
        assert device.get("/v1/me").json() == answer.json()

    def test_null_takes_it_away_and_nothing_leaves_it(self, service: Service) -> None:
        device = service.device()
        device.patch("/v1/me", json={"display_name": "Ada"})
        assert device.patch("/v1/me", json={}).json()["display_name"] == "Ada"
        assert device.patch("/v1/me", json={"display_name": None}).json()["display_name"] is None

    def test_takes_an_empty_name_for_none(self, service: Service) -> None:
        """As clients say it that cannot tell null from what is left out."""
        device = service.device()
        device.patch("/v1/me", json={"display_name": "Ada"})
        assert device.patch("/v1/me", json={"display_name": ""}).json()["display_name"] is None

    @pytest.mark.parametrize("member", ["id", "email", "role", "status", "prefix", "email_verified", "mfa_enabled"])
    def test_changes_nothing_else(self, service: Service, member: str) -> None:
        """AZ3: no mass assignment."""
        device = service.device()
        before = device.get("/v1/me").json()
        assert device.patch("/v1/me", json={member: "admin"}).status_code == 422
        assert device.get("/v1/me").json() == before

    def test_is_audited_without_the_name(self, service: Service) -> None:
        device = service.device()
        device.patch("/v1/me", json={"display_name": "Ada"})
        [(actor, detail)] = service.sql(
            "SELECT actor_id, CAST(detail AS VARCHAR) FROM audit_events WHERE event = 'user.profile_changed'"
        )
        assert str(actor).replace("-", "") == device.user_id.replace("-", "")
        assert "Ada" not in detail
