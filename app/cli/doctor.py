"""`tokenvend doctor` tries for real what a vend needs. Each finding says how to mend what is wrong."""

import uuid
from collections.abc import Iterable
from dataclasses import replace

from app.compose import Runtime
from app.platform.problems import Problem
from app.platform.settings import KEYLESS, LONGEST_CHAINED
from app.revocation.iam_writer import IamFailed, RoleDenials
from app.upkeep import isolation
from app.upkeep.checks import WITHIN, Finding, saml
from app.upkeep.isolation import Tenant
from app.vending import tickets, vending
from app.vending.orders import Order

MENDS = {
    "assume_role": "the role's trust policy must allow this identity sts:AssumeRole (and sts:SetSourceIdentity, or set "
    "TOKENVEND_SOURCE_IDENTITY=off; with TOKENVEND_SESSION_TAGS sts:TagSession) with TOKENVEND_EXTERNAL_ID if it asks "
    "for one",
    "web_identity": "STS must reach TOKENVEND_PUBLIC_URL, so the service must be running; the account's OIDC provider "
    "must be its /sts with the audience sts.amazonaws.com, and the role's trust policy must allow that provider "
    "sts:AssumeRoleWithWebIdentity for the subject tokenvend",
    "saml": "IAM must have this service's metadata as it is now (`tokenvend keys show --purpose saml` prints it) in "
    "TOKENVEND_SAML_PROVIDER_ARN, and the role's trust policy must allow that provider sts:AssumeRoleWithSAML (and "
    "sts:SetSourceIdentity, sts:TagSession) for SAML:aud, SAML:iss and SAML:sub_type of deploy/aws/saml.yaml",
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
    "engine": "STOP: the policy does keep the objects apart, and not the lists; docs/operate/engines.md says what else "
    "is looser there",
    "session token": "STOP: whoever holds a credential here can rid it of its policy (Ceph RGW does not authenticate "
    "its tokens); do not run the service on this engine",
    "upload tickets": "set TOKENVEND_UPLOAD_TICKETS=off on an engine that does not take them; on AWS look at the "
    "bucket's own policy and its encryption",
    "CORS": "only web apps need it: give the bucket the CORS rules of deploy/aws/bucket-cors.json, with the origin and "
    "the headers of TOKENVEND_S3_EXPOSED_HEADERS",
}


RCP = (
    "if all of that is so, look at the organization's resource control policies (RCP): a resource control policy may "
    "deny STS or S3 to identities of other providers, whatever the role allows"
)
SHUT = frozenset({"settings", "base credentials"})
"""Findings without which no vend can be tried."""


async def examine(runtime: Runtime, *, within: float = WITHIN) -> list[Finding]:
    """All findings, in the order in which to mend them. `within`: seconds for another server's answer.

    Closes the runtime.
    """
    try:
        return await _examine(runtime, within)
    finally:
        await runtime.close()


async def _examine(runtime: Runtime, within: float) -> list[Finding]:
    findings = await runtime.checks(within=within).surroundings()
    if any(finding.state == "failed" and finding.name in SHUT for finding in findings):
        return findings
    try:
        own, vends = await _vend(runtime)
    except Problem as problem:
        mode, cause = runtime.platform.settings.vending_mode, problem.cause or problem.code
        failed = _with_rcp(runtime, _failed(mode, cause)) if "AccessDenied" in cause else _failed(mode, cause)
        findings.append(replace(failed, name=_trust(runtime)))
    else:
        findings = [*await _with_waiting_key(runtime, findings), *vends]
        findings += [*await _revocation(runtime), *await _isolation(runtime, own)]
    return [*findings, *await _cors(runtime)]


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


async def _with_waiting_key(runtime: Runtime, findings: list[Finding]) -> list[Finding]:
    """In `saml` mode: asks STS by the key that does not sign yet, and replaces the warning that it waits."""
    warning = next((finding for finding in findings if finding.name == saml.NAME), None)
    if warning is None:
        return findings
    others = [finding for finding in findings if finding is not warning]
    try:
        known = await runtime.vending.broker.knows_waiting_key(_order(runtime, vending.SHORTEST))
    except Problem:
        return findings
    if known is None:
        return others
    told = replace(warning, state="ok", text=f"{warning.text}, and IAM has it", repair="")
    return [
        *others,
        told if known else replace(warning, state="failed", text=f"{warning.text}, and IAM does not have it"),
    ]


def _trust(runtime: Runtime) -> str:
    return "vend" if runtime.platform.settings.vending_mode == "federation_token" else "trust policy"


async def _tenant(runtime: Runtime, duration: int) -> Tenant:
    order = _order(runtime, duration)
    return Tenant(order.prefix, await runtime.vending.broker.obtain(order))


def _order(runtime: Runtime, duration: int) -> Order:
    """Of a user who does not exist."""
    return runtime.vending.make_order(uuid.uuid4(), uuid.uuid4(), access="read_write", path="", duration=duration)


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
            findings.append(_with_rcp(runtime, _failed("own prefix", f"refused: {_once(outcome.refused)}")))
        else:
            findings.append(Finding("own prefix", "ok", "put, get, list and delete are allowed"))
        if outcome.reached:
            findings.append(_failed("foreign prefix", f"not refused: {_once(outcome.reached)}"))
        elif outcome.unclear:
            findings.append(Finding("foreign prefix", "failed", f"refused by something else: {_once(outcome.unclear)}"))
        else:
            findings.append(Finding("foreign prefix", "ok", "put, get, list and delete are refused, both ways"))
        if (await isolation.name_of_server(settings)).startswith("MinIO"):
            findings.append(_failed("engine", "MinIO lets a user list the names of other users' objects"))
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
            findings.append(Finding("CORS", "warning", f"{origin} may not", MENDS["CORS"]))
            continue
        hidden = [name for name in settings.exposed_headers if exposed.isdisjoint((name.lower(), "*"))]
        if hidden:
            said = f"{origin} may send requests to the bucket, but not read {', '.join(hidden)}"
            findings.append(Finding("CORS", "warning", said, MENDS["CORS"]))
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
        return Finding(name, "warning", wrong, MENDS[name]) if wrong else Finding(name, "ok", "they work")
    if wrong:
        return Finding(name, "ok", f"off, as they must be on this engine: {wrong}")
    return Finding(name, "ok", "off; they would work: TOKENVEND_UPLOAD_TICKETS=on")


def _with_rcp(runtime: Runtime, denied: Finding) -> Finding:
    """Such policies are mostly there to keep identities of elsewhere out, as those that the service vouches for are."""
    if runtime.platform.settings.vending_mode not in KEYLESS:
        return denied
    return replace(denied, repair=f"{denied.repair}; {RCP}")


def _failed(name: str, what: str) -> Finding:
    return Finding(name, "failed", what, MENDS[name])
