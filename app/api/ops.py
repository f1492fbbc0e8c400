"""`/healthz`, `/readyz`, `/metrics`, and what an outsider needs to verify our tokens."""

import secrets
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.provided import AssertionsDep, HealthDep, IdentityTokensDep, KeyringDep, PlatformDep
from app.auth.keys import Keyring
from app.crypto.jws import ALGORITHM
from app.http.local import is_local
from app.http.routes import NamedRoute
from app.http.wire import ResponseModel
from app.platform.problems import LocalOnly, NotFound, NotReady, Unauthenticated
from app.upkeep import health
from app.vending.identity_token import ISSUER_PATH
from app.vending.saml_metadata import MEDIA_TYPE, METADATA_PATH

router = APIRouter(tags=["ops"], route_class=NamedRoute)

JWKS_MAX_AGE = 300
"""Seconds that verifiers may keep the list; a new key is published for longer before it signs."""


class Liveness(ResponseModel):
    status: Literal["ok"]
    """Always `ok`."""


class Readiness(ResponseModel):
    status: Literal["ok"]
    """Always `ok`. A service that is not ready answers 503."""


class JsonWebKey(ResponseModel):
    kty: str
    """The type of the key: `EC`, for an elliptic curve."""
    crv: str
    """The elliptic curve: `P-256`."""
    x: str
    """The x coordinate of the point. In base64url."""
    y: str
    """The y coordinate of the point. In base64url."""
    use: str
    """What the key is for: `sig`, signatures."""
    alg: str
    """The algorithm of the signatures: `ES256`."""
    kid: str


class JsonWebKeySet(ResponseModel):
    keys: list[JsonWebKey]
    """The keys that are trusted now, or will sign soon."""


class IssuerMetadata(ResponseModel):
    issuer: str
    """The issuer of the tokens, their `iss`."""
    jwks_uri: str
    """Where the public keys are."""
    response_types_supported: list[str]
    """Always `id_token`. The standard asks for it, and the service does not use it."""
    subject_types_supported: list[str]
    """Always `public`, which the standard asks for: every app sees the same id of a user."""
    id_token_signing_alg_values_supported: list[str]
    """The algorithms that sign the tokens."""


@router.get("/healthz")
async def check_health() -> Liveness:
    """Whether the process is alive."""
    return Liveness(status="ok")


@router.get("/readyz")
async def check_readiness(checks: HealthDep, request: Request) -> Readiness:
    """Whether the service can do its work: database, signing keys and engine answer, and it is not about to stop. A 503
    names what is missing.

    A database that refused a write, for example because its disk is full, is not ready until a write succeeds.
    """
    if request.app.state.draining.is_set():
        raise NotReady("Not ready: stopping.")
    missing = [f"{name} ({state})" for name, state in (await checks.check()).items() if state != health.OK]
    if missing:
        raise NotReady(f"Not ready: {', '.join(missing)}.")
    return Readiness(status="ok")


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
async def get_metrics(platform: PlatformDep, request: Request) -> Response:
    """This replica's metrics for Prometheus, of all its workers. Send the bearer token that the operator set.

    Without a configured token, production has no metrics, and in development only the same machine gets them.
    """
    token = platform.settings.metrics_token.get_secret_value()
    if not token and platform.settings.environment == "production":
        raise NotFound
    if not token and not is_local(request.scope):
        raise LocalOnly
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if token and not (scheme.lower() == "bearer" and secrets.compare_digest(sent.strip().encode(), token.encode())):
        raise Unauthenticated("Send the metrics token as `Authorization: Bearer …`.")
    return Response(platform.metrics.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/.well-known/openid-configuration")
async def get_openid_configuration(platform: PlatformDep, response: Response) -> IssuerMetadata:
    """The issuer of access tokens (OpenID Connect Discovery 1.0 §3)."""
    return _issuer(platform.settings.public_url, f"{platform.settings.public_url}/.well-known/jwks.json", response)


@router.get("/.well-known/jwks.json")
async def get_jwks(keyring: KeyringDep, response: Response) -> JsonWebKeySet:
    """The public keys of access tokens (RFC 7517)."""
    return _keys(keyring, response)


@router.get(ISSUER_PATH + "/.well-known/openid-configuration")
async def get_sts_openid_configuration(identity_tokens: IdentityTokensDep, response: Response) -> IssuerMetadata:
    """The issuer that STS trusts in `web_identity` mode. Clients never get a token of this issuer."""
    if identity_tokens is None:
        raise NotFound
    issuer = identity_tokens.issuer
    return _issuer(issuer, f"{issuer}/jwks.json", response)


@router.get(ISSUER_PATH + "/jwks.json")
async def get_sts_jwks(identity_tokens: IdentityTokensDep, response: Response) -> JsonWebKeySet:
    """The public keys of the tokens that only STS gets."""
    if identity_tokens is None:
        raise NotFound
    return _keys(identity_tokens.keyring, response)


@router.get(
    METADATA_PATH,
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}},
)
async def get_saml_metadata(assertions: AssertionsDep) -> Response:
    """The SAML metadata for IAM: this service as the identity provider of `saml` mode. No client gets an assertion."""
    if assertions is None:
        raise NotFound
    headers = {"Cache-Control": f"public, max-age={JWKS_MAX_AGE}"}
    return Response(assertions.metadata, media_type=MEDIA_TYPE, headers=headers)


def _issuer(issuer: str, jwks_uri: str, response: Response) -> IssuerMetadata:
    response.headers["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE}"
    return IssuerMetadata(
        issuer=issuer,
        jwks_uri=jwks_uri,
        response_types_supported=["id_token"],
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=[ALGORITHM],
    )


def _keys(keyring: Keyring, response: Response) -> JsonWebKeySet:
    response.headers["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE}"
    return JsonWebKeySet(keys=[JsonWebKey(**key) for key in keyring.jwks()["keys"]])
