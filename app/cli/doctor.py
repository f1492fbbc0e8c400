"""`tokenvend doctor` tries for real what a vend needs. Each finding says how to mend what is wrong."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.auth.providers import FETCH_FAULTS, Misconfigured
from app.cli import redis_memory
from app.compose import Runtime
from app.mail.transport import SmtpTransport, Undelivered
from app.platform.fetcher import Unusable
from app.platform.pooler import LIMITS, SHARED, UNSET
from app.platform.problems import Problem
from app.platform.settings import LONGEST_CHAINED, Settings, SettingsError
from app.records.migrate import is_migrated
from app.revocation.iam_writer import IamFailed, RoleDenials
from app.upkeep import isolation
from app.upkeep.isolation import Tenant
from app.vending import tickets, vending

State = Literal["ok", "warning", "failed"]

MENDS = {
    "database": "check TOKENVEND_DATABASE_URL and that the database is up",
    "migrations": "run `tokenvend migrate`",
    "keys": "TOKENVEND_SECRET_KEY must be the one that the keys were made with",
    "base credentials": "give this machine an instance role, a task role or a profile that STS knows",
    "assume_role": "the role's trust policy must allow this identity sts:AssumeRole (and sts:SetSourceIdentity, or set "
    "TOKENVEND_SOURCE_IDENTITY=off; with TOKENVEND_SESSION_TAGS sts:TagSession) with TOKENVEND_EXTERNAL_ID if it asks "
    "for one",
    "web_identity": "STS must reach TOKENVEND_PUBLIC_URL, so the service must be running; the account's OIDC provider "
    "must be its /sts with the audience sts.amazonaws.com, and the role's trust policy must allow that provider "
    "sts:AssumeRoleWithWebIdentity for the subject tokenvend",
    "federation_token": "the base credentials must be an IAM user's own keys, and its policy must allow "
    "sts:GetFederationToken and the object actions on users/*",
    "maximum duration": "the role's maximum session duration (MaxSessionDuration) must reach "
    "TOKENVEND_CREDENTIAL_MAX_TTL and TOKENVEND_UPLOAD_MAX_TTL, or set those lower",
    "revocation": "the base credentials must be allowed iam:PutRolePolicy, iam:GetRolePolicy and iam:DeleteRolePolicy "
    "on the role (deploy/aws/service-permissions-revocation.json), and another engine's IAM be named in "
    "TOKENVEND_IAM_ENDPOINT_URL; or set TOKENVEND_REVOCATION=off",
    "managed revocation": "each of TOKENVEND_REVOCATION_POLICY_ARNS must be there and attached to the role, and the "
    "base credentials must be allowed iam:CreatePolicyVersion, iam:DeletePolicyVersion and iam:ListPolicyVersions "
    "on it (deploy/aws/service-permissions-revocation.json); or leave it out of that setting",
    "S3": "check TOKENVEND_S3_ENDPOINT_URL and the way to it; with AWS leave it unset",
    "own prefix": "the role's own policy must allow the object actions on users/* and s3:ListBucket on the bucket",
    "foreign prefix": "STOP: this engine does not enforce session policies; do not run the service on it",
    "session token": "STOP: whoever holds a credential here can rid it of its policy (Ceph RGW does not authenticate "
    "its tokens); do not run the service on this engine",
    "upload tickets": "set TOKENVEND_UPLOAD_TICKETS=off on an engine that does not take them; on AWS look at the "
    "bucket's own policy and its encryption",
    "CORS": "only web apps need it: give the bucket the CORS rules of deploy/aws/bucket-cors.json, with the origin and "
    "the headers of TOKENVEND_S3_EXPOSED_HEADERS",
}


@dataclass(frozen=True)
class Finding:
    name: str
    state: State
    message: str


async def examine(runtime: Runtime) -> list[Finding]:
    """All findings, in the order in which to mend them. Closes the runtime."""
    try:
        return await _examine(runtime)
    finally:
        await runtime.close()


async def _examine(runtime: Runtime) -> list[Finding]:
    findings = [
        *await _service(runtime),
        *await _redis(runtime),
        *await _identity_providers(runtime),
        *await _mail(runtime),
        *await _base_credentials(runtime),
    ]
    if findings[-1].state == "failed":
        return findings
    try:
        own, vends = await _vend(runtime)
    except Problem as problem:
        failed = _failed(runtime.platform.settings.vending_mode, problem.cause or problem.code)
        findings.append(replace(failed, name=_trust(runtime)))
    else:
        findings += [*vends, *await _revocation(runtime), *await _isolation(runtime, own)]
    return [*findings, *await _cors(runtime)]


async def _service(runtime: Runtime) -> list[Finding]:
    findings, database = [], runtime.platform.database
    try:
        await database.examine()
        migrated = await database.read(is_migrated)
        findings.append(Finding("database", "ok", await database.read(_what_holds, runtime.platform.settings)))
    except Problem as problem:
        if problem.cause in (UNSET, SHARED):
            return [Finding("database", "failed", problem.cause)]
        return [_failed("database", problem.cause or problem.code)]
    if not migrated:
        return [*findings, _failed("migrations", "the database is not at this version's migration")]
    findings.append(Finding("migrations", "ok", "up to date"))
    for keyring in runtime.keyrings:
        await keyring.try_load()
        try:
            findings.append(Finding("keys", "ok", f"signing {keyring.purpose} tokens with {keyring.current().kid}"))
        except Problem as problem:
            findings.append(_failed("keys", problem.cause or problem.code))
    return findings


def _what_holds(session: Session, settings: Settings) -> str:
    """What the server says of a statement's session, which a pooler or the URL may have changed."""
    if session.get_bind().dialect.name != "postgresql":
        return session.get_bind().dialect.name
    limits = [f"{name} {session.scalar(select(func.current_setting(name)))}" for name in LIMITS]
    schema = session.scalar(select(func.current_schema()))
    path = session.scalar(select(func.current_setting("search_path")))
    statements = "nothing is prepared" if settings.database_pooler == "transaction" else "statements are prepared"
    return f"postgresql; tables in {schema} (search_path {path}); {', '.join(limits)}; {statements}"


