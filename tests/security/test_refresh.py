"""Refresh tokens against thieves, races and somebody who has the whole database."""

import base64
import hashlib
from collections.abc import Callable

import pytest
from httpx2 import Response
from pydantic import ValidationError

from tests.security.observed import assert_problem, stored_values, without_request_id
from tests.security.races import all_at_once
from tests.support.service import Service
from tests.support.service import test_settings as make_settings


def bearer(answer: Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def log_out(service: Service, refresh_token: str) -> Response:
    return service.client.post("/v1/auth/logout", json={"refresh_token": refresh_token})


def spellings(value: object) -> set[bytes]:
    """A stored value as bytes, and as what its text may be the hex or base64 of."""
    if isinstance(value, bytes | memoryview):
        return {bytes(value)}
    return {str(value).encode()}


@pytest.mark.both_databases
class TestStorage:
    def test_nothing_in_the_database_is_a_refresh_token(self, service: Service) -> None:
        """TK8: neither the token, nor its bytes, nor a plain hash of it that could be tried offline."""
        device = service.device()
        heir = service.refresh(device.refresh_token).json()["refresh_token"]
        for token in (device.refresh_token, heir):
            bare = token.removeprefix("tvr_")
            raw = base64.urlsafe_b64decode(bare + "=")
            hidden = {token.encode(), bare.encode(), raw, raw.hex().encode()}
            for text in (token.encode(), bare.encode(), raw):
                digest = hashlib.sha256(text)
                hidden |= {digest.digest(), digest.hexdigest().encode()}
            for column, value in stored_values(service):
                for spelling in spellings(value):
                    assert not any(secret in spelling for secret in hidden), column

    def test_what_is_stored_cannot_be_presented(self, service: Service) -> None:
        """TK8: a dump of the table signs nobody in."""
        service.device()
        hashes = [bytes(value) for column, value in stored_values(service) if column == "refresh_tokens.token_hash"]
        assert hashes
        for stolen in hashes:
            encoded = base64.urlsafe_b64encode(stolen).rstrip(b"=").decode()
            for attempt in (encoded, f"tvr_{encoded}", stolen.hex(), f"tvr_{stolen.hex()}"):
                assert_problem(service.refresh(attempt), 401, "invalid_refresh_token")

    def test_the_token_is_opaque_and_long_enough(self, shared: Service) -> None:
        """TK8: 256 random bits, for first tokens and successors, that repeat nothing of the user."""
        devices = [shared.device() for _ in range(10)]
        tokens = [device.refresh_token for device in devices]
        tokens += [shared.refresh(token).json()["refresh_token"] for token in tokens]
        raw = [base64.urlsafe_b64decode(token.removeprefix("tvr_") + "=") for token in tokens]
        assert {len(value) for value in raw} == {32}
        assert len(set(raw)) == 20
        assert len({value[:4] for value in raw}) == 20, "no counter, clock or id at its head"

    def test_the_successor_depends_on_the_secret_key(self, make_service: Callable[..., Service]) -> None:
        """TK8: with the database but without SECRET_KEY nobody computes, or even looks up, a token."""
        service = make_service()
        token = service.device().refresh_token
        stranger = make_service(secret_key="another-Secret-0f-32-characters-or-more!")
        assert_problem(stranger.refresh(token), 401, "invalid_refresh_token")
        assert service.refresh(token).status_code == 200


@pytest.mark.both_databases
class TestRotation:
    def test_the_old_token_is_spent(self, service: Service) -> None:
        """TK9: after the grace for lost answers it is refused, and the chain of successors never repeats a token."""
        device = service.device()
        seen = [device.refresh_token]
        for _ in range(5):
            seen.append(service.refresh(seen[-1]).json()["refresh_token"])
        assert len(set(seen)) == 6
        service.clock.advance(seconds=31)
        assert_problem(service.refresh(seen[-2]), 401, "refresh_token_reused")

    def test_a_thief_and_the_owner_are_both_out(self, service: Service) -> None:
        """TK10: every token of the family, access tokens too; the user's other devices stay; the event names whom."""
        device = service.device()
        other = service.device(device.email)
        thief = service.refresh(device.refresh_token)
        later = service.refresh(thief.json()["refresh_token"])
        service.clock.advance(seconds=31)
        assert_problem(service.refresh(device.refresh_token), 401, "refresh_token_reused")
        for answer in (thief, later):
            assert service.client.get("/v1/me", headers=bearer(answer)).status_code == 401
            assert service.refresh(answer.json()["refresh_token"]).status_code == 401
        assert device.vend().status_code == 401
        assert other.get("/v1/me").status_code == 200
        events = service.sql("SELECT subject_id, outcome FROM audit_events WHERE event = 'session.reuse_detected'")
        assert [(str(subject).replace("-", ""), outcome) for subject, outcome in events] == [
            (device.user_id.replace("-", ""), "refused")
        ]

    def test_every_older_generation_ends_the_family(self, service: Service) -> None:
        """TK10: also a token of long ago, within 30 s of its own use."""
        first = service.device().refresh_token
        second = service.refresh(first).json()["refresh_token"]
        third = service.refresh(second).json()["refresh_token"]
        assert_problem(service.refresh(first), 401, "refresh_token_reused")
        assert_problem(service.refresh(third), 401, "invalid_refresh_token")

    def test_a_lost_answer_is_repeated_and_never_forked(self, service: Service) -> None:
        """TK11: as often as asked within 30 s, the one successor; one live token is left."""
        device = service.device()
        successors = set()
        for _ in range(4):
            answer = service.refresh(device.refresh_token)
            successors.add(answer.json()["refresh_token"])
            service.clock.advance(seconds=10)
        assert len(successors) == 1
        assert service.sql("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == [(1,)]
        assert_problem(service.refresh(device.refresh_token), 401, "refresh_token_reused")

    def test_a_longer_grace_is_the_operators_choice(self, make_service: Callable[..., Service]) -> None:
        """TK11: for an hour the same successor, whose own use ends the grace; then it is reuse."""
        service = make_service(refresh_grace=3600)
        device = service.device()
        successor = service.refresh(device.refresh_token).json()["refresh_token"]
        service.clock.advance(seconds=3600)
        assert service.refresh(device.refresh_token).json()["refresh_token"] == successor
        assert service.refresh(successor).status_code == 200
        assert_problem(service.refresh(device.refresh_token), 401, "refresh_token_reused")
        other = service.device()
        service.refresh(other.refresh_token)
        service.clock.advance(seconds=3601)
        assert_problem(service.refresh(other.refresh_token), 401, "refresh_token_reused")

    @pytest.mark.parametrize("grace", [-1, 3601])
    def test_a_grace_has_bounds(self, grace: int) -> None:
        """TK11"""
        with pytest.raises(ValidationError, match="refresh_grace"):
            make_settings(refresh_grace=grace)


@pytest.mark.both_databases
class TestRaces:
    def test_parallel_refreshes_leave_one_live_token(self, service: Service) -> None:
        """TK12: of 20 at once one rotates; all 20 hold the same successor, which works once more."""
        device = service.device()
        answers = all_at_once(lambda _: service.refresh(device.refresh_token))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
        assert service.sql("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == [(1,)]
        assert service.refresh(answers[0].json()["refresh_token"]).status_code == 200

    def test_parallel_reuse_ends_the_family_once(self, service: Service) -> None:
        """TK10, TK12: 20 thieves at once: not one gets a token, and the session ends one time."""
        device = service.device()
        service.refresh(device.refresh_token)
        service.clock.advance(seconds=31)
        answers = all_at_once(lambda _: service.refresh(device.refresh_token))
        assert {answer.status_code for answer in answers} == {401}
        assert service.sql("SELECT count(*) FROM audit_events WHERE event = 'session.ended'") == [(1,)]
        assert service.sql("SELECT count(*) FROM refresh_tokens") == [(2,)]

    def test_refreshing_during_sign_out_saves_nothing(self, service: Service) -> None:
        """TK13: whoever wins, afterwards no token of the session opens anything."""
        device = service.device()

        def act(index: int) -> Response:
            return log_out(service, device.refresh_token) if index % 4 == 0 else service.refresh(device.refresh_token)

        answers = all_at_once(act)
        assert {answer.status_code for answer in answers} <= {200, 204, 401}
        for answer in [answer for answer in answers if answer.status_code == 200]:
            assert service.client.get("/v1/me", headers=bearer(answer)).status_code == 401
            assert service.refresh(answer.json()["refresh_token"]).status_code == 401
        assert device.get("/v1/me").status_code == 401


@pytest.mark.both_databases
class TestLogout:
    def test_it_holds_for_every_token_of_the_session(self, service: Service) -> None:
        """TK13: access token, refresh token and its successor, at the next call, although they were all just used."""
        device = service.device()
        heir = service.refresh(device.refresh_token)
        assert device.get("/v1/me").status_code == 200
        assert log_out(service, device.refresh_token).status_code == 204, "a spent token of the session signs out too"
        assert_problem(device.get("/v1/me"), 401, "invalid_token")
        assert_problem(device.vend(), 401, "invalid_token")
        assert_problem(service.refresh(heir.json()["refresh_token"]), 401, "invalid_refresh_token")
        assert service.client.get("/v1/me", headers=bearer(heir)).status_code == 401

    def test_an_unknown_token_is_answered_alike(self, service: Service) -> None:
        """TK13: 204 for a live, a dead and an invented token, with the same headers: nothing to be learnt."""
        device = service.device()
        invented = ["tvr_" + "A" * 43, "x", "' OR 1=1--", "\u0000", "é" * 100]
        answers = [log_out(service, token) for token in [device.refresh_token] * 2 + invented]
        assert {without_request_id(answer)[0] for answer in answers} == {204}
        assert all(without_request_id(answer) == without_request_id(answers[0]) for answer in answers)

    def test_one_device_signs_out_and_the_other_stays(self, service: Service) -> None:
        """TK13: a session is one device; signing all of them out leaves none."""
        device = service.device()
        other = service.device(device.email)
        log_out(service, device.refresh_token)
        assert other.get("/v1/me").status_code == 200
        third = service.device(device.email)
        assert third.delete("/v1/me/sessions").status_code == 204
        assert [one.get("/v1/me").status_code for one in (device, other, third)] == [401, 401, 401]
