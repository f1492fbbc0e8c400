"""STS: who this machine is there, why STS does not take it, and how far the clocks are apart."""

from app.aws.sts_client import SKEW_TOLERATED
from app.platform.network_faults import network_fault
from app.platform.problems import Problem
from app.platform.settings import KEYLESS, Settings, SettingsError
from app.upkeep.checks.findings import Finding, State
from app.vending.broker import Broker
from app.vending.entries import RENEWS_EARLY
from app.vending.identity_token import ISSUER_PATH
from app.vending.saml_metadata import issuer_of

NAME = "base credentials"
SKEW_REFUSED = 300
"""Seconds. AWS refuses signatures that are older or newer."""
_ROLE = "give this machine an instance role, a task role or a profile that STS knows"
_CAUSES = {
    "NoCredentials": (
        "the AWS SDK found no credentials on this machine",
        f"{_ROLE}; on a computer of your own set AWS_PROFILE in the environment, where the SDK looks, not in .env",
    ),
    "PartialCredentialsError": (
        "a part of the credentials is missing",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY together, in the environment or in the profile",
    ),
    "InvalidClientTokenId": (
        "STS does not know the access key id",
        "the key is gone, off or of another partition, or its AWS_SESSION_TOKEN is missing: use another, or a role",
    ),
    "SignatureDoesNotMatch": (
        "the secret access key does not belong to the access key id",
        "set AWS_SECRET_ACCESS_KEY as it was shown, without quotes or blanks, and check this machine's clock",
    ),
    "ExpiredToken": ("the credentials have expired", "sign in to AWS again, or give this machine a role"),
    "AccessDenied": ("STS knows these credentials and denies the call", "look at what the identity's policies deny"),
    "ProfileNeedsMfaCode": (
        "the profile asks for the code of an MFA device",
        "set TOKENVEND_MFA_SERIAL, with a profile of the user's own keys",
    ),
    "GarbledAnswer": (
        "something that is not STS answers",
        "check TOKENVEND_STS_ENDPOINT_URL, and proxies in between; with AWS leave it unset",
    ),
}
_ALIKE = {
    "InvalidAccessKeyId": "InvalidClientTokenId",
    "ExpiredTokenException": "ExpiredToken",
    "BaseCredentialsExpired": "ExpiredToken",
    "AccessDeniedException": "AccessDenied",
}
"""Other engines' words, and other words of AWS."""


async def check(settings: Settings, broker: Broker) -> list[Finding]:
    """The settings that vending needs, the identity, and the clock."""
    try:
        settings.require_engine()
    except SettingsError as error:
        return [Finding("settings", "failed", line) for line in str(error).split("\n")]
    return [*await _identity(settings, broker), *_clock(settings, broker), *_lifetime(settings)]


async def _identity(settings: Settings, broker: Broker) -> list[Finding]:
    try:
        if settings.vending_mode in KEYLESS:
            await broker.check()
            return [Finding(NAME, "ok", f"none are needed: this service is {_who(settings)}")]
        arn = await broker.caller_arn()
        warnings = await broker.warnings(settings.credential_max_ttl)
    except Problem as problem:
        return [_refused(settings, problem)]
    return [
        Finding(NAME, "ok", arn or "this engine does not say whose they are"),
        *(Finding(NAME, "warning", warning) for warning in warnings),
    ]


def _who(settings: Settings) -> str:
    """By which name STS trusts this service."""
    if settings.vending_mode == "saml":
        return f"the SAML identity provider {issuer_of(settings.public_url)}"
    return f"the OIDC issuer {settings.public_url}{ISSUER_PATH}"


def _refused(settings: Settings, problem: Problem) -> Finding:
    cause = problem.cause or problem.code
    code = cause.partition(" ")[0]
    if (known := _CAUSES.get(_ALIKE.get(code, code))) is not None:
        return Finding(NAME, "failed", f"{known[0]} ({cause})", known[1])
    if (fault := network_fault(problem)) is not None:
        where = settings.sts_endpoint_url or f"of {settings.region}"
        setting = "TOKENVEND_STS_ENDPOINT_URL" if settings.sts_endpoint_url else "AWS_REGION"
        said = f"STS {where} cannot be reached: {fault.text} ({cause})"
        return Finding(NAME, "failed", said, f"check {setting}; {fault.repair}")
    return Finding(NAME, "failed", cause, _ROLE)


def _lifetime(settings: Settings) -> list[Finding]:
    shortest = 2 * int(RENEWS_EARLY.total_seconds())
    if settings.credential_ttl >= shortest:
        return []
    said = (
        f"credentials live for {settings.credential_ttl} s, and AWS's SDK for Python asks for others before each call "
        "in their last 15 minutes"
    )
    return [Finding("lifetime", "warning", said, f"set TOKENVEND_CREDENTIAL_TTL to {shortest} or more")]


def _clock(settings: Settings, broker: Broker) -> list[Finding]:
    """By the date in STS's last answer. What this service signs by itself for STS lives for a minute."""
    if (skew := broker.clock_skew) is None:
        return []
    if abs(skew) <= SKEW_TOLERATED:
        return [Finding("clock", "ok", f"within {SKEW_TOLERATED:.0f} s of STS's")]
    is_keyless = settings.vending_mode in KEYLESS
    most, signed = (SKEW_TOLERATED, "what this service signs") if is_keyless else (SKEW_REFUSED, "signatures")
    state: State = "failed" if abs(skew) > most else "warning"
    said = f"this machine's clock is {-skew:+.0f} s off STS's; AWS refuses {signed} at {most:.0f} s"
    return [Finding("clock", state, said, "set the clock by NTP (chrony, systemd-timesyncd)")]
