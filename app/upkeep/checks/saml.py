"""Whether IAM needs the SAML metadata anew: it has to know a key before that signs."""

from app.upkeep.checks.findings import Finding
from app.vending.assertion import Assertions

NAME = "SAML metadata"
UPLOAD = (
    "upload the metadata to the SAML provider of IAM before then (`tokenvend keys show --purpose saml` prints it), or "
    "STS refuses every credential from that moment on"
)


def check(assertions: Assertions | None) -> list[Finding]:
    """Nothing unless a key waits. Only a call of STS tells whether IAM has it: `tokenvend doctor` makes one."""
    if assertions is None or (waiting := assertions.keyring.waiting()) is None:
        return []
    said = f"the new key {waiting.kid} signs from {waiting.signs_from:%Y-%m-%dT%H:%M:%SZ}"
    return [Finding(NAME, "warning", said, UPLOAD)]
