"""Access tokens that are malformed, forged, or meant for something else: each gets the one 401, and nothing else."""

import re
import socket
import uuid
from dataclasses import dataclass

import pytest
from httpx2 import Response

from app.auth.tokens import AccessTokens
from tests.security import forged_tokens
from tests.security.forged_tokens import Forge, changed_last_character
from tests.security.forgery import Forger
from tests.security.observed import assert_problem, row_counts, without_request_id
from tests.support.service import Device, Service


@dataclass
class Target:
    """A signed-in user's device, and the answer that every refused token gets."""

    device: Device
    forger: Forger
    refusal: tuple[int, dict[str, str], str]

    def present(self, token: str | bytes) -> Response:
        value = b"Bearer " + (token.encode() if isinstance(token, str) else token)
        return self.device.service.client.get("/v1/me", headers=[(b"Authorization", value)])

    def assert_refused(self, token: str | bytes) -> None:
        assert without_request_id(self.present(token)) == self.refusal


@pytest.fixture(scope="module")
def target(shared: Service) -> Target:
    device = shared.device()
    refused = shared.client.get("/v1/me", headers={"Authorization": "Bearer garbage"})
    assert_problem(refused, 401, "invalid_token")
    return Target(device, Forger(device), without_request_id(refused))


def corpus(cases: dict[str, Forge]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("forge", [pytest.param(forge, id=name) for name, forge in cases.items()])


class TestForgedTokens:
    def test_the_forger_can_make_a_token_that_is_accepted(self, target: Target) -> None:
        """What is refused below is refused for what was changed, and not because the forger is clumsy."""
        assert target.present(target.forger.token()).status_code == 200

    @corpus(forged_tokens.ALGORITHMS)
    def test_another_algorithm_is_refused(self, target: Target, forge: Forge) -> None:
        """TK1: one algorithm, whatever the header says (RFC 8725 §3.1)."""
        target.assert_refused(forge(target.forger))

    @corpus(forged_tokens.KEYS)
    def test_a_key_that_the_token_brings_is_refused(self, target: Target, forge: Forge) -> None:
        """TK2: keys come from the service's own table alone."""
        target.assert_refused(forge(target.forger))

    @pytest.mark.parametrize("member", ["jku", "x5u", "iss"])
    def test_no_address_in_a_token_is_ever_called(self, target: Target, listener: socket.socket, member: str) -> None:
        """TK2: a header or issuer that names a URL causes no outbound call."""
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/jwks.json"
        forged = target.forger.claiming(iss=url) if member == "iss" else target.forger.headed(**{member: url})
        target.assert_refused(forged)
        with pytest.raises(BlockingIOError):
            listener.accept()

    @corpus(forged_tokens.TIMES | forged_tokens.MEANT_FOR_OTHERS)
    def test_an_altered_claim_is_refused(self, target: Target, forge: Forge) -> None:
        """TK3: every claim has one type and one right value (RFC 9068 §4)."""
        target.assert_refused(forge(target.forger))

    @pytest.mark.parametrize("name", ["iss", "aud", "sub", "sid", "client_id", "iat", "exp", "jti", "auth_time"])
    def test_a_missing_claim_is_refused(self, target: Target, name: str) -> None:
        """TK3: every claim is required."""
        target.assert_refused(target.forger.without(name))

    @corpus(forged_tokens.TYPES)
    def test_another_type_is_refused(self, target: Target, forge: Forge) -> None:
        """TK3, TK4: `typ` is `at+jwt` and nothing that resembles it."""
        target.assert_refused(forge(target.forger))

    @corpus(forged_tokens.CRITICAL)
    def test_an_unknown_extension_is_refused(self, target: Target, forge: Forge) -> None:
        """TK5: `crit` is refused (RFC 7515 §4.1.11), as is every header member that this service does not write."""
        target.assert_refused(forge(target.forger))

    @corpus(forged_tokens.MALFORMED)
    def test_a_malformed_token_is_refused(self, target: Target, forge: Forge) -> None:
        """TK6: whatever it is made of, it is a 401 and not a 500."""
        target.assert_refused(forge(target.forger))

    def test_a_verified_token_does_not_vouch_for_its_variants(self, target: Target) -> None:
        """TK6: verified tokens are remembered by what they are, not by what they say."""
        assert target.present(target.forger.genuine).status_code == 200
        target.assert_refused(changed_last_character(target.forger.genuine))
        target.assert_refused(target.forger.genuine + "=")

    def test_refused_tokens_leave_no_trace(self, target: Target) -> None:
        """TK6: nobody fills the database without an account."""
        service = target.device.service
        before = row_counts(service)
        for forge in [
            *forged_tokens.ALGORITHMS.values(),
            *forged_tokens.KEYS.values(),
            *forged_tokens.MALFORMED.values(),
        ]:
            target.present(forge(target.forger))
        assert row_counts(service) == before


class TestSubstitution:
    def test_a_refresh_token_is_no_access_token(self, target: Target) -> None:
        """TK4: by neither door, with or without its prefix."""
        for token in (target.device.refresh_token, target.device.refresh_token.removeprefix("tvr_")):
            target.assert_refused(token)
            answer = target.device.service.client.get("/v1/credentials/container", headers={"Authorization": token})
            assert_problem(answer, 401, "invalid_token")

    def test_an_access_token_is_no_refresh_token(self, target: Target) -> None:
        """TK4: it neither refreshes nor signs out."""
        service = target.device.service
        genuine = target.device.access_token
        answer = service.client.post("/v1/auth/refresh", json={"refresh_token": genuine})
        assert_problem(answer, 401, "invalid_refresh_token")
        assert service.refresh("x" * 10_000).status_code == 401
        assert service.client.post("/v1/auth/logout", json={"refresh_token": genuine}).status_code == 204
        assert target.device.get("/v1/me").status_code == 200

    def test_a_vended_credential_is_no_access_token(self, target: Target) -> None:
        """TK4: what STS gave opens nothing here."""
        credential = target.device.vend().json()
        for name in ("session_token", "access_key_id", "secret_access_key", "credential_id"):
            target.assert_refused(credential[name])

    def test_a_token_of_another_environment_is_refused(self, target: Target) -> None:
        """TK3, TK4: the same key, another issuer and audience."""
        runtime = target.device.service.runtime
        ids = {"user_id": uuid.UUID(target.device.user_id), "session_id": uuid.UUID(target.device.session_id)}
        for issuer, status in (("http://staging.example.org", 401), (runtime.platform.settings.public_url, 200)):
            tokens = AccessTokens(runtime.keyring, runtime.platform.clock, issuer=issuer)
            token = tokens.mint(**ids, authenticated_at=runtime.platform.clock.now())
            assert target.present(token).status_code == status

    def test_a_user_and_a_session_that_do_not_belong_together_are_refused(self, target: Target) -> None:
        """TK4: rightly signed, and each of them alive."""
        other = target.device.service.device()
        target.assert_refused(target.forger.claiming(sub=other.user_id))
        target.assert_refused(target.forger.claiming(sid=other.session_id))

    def test_a_token_of_an_erased_user_is_refused(self, shared: Service, target: Target) -> None:
        """TK4: rows gone, token still signed and unexpired."""
        gone = shared.device()
        shared.sql(
            "DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE user_id = :id)",
            id=uuid.UUID(gone.user_id).hex,
        )
        shared.sql("DELETE FROM sessions WHERE user_id = :id", id=uuid.UUID(gone.user_id).hex)
        shared.sql("DELETE FROM users WHERE id = :id", id=uuid.UUID(gone.user_id).hex)
        target.assert_refused(gone.access_token)
        assert_problem(shared.refresh(gone.refresh_token), 401, "invalid_refresh_token")


class TestTransport:
    def test_a_token_anywhere_but_in_the_header_is_not_looked_at(self, target: Target) -> None:
        """TK16: not in the URL, where logs and histories keep it, nor in a cookie, form or body."""
        client, token = target.device.service.client, target.device.access_token
        for name in ("access_token", "token", "authorization", "Authorization"):
            assert_problem(client.get("/v1/me", params={name: token}), 401, "unauthenticated")
            assert_problem(client.get("/v1/me", headers={"Cookie": f"{name}={token}"}), 401, "unauthenticated")
            assert client.get("/v1/credentials/container", params={name: token}).status_code == 401
        assert client.post("/v1/credentials", json={"access_token": token}).status_code == 401
        assert client.get("/v1/me", headers={"X-Authorization": f"Bearer {token}"}).status_code == 401
        assert client.get("/v1/me", headers={"Proxy-Authorization": f"Bearer {token}"}).status_code == 401

    @pytest.mark.parametrize(
        "value",
        ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Digest x", "Bearer:x", "bearer\tx", "tvr_", "é"],
    )
    def test_a_header_without_a_bearer_token_is_anonymous(self, target: Target, value: str) -> None:
        """TK17: who sent no token is asked for one, and told nothing else (RFC 6750 §3)."""
        answer = target.device.service.client.get("/v1/me", headers=[(b"Authorization", value.encode())])
        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers.get_list("www-authenticate") == ['Bearer realm="tokenvend"']

    def test_a_refused_token_is_told_so_by_its_challenge(self, target: Target) -> None:
        """TK17: `error="invalid_token"`, in the shape of RFC 6750 §3, for access and refresh token alike."""
        service = target.device.service
        for answer in (target.present("garbage"), service.refresh("garbage")):
            assert answer.status_code == 401
            (challenge,) = answer.headers.get_list("www-authenticate")
            assert re.fullmatch(r'Bearer realm="[^"]+", error="invalid_token"', challenge)

    def test_other_refusals_carry_no_token_error(self, target: Target) -> None:
        """TK17: a wrong password is no invalid token, and a 403 or 404 is no challenge."""
        service = target.device.service
        wrong = service.log_in("nobody@example.org", "not the password")
        assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, 'Bearer realm="tokenvend"')
        disabled = service.device()
        service.disable(disabled.email)
        for answer, status in ((disabled.get("/v1/me"), 403), (service.client.get("/nowhere"), 404)):
            assert answer.status_code == status
            assert "www-authenticate" not in answer.headers
