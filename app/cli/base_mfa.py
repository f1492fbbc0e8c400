"""Base credentials with an MFA: the device's code is exchanged once, at start, and is not kept."""

import os
import sys

from app.auth import codes
from app.compose import build_sts
from app.platform.problems import Problem
from app.platform.settings import Settings, SettingsError
from app.vending.broker import exchange_mfa

LIFETIME = 129_600
"""Seconds: 36 hours, the longest that GetSessionToken gives. Then the service needs a new code."""


async def exchange(settings: Settings, code: str | None) -> None:
    """Puts temporary credentials into the environment, where the SDK of this process and of its workers finds them.

    `code` is asked for where it is not given. A new one is needed for each start: STS takes none twice. Raises
    `SettingsError`, and what `StsClient.call` raises.
    """
    if settings.mfa_serial is None:
        if code is not None:
            raise SettingsError("TOKENVEND_MFA_SERIAL: must name the device whose code --mfa-code is")
        return
    if code is None:
        if not sys.stdin.isatty():
            raise SettingsError("TOKENVEND_MFA_SERIAL is set: give the code of the device by --mfa-code")
        import typer  # noqa: PLC0415 - `serve` seldom asks

        code = typer.prompt(f"Code of {settings.mfa_serial}")
    sts = build_sts(settings)
    try:
        credential = await exchange_mfa(sts, settings.mfa_serial, codes.plain(code), LIFETIME)
    except Problem as problem:
        raise SettingsError(
            f"STS did not take the MFA code ({problem.cause}): wait for the next one, and try again"
        ) from problem
    finally:
        await sts.close()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": credential.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credential.secret_access_key,
        "AWS_SESSION_TOKEN": credential.session_token,
        "AWS_CREDENTIAL_EXPIRATION": credential.expires_at.isoformat(),
    }
