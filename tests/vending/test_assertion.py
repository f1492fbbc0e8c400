"""The assertions of `saml` mode: what they say, how long, what STS makes of changed ones, and where they never are."""

import base64
import copy
import logging
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from app.crypto import rsa_keys, xml_signatures
from app.platform.logs import configure_logging, log
from app.vending.assertion import Assertions
from app.vending.orders import Order
from tests.security.observed import assert_problem, stored_values
from tests.support.clock import ManualClock
from tests.support.needs import need
from tests.support.saml_sts import AUDIENCE, NAMES, PERSISTENT, Provider, Refused, Session, believed
from tests.support.service import PROVIDER_ARN, ROLE_ARN, Device, Service
from tests.vending.saml_service import metadata, running_saml, sts_of

ISSUER = "http://testserver/.well-known/saml-metadata.xml"
GOLDEN = Path(__file__).parent / "golden"
VERIFIER = Path(__file__).parent / "saml_verifier" / "Verify.java"
USER = uuid.UUID("0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a")
SESSION = uuid.UUID("7d1f0a52-93f4-4c1e-8b6d-52c0a1b2c3d4")
EVERYTHING = {
    "session_tags": ("user_id", "session_id", "access", "tier=gold"),
    "transitive_tag_keys": ("user_id", "tier"),
}
SAML, SAMLP, DS = (f"{{{NAMES[prefix]}}}" for prefix in ("saml", "samlp", "ds"))


@pytest.fixture
def make(database_url: str) -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running_saml(database_url, **changes))


def vended(service: Service) -> tuple[Device, str, Session]:
    """A device that vended, the assertion that STS got for it, and what STS made of it."""
    device = service.device()
    answer = device.vend()
    assert answer.status_code == 200, answer.text
    (encoded,), (session,) = sts_of(service).assertions, sts_of(service).sessions
    return device, encoded, session


def order_of(service: Service) -> Order:
    return service.runtime.vending.make_order(uuid.uuid4(), uuid.uuid4(), access="read_write", path="", duration=3600)


def assertions_of(service: Service) -> Assertions:
    assert service.runtime.assertions is not None
    return service.runtime.assertions


def judge(service: Service, encoded: str, **later: float) -> Session:
    """Raises `Refused`."""
    provider, now = Provider.of(metadata(service)), service.clock.now() + timedelta(**later)
    return believed(encoded, provider, now, role_arn=ROLE_ARN, provider_arn=PROVIDER_ARN)


def refused(service: Service, encoded: str, **later: float) -> str:
    with pytest.raises(Refused) as refusal:
        judge(service, encoded, **later)
    return str(refusal.value)


def parsed(encoded: str) -> Any:
    return etree.fromstring(base64.b64decode(encoded))


def packed(root: Any) -> str:
    return base64.b64encode(etree.tostring(root)).decode()


