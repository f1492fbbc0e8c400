"""What IAM is told of this service as a SAML identity provider: who it is, and by which keys it signs.

IAM fetches nothing: an operator uploads the document, and again after each rotation of the keys.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

METADATA_PATH = "/.well-known/saml-metadata.xml"
"""Also the path of the issuer: SAML has the document where the entity's name leads (Metadata §4.1)."""
MEDIA_TYPE = "text/xml"
"""SAML has a type of its own, which generators of clients do not know. IAM is not told any."""
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
_PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
_KEY = (
    '    <md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data>'
    "<ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>\n"
)


def issuer_of(public_url: str) -> str:
    """The name of the identity provider, its `entityID`."""
    return public_url + METADATA_PATH


def document(public_url: str, public_jwks: Iterable[Mapping[str, Any]]) -> str:
    """The metadata with the certificates of these keys.

    The schema asks for an address where people sign in. Nobody does here, so it is only the service's own.
    """
    keys = "".join(_KEY.format(escape(jwk["x5c"][0])) for jwk in public_jwks)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" '
        f'xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID={quoteattr(issuer_of(public_url))}>\n'
        f'  <md:IDPSSODescriptor WantAuthnRequestsSigned="false" protocolSupportEnumeration="{_PROTOCOL}">\n'
        f"{keys}"
        f"    <md:NameIDFormat>{PERSISTENT}</md:NameIDFormat>\n"
        '    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" '
        f"Location={quoteattr(public_url)}/>\n"
        "  </md:IDPSSODescriptor>\n"
        "</md:EntityDescriptor>\n"
    )
