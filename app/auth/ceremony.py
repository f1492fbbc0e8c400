"""Checks a client's answer in a WebAuthn ceremony (level 3). The only module that uses the library `webauthn`.

Each function imports what it needs of it: the first passkey of a process costs 8 MB, and a process may see none.

It is stricter than the library: base64url has one spelling, an answer from within somebody else's page is refused, the
id must be the one that the authenticator attests, and the counter is checked only after the signature. No attestation
is requested, so none is believed or even parsed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from app.crypto.encoding import b64url, unb64url
from app.platform.settings import LOOPBACK, Settings

ALGORITHMS = (-8, -7, -257)
"""EdDSA, ES256 and RS256, best first. Every authenticator has at least one of them (RFC 9053, RFC 8812)."""
MAX_CREDENTIAL_ID = 1023
"""Bytes (WebAuthn §4)."""
MAX_PUBLIC_KEY = 1024
"""Bytes: room for RSA of 4,096 bits, but for no key that is slow to verify with."""
T = TypeVar("T")


class CeremonyFailed(Exception):
    """The answer does not fit the options, or comes from a wrong authenticator. `reason` is for log and audit."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class RelyingParty:
    """The relying party of the passkeys: its domain, and the web origins where users may present them."""

    id: str
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Attestation:
    """The result of `navigator.credentials.create`, in base64url."""

    credential_id: str
    client_data: str
    attestation_object: str


@dataclass(frozen=True)
class Assertion:
    """The result of `navigator.credentials.get`, in base64url."""

    credential_id: str
    client_data: str
    authenticator_data: str
    signature: str = field(repr=False)
    user_handle: str | None


@dataclass(frozen=True)
class NewPasskey:
    """`public_key`: COSE (RFC 9052)."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    backup_eligible: bool
    backed_up: bool


@dataclass(frozen=True)
class Seen:
    """What the authenticator says of itself in an assertion with a valid signature.

    `fell_back`: its counter is not above the last one.
    """

    sign_count: int
    backup_eligible: bool
    backed_up: bool
    fell_back: bool


def relying_party(settings: Settings) -> RelyingParty:
    """This service's: the origins set for passkeys, or else its own, and those of the web apps that may call it."""
    own = settings.passkey_origins or _own_origins(settings)
    return RelyingParty(settings.relying_party, tuple(dict.fromkeys((*own, *settings.cors_origins))))


def _own_origins(settings: Settings) -> tuple[str, ...]:
    """The service's own origins. An IP address cannot be an RP ID, so in development `localhost` stands for it."""
    parts = urlsplit(settings.public_url)
    own = f"{parts.scheme}://{parts.netloc}"
    if settings.environment == "development" and parts.hostname in LOOPBACK:
        return own, f"{parts.scheme}://localhost{f':{parts.port}' if parts.port else ''}"
    return (own,)


def challenge_of(client_data: str) -> str:
    """The challenge that the client answered, a single-use token. Raises `CeremonyFailed`."""
    from webauthn.helpers import parse_client_data_json  # noqa: PLC0415

    return _checked(lambda: parse_client_data_json(unb64url(client_data)).challenge.decode("ascii"))


def credential_id_of(assertion: Assertion) -> bytes:
    """Raises `CeremonyFailed`."""
    return _checked(lambda: unb64url(assertion.credential_id))


def verify_attestation(attestation: Attestation, *, challenge: str, party: RelyingParty) -> NewPasskey:
    """Verifies that the passkey was made for us, with its user verified, as the answer to `challenge` (§7.1).

    Raises `CeremonyFailed`.
    """
    return _checked(lambda: _verify_attestation(attestation, challenge, party))