class TestContent:
    def test_is_for_sts_alone_and_a_minute(self, make: Callable[..., Service]) -> None:
        """VC7, VC15: by a second library, with the certificate of the published metadata."""
        service = make()
        device, encoded, session = vended(service)
        now = service.clock.now().replace(microsecond=0)
        assert (session.issuer, session.subject) == (ISSUER, device.user_id)
        assert (session.issued_at, session.until) == (now, now + timedelta(seconds=60))
        (row,) = service.sql("SELECT role_session_name FROM issued_credentials")
        assert session.attributes == {
            "Role": [f"{ROLE_ARN},{PROVIDER_ARN}"],
            "RoleSessionName": [row.role_session_name],
            "SessionDuration": ["3600"],
            "SourceIdentity": [device.user_id],
        }
        root = parsed(encoded)
        assert root.get("Destination") == root.find(".//saml:SubjectConfirmationData", NAMES).get("Recipient")
        assert [one.text for one in root.iterfind(".//saml:Audience", NAMES)] == [AUDIENCE]
        assert root.find(".//saml:NameID", NAMES).get("Format") == PERSISTENT
        assert "SessionNotOnOrAfter" not in root.find(".//saml:AuthnStatement", NAMES).attrib

    def test_is_as_it_was_but_for_its_values(self, make: Callable[..., Service]) -> None:
        """Against a golden file, with every member that there can be: one more, or another order, fails."""
        service = make(**EVERYTHING)
        order = service.runtime.vending.make_order(USER, SESSION, access="read_write", path="", duration=3600)
        root = parsed(assertions_of(service).sign(order))
        judge(service, packed(root))
        for name in ("DigestValue", "SignatureValue", "X509Certificate"):
            root.find(f".//ds:{name}", NAMES).text = name.upper()
        etree.indent(root)
        text = re.sub(r"_[0-9a-f]{32}", "_ID", etree.tostring(root, encoding="unicode")) + "\n"
        assert text == (GOLDEN / "assertion.xml").read_text(encoding="utf-8")

    def test_carries_the_tags_that_are_asked_for(self, make: Callable[..., Service]) -> None:
        tags = {"session_tags": ("user_id", "access", "team=photos"), "transitive_tag_keys": ("team", "access")}
        service = make(source_identity="off", **tags)
        device, _, session = vended(service)
        assert session.tags == {"user_id": device.user_id, "access": "read_write", "team": "photos"}
        assert session.attributes["TransitiveTagKeys"] == ["team", "access"]
        assert "SourceIdentity" not in session.attributes

    def test_goes_with_the_session_policy_and_without_a_signature_of_the_call(
        self, make: Callable[..., Service]
    ) -> None:
        """VC2, VC15: for no attribute of an assertion can hold a policy."""
        service = make()
        device, _, _ = vended(service)
        (form,), (request,) = service.sts.forms, service.sts.requests
        assert form.keys() == {
            *("Action", "Version", "RoleArn", "PrincipalArn", "SAMLAssertion", "Policy", "DurationSeconds")
        }
        assert f"users/{device.user_id}/" in form["Policy"]
        assert "authorization" not in request.headers
        assert 4 <= len(form["SAMLAssertion"]) <= 100_000  # what STS takes

    def test_is_made_for_one_call(self, make: Callable[..., Service]) -> None:
        service = make()
        device = service.device()
        for path in ("a/", "b/"):
            assert device.vend(path=path).status_code == 200
        one, other = sts_of(service).sessions
        assert one.id != other.id

    @pytest.mark.parametrize(
        ("partition", "recipient"),
        [
            ("aws-cn", "https://signin.amazonaws.cn/saml"),
            ("aws-us-gov", "https://signin.amazonaws-us-gov.com/saml"),
        ],
    )
    def test_is_addressed_to_the_partition_of_the_role(
        self, make: Callable[..., Service], partition: str, recipient: str
    ) -> None:
        arns = {name: f"arn:{partition}:iam::123456789012:{name}/x" for name in ("role", "saml-provider")}
        service = make(role_arn=arns["role"], saml_provider_arn=arns["saml-provider"], uploaded=False)
        root = parsed(assertions_of(service).sign(order_of(service)))
        assert root.find(".//saml:SubjectConfirmationData", NAMES).get("Recipient") == recipient
        assert root.find(".//saml:Audience", NAMES).text != AUDIENCE

    def test_escapes_what_an_operator_writes(self, make: Callable[..., Service]) -> None:
        """No character that XML means something by is allowed in a tag; the form of the address is XML's own matter."""
        service = make(public_url="http://testserver/a&b", uploaded=False)
        root = parsed(assertions_of(service).sign(order_of(service)))
        assert {one.text for one in root.iter(f"{SAML}Issuer")} == {
            "http://testserver/a&b/.well-known/saml-metadata.xml"
        }