async def _redis(runtime: Runtime) -> list[Finding]:
    judged = await redis_memory.judge(runtime.platform.settings)
    return [Finding(f"Redis of {name}", found.state, found.message) for name, found in judged.items()]


async def _identity_providers(runtime: Runtime) -> list[Finding]:
    findings = []
    for provider in runtime.providers.list_all():
        name = f"provider {provider.name}"
        try:
            findings.append(Finding(name, "ok", f"{provider.issuer} has {await provider.try_out()} keys"))
        except Misconfigured as error:
            findings.append(Finding(name, "failed", str(error)))
        except FETCH_FAULTS as error:
            cause = str(error) if isinstance(error, Unusable) else type(error).__name__
            mend = f"check that this machine reaches {provider.issuer}, perhaps through HTTPS_PROXY"
            findings.append(Finding(name, "failed", f"its keys cannot be read ({cause}); {mend}"))
    return findings


async def _mail(runtime: Runtime) -> list[Finding]:
    transport = runtime.postman.transport
    if not isinstance(transport, SmtpTransport):
        return []
    try:
        if await transport.takes_international():
            return [Finding("mail", "ok", "the server takes the session, and addresses of any alphabet")]
    except Undelivered as error:
        mend = "check TOKENVEND_SMTP_URL and the way to the server"
        return [Finding("mail", "failed", f"the server takes no mail ({error.reason}); {mend}")]
    without = "the server has no SMTPUTF8: no mail reaches an address like jörg@example.org, and the log says so once"
    return [Finding("mail", "warning", f"{without}; another server may have it, Amazon SES has not")]


async def _base_credentials(runtime: Runtime) -> list[Finding]:
    name, settings = "base credentials", runtime.platform.settings
    try:
        settings.require_engine()
    except SettingsError as error:
        return [Finding(name, "failed", " ".join(str(error).split("\n")))]
    if settings.vending_mode == "web_identity":
        return [
            Finding(name, "ok", f"none are needed: this service is the OIDC issuer {runtime.identity_tokens.issuer}")
        ]
    try:
        arn = await runtime.vending.broker.caller_arn()
        warnings = await runtime.vending.broker.warnings(settings.credential_max_ttl)
    except Problem as problem:
        return [_failed(name, problem.cause or problem.code)]
    return [
        Finding(name, "ok", arn or "this engine does not say whose they are"),
        *(Finding(name, "warning", warning) for warning in warnings),
    ]


async def _vend(runtime: Runtime) -> tuple[Tenant, list[Finding]]:
    """One of the shortest life for a user who does not exist, and one of the longest that is given.

    Raises what `Broker.obtain` raises of the first: the second may be refused for its duration alone.
    """
    own, longest = await _tenant(runtime, vending.SHORTEST), runtime.platform.settings.longest_ttl
    findings = [Finding(_trust(runtime), "ok", f"a credential of {vending.SHORTEST} s was issued")]
    if longest > LONGEST_CHAINED and await runtime.vending.broker.chains_roles():
        longest = LONGEST_CHAINED
    try:
        own = await _tenant(runtime, longest)
    except Problem as problem:
        return own, [*findings, _failed("maximum duration", problem.cause or problem.code)]
    return own, [*findings, Finding("maximum duration", "ok", f"a credential of {longest} s was issued")]


def _trust(runtime: Runtime) -> str:
    return "vend" if runtime.platform.settings.vending_mode == "federation_token" else "trust policy"


async def _tenant(runtime: Runtime, duration: int) -> Tenant:
    order = runtime.vending.make_order(uuid.uuid4(), uuid.uuid4(), access="read_write", path="", duration=duration)
    return Tenant(order.prefix, await runtime.vending.broker.obtain(order))


