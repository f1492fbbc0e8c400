"""A stand-in for STS and IAM that believes an assertion for what it says alone: by a second library, and AWS's rules.

The service signs with signxml. Here minisignxml verifies, by the certificates of the metadata that a test uploads. It
gives back what was signed, parsed anew, and nothing is decided by anything else.
"""

import base64
import binascii
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from cryptography import x509
from lxml import etree

from app.engine import Engine
from app.platform.clock import Clock
from tests.support.canned_sts import Answer, CannedSts
from tests.support.service import PROVIDER_ARN, ROLE_ARN

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of defusedxml.lxml
    from minisignxml import verify as signatures
    from minisignxml.errors import MiniSignXMLError

NAMES = {
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
RECIPIENT = "https://signin.aws.amazon.com/saml"
AUDIENCE = "urn:amazon:webservices"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
ATTRIBUTES = "https://aws.amazon.com/SAML/Attributes/"
_BROKEN = (MiniSignXMLError, etree.XMLSyntaxError, binascii.Error, LookupError, ValueError, AssertionError)


class Refused(Exception):
    """With the code that STS says."""


@dataclass(frozen=True)
class Provider:
    """What IAM keeps of the metadata."""

    entity_id: str
    certificates: Collection[x509.Certificate]

    @classmethod
    def of(cls, metadata: bytes) -> "Provider":
        assert 1000 <= len(metadata) <= 10_000_000  # IAM's limits
        root = etree.fromstring(metadata)
        assert root.tag == f"{{{NAMES['md']}}}EntityDescriptor"
        found = root.findall("md:IDPSSODescriptor/md:KeyDescriptor[@use='signing']//ds:X509Certificate", NAMES)
        certificates = [x509.load_der_x509_certificate(base64.b64decode(one.text)) for one in found]
        assert certificates
        return cls(root.get("entityID"), certificates)


@dataclass(frozen=True)
class Session:
    """What STS makes of a call: all of it was signed, but the policy and the duration of the call."""

    id: str
    issuer: str
    subject: str
    issued_at: datetime
    until: datetime
    attributes: Mapping[str, list[str]] = field(repr=False)
    form: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The whole call, where there was one."""

    @property
    def name(self) -> str:
        (name,) = self.attributes["RoleSessionName"]
        return name

    @property
    def tags(self) -> dict[str, str]:
        given = {name: values for name, values in self.attributes.items() if name.startswith("PrincipalTag:")}
        return {name.removeprefix("PrincipalTag:"): value for name, (value,) in given.items()}


def believed(encoded: str, provider: Provider, now: datetime, *, role_arn: str, provider_arn: str) -> Session:
    """Raises `Refused`."""
    try:
        xml = base64.b64decode(encoded, validate=True)
        root = etree.fromstring(xml)
        assert root.tag == f"{{{NAMES['samlp']}}}Response"
        (outer,) = root.findall(".//saml:Assertion", NAMES)
        assert outer.getparent() is root
        signed, _ = signatures.extract_verified_element_and_certificate(xml=xml, certificates=provider.certificates)
        assert signed.tag == f"{{{NAMES['saml']}}}Assertion"
        return _session(signed, provider, now, role_arn=role_arn, provider_arn=provider_arn)
    except _BROKEN as error:
        raise Refused("InvalidIdentityToken") from error


def _session(signed: Any, provider: Provider, now: datetime, *, role_arn: str, provider_arn: str) -> Session:
    (conditions,) = signed.findall("saml:Conditions", NAMES)
    (confirmation,) = signed.findall("saml:Subject/saml:SubjectConfirmation", NAMES)
    (data,) = confirmation.findall("saml:SubjectConfirmationData", NAMES)
    (name,) = signed.findall("saml:Subject/saml:NameID", NAMES)
    if not _moment(conditions, "NotBefore") <= now < _moment(conditions, "NotOnOrAfter"):
        raise Refused("ExpiredTokenException")
    if not now < _moment(data, "NotOnOrAfter"):
        raise Refused("ExpiredTokenException")
    assert _texts(signed, "saml:Issuer") == [provider.entity_id]
    assert _texts(conditions, "saml:AudienceRestriction/saml:Audience") == [AUDIENCE]
    assert confirmation.get("Method") == "urn:oasis:names:tc:SAML:2.0:cm:bearer"
    attributes = {
        one.get("Name").removeprefix(ATTRIBUTES): _texts(one, "saml:AttributeValue")
        for one in signed.findall("saml:AttributeStatement/saml:Attribute", NAMES)
    }
    assert f"{role_arn},{provider_arn}" in attributes["Role"]
    # What the role's trust policy asks for: `SAML:aud`, `SAML:iss`, `SAML:sub_type`.
    if (data.get("Recipient"), name.get("Format")) != (RECIPIENT, PERSISTENT):
        raise Refused("AccessDenied")
    return Session(
        signed.get("ID"),
        provider.entity_id,
        name.text,
        _moment(signed, "IssueInstant"),
        _moment(conditions, "NotOnOrAfter"),
        attributes,
    )


def _moment(element: Any, name: str) -> datetime:
    return datetime.fromisoformat(element.attrib[name])


def _texts(element: Any, path: str) -> list[str]:
    return [found.text for found in element.findall(path, NAMES)]


class SamlSts(CannedSts):
    """`sessions` has what was believed, oldest first. It believes nothing before `upload`."""

    role_arn, provider_arn = ROLE_ARN, PROVIDER_ARN

    def __init__(self, clock: Clock | None = None, *, port: int = 0) -> None:
        self.sessions: list[Session] = []
        self._provider: Provider | None = None
        super().__init__(clock, port=port)

    def upload(self, metadata: bytes) -> None:
        """What an operator does at IAM."""
        self._provider = Provider.of(metadata)

    @property
    def assertions(self) -> list[str]:
        return [form["SAMLAssertion"] for form in self.forms if form["Action"] == "AssumeRoleWithSAML"]

    def _judge(self, form: dict[str, str]) -> Answer | None:
        if form["Action"] == "GetCallerIdentity":
            return self._refusal("MissingAuthenticationToken", 403)
        if form["Action"] != "AssumeRoleWithSAML":
            return self._refusal("AccessDenied", 403)
        if self._provider is None:
            return self._refusal("InvalidIdentityToken", 400)
        now = self._clock.now()
        try:
            arns = {"role_arn": form["RoleArn"], "provider_arn": form["PrincipalArn"]}
            session = believed(form["SAMLAssertion"], self._provider, now, **arns)
        except Refused as refused:
            return self._refusal(str(refused), 400)
        if (form["RoleArn"], form["PrincipalArn"]) != (self.role_arn, self.provider_arn):
            return self._refusal("AccessDenied", 403)
        self.sessions.append(replace(session, form=form))
        return None


class SamlEngineSts(SamlSts):
    """The same in front of an engine that knows no SAML: whom it believes, it assumes the engine's role for."""

    def __init__(self, engine: Engine) -> None:
        self.role_arn = engine.role_arn
        self.provider_arn = f"{engine.role_arn.partition(':role/')[0]}:saml-provider/tokenvend"
        self._sts = engine.broker_session().client("sts", endpoint_url=engine.endpoint_url)
        super().__init__()

    def _credentials(self, form: dict[str, str], serial: int) -> str:
        (name,) = (one.name for one in self.sessions if one.form == form)
        given = self._sts.assume_role(
            RoleArn=form["RoleArn"],
            RoleSessionName=name,
            Policy=form["Policy"],
            DurationSeconds=int(form["DurationSeconds"]),
        )["Credentials"]
        members = {key: value if isinstance(value, str) else value.isoformat() for key, value in given.items()}
        return (
            f"<Credentials>{''.join(f'<{key}>{escape(value)}</{key}>' for key, value in members.items())}</Credentials>"
        )
