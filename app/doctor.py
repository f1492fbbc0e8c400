"""`tokenvend doctor`: what is needed for a vend, tried for real, one finding each with the mend."""

import uuid
from dataclasses import dataclass
from typing import Literal

from app.credentials import isolation, policy
from app.credentials.broker import Order, StsCredential
from app.migrate import is_migrated
from app.problems import Problem
from app.runtime import Runtime

State = Literal["ok", "warning", "failed"]

MENDS = {
    "database": "check TOKENVEND_DATABASE_URL and that the database is up",
    "migrations": "run `tokenvend migrate`",
    "keys": "TOKENVEND_SECRET_KEY must be the one that the keys were made with",
    "base credentials": "give this machine an instance role, a task role or a profile that STS knows",
    "vend": "the role's trust policy must allow this identity sts:AssumeRole (and sts:SetSourceIdentity, or set "
    "TOKENVEND_SOURCE_IDENTITY=off) with TOKENVEND_EXTERNAL_ID if it asks for one, and the role's maximum session "
    "duration must reach TOKENVEND_CREDENTIAL_MAX_TTL",
    "S3": "check TOKENVEND_S3_ENDPOINT_URL and the way to it; with AWS leave it unset",
    "own prefix": "the role's own policy must allow the object actions on users/* and s3:ListBucket on the bucket",
    "foreign prefix": "STOP: this engine does not enforce session policies; do not run the service on it",
    "CORS": "only web apps need it: allow the origin, all methods and headers, and expose ETag, on the bucket",
}


@dataclass(frozen=True)
class Finding:
    name: str
    state: State
    message: str


async def examine(runtime: Runtime) -> list[Finding]:
    """Every finding, in the order in which a mend helps the next."""
    findings = [*await _service(runtime), await _base_credentials(runtime)]
    if findings[-1].state == "failed":
        return findings
    settings = runtime.settings
    own, foreign = uuid.uuid4(), uuid.uuid4()
    try:
        credential = await runtime.broker.assume(_order(runtime, own))
    except Problem as problem:
        return [*findings, _failed("vend", problem.cause or problem.code)]
    findings.append(Finding("vend", "ok", f"a credential of {settings.credential_max_ttl} s was issued"))
    try:
        return [*findings, *await _isolation(runtime, credential, own, foreign)]
    except isolation.S3Unreachable as error:
        return [*findings, _failed("S3", str(error))]


async def _service(runtime: Runtime) -> list[Finding]:
    findings = []
    try:
        migrated = await runtime.database.read(is_migrated)
    except Problem as problem:
        return [_failed("database", problem.cause or problem.code)]
    findings.append(Finding("database", "ok", runtime.database.engine.dialect.name))
    if not migrated:
        return [*findings, _failed("migrations", "the database is not at this version's migration")]
    findings.append(Finding("migrations", "ok", "up to date"))
    await runtime.keyring.try_load()
    try:
        findings.append(Finding("keys", "ok", f"signing with {runtime.keyring.current().kid}"))
    except Problem as problem:
        findings.append(_failed("keys", problem.cause or problem.code))
    return findings


async def _base_credentials(runtime: Runtime) -> Finding:
    if not (runtime.settings.bucket and runtime.settings.role_arn):
        return Finding("base credentials", "failed", "set TOKENVEND_BUCKET and TOKENVEND_ROLE_ARN first")
    try:
        arn = await runtime.broker.caller_arn()
    except Problem as problem:
        return _failed("base credentials", problem.cause or problem.code)
    if ":user/" in arn:
        return Finding("base credentials", "warning", f"{arn} is a user with long-lived keys; a role needs none")
    return Finding("base credentials", "ok", arn)


def _order(runtime: Runtime, user_id: uuid.UUID) -> Order:
    settings = runtime.settings
    prefix = policy.user_prefix(user_id)
    return Order(
        user_id=user_id,
        session_id=uuid.uuid4(),
        access="read_write",
        prefix=prefix,
        duration=settings.credential_max_ttl,
        role_arn=settings.role_arn,
        policy=policy.build(partition=settings.partition, bucket=settings.bucket, prefix=prefix, access="read_write"),
    )


async def _isolation(runtime: Runtime, credential: StsCredential, own: uuid.UUID, foreign: uuid.UUID) -> list[Finding]:
    probe = isolation.Probe(runtime.settings, credential)
    findings = []
    own_refused = await probe.refused_own(policy.user_prefix(own))
    if own_refused:
        findings.append(_failed("own prefix", f"refused: {', '.join(own_refused)}"))
    else:
        findings.append(Finding("own prefix", "ok", "put, get, list and delete are allowed"))
    reached = await probe.reached_foreign(policy.user_prefix(foreign))
    if reached:
        findings.append(_failed("foreign prefix", f"not refused: {', '.join(reached)}"))
    else:
        findings.append(Finding("foreign prefix", "ok", "put, get, list and delete are refused"))
    for origin in runtime.settings.cors_origins:
        if await probe.allows_origin(origin):
            findings.append(Finding("CORS", "ok", f"{origin} may send requests to the bucket"))
        else:
            findings.append(Finding("CORS", "warning", f"{origin} may not; {MENDS['CORS']}"))
    return findings


def _failed(name: str, what: str) -> Finding:
    return Finding(name, "failed", f"{what}; {MENDS[name]}")
