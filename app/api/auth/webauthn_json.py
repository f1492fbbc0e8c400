"""WebAuthn's own JSON (level 3 §5.1.8–5.1.10), whose members keep the standard's names.

A page parses the options with `PublicKeyCredential.parseCreationOptionsFromJSON` and `parseRequestOptionsFromJSON`, and
sends what the credential's `toJSON()` gives. Android's Credential Manager takes and gives the same as text. On iOS,
`ASAuthorizationPlatformPublicKeyCredentialProvider` takes challenge, user id and name, and the app puts its answer's
parts into these members.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from app.auth.ceremony import ALGORITHMS, Assertion, Attestation, RelyingParty
from app.auth.passkeys import CHALLENGE_TTL, Ceremony
from app.crypto.encoding import b64url
from app.http.wire import RequestModel, ResponseModel
from app.records.models import Passkey, User

TIMEOUT = int(CHALLENGE_TTL.total_seconds() * 1000)
"""Milliseconds."""

PublicKeyType = Literal["public-key"]
BASE64URL = r"^[A-Za-z0-9_-]+$"
TRANSPORT = r"^[a-z][a-z-]*$"
CredentialId = Annotated[str, Field(pattern=BASE64URL, max_length=1364)]
Bytes = Annotated[str, Field(pattern=BASE64URL, max_length=16_384)]
Transport = Annotated[str, Field(pattern=TRANSPORT, max_length=32)]


def _known_shapes(transports: object) -> object:
    """Transports are hints (§5.8.4), so those that the service could not keep are left out."""
    if not isinstance(transports, list):
        return []
    return [one for one in transports if isinstance(one, str) and len(one) <= 32 and re.match(TRANSPORT, one)][:10]


def _none_if_empty(user_handle: object) -> object:
    """Safari writes an absent user handle as an empty one, which no passkey has (§5.4.3)."""
    return None if user_handle == "" else user_handle


class PasskeyRelyingParty(ResponseModel):
    id: str
    """The domain that the passkey belongs to."""
    name: str
    """The name of the service, for people to read."""


class PasskeyUser(ResponseModel):
    id: str
    """The user handle, as WebAuthn defines it: the 16 bytes of the user's id. In base64url."""
    name: str
    """The user's address, else their name, else `Guest`. People choose among passkeys by it."""
    display_name: Annotated[str, Field(serialization_alias="displayName")]
    """The user's name. If there is none: the same as `name`."""


class PasskeyParameters(ResponseModel):
    type: PublicKeyType = "public-key"
    alg: int
    """The number of a signature algorithm in COSE, such as -7 for ES256."""


class PasskeyDescriptor(ResponseModel):
    type: PublicKeyType = "public-key"
    id: str
    """The credential id of a passkey, as WebAuthn defines it. In base64url."""
    transports: list[str]
    """How a device may reach the authenticator, such as `internal` or `hybrid`, as WebAuthn defines it."""


class PasskeySelection(ResponseModel):
    """A passkey that its authenticator finds without help, and releases only to its verified user."""

    resident_key: Annotated[Literal["required"], Field(serialization_alias="residentKey")] = "required"
    """Always `required`, as WebAuthn defines it: the authenticator finds the passkey without a name."""
    require_resident_key: Annotated[Literal[True], Field(serialization_alias="requireResidentKey")] = True
    """Always true: the same for older clients, as WebAuthn defines it."""
    user_verification: Annotated[Literal["required"], Field(serialization_alias="userVerification")] = "required"


class PasskeyCreationOptions(ResponseModel):
    """PublicKeyCredentialCreationOptionsJSON."""

    rp: PasskeyRelyingParty
    """The service that the passkey is for, as WebAuthn defines it."""
    user: PasskeyUser
    """The account that the passkey is for, as WebAuthn defines it."""
    challenge: str
    pub_key_cred_params: Annotated[list[PasskeyParameters], Field(serialization_alias="pubKeyCredParams")]
    """The signature algorithms that the service takes, best first, as WebAuthn defines it."""
    timeout: int = TIMEOUT
    exclude_credentials: Annotated[list[PasskeyDescriptor], Field(serialization_alias="excludeCredentials")]
    """The user's passkeys so far, as WebAuthn defines it. An authenticator that has one of them makes no other."""
    authenticator_selection: Annotated[PasskeySelection, Field(serialization_alias="authenticatorSelection")]
    """What the authenticator has to do, as WebAuthn defines it."""
    attestation: Literal["none"] = "none"
    """Always `none`, as WebAuthn defines it: the authenticator need not prove its make."""


class PasskeyRequestOptions(ResponseModel):
    """PublicKeyCredentialRequestOptionsJSON."""

    rp_id: Annotated[str, Field(serialization_alias="rpId")]
    """The domain that the passkey belongs to, as WebAuthn defines it."""
    challenge: str
    timeout: int = TIMEOUT
    allow_credentials: Annotated[list[PasskeyDescriptor], Field(serialization_alias="allowCredentials")]
    """The passkeys to choose from, as WebAuthn defines it. Empty if the user may choose any."""
    user_verification: Annotated[Literal["required"], Field(serialization_alias="userVerification")] = "required"


class FromDevice(RequestModel):
    """What a browser or a phone writes. It may have members that are newer than this service, which are ignored."""

    model_config = ConfigDict(extra="ignore")


