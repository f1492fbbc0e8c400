"""`/healthz`, `/readyz` and the keys that verify access tokens."""

from typing import Literal

from fastapi import APIRouter, Response

from app import health
from app.problems import NotReady
from app.web import ResponseModel, RuntimeDep

router = APIRouter(tags=["ops"])

JWKS_MAX_AGE = 300
"""Seconds that verifiers may keep the list; a new key is published for longer before it signs."""


class Liveness(ResponseModel):
    status: Literal["ok"]


class Readiness(ResponseModel):
    status: Literal["ok"]


class PublicKey(ResponseModel):
    kty: str
    crv: str
    x: str
    y: str
    use: str
    alg: str
    kid: str


class PublicKeys(ResponseModel):
    keys: list[PublicKey]


@router.get("/healthz")
async def check_health() -> Liveness:
    """Whether the process is alive."""
    return Liveness(status="ok")


@router.get("/readyz")
async def check_readiness(runtime: RuntimeDep) -> Readiness:
    """Whether it can do its work: database, signing keys and engine. If not, the 503 says which."""
    missing = [f"{name} ({state})" for name, state in (await runtime.health.check()).items() if state != health.OK]
    if missing:
        raise NotReady(f"Not ready: {', '.join(missing)}.")
    return Readiness(status="ok")


@router.get("/.well-known/jwks.json")
async def get_jwks(runtime: RuntimeDep, response: Response) -> PublicKeys:
    """The public keys of access tokens (RFC 7517)."""
    response.headers["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE}"
    return PublicKeys(keys=[PublicKey(**key) for key in runtime.keyring.jwks()["keys"]])
