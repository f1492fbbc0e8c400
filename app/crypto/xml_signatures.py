"""The signature of an assertion (XML Signature with RSA and SHA-256), as SAML 2.0 profiles it.

This module alone imports lxml and signxml: 5 MB that a service needs in `saml` mode only, so it is imported there.
"""

from cryptography.hazmat.primitives.asymmetric import rsa
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner

_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
_SIGNER = XMLSigner(
    method=SignatureConstructionMethod.enveloped,
    signature_algorithm=SignatureMethod.RSA_SHA256,
    digest_algorithm=DigestAlgorithm.SHA256,
    c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
)


def sign(element: str, *, key: rsa.RSAPrivateKey, certificate: str) -> str:
    """The element with a signature in the place of its `ds:Signature`, which covers the whole element by its `ID`.

    `certificate`: in base64. What is returned may stand in another document, for its canonical form is an exclusive
    one.
    """
    root = etree.fromstring(element.encode(), _PARSER)
    signed = _SIGNER.sign(root, key=key, cert=[certificate])
    return str(etree.tostring(signed, encoding="unicode"))