class TestBelief:
    """VC15: the stand-in for STS refuses what is not exactly what this service signed, now, for it."""

    def test_ends_after_a_minute(self, make: Callable[..., Service]) -> None:
        service = make()
        encoded = assertions_of(service).sign(order_of(service))
        assert judge(service, encoded, seconds=59).issuer == ISSUER
        assert refused(service, encoded, seconds=60) == "ExpiredTokenException"

    def test_bears_a_clock_that_is_a_minute_ahead(self, make: Callable[..., Service]) -> None:
        service = make()
        encoded = assertions_of(service).sign(order_of(service))
        assert judge(service, encoded, seconds=-60).issuer == ISSUER
        assert refused(service, encoded, seconds=-62) == "ExpiredTokenException"

    def test_is_in_the_keys_of_the_metadata_alone(self, make: Callable[..., Service]) -> None:
        """Another key of the same form, and this service's other keys."""
        service = make()
        assertions = assertions_of(service)
        own = assertions.keyring.current()
        other = rsa_keys.generate_certified_key_pair(service.clock.now())
        stranger = replace(own, private=rsa_keys.signing_key(other.private_pem), public_jwk=other.public_jwk)
        order = order_of(service)
        judge(service, assertions.sign(order))
        assert refused(service, assertions.sign(order, key=stranger)) == "InvalidIdentityToken"
        disguised = replace(stranger, public_jwk=own.public_jwk)
        assert refused(service, assertions.sign(order, key=disguised)) == "InvalidIdentityToken"

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"audience": "urn:amazon:webservices:govcloud"}, "InvalidIdentityToken"),
            ({"recipient": "https://signin.example.org/saml"}, "AccessDenied"),
        ],
    )
    def test_is_in_what_is_addressed_to_it(
        self, make: Callable[..., Service], change: dict[str, str], code: str
    ) -> None:
        service = make()
        assertions = assertions_of(service)
        assertions._to = replace(assertions._to, **change)
        assert refused(service, assertions.sign(order_of(service))) == code

    def test_is_for_the_issuer_of_the_metadata(self, make: Callable[..., Service]) -> None:
        service = make()
        assertions = assertions_of(service)
        assertions.issuer = "http://testserver/.well-known/another.xml"
        assert refused(service, assertions.sign(order_of(service))) == "InvalidIdentityToken"

    def test_is_for_one_role_and_one_provider(self, make: Callable[..., Service]) -> None:
        service = make()
        encoded = assertions_of(service).sign(order_of(service))
        provider, now = Provider.of(metadata(service)), service.clock.now()
        right = {"role_arn": ROLE_ARN, "provider_arn": PROVIDER_ARN}
        believed(encoded, provider, now, **right)
        for name, arn in right.items():
            with pytest.raises(Refused):
                believed(encoded, provider, now, **right | {name: arn + "2"})

    def test_is_lost_by_each_change_of_what_is_signed(self, make: Callable[..., Service]) -> None:
        """Every attribute, text and element of the assertion, its signature included, changed and taken out."""
        service = make(session_tags=("user_id", "access"), transitive_tag_keys=("user_id",))
        encoded = assertions_of(service).sign(order_of(service))
        judge(service, encoded)
        provider, now = Provider.of(metadata(service)), service.clock.now()
        changed = list(changes_of(parsed(encoded)))
        assert len(changed) > 100
        for what, one in changed:
            with pytest.raises(Refused):
                print(what, believed(packed(one), provider, now, role_arn=ROLE_ARN, provider_arn=PROVIDER_ARN))

    def test_needs_nothing_that_is_not_signed(self, make: Callable[..., Service]) -> None:
        """The envelope decides nothing: what it says can be taken out or changed, and the session is the same."""
        service = make()
        encoded = assertions_of(service).sign(order_of(service))
        expected = judge(service, encoded)
        bare = parsed(encoded)
        for part in ("saml:Issuer", "samlp:Status"):
            bare.remove(bare.find(part, NAMES))
        del bare.attrib["Destination"]
        assert judge(service, packed(bare)) == expected

    @pytest.mark.parametrize("how", ["behind", "before"])
    def test_is_not_led_to_another_assertion(self, make: Callable[..., Service], how: str) -> None:
        """Signature wrapping: the signed element is there and valid, beside one that says something else."""
        service = make()
        root = parsed(assertions_of(service).sign(order_of(service)))
        signed = root.find("saml:Assertion", NAMES)
        evil = copy.deepcopy(signed)
        evil.remove(evil.find("ds:Signature", NAMES))
        evil.find("saml:Subject/saml:NameID", NAMES).text = str(uuid.uuid4())
        evil.set("ID", "_evil")
        (signed.addnext if how == "behind" else signed.addprevious)(evil)
        assert refused(service, packed(root)) == "InvalidIdentityToken"


def changes_of(whole: Any) -> Iterator[tuple[str, Any]]:
    """Copies of the response, each with one change in its assertion, and what was changed."""
    for place, element in enumerate(whole.find("saml:Assertion", NAMES).iter()):
        for change in ("text", "tail", "remove", "double", *element.attrib):
            root = copy.deepcopy(whole)
            if changed(list(root.find("saml:Assertion", NAMES).iter())[place], change):
                yield f"{element.tag} {change}", root


def changed(element: Any, change: str) -> bool:
    """Whether there was something to change so. White space between the parts of a signature says nothing."""
    parent = element.getparent()
    if change in element.attrib:
        element.set(change, f"{element.get(change)}x")
    elif change in ("text", "tail"):
        if (element if change == "text" else parent).tag in (f"{DS}Signature", f"{DS}KeyInfo", f"{DS}X509Data"):
            return False
        setattr(element, change, "x" + (getattr(element, change) or ""))
        return change == "text" or parent.tag != f"{SAMLP}Response"
    elif change == "remove":
        parent.remove(element)
    else:
        element.addnext(copy.deepcopy(element))
    return True


