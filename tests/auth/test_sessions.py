"""Refresh tokens: one winner, one successor, and no second life."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tests.support.service import Service


class TestUnverified:
    def test_one_from_before_verification_was_asked_for_goes_on_once_verified(self, service: Service) -> None:
        """VC6: the device stays signed in; until the link is opened it gets no new access token, so no credential."""
        device = service.device("ada@example.org")
        object.__setattr__(service.runtime.platform.settings, "email_verification", "required")
        refused = service.refresh(device.refresh_token)
        assert (refused.status_code, refused.json()["code"]) == (403, "email_not_verified")
        service.client.post("/v1/email-verifications", json={"email": "ada@example.org"})
        token = service.mails("ada@example.org")[-1].token
        assert service.client.post("/v1/email-verifications/confirm", json={"token": token}).status_code == 204
        assert service.refresh(device.refresh_token).status_code == 200

    def test_a_guest_has_nothing_to_verify(self, service: Service) -> None:
        object.__setattr__(service.runtime.platform.settings, "email_verification", "required")
        tokens = service.client.post("/v1/auth/guest", json={}).json()["tokens"]
        assert service.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.both_databases
class TestRefresh:
    def test_gives_a_new_pair_for_the_same_session(self, service: Service) -> None:
        device = service.device()
        answer = service.refresh(device.refresh_token)
        assert answer.status_code == 200
        assert answer.json()["session_id"] == device.session_id
        assert answer.json()["refresh_token"] != device.refresh_token

    def test_a_retry_within_grace_gets_the_same_successor(self, service: Service) -> None:
        """TK11: the answer was lost; the app sends the same token again."""
        device = service.device()
        first = service.refresh(device.refresh_token).json()
        service.clock.advance(seconds=29)
        again = service.refresh(device.refresh_token)
        assert again.status_code == 200
        assert again.json()["refresh_token"] == first["refresh_token"]

    def test_reuse_after_grace_ends_the_family(self, service: Service) -> None:
        """TK9, TK10: both holders are out, and the event is on record."""
        device = service.device()
        heir = service.refresh(device.refresh_token).json()
        service.clock.advance(seconds=31)
        refused = service.refresh(device.refresh_token)
        assert (refused.status_code, refused.json()["code"]) == (401, "refresh_token_reused")
        assert service.refresh(heir["refresh_token"]).json()["code"] == "invalid_refresh_token"
        bearer = {"Authorization": f"Bearer {heir['access_token']}"}
        assert service.client.get("/v1/me", headers=bearer).status_code == 401
        assert service.sql("SELECT count(*) FROM audit_events WHERE event = 'session.reuse_detected'") == [(1,)]

    def test_reuse_after_the_successor_was_used_ends_the_family(self, service: Service) -> None:
        """TK11: within grace, but the successor is spent: somebody holds a copy."""
        device = service.device()
        heir = service.refresh(device.refresh_token).json()
        grandchild = service.refresh(heir["refresh_token"]).json()
        assert service.refresh(device.refresh_token).json()["code"] == "refresh_token_reused"
        assert service.refresh(grandchild["refresh_token"]).status_code == 401

    def test_parallel_refreshes_have_one_successor(self, service: Service) -> None:
        """TK12: of 20 at once one rotates; the others get what it got."""
        device = service.device()
        barrier = Barrier(20)

        def refresh(_index: int) -> str:
            barrier.wait()
            answer = service.refresh(device.refresh_token)
            assert answer.status_code == 200, answer.text
            return str(answer.json()["refresh_token"])

        with ThreadPoolExecutor(20) as pool:
            successors = set(pool.map(refresh, range(20)))
        assert len(successors) == 1
        assert service.sql("SELECT count(*) FROM refresh_tokens") == [(2,)]
