"""Signing keys: encrypted, published before use, retired after the last token, replaced at once when stolen."""

from datetime import timedelta

import pytest
from jose import jwt

from app.auth import keys
from app.auth.tokens import ACCESS_TOKEN_TTL
from app.crypto.vault import DecryptionFailed, Vault
from app.records import audit
from tests.support.service import Device, Service


def rotate(service: Service, *, at_once: bool = False) -> None:
    service.runtime.platform.database.run(
        "write",
        keys.rotate,
        audit.COMMAND_LINE,
        service.runtime.platform.vault,
        "access",
        service.clock.now(),
        at_once=at_once,
        token_ttl=timedelta(seconds=ACCESS_TOKEN_TTL),
    )
    assert service.client.portal is not None
    service.client.portal.call(service.runtime.keyring.load)


def published(service: Service) -> list[str]:
    return [key["kid"] for key in service.client.get("/.well-known/jwks.json").json()["keys"]]


def signer(device: Device) -> str:
    return str(jwt.get_unverified_header(device.access_token)["kid"])


class TestKeys:
    def test_the_private_part_is_stored_encrypted(self, service: Service) -> None:
        [(kid, stored)] = service.sql("SELECT kid, private_key_encrypted FROM signing_keys")
        opened = service.runtime.platform.vault.decrypt(keys.SEALED_AS, bytes(stored), bound_to=kid)
        assert opened.startswith(b"-----BEGIN PRIVATE KEY-----")
        # Plain, encoded or packed it would be as regular as PEM is. What is encrypted has about all 256 bytes.
        assert len(set(bytes(stored))) > len(set(opened)) * 3 // 2
        with pytest.raises(DecryptionFailed):
            Vault("another secret key of 32 characters").decrypt(keys.SEALED_AS, bytes(stored), bound_to=kid)

    def test_only_public_parts_are_published(self, service: Service) -> None:
        """TK18: no `d`, `k` or `p`."""
        answer = service.client.get("/.well-known/jwks.json")
        assert all(key.keys() == {"kty", "crv", "x", "y", "use", "alg", "kid"} for key in answer.json()["keys"])
        assert answer.headers["Cache-Control"] == "public, max-age=300"

    def test_roll_over_has_two_kids_and_refuses_nobody(self, service: Service) -> None:
        """TK18: the new key is published, then signs; what the old one signed stays valid to its end."""
        before = service.device()
        rotate(service)
        assert len(published(service)) == 2
        assert signer(service.device()) == signer(before)
        service.clock.advance(minutes=10)
        after = service.device()
        assert signer(after) != signer(before)
        assert before.get("/v1/me").status_code == 200
        assert after.get("/v1/me").status_code == 200
        service.clock.advance(minutes=15)
        assert published(service) == [signer(after)]

    def test_a_stolen_key_is_believed_no_more(self, service: Service) -> None:
        """TK18: the old token is refused, though it was verified before; a refresh goes on."""
        device = service.device()
        assert device.get("/v1/me").status_code == 200
        rotate(service, at_once=True)
        assert device.get("/v1/me").status_code == 401
        fresh = service.refresh(device.refresh_token).json()["access_token"]
        assert service.client.get("/v1/me", headers={"Authorization": f"Bearer {fresh}"}).status_code == 200

    def test_a_key_of_another_secret_is_left_out(self, service: Service) -> None:
        device = service.device()
        rotate(service, at_once=True)
        service.sql("UPDATE signing_keys SET kid = 'moved' WHERE sequence = 1")
        assert service.client.portal is not None
        service.client.portal.call(service.runtime.keyring.load)
        assert len(published(service)) == 1
        assert service.refresh(device.refresh_token).status_code == 200

    def test_rotation_with_another_secret_changes_nothing(self, service: Service) -> None:
        with pytest.raises(DecryptionFailed):
            service.runtime.platform.database.run(
                "write",
                keys.rotate,
                audit.COMMAND_LINE,
                Vault("another secret of thirty-two characters"),
                "access",
                service.clock.now(),
                at_once=True,
                token_ttl=timedelta(seconds=ACCESS_TOKEN_TTL),
            )
        assert service.sql("SELECT count(*) FROM signing_keys WHERE retires_at IS NULL") == [(1,)]