def _verify_attestation(attestation: Attestation, challenge: str, party: RelyingParty) -> NewPasskey:
    from webauthn import verify_registration_response  # noqa: PLC0415
    from webauthn.helpers.cose import COSEAlgorithmIdentifier  # noqa: PLC0415
    from webauthn.helpers.structs import (  # noqa: PLC0415
        AuthenticatorAttestationResponse,
        CredentialDeviceType,
        RegistrationCredential,
    )

    client_data = unb64url(attestation.client_data)
    _refuse_framed(client_data)
    raw_id = unb64url(attestation.credential_id)
    verified = verify_registration_response(
        credential=RegistrationCredential(
            id=attestation.credential_id,
            raw_id=raw_id,
            response=AuthenticatorAttestationResponse(
                client_data_json=client_data,
                attestation_object=_without_statement(unb64url(attestation.attestation_object)),
            ),
        ),
        expected_challenge=challenge.encode(),
        expected_rp_id=party.id,
        expected_origin=list(party.origins),
        require_user_verification=True,
        supported_pub_key_algs=[COSEAlgorithmIdentifier(algorithm) for algorithm in ALGORITHMS],
    )
    if verified.credential_id != raw_id or len(raw_id) > MAX_CREDENTIAL_ID:
        raise CeremonyFailed("credential_id")
    if len(verified.credential_public_key) > MAX_PUBLIC_KEY:
        raise CeremonyFailed("public_key")
    return NewPasskey(
        raw_id,
        verified.credential_public_key,
        verified.sign_count,
        backup_eligible=verified.credential_device_type == CredentialDeviceType.MULTI_DEVICE,
        backed_up=verified.credential_backed_up,
    )


def verify_assertion(
    assertion: Assertion,
    *,
    challenge: str,
    party: RelyingParty,
    public_key: bytes,
    sign_count: int,
    may_move: bool,
    user_handle: bytes,
    named: bool,
) -> Seen:
    """Verifies that the verified user presented the passkey of `public_key` as the answer to `challenge` (§7.2).

    `named`: the options listed the allowed passkeys. Otherwise the authenticator must send the user handle.

    A counter in use that did not grow is a signal of a copy, and no proof (§7.2 step 22). A passkey that `may_move` to
    other devices is a copy by right, and another keeper counts anew, so it is let in. Any other passkey never leaves
    its authenticator, whose counter only grows: a copy was stolen, and is refused with the reason `cloned`. `may_move`
    is what was known before, since a thief who has the key signs any flags. Raises `CeremonyFailed`.
    """
    seen = _checked(lambda: _verify_assertion(assertion, challenge, party, public_key, sign_count))
    may_be_silent = named and assertion.user_handle is None
    if assertion.user_handle != b64url(user_handle) and not may_be_silent:
        raise CeremonyFailed("user_handle")
    if seen.fell_back and not (may_move and seen.backup_eligible):
        raise CeremonyFailed("cloned")
    return seen


def _verify_assertion(
    assertion: Assertion, challenge: str, party: RelyingParty, public_key: bytes, sign_count: int
) -> Seen:
    from webauthn import verify_authentication_response  # noqa: PLC0415
    from webauthn.helpers.structs import (  # noqa: PLC0415
        AuthenticationCredential,
        AuthenticatorAssertionResponse,
        CredentialDeviceType,
    )

    client_data = unb64url(assertion.client_data)
    _refuse_framed(client_data)
    verified = verify_authentication_response(
        credential=AuthenticationCredential(
            id=assertion.credential_id,
            raw_id=unb64url(assertion.credential_id),
            response=AuthenticatorAssertionResponse(
                client_data_json=client_data,
                authenticator_data=unb64url(assertion.authenticator_data),
                signature=unb64url(assertion.signature),
            ),
        ),
        expected_challenge=challenge.encode(),
        expected_rp_id=party.id,
        expected_origin=list(party.origins),
        credential_public_key=public_key,
        credential_current_sign_count=0,  # the library checks it before the signature, so anybody could feign a clone
        require_user_verification=True,
    )
    return Seen(
        verified.new_sign_count,
        backup_eligible=verified.credential_device_type == CredentialDeviceType.MULTI_DEVICE,
        backed_up=verified.credential_backed_up,
        fell_back=sign_count > 0 and verified.new_sign_count <= sign_count,
    )


def _refuse_framed(client_data: bytes) -> None:
    from webauthn.helpers import parse_client_data_json  # noqa: PLC0415

    if parse_client_data_json(client_data).cross_origin:
        raise CeremonyFailed("cross_origin")


def _without_statement(attestation_object: bytes) -> bytes:
    """The object as if nothing had been attested, so that a stranger's certificate is never parsed."""
    from webauthn.helpers import encode_cbor, parse_cbor  # noqa: PLC0415

    parsed = parse_cbor(attestation_object)
    return encode_cbor({"fmt": "none", "attStmt": {}, "authData": parsed["authData"]})


def _checked(check: Callable[[], T]) -> T:
    """The result of `check`. Hostile bytes make the library raise almost any exception, and each one is a refusal."""
    from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415

    try:
        return check()
    except CeremonyFailed:
        raise
    except WebAuthnException as error:
        raise CeremonyFailed("invalid_answer") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise CeremonyFailed("malformed_answer") from error
