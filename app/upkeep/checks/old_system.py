"""The endpoint that is asked about passwords of the old system: asked about a user who does not exist, in two ways.

With the right signature it has to say no, and without it has to say neither yes nor no.
"""

import secrets

from app.auth.migration_endpoint import NO, MigrationEndpoint
from app.auth.old_system import NoAnswer, OldSystem
from app.platform.network_faults import network_fault
from app.upkeep.checks.findings import Finding

NAME = "old system"
SETTING = "TOKENVEND_MIGRATION_URL"
ANSWERS = "200 for a right password, 401, 403 or 404 for a wrong one"


async def check(old_system: OldSystem | None) -> list[Finding]:
    return [await _check(old_system)] if isinstance(old_system, MigrationEndpoint) else []


async def _check(endpoint: MigrationEndpoint) -> Finding:
    email, password = f"{secrets.token_hex(8)}@doctor.example", secrets.token_urlsafe(24)
    try:
        status = await endpoint.status_of(email, password)
        status_of_a_stranger = await endpoint.status_of(email, password, by=[secrets.token_bytes(32)])
    except NoAnswer as error:
        return _silent(error)
    if status == 200:
        said = "it says yes to a user who does not exist, so any password would sign anybody in"
        return Finding(NAME, "failed", said, f"mend the endpoint of {SETTING}: {ANSWERS}")
    if status not in NO:
        said = f"it answers a signed question about an unknown user with status {status}"
        return Finding(NAME, "failed", said, f"compare TOKENVEND_MIGRATION_SECRET there and here; {ANSWERS}")
    if status_of_a_stranger in (200, *NO):
        said = "it takes a question with another signature, so anybody may try passwords there"
        return Finding(NAME, "warning", said, "let it verify the signature first, and answer 400 to any other")
    return Finding(NAME, "ok", "it takes signed questions alone, and says no to an unknown user")


def _silent(error: NoAnswer) -> Finding:
    fault = network_fault(error)
    if fault is None:
        return Finding(NAME, "failed", f"it does not answer ({error})", f"check {SETTING}, and the endpoint's log")
    said = f"it cannot be asked: {fault.text}"
    return Finding(NAME, "failed", said, f"{fault.repair}; {SETTING} names the address")
