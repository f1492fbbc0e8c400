"""`/v1/auth/oidc/{provider}`: signing in with an outside identity."""

from fastapi import APIRouter

from app.api.auth.wire import AuthorizationCode, LoginResult, login_result
from app.api.provided import PlatformDep, ProvidersDep, TokensDep
from app.auth import identities, oidc
from app.http.guards import OriginDep
from app.http.routes import JsonRoute
from app.http.wire import DeviceName, RequestModel, ResponseModel, Timestamp
from app.platform.limits import address_key

router = APIRouter(prefix="/v1/auth/oidc", tags=["auth"], route_class=JsonRoute)


class OidcNonce(ResponseModel):
    nonce: str
    """What to hand to the provider's SDK at the sign-in."""
    expires_at: Timestamp
    """When the nonce stops working."""


class OidcLoginRequest(RequestModel):
    id_token: str
    device_name: DeviceName = None
    authorization_code: AuthorizationCode | None = None


@router.post("/{provider}/nonce")
async def create_oidc_nonce(
    provider: str, platform: PlatformDep, providers: ProvidersDep, origin: OriginDep
) -> OidcNonce:
    """A nonce for the provider's SDK. The ID token must carry it, or its SHA-256 in hexadecimal. It works once."""
    await platform.limiter.hit("oidc", address_key(origin.address))
    nonce, expires_at = await oidc.issue_nonce(platform, providers, provider=provider)
    return OidcNonce(nonce=nonce, expires_at=expires_at)


@router.post("/{provider}")
async def log_in_with_oidc(
    provider: str,
    body: OidcLoginRequest,
    *,
    platform: PlatformDep,
    tokens: TokensDep,
    providers: ProvidersDep,
    origin: OriginDep,
) -> LoginResult:
    """Signs a device in with a provider's ID token. A new user gets an account.

    An account with the token's address is linked if both sides have verified the address. Otherwise the answer is 409
    `identity_not_linked`.
    """
    await platform.limiter.hit("oidc", address_key(origin.address))
    outcome = await identities.sign_in(
        platform,
        providers,
        origin,
        provider=provider,
        id_token=body.id_token,
        device_name=body.device_name,
        authorization_code=body.authorization_code,
    )
    return login_result(platform, tokens, outcome)