class AttestationResponse(FromDevice):
    """AuthenticatorAttestationResponseJSON. Members that the service does not need may be left out, and are ignored."""

    client_data_json: Annotated[Bytes, Field(alias="clientDataJSON")]
    attestation_object: Annotated[Bytes, Field(alias="attestationObject")]
    """The new passkey's id and public key, as WebAuthn defines it. In base64url."""
    authenticator_data: Annotated[Bytes | None, Field(alias="authenticatorData")] = None
    """A part of `attestationObject`, as WebAuthn defines it. The service does not need it."""
    transports: Annotated[list[Transport], Field(max_length=10), BeforeValidator(_known_shapes)] = []
    """How a device may reach the authenticator, as WebAuthn defines it. What the service does not understand is left
    out."""
    public_key: Annotated[Bytes | None, Field(alias="publicKey")] = None
    """A part of `attestationObject`, as WebAuthn defines it. The service does not need it."""
    public_key_algorithm: Annotated[int | None, Field(alias="publicKeyAlgorithm")] = None
    """A part of `attestationObject`, as WebAuthn defines it. The service does not need it."""


class AssertionResponse(FromDevice):
    """AuthenticatorAssertionResponseJSON."""

    client_data_json: Annotated[Bytes, Field(alias="clientDataJSON")]
    authenticator_data: Annotated[Bytes, Field(alias="authenticatorData")]
    """What the authenticator says of itself and of the user, as WebAuthn defines it. In base64url."""
    signature: Annotated[Bytes, Field(alias="signature")]
    """The signature of the passkey, as WebAuthn defines it. In base64url."""
    user_handle: Annotated[
        str | None, Field(alias="userHandle", pattern=BASE64URL, max_length=86), BeforeValidator(_none_if_empty)
    ] = None
    """The user handle that the passkey was made for, as WebAuthn defines it. In base64url. Left out, or null, if the
    authenticator does not say."""


class CredentialProperties(FromDevice):
    rk: bool | None = None
    """Whether the passkey can be found without a name, as WebAuthn defines it. The service ignores it."""


class ExtensionResults(FromDevice):
    """AuthenticationExtensionsClientOutputsJSON: the results of extensions, which the service ignores."""

    cred_props: Annotated[CredentialProperties | None, Field(alias="credProps")] = None
    """The result of the extension `credProps`, as WebAuthn defines it. The service ignores it."""


class PublicKeyCredential(FromDevice):
    id: CredentialId
    """The credential id of the passkey, as WebAuthn defines it. In base64url."""
    raw_id: Annotated[CredentialId, Field(alias="rawId")]
    """The same as `id`."""
    type: PublicKeyType
    authenticator_attachment: Annotated[str | None, Field(alias="authenticatorAttachment", max_length=32)] = None
    """Whether the authenticator is a part of the device, as WebAuthn defines it. The service ignores it."""
    client_extension_results: Annotated[
        ExtensionResults,
        Field(alias="clientExtensionResults", default_factory=ExtensionResults),
        BeforeValidator(lambda sent: {} if sent is None else sent),
    ]
    """The results of extensions, as WebAuthn defines it. The service ignores them."""

    @model_validator(mode="after")
    def _one_id(self) -> Self:
        if self.id != self.raw_id:
            raise ValueError("id and rawId must be the same")
        return self


class RegistrationCredential(PublicKeyCredential):
    """RegistrationResponseJSON."""

    response: AttestationResponse
    """What the authenticator made, as WebAuthn defines it."""


class AuthenticationCredential(PublicKeyCredential):
    """AuthenticationResponseJSON."""

    response: AssertionResponse
    """What the authenticator signed, as WebAuthn defines it."""


def creation_options(party: RelyingParty, service_name: str, user: User, ceremony: Ceremony) -> PasskeyCreationOptions:
    name = user.email or user.display_name or "Guest"
    return PasskeyCreationOptions(
        rp=PasskeyRelyingParty(id=party.id, name=service_name),
        user=PasskeyUser(id=b64url(user.id.bytes), name=name, display_name=user.display_name or name),
        challenge=b64url(ceremony.challenge.encode()),
        pub_key_cred_params=[PasskeyParameters(alg=algorithm) for algorithm in ALGORITHMS],
        exclude_credentials=_descriptors(ceremony),
        authenticator_selection=PasskeySelection(),
    )


def request_options(party: RelyingParty, ceremony: Ceremony) -> PasskeyRequestOptions:
    return PasskeyRequestOptions(
        rp_id=party.id, challenge=b64url(ceremony.challenge.encode()), allow_credentials=_descriptors(ceremony)
    )


def _descriptors(ceremony: Ceremony) -> list[PasskeyDescriptor]:
    def describe(passkey: Passkey) -> PasskeyDescriptor:
        return PasskeyDescriptor(id=b64url(passkey.credential_id), transports=passkey.transports)

    return [describe(passkey) for passkey in ceremony.passkeys]


def attestation_of(credential: RegistrationCredential) -> Attestation:
    response = credential.response
    return Attestation(credential.raw_id, response.client_data_json, response.attestation_object)


def assertion_of(credential: AuthenticationCredential) -> Assertion:
    response = credential.response
    return Assertion(
        credential.raw_id,
        response.client_data_json,
        response.authenticator_data,
        response.signature,
        response.user_handle,
    )