class TestSecrecy:
    """VC15, OP1: whoever holds an assertion can assume the role with no session policy."""

    def test_it_opens_no_route_of_ours(self, make: Callable[..., Service]) -> None:
        service = make()
        _, encoded, _ = vended(service)
        for token in (encoded[:4000], encoded):
            for method, path in (("GET", "/v1/me"), ("POST", "/v1/credentials"), ("GET", "/v1/credentials/container")):
                answer = service.client.request(method, path, headers={"Authorization": f"Bearer {token}"})
                assert_problem(answer, 401, "invalid_token")

    def test_it_is_stored_printed_and_answered_nowhere(
        self, make: Callable[..., Service], capfd: pytest.CaptureFixture[str]
    ) -> None:
        service = make(log_level="debug")
        admin = service.staff()
        device, encoded, session = vended(service)
        service.sts.fail("AccessDenied", 403)
        answers = [
            device.vend(path="refused/").text,
            device.get("/v1/me/credentials").text,
            device.get("/v1/me/export").text,
            admin.get(f"/v1/admin/users/{device.user_id}/credentials").text,
            admin.get("/v1/admin/audit-events").text,
            admin.get("/v1/admin/findings").text,
            service.client.get("/metrics").text,
            metadata(service).decode(),
        ]
        root = parsed(encoded)
        marks = [root.find(f".//ds:{name}", NAMES).text for name in ("SignatureValue", "DigestValue")]
        marks += [session.id, encoded[:60], encoded[200:260], *sts_of(service).assertions]
        printed = capfd.readouterr()
        for place in (*answers, printed.out, printed.err, *(str(value) for _, value in stored_values(service))):
            assert not [mark for mark in marks if mark in place]

    @pytest.mark.parametrize("client", ["signed", "boto3"])
    def test_no_library_logs_it_however_much_is_logged(
        self, make: Callable[..., Service], capfd: pytest.CaptureFixture[str], client: str
    ) -> None:
        """signxml logs what it signs at DEBUG, and botocore what it sends."""
        service = make(sts_client=client)
        configure_logging("debug")
        logging.getLogger("tests.of.logging").debug("it prints %s", "this")
        _, encoded, session = vended(service)
        printed = "".join(capfd.readouterr())
        assert "it prints this" in printed
        for mark in (session.id, encoded[:60], encoded[-60:], "saml:Assertion"):
            assert mark not in printed

    def test_what_logs_it_by_accident_is_cut(
        self, make: Callable[..., Service], capfd: pytest.CaptureFixture[str]
    ) -> None:
        service = make()
        _, encoded, _ = vended(service)
        log.error("by_accident", cause=f"sent {encoded} there")
        assert encoded[40:80] not in "".join(capfd.readouterr())


class TestSignature:
    def test_is_of_rsa_and_sha256_over_the_whole_element(self, make: Callable[..., Service]) -> None:
        service = make()
        root = parsed(assertions_of(service).sign(order_of(service)))
        signed = root.find("saml:Assertion", NAMES)
        assert [child.tag for child in signed][:2] == [f"{SAML}Issuer", f"{DS}Signature"]
        (reference,) = root.iterfind(".//ds:Reference", NAMES)
        assert reference.get("URI") == f"#{signed.get('ID')}"
        algorithms = [
            one.get("Algorithm") for one in root.find(".//ds:SignedInfo", NAMES).iter() if one.get("Algorithm")
        ]
        assert algorithms == [
            "http://www.w3.org/2001/10/xml-exc-c14n#",
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
            "http://www.w3.org/2001/10/xml-exc-c14n#",
            "http://www.w3.org/2001/04/xmlenc#sha256",
        ]

    @pytest.mark.all
    def test_is_good_by_javas_canonical_form(self, make: Callable[..., Service], tmp_path: Path) -> None:
        """STS is no Python: signxml and minisignxml both take the canonical form from libxml2. Changed ones are not."""
        need("maven")  # with it comes a compiler of Java
        service = make(**EVERYTHING)
        whole = parsed(assertions_of(service).sign(order_of(service)))
        responses = {"whole": whole}
        for name, path in {"tag": "saml:AttributeValue", "recipient": "saml:SubjectConfirmationData"}.items():
            changed_one = responses[name] = copy.deepcopy(whole)
            element = changed_one.findall(f".//{path}", NAMES)[-1]
            element.text, element.attrib["Recipient"] = "x", "https://example.org/saml"
        directory = tmp_path / "responses"
        directory.mkdir()
        for name, root in responses.items():
            (directory / name).write_bytes(etree.tostring(root))
        certificate = whole.find(".//ds:X509Certificate", NAMES).text
        command = ["java", VERIFIER, directory, certificate]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert dict(line.split() for line in done.stdout.splitlines()) == {
            "whole": "true",
            "tag": "false",
            "recipient": "false",
        }

    def test_reads_no_entity_and_no_document_type(self) -> None:
        pair = rsa_keys.generate_certified_key_pair(ManualClock().now())
        key = rsa_keys.signing_key(pair.private_pem)
        text = '<!DOCTYPE a [<!ENTITY b "c">]><a ID="_1"><ds:Signature xmlns:ds="x" Id="placeholder"/>&b;</a>'
        with pytest.raises(Exception, match=r"DTD|[Ee]ntit"):
            xml_signatures.sign(text, key=key, certificate=pair.public_jwk["x5c"][0])