async def _revocation(runtime: Runtime) -> list[Finding]:
    if runtime.role_denials is None:
        return []
    try:
        await runtime.role_denials.try_out()
    except IamFailed as failure:
        return [_failed("revocation", str(failure))]
    found = Finding("revocation", "ok", "a policy of the role's was written and taken away")
    return [found, *await _managed_revocation(runtime.role_denials)]


async def _managed_revocation(role: RoleDenials) -> list[Finding]:
    """Checks that the service can write each managed policy. If it may look, checks that the role has the policy."""
    name, wrong = "managed revocation", []
    if not role.policy_arns:
        return []
    for arn in role.policy_arns:
        try:
            await role.try_out_managed(arn)
        except IamFailed as failure:
            wrong.append(f"{arn}: {failure}")
    if wrong:
        return [_failed(name, ", ".join(wrong))]
    written = f"a version of each of {len(role.policy_arns)} policies was added and deleted"
    try:
        unattached = await role.unattached()
    except IamFailed as failure:
        unseen = f"whether the role has them cannot be told ({failure} on iam:ListAttachedRolePolicies)"
        return [Finding(name, "ok", f"{written}; {unseen}")]
    if unattached:
        return [_failed(name, f"not attached to the role, so they deny nothing: {', '.join(unattached)}")]
    return [Finding(name, "ok", f"{written}; the role has them all")]


async def _isolation(runtime: Runtime, own: Tenant) -> list[Finding]:
    settings, findings = runtime.platform.settings, []
    try:
        stranger = await _tenant(runtime, vending.SHORTEST)
        outcome = await isolation.try_both(settings, own, stranger)
        if outcome.refused:
            findings.append(_failed("own prefix", f"refused: {_once(outcome.refused)}"))
        else:
            findings.append(Finding("own prefix", "ok", "put, get, list and delete are allowed"))
        if outcome.reached:
            findings.append(_failed("foreign prefix", f"not refused: {_once(outcome.reached)}"))
        elif outcome.unclear:
            findings.append(Finding("foreign prefix", "failed", f"refused by something else: {_once(outcome.unclear)}"))
        else:
            findings.append(Finding("foreign prefix", "ok", "put, get, list and delete are refused, both ways"))
        believed = await isolation.believed_changed_tokens(settings, own.credential, own.prefix, stranger.credential)
        if believed:
            findings.append(_failed("session token", f"{believed} of {isolation.CHANGED_TOKENS} changed ones open it"))
        else:
            findings.append(Finding("session token", "ok", "changed ones open nothing"))
        findings.append(await _tickets(runtime, own))
    except isolation.S3Unreachable as error:
        findings.append(_failed("S3", str(error)))
    except Problem as problem:
        failed = _failed(settings.vending_mode, problem.cause or problem.code)
        findings.append(replace(failed, name="second vend"))
    return findings


async def _cors(runtime: Runtime) -> list[Finding]:
    """Needs no credential, so it runs whatever else failed."""
    findings: list[Finding] = []
    settings = runtime.platform.settings
    for origin in settings.cors_origins:
        try:
            exposed = await isolation.exposed_to(settings, origin)
        except isolation.S3Unreachable as error:
            return [*findings, Finding("CORS", "warning", f"cannot be told, for S3 does not answer ({error})")]
        if exposed is None:
            findings.append(Finding("CORS", "warning", f"{origin} may not; {MENDS['CORS']}"))
            continue
        hidden = [name for name in settings.exposed_headers if exposed.isdisjoint((name.lower(), "*"))]
        if hidden:
            said = f"{origin} may send requests to the bucket, but not read {', '.join(hidden)}; {MENDS['CORS']}"
            findings.append(Finding("CORS", "warning", said))
        else:
            findings.append(Finding("CORS", "ok", f"{origin} may send requests to the bucket and read the answers"))
    return findings


def _once(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


async def _tickets(runtime: Runtime, own: Tenant) -> Finding:
    """Whether the engine does what the form of an upload ticket says. Only who gives some has to mend it."""
    name, settings, now = "upload tickets", runtime.platform.settings, runtime.platform.clock.now()
    key, size = own.prefix + isolation.NAME, 5
    fields = tickets.form(
        settings, own.credential, now, now + tickets.LIFE, key=key, content_type="application/octet-stream", size=size
    )
    probe = isolation.Probe(settings, own.credential)
    wrong = await probe.wrong_with_form(tickets.url(settings, public=False), fields, key, size)
    if settings.gives_upload_tickets:
        return Finding(name, "warning", f"{wrong}; {MENDS[name]}") if wrong else Finding(name, "ok", "they work")
    if wrong:
        return Finding(name, "ok", f"off, as they must be on this engine: {wrong}")
    return Finding(name, "ok", "off; they would work: TOKENVEND_UPLOAD_TICKETS=on")


def _failed(name: str, what: str) -> Finding:
    return Finding(name, "failed", f"{what}; {MENDS[name]}")
