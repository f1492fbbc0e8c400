"""`/v1/me/passkeys`: the passkeys of a user. `/v1/auth/passkey`: signing in with one."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from app.api.auth.webauthn_json import (
    AuthenticationCredential,
    PasskeyCreationOptions,
    PasskeyRequestOptions,
    RegistrationCredential,
    assertion_of,
    attestation_of,
    creation_options,
    request_options,
)
from app.api.auth.wire import LoginResult, login_result
from app.api.provided import PlatformDep, TokensDep
from app.auth import passkeys
from app.auth.ceremony import relying_party
from app.http.guards import Enrolling, OriginDep, SignedIn, SteppedUp, SteppedUpEnrolling
from app.http.routes import JsonRoute
from app.http.wire import DeviceName, PrintableText, RequestModel, ResponseModel, Timestamp
from app.platform.limits import address_key
from app.records.models import Passkey

router = APIRouter(prefix="/v1", route_class=JsonRoute)
EXPIRES_IN = int(passkeys.CHALLENGE_TTL.total_seconds())
Name = Annotated[PrintableText, Field(min_length=1, max_length=100)]


class PasskeyRegistrationOptions(ResponseModel):
    options: PasskeyCreationOptions
    """What to make the passkey from, as WebAuthn defines it."""
    expires_in: int
    """How long the options are good for. In seconds."""


class PasskeyRegistrationRequest(RequestModel):
    credential: RegistrationCredential
    """The new passkey, as the browser or phone describes it."""
    name: Name | None = None
    """What to call the passkey. Left out, or null, it is called `Passkey` with a number."""


class PasskeyRenameRequest(RequestModel):
    name: Name
    """What to call the passkey from now on."""


class OwnedPasskey(ResponseModel):
    passkey_id: UUID
    name: str
    """What the passkey is called in this service."""
    transports: list[str]
    """How a device may reach the authenticator, such as `internal` or `hybrid`, as WebAuthn defines it."""
    backed_up: bool
    """Whether the keeper of the passkey, such as iCloud or Google, copies it to other devices of the user or can
    restore it."""
    created_at: Timestamp
    last_used_at: Timestamp | None
    """When the user last signed in with it. Null if never."""


class PasskeyPage(ResponseModel):
    items: list[OwnedPasskey]
    next_cursor: str | None


class PasskeySignInOptionsRequest(RequestModel):
    mfa_token: str | None = None
    """The token of a sign-in that waits for its second factor. Left out, or null, for a sign-in with a passkey
    alone."""


class PasskeySignInOptions(ResponseModel):
    options: PasskeyRequestOptions
    """What to ask the user's passkey for, as WebAuthn defines it."""
    expires_in: int
    """How long the options are good for. In seconds."""


class PasskeySignInRequest(RequestModel):
    credential: AuthenticationCredential
    """What the passkey answered, as the browser or phone gives it."""
    device_name: DeviceName = None
    """What the device is called. With an `mfa_token`, the name of the sign-in that waits stays."""
    mfa_token: str | None = None
    """The token of a sign-in that waits for its second factor. Left out, or null, for a sign-in with a passkey
    alone."""


@router.post("/me/passkeys/options", tags=["accounts"])
async def begin_passkey_registration(
    platform: PlatformDep, origin: OriginDep, actor: SteppedUpEnrolling
) -> PasskeyRegistrationOptions:
    """The options for `navigator.credentials.create`, or for the phone's own call, to make a passkey. They are good for
    one answer.
    """
    await platform.limiter.hit("passkey", address_key(origin.address))
    user, begun = await platform.database.write(
        passkeys.begin_registration, platform.vault, platform.clock.now(), actor=actor
    )
    options = creation_options(relying_party(platform.settings), platform.settings.service_name, user, begun)
    return PasskeyRegistrationOptions(options=options, expires_in=EXPIRES_IN)


