"""The assertions by which STS gives a credential in `saml` mode. This service is their SAML identity provider.

Whoever holds one can assume the role without a session policy. So it is made for one call, lives a minute, and is sent
to STS alone. All that STS decides by lies in the signed element.
"""

import base64
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from xml.etree.ElementTree import Element, SubElement, tostring
from xml.sax.saxutils import escape, quoteattr

from app.auth.keys import Keyring, LoadedKey
from app.platform.clock import Clock
from app.platform.settings import PREFIX, SettingsError
from app.vending import saml_metadata
from app.vending.orders import Order

TTL = timedelta(seconds=60)
CLOCK_AHEAD = timedelta(seconds=60)
"""By how much this machine's clock may be ahead of STS's. Nobody has an assertion before it is issued, so this makes
none live longer."""
ATTRIBUTES = "https://aws.amazon.com/SAML/Attributes/"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
_PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
_SIGNATURE = "http://www.w3.org/2000/09/xmldsig#"
_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_CLASS = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """AWS in one partition, as it is named in assertions."""

    recipient: str
    """Where a browser would bring the assertion to. `SAML:aud` of a trust policy is this."""
    audience: str


RELYING_PARTIES: Mapping[str, RelyingParty] = {
    "aws": RelyingParty("https://signin.aws.amazon.com/saml", "urn:amazon:webservices"),
    "aws-cn": RelyingParty("https://signin.amazonaws.cn/saml", "urn:amazon:webservices:cn-north-1"),
    "aws-us-gov": RelyingParty("https://signin.amazonaws-us-gov.com/saml", "urn:amazon:webservices:govcloud"),
    "aws-iso": RelyingParty("https://signin.c2shome.ic.gov/saml", "https://signin.c2shome.ic.gov/saml"),
    "aws-iso-b": RelyingParty("https://signin.sc2shome.sgov.gov/saml", "https://signin.sc2shome.sgov.gov/saml"),
}
"""By partition. Of the others AWS has published no address."""


def relying_party(partition: str) -> RelyingParty:
    """Raises `SettingsError` for a partition of which nothing is known."""
    if (found := RELYING_PARTIES.get(partition)) is None:
        known = ", ".join(RELYING_PARTIES)
        raise SettingsError(
            f"{PREFIX}VENDING_MODE: saml is for the partitions {known}: AWS has published no SAML address "
            f"of {partition}"
        )
    return found


class Assertions:
    def __init__(self, keyring: Keyring, clock: Clock, to: RelyingParty, *, public_url: str) -> None:
        """Raises `ModuleNotFoundError` where the packages of this mode are not installed."""
        from app.crypto import xml_signatures  # noqa: PLC0415 - 5 MB, which the other modes do without

        self.issuer = saml_metadata.issuer_of(public_url)
        self.keyring = keyring
        self._clock = clock
        self._to = to
        self._public_url = public_url
        self._sign = xml_signatures.sign

    @property
    def metadata(self) -> str:
        """What IAM has to be told, with every key that signs or soon will. Raises `KeysUnavailable`."""
        self.keyring.current()  # IAM would take a document without keys, and forget those that it has
        return saml_metadata.document(self._public_url, self.keyring.jwks()["keys"])

    def sign(self, order: Order, *, key: LoadedKey | None = None) -> str:
        """A SAML response with the signed assertion of the order, in base64. Raises `KeysUnavailable`.

        `key`: one that does not sign yet, to try it.
        """
        key = key or self.keyring.current()
        now = self._clock.now()
        signed = self._sign(self._assertion(order, now), key=key.private, certificate=key.public_jwk["x5c"][0])
        return base64.b64encode(self._response(signed, now).encode()).decode("ascii")

    def _assertion(self, order: Order, now: datetime) -> str:
        until = _time(now + TTL)
        names = {"xmlns:saml": _ASSERTION, "ID": _id(), "Version": "2.0", "IssueInstant": _time(now)}
        root = Element("saml:Assertion", names)
        _add(root, "Issuer", self.issuer)
        SubElement(root, "ds:Signature", {"xmlns:ds": _SIGNATURE, "Id": "placeholder"})  # where SAML has it (Core §5.4)
        subject = _add(root, "Subject")
        _add(subject, "NameID", str(order.user_id), Format=saml_metadata.PERSISTENT)
        confirmation = _add(subject, "SubjectConfirmation", Method=BEARER)
        _add(confirmation, "SubjectConfirmationData", NotOnOrAfter=until, Recipient=self._to.recipient)
        conditions = _add(root, "Conditions", NotBefore=_time(now - CLOCK_AHEAD), NotOnOrAfter=until)
        _add(_add(conditions, "AudienceRestriction"), "Audience", self._to.audience)
        # Without SessionNotOnOrAfter, by which STS would end the session.
        signed_in = _add(root, "AuthnStatement", AuthnInstant=_time(now))
        _add(_add(signed_in, "AuthnContext"), "AuthnContextClassRef", _CLASS)
        statement = _add(root, "AttributeStatement")
        for name, values in _attributes(order):
            attribute = _add(statement, "Attribute", Name=ATTRIBUTES + name)
            for value in values:
                _add(attribute, "AttributeValue", value)
        return tostring(root, encoding="unicode")

    def _response(self, signed: str, now: datetime) -> str:
        """The envelope that STS asks for. It repeats what the assertion says, and decides nothing."""
        return (
            f'<samlp:Response xmlns:samlp="{_PROTOCOL}" ID="{_id()}" Version="2.0" IssueInstant="{_time(now)}" '
            f"Destination={quoteattr(self._to.recipient)}>"
            f'<saml:Issuer xmlns:saml="{_ASSERTION}">{escape(self.issuer)}</saml:Issuer>'
            f'<samlp:Status><samlp:StatusCode Value="{_SUCCESS}"/></samlp:Status>'
            f"{signed}</samlp:Response>"
        )


def _attributes(order: Order) -> Iterator[tuple[str, Sequence[str]]]:
    """Names and values (AWS, "Configure SAML assertions for the authentication response")."""
    terms = order.terms
    yield "Role", [f"{terms.role_arn},{terms.saml_provider_arn}"]
    yield "RoleSessionName", [order.role_session_name]
    yield "SessionDuration", [str(order.duration)]
    if terms.source_identity:
        yield "SourceIdentity", [str(order.user_id)]
    for key, value in order.tags.items():
        yield f"PrincipalTag:{key}", [value]
    if terms.transitive_tag_keys:
        yield "TransitiveTagKeys", terms.transitive_tag_keys


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    child = SubElement(parent, f"saml:{name}", attributes)
    child.text = text
    return child


def _id() -> str:
    """No digit may be the first character (XML's NCName)."""
    return f"_{uuid.uuid4().hex}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
