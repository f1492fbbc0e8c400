"""How long tokens live, by which keys they are believed, and what an outside verifier makes of them."""

import uuid
from datetime import timedelta

import pytest
from httpx2 import Response
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, KeySet, KeySetSerialization

from app.auth import keys
from app.auth.tokens import ACCESS_TOKEN_TTL
from app.records import audit
from tests.security.observed import assert_problem
from tests.support.service import Device, Service


def published(service: Service) -> KeySetSerialization:
    document: KeySetSerialization = service.client.get("/.well-known/jwks.json").json()
    return document


def rotate_keys(service: Service, *, at_once: bool = False) -> None:
    """As `tokenvend keys rotate` does it, and a replica that takes notice."""
    runtime = service.runtime
    ttl = timedelta(seconds=ACCESS_TOKEN_TTL)
    now = runtime.platform.clock.now()
    runtime.platform.database.run(
        "write", keys.rotate, audit.COMMAND_LINE, runtime.platform.vault, "access", now, at_once=at_once, token_ttl=ttl
    )
    assert service.client.portal is not None
    service.client.portal.call(runtime.keyring.load)


def kid_of(token: str, document: KeySetSerialization) -> str:
    """The kid of a token that an independent library has verified with the published keys."""
    decoded = jwt.decode(token, KeySet.import_key_set(document), algorithms=["ES256"])
    return str(decoded.header["kid"])


def me(service: Service, token: str) -> Response:
    return service.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"})


class TestIndependentVerifier:
    def test_a_minted_token_verifies_with_the_published_keys(self, shared: Service) -> None:
        """TK1, TK3: joserfc, which shares no code with the service, reads what RFC 9068 §2 asks for."""
        device = shared.device()
        decoded = jwt.decode(device.access_token, KeySet.import_key_set(published(shared)), algorithms=["ES256"])
        assert decoded.header.keys() == {"alg", "typ", "kid"}
        assert (decoded.header["alg"], decoded.header["typ"]) == ("ES256", "at+jwt")
        now = int(shared.clock.now().timestamp())
        rules = jwt.JWTClaimsRegistry(
            now=now,
            leeway=0,
            iss={"essential": True, "value": "http://testserver"},
            aud={"essential": True, "value": "http://testserver/v1"},
            sub={"essential": True, "value": device.user_id},
            client_id={"essential": True, "value": "tokenvend-app"},
            iat={"essential": True},
            exp={"essential": True},
            jti={"essential": True},
        )
        rules.validate(decoded.claims)
        assert decoded.claims["exp"] - decoded.claims["iat"] <= 900
        assert decoded.claims["sid"] == device.session_id
        assert str(uuid.UUID(decoded.claims["jti"])) == decoded.claims["jti"]
        assert device.email not in str(decoded.claims), "the token travels; the address need not"

    def test_another_key_does_not_verify_it(self, shared: Service) -> None:
        """TK1: the check above can fail."""
        device = shared.device()
        stranger = ECKey.generate_key("P-256", {"kid": kid_of(device.access_token, published(shared))})
        with pytest.raises(BadSignatureError):
            jwt.decode(device.access_token, KeySet([stranger]), algorithms=["ES256"])

    def test_each_token_has_an_id_of_its_own(self, shared: Service) -> None:
        """TK3: `jti` is unique also for tokens of one session and one second."""
        device = shared.device()
        tokens = [shared.refresh(device.refresh_token).json()["access_token"] for _ in range(5)]
        key_set = KeySet.import_key_set(published(shared))
        ids = {jwt.decode(token, key_set, algorithms=["ES256"]).claims["jti"] for token in tokens}
        assert len(ids) == 5


class TestLifetimes:
    def test_an_access_token_dies_after_fifteen_minutes(self, service: Service) -> None:
        """TK7: to the second, although it was verified, and remembered, before."""
        device = service.device()
        assert service.refresh(device.refresh_token).json()["expires_in"] == 900
        service.clock.advance(seconds=899)
        assert device.get("/v1/me").status_code == 200
        service.clock.advance(seconds=1)
        assert_problem(device.get("/v1/me"), 401, "invalid_token")

    def test_an_idle_session_dies_after_thirty_days(self, service: Service) -> None:
        """TK7: the refresh token is refused, and says beforehand when it will be."""
        answer = service.log_in(service.device().email).json()["tokens"]
        assert answer["refresh_expires_in"] == 30 * 86400
        other = service.log_in(service.device().email).json()["tokens"]
        service.clock.advance(days=30, seconds=-1)
        assert service.refresh(answer["refresh_token"]).status_code == 200
        service.clock.advance(seconds=1)
        assert_problem(service.refresh(other["refresh_token"]), 401, "invalid_refresh_token")

    def test_no_session_outlives_a_year_however_busy(self, service: Service) -> None:
        """TK7: the absolute limit; near it the refresh token's own life shrinks, and the last access token dies too."""
        token = service.device().refresh_token
        for _month in range(14):
            service.clock.advance(days=26)
            answer = service.refresh(token)
            assert answer.status_code == 200
            token = answer.json()["refresh_token"]
        service.clock.advance(days=1, seconds=-60)
        last = service.refresh(token).json()
        assert last["refresh_expires_in"] == 60
        assert me(service, last["access_token"]).status_code == 200
        service.clock.advance(seconds=60)
        assert_problem(service.refresh(last["refresh_token"]), 401, "invalid_refresh_token")
        assert_problem(me(service, last["access_token"]), 401, "invalid_token")


class TestKeyRollOver:
    def test_two_keys_overlap_and_the_old_one_retires(self, service: Service) -> None:
        """TK18: published before it signs; believed until the last token it signed is dead; then gone."""
        device = service.device()
        first = kid_of(device.access_token, published(service))
        rotate_keys(service)
        kids = [key["kid"] for key in published(service)["keys"]]
        assert len(kids) == 2
        assert first == kids[0]
        before = service.refresh(device.refresh_token).json()
        assert kid_of(before["access_token"], published(service)) == first, "outside verifiers need time to learn it"
        service.clock.advance(minutes=10)
        after = service.refresh(before["refresh_token"]).json()
        assert kid_of(after["access_token"], published(service)) == kids[1]
        assert [me(service, token).status_code for token in (before["access_token"], after["access_token"])] == [
            200,
            200,
        ]
        service.clock.advance(minutes=15)
        assert [key["kid"] for key in published(service)["keys"]] == [kids[1]]

    def test_a_stolen_key_is_believed_no_longer(self, service: Service) -> None:
        """TK18: `rotate --now`: tokens of the old key are refused at once, though unexpired and remembered."""
        device = service.device()
        stolen = kid_of(device.access_token, published(service))
        rotate_keys(service, at_once=True)
        assert stolen not in [key["kid"] for key in published(service)["keys"]]
        assert_problem(device.get("/v1/me"), 401, "invalid_token")
        renewed: Device = service.device(device.email)
        assert renewed.get("/v1/me").status_code == 200

    def test_the_published_keys_are_public_only(self, shared: Service) -> None:
        """TK18: exactly the public members of RFC 7518 §6.2.1: no `d`, `k` or `p`, and no private key by accident."""
        for key in published(shared)["keys"]:
            assert key.keys() == {"kty", "crv", "x", "y", "use", "alg", "kid"}
            assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")
            assert ECKey.import_key(key).thumbprint() == key["kid"]
            assert not ECKey.import_key(key).is_private
