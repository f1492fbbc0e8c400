"""A user's authorization at Apple ends with the account, and Apple holds up neither the sign-in nor the erasure."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.auth import authorizations
from app.platform.settings import SettingsError
from tests.security.observed import assert_problem, stored_values
from tests.support.apple import CODE_LIVES, Apple, running_apple
from tests.support.clock import ManualClock
from tests.support.outside import Outside, device_of, guest
from tests.support.service import Device, Service

MakeService = Callable[..., Service]


@pytest.fixture
def apple() -> Iterator[Apple]:
    with running_apple(ManualClock()) as running:
        yield running


@pytest.fixture
def outside(make_service: MakeService, apple: Apple) -> Outside:
    return trusting(make_service, apple)


def trusting(make_service: MakeService, apple: Apple, **changes: Any) -> Outside:
    service = make_service(oidc_providers={"local": apple.terms(**changes)})
    apple.clock = service.clock
    return Outside(service, apple)


def signed_in(outside: Outside, code: str | None) -> Device:
    answer = outside.present(outside.token(), authorization_code=code)
    assert answer.status_code == 200, answer.text
    return device_of(outside.service, answer)


def work(service: Service) -> None:
    """What the job does until there is nothing due."""
    assert service.client.portal is not None
    runtime = service.runtime
    while service.client.portal.call(authorizations.revoke_next, runtime.platform, runtime.providers):
        pass


def kept(service: Service) -> int:
    [(number,)] = service.sql("SELECT count(*) FROM provider_authorizations")
    return int(number)


def events(service: Service, event: str) -> list[tuple[str, dict[str, Any]]]:
    rows = service.sql("SELECT outcome, detail FROM audit_events WHERE event = :event ORDER BY id", event=event)
    return [(row[0], json.loads(row[1]) if isinstance(row[1], str) else row[1]) for row in rows]


@pytest.mark.both_databases
class TestErasure:
    def test_revokes_the_authorization(self, outside: Outside, apple: Apple) -> None:
        device = signed_in(outside, apple.code())
        assert list(apple.refresh_tokens.values()) == ["1234567890"]
        assert events(outside.service, "identity.authorization_kept") == [("done", {"provider": "local"})]
        work(outside.service)
        assert apple.revoked == []
        assert device.erase(None).status_code == 202
        work(outside.service)
        assert apple.revoked == ["1234567890"]
        assert kept(outside.service) == 0
        assert events(outside.service, "identity.authorization_revoked") == [("done", {"provider": "local"})]
        assert apple.calls == ["/auth/token", "/auth/revoke"]

    def test_waits_for_nobody_and_is_made_up_for(self, outside: Outside, apple: Apple) -> None:
        device = signed_in(outside, apple.code())
        apple.error = (503, {})
        assert device.erase(None).status_code == 202
        for _ in range(3):
            work(outside.service)
        assert apple.calls.count("/auth/revoke") == 1, "the next try is later"
        apple.error = None
        outside.service.clock.advance(seconds=31)
        work(outside.service)
        assert apple.revoked == ["1234567890"]

    def test_gives_up_after_a_week_and_says_so(self, outside: Outside, apple: Apple) -> None:
        device = signed_in(outside, apple.code())
        apple.error = (400, {"error": "invalid_client"})
        device.erase(None)
        for _ in range(40):
            work(outside.service)
            outside.service.clock.advance(hours=6)
        assert kept(outside.service) == 0
        gone = [("refused", {"provider": "local", "reason": "invalid_client"})]
        assert events(outside.service, "identity.authorization_revoked") == gone
        assert 20 < apple.calls.count("/auth/revoke") < 40

    def test_asks_once_where_the_answer_is_final(self, outside: Outside, apple: Apple) -> None:
        device = signed_in(outside, apple.code())
        apple.error = (400, {"error": "invalid_request"})
        device.erase(None)
        work(outside.service)
        assert (kept(outside.service), apple.calls.count("/auth/revoke")) == (0, 1)

    def test_needs_no_key_any_more_to_go_on(self, make_service: MakeService, outside: Outside, apple: Apple) -> None:
        """The operator took the provider away: the token is deleted after a week."""
        signed_in(outside, apple.code()).erase(None)
        without = make_service(oidc_providers={})
        without.clock = outside.service.clock
        work(without)
        assert kept(outside.service) == 1


class TestUnlinking:
    def test_revokes_the_authorization(self, outside: Outside, apple: Apple) -> None:
        device = outside.service.device()
        body = {"provider": "local", "id_token": outside.token(email=None), "authorization_code": apple.code()}
        linked = device.post("/v1/me/identities", body)
        assert linked.status_code == 201, linked.text
        assert kept(outside.service) == 1
        assert device.delete(f"/v1/me/identities/{linked.json()['identity_id']}").status_code == 204
        work(outside.service)
        assert apple.revoked == ["1234567890"]

    def test_of_a_guest_who_linked_it_too(self, outside: Outside, apple: Apple) -> None:
        device = guest(outside.service)
        body = {"provider": "local", "id_token": outside.token(), "authorization_code": apple.code()}
        assert device.post("/v1/me/identities", body).status_code == 201
        assert device.erase(None).status_code == 202
        work(outside.service)
        assert apple.revoked == ["1234567890"]


class TestSignIn:
    def test_keeps_the_newest_authorization(self, outside: Outside, apple: Apple) -> None:
        signed_in(outside, apple.code())
        device = signed_in(outside, apple.code())
        signed_in(outside, None)
        assert kept(outside.service) == 1
        device.erase(None)
        work(outside.service)
        assert apple.revoked == ["1234567890"]

    @pytest.mark.parametrize("error", [(503, {}), (400, {"error": "invalid_grant"}), (200, {}), (200, None)])
    def test_succeeds_whatever_apple_says(self, outside: Outside, apple: Apple, error: tuple[int, object]) -> None:
        apple.error = error
        signed_in(outside, apple.code())
        assert kept(outside.service) == 0
        [(outcome, detail)] = events(outside.service, "identity.authorization_kept")
        assert (outcome, detail["provider"]) == ("refused", "local")

    def test_takes_no_code_of_another_user_or_from_long_ago(self, outside: Outside, apple: Apple) -> None:
        signed_in(outside, apple.code("somebody else"))
        late = apple.code()
        outside.service.clock.advance(seconds=CODE_LIVES + 1)
        signed_in(outside, late)
        reasons = [detail["reason"] for _, detail in events(outside.service, "identity.authorization_kept")]
        assert reasons == ["code_of_another_user", "invalid_grant"]
        assert kept(outside.service) == 0

    def test_of_a_refused_token_uses_no_code(self, outside: Outside, apple: Apple) -> None:
        answer = outside.present(outside.token(aud="another"), authorization_code=apple.code())
        assert_problem(answer, 401, "invalid_identity_token")
        assert apple.calls == []

    def test_ignores_a_code_where_no_key_is_set(self, make_service: MakeService, apple: Apple) -> None:
        outside = trusting(make_service, apple, team_id="", key_id="", private_key="")
        signed_in(outside, apple.code())
        assert (apple.calls, kept(outside.service)) == ([], 0)

    def test_stores_nothing_that_could_be_used(self, outside: Outside, apple: Apple) -> None:
        """OP1: neither code nor token, nor the operator's key."""
        code = apple.code()
        signed_in(outside, code)
        everything = str(stored_values(outside.service))
        for secret in (code, *apple.refresh_tokens, "PRIVATE KEY"):
            assert secret not in everything
        assert "PRIVATE KEY" not in repr(outside.service.settings)


class TestKey:
    def test_may_be_a_file(self, make_service: MakeService, apple: Apple, tmp_path: Path) -> None:
        file = tmp_path / "AuthKey.p8"
        file.write_text(apple.private_key)
        outside = trusting(make_service, apple, private_key="", private_key_file=str(file))
        signed_in(outside, apple.code())
        assert kept(outside.service) == 1

    @pytest.mark.parametrize(
        "changes",
        [
            {"private_key": "no key"},
            {"private_key": "", "private_key_file": "/nowhere/AuthKey.p8"},
        ],
        ids=str,
    )
    def test_that_is_none_is_refused_at_start(
        self, make_service: MakeService, apple: Apple, changes: dict[str, str]
    ) -> None:
        with pytest.raises(SettingsError, match=r"the private key of local must be the \.p8 file"):
            make_service(oidc_providers={"local": apple.terms(**changes)})

    @pytest.mark.parametrize("missing", ["team_id", "key_id", "private_key"])
    def test_needs_all_its_parts(self, make_service: MakeService, apple: Apple, missing: str) -> None:
        with pytest.raises(ValueError, match="together, or none"):
            make_service(oidc_providers={"local": apple.terms(**{missing: ""})})
