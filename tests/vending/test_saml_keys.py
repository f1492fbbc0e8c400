"""The keys of `saml` mode: what IAM is told of them, and their rotation, which takes an upload."""

import base64
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from app.auth import keys
from app.platform.settings import SettingsError
from app.records import audit
from app.upkeep.checks import saml
from app.vending import saml_metadata
from tests.security.observed import assert_problem
from tests.support.saml_sts import Provider
from tests.support.service import Service, running_service
from tests.vending.crowd import sign_in
from tests.vending.saml_service import metadata, running_saml, sts_of, upload


@pytest.fixture
def service(database_url: str) -> Iterator[Service]:
    with running_saml(database_url) as made:
        yield made


def rotate(service: Service, *, at_once: bool = False) -> None:
    platform = service.runtime.platform
    platform.database.run(
        "write",
        keys.rotate,
        audit.COMMAND_LINE,
        platform.vault,
        "saml",
        service.clock.now(),
        at_once=at_once,
        token_ttl=timedelta(seconds=60),
    )
    reload(service)


def reload(service: Service) -> None:
    """What the service does once a minute."""
    assert service.runtime.assertions is not None
    assert service.client.portal is not None
    service.client.portal.call(service.runtime.assertions.keyring.load)


def certificates(service: Service) -> list[x509.Certificate]:
    return list(Provider.of(metadata(service)).certificates)


def findings(service: Service) -> list[tuple[str, str]]:
    return [(one.state, one.text) for one in saml.check(service.runtime.assertions)]


class TestMetadata:
    def test_has_a_certificate_of_the_key_that_signs(self, service: Service) -> None:
        (certificate,) = certificates(service)
        public = certificate.public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        assert public.key_size == 2048
        assert certificate.signature_hash_algorithm is not None
        public.verify(
            certificate.signature,
            certificate.tbs_certificate_bytes,
            padding.PKCS1v15(),
            certificate.signature_hash_algorithm,
        )
        now = service.clock.now()
        assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
        assert [one.oid.dotted_string for one in certificate.extensions] == ["2.5.29.15"]  # IAM takes none twice

    def test_has_public_parts_alone_and_is_the_same_each_time(self, service: Service) -> None:
        """TK18"""
        document = metadata(service)
        assert metadata(service) == document
        assert b"PRIVATE" not in document
        ((pem, kid),) = service.sql("SELECT private_key_encrypted, kid FROM signing_keys WHERE purpose = 'saml'")
        opened = service.runtime.platform.vault.decrypt(keys.SEALED_AS, bytes(pem), bound_to=kid)
        assert base64.b64encode(opened)[:40] not in document

    def test_is_one_for_all_replicas(self, service: Service, database_url: str) -> None:
        """The certificate is kept with the key: another replica shows the same."""
        with running_saml(database_url, uploaded=False) as other:
            assert metadata(other) == metadata(service)

    def test_escapes_the_address(self) -> None:
        text = saml_metadata.document('https://example.org/a&"b', [])
        assert "entityID='https://example.org/a&amp;\"b/.well-known/saml-metadata.xml'" in text


class TestRotation:
    def test_publishes_a_key_a_week_before_it_signs(self, service: Service) -> None:
        (device,) = sign_in(service, 1)
        before = certificates(service)
        assert findings(service) == []
        rotate(service)
        assert certificates(service)[:1] == before
        assert len(certificates(service)) == 2
        ((state, text),) = findings(service)
        assert (state, "signs from 2026-06-08T12:00:00Z" in text) == ("warning", True)
        assert device.vend(path="before/").status_code == 200  # IAM has the old metadata
        upload(service)
        assert device.vend(path="uploaded/").status_code == 200
        service.clock.advance(days=7, seconds=61)
        (device,) = sign_in(service, 1)
        assert device.vend(path="after/").status_code == 200
        assert certificates(service) != before
        assert len(certificates(service)) == 1
        assert findings(service) == []

    def test_without_an_upload_is_refused_once_the_key_signs(self, service: Service) -> None:
        rotate(service)
        service.clock.advance(days=7)
        (device,) = sign_in(service, 1)
        assert_problem(device.vend(), 503, "sts_refused")
        upload(service)
        assert device.vend().status_code == 200

    def test_after_a_theft_the_metadata_have_the_new_key_alone(self, service: Service) -> None:
        (stolen,) = certificates(service)
        rotate(service, at_once=True)
        (device,) = sign_in(service, 1)
        assert_problem(device.vend(), 503, "sts_refused")
        assert stolen not in certificates(service)
        upload(service)
        assert device.vend().status_code == 200

    def test_is_tried_at_sts_before_the_key_signs(self, service: Service) -> None:
        """`tokenvend doctor` asks by the new key, so it can tell whether the upload was made."""
        vending, portal = service.runtime.vending, service.client.portal
        assert portal is not None
        (device,) = sign_in(service, 1)
        assert device.vend().status_code == 200
        order = vending.make_order(uuid.uuid4(), uuid.uuid4(), access="read", path="", duration=900)
        assert portal.call(vending.broker.knows_waiting_key, order) is None
        rotate(service)
        assert portal.call(vending.broker.knows_waiting_key, order) is False
        upload(service)
        assert portal.call(vending.broker.knows_waiting_key, order) is True
        assert len(sts_of(service).sessions) == 2

    def test_by_an_administrator_is_of_its_own_keys(self, service: Service) -> None:
        admin = service.staff()
        answer = admin.post("/v1/admin/signing-keys/rotate", {"purpose": "saml", "reason": "Once a year."})
        listed = [(key["purpose"], key["state"]) for key in answer.json()["items"]]
        assert listed.count(("saml", "published")) == listed.count(("saml", "signs")) == 1
        assert listed.count(("access", "signs")) == 1
        assert len(certificates(service)) == 2


class TestOtherModes:
    @pytest.mark.parametrize("mode", ["assume_role", "web_identity", "federation_token"])
    def test_make_no_such_key(self, database_url: str, mode: str) -> None:
        with running_service(database_url, vending_mode=mode) as service:
            assert service.runtime.assertions is None
            assert service.sql("SELECT kid FROM signing_keys WHERE purpose = 'saml'") == []

    def test_partitions_of_no_known_address_are_refused_at_start(self, make_service: Callable[..., Service]) -> None:
        arns = {"role_arn": "arn:aws-eusc:iam::123456789012:role/x"}
        arns["saml_provider_arn"] = "arn:aws-eusc:iam::123456789012:saml-provider/x"
        with pytest.raises(SettingsError, match="no SAML address of aws-eusc"):
            make_service(vending_mode="saml", **arns)