@router.post("/me/passkeys", status_code=201, tags=["accounts"])
async def add_passkey(
    body: PasskeyRegistrationRequest, platform: PlatformDep, origin: OriginDep, actor: SteppedUpEnrolling
) -> OwnedPasskey:
    """Adds the new passkey to the account. A guest who adds a passkey can sign in again, and stops being a guest."""
    await platform.limiter.hit("passkey", address_key(origin.address))
    added = await platform.database.write(
        passkeys.register,
        platform.vault,
        origin,
        platform.clock.now(),
        actor=actor,
        party=relying_party(platform.settings),
        attestation=attestation_of(body.credential),
        transports=body.credential.response.transports,
        name=body.name,
    )
    return owned_passkey(added)


@router.get("/me/passkeys", tags=["accounts"])
async def list_passkeys(platform: PlatformDep, actor: Enrolling) -> PasskeyPage:
    """The caller's passkeys, oldest first. One page has all of them, at most 20."""
    owned = await platform.database.read(passkeys.list_owned, user_id=actor.user_id)
    return PasskeyPage(items=[owned_passkey(passkey) for passkey in owned], next_cursor=None)


@router.patch("/me/passkeys/{passkey_id:uuid}", tags=["accounts"])
async def rename_passkey(
    passkey_id: UUID, body: PasskeyRenameRequest, platform: PlatformDep, origin: OriginDep, actor: SignedIn
) -> OwnedPasskey:
    """Renames one of the caller's passkeys in this service. The authenticator keeps its own name for it."""
    renamed = await platform.database.write(
        passkeys.rename, origin, platform.clock.now(), actor=actor, passkey_id=passkey_id, name=body.name
    )
    return owned_passkey(renamed)


@router.delete("/me/passkeys/{passkey_id:uuid}", status_code=204, response_class=Response, tags=["accounts"])
async def remove_passkey(passkey_id: UUID, platform: PlatformDep, origin: OriginDep, actor: SteppedUp) -> None:
    """Removes one of the caller's passkeys, unless it is the last way to sign in."""
    await platform.database.write(
        passkeys.remove, platform.vault, origin, platform.clock.now(), actor=actor, passkey_id=passkey_id
    )


@router.post("/auth/passkey/options", tags=["auth"])
async def begin_passkey_sign_in(
    platform: PlatformDep, origin: OriginDep, body: PasskeySignInOptionsRequest | None = None
) -> PasskeySignInOptions:
    """The options for `navigator.credentials.get`, or for the phone's own call. They are good for one answer.

    With the `mfa_token` of a sign-in that waits for a second factor, the options name the passkeys of its user.
    """
    await platform.limiter.hit("passkey", address_key(origin.address))
    mfa_token = body.mfa_token if body is not None else None
    begun = await platform.database.write(
        passkeys.begin_sign_in, platform.vault, platform.clock.now(), mfa_token=mfa_token
    )
    options = request_options(relying_party(platform.settings), begun)
    return PasskeySignInOptions(options=options, expires_in=EXPIRES_IN)


@router.post("/auth/passkey", tags=["auth"])
async def complete_passkey_sign_in(
    body: PasskeySignInRequest, platform: PlatformDep, tokens: TokensDep, origin: OriginDep
) -> LoginResult:
    """Signs a device in with a passkey. With an `mfa_token` it completes the sign-in that waits, under the device name
    of that sign-in.

    A passkey verifies its user, so no second factor is required. The new session counts as stepped up.
    """
    await platform.limiter.hit("passkey", address_key(origin.address))
    outcome = await platform.database.write(
        passkeys.sign_in,
        platform.vault,
        origin,
        platform.clock.now(),
        party=relying_party(platform.settings),
        assertion=assertion_of(body.credential),
        mfa_token=body.mfa_token,
        verified_only=platform.settings.verifies_email,
        device_name=body.device_name,
    )
    return login_result(platform, tokens, outcome)


def owned_passkey(passkey: Passkey) -> OwnedPasskey:
    return OwnedPasskey(
        passkey_id=passkey.id,
        name=passkey.name,
        transports=passkey.transports,
        backed_up=passkey.backed_up,
        created_at=passkey.created_at,
        last_used_at=passkey.last_used_at,
    )
