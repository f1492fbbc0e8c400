"""`tokenvend keys … --purpose saml`: the keys of assertions, and the metadata that tells IAM of them."""

import sys
from datetime import datetime

from app.auth import keys
from app.compose import Runtime
from app.vending import saml_metadata

UPLOAD = (
    "`tokenvend keys show --purpose saml > metadata.xml`, then `aws iam update-saml-provider --saml-metadata-document "
    "file://metadata.xml --saml-provider-arn …`, or update the stack of deploy/aws/saml.yaml"
)


def print_metadata(runtime: Runtime) -> None:
    """The document alone goes to standard output."""
    platform = runtime.platform
    now = platform.clock.now()
    platform.database.run("write", keys.ensure_first, platform.vault, "saml", now)
    published = [
        key
        for key in platform.database.run("read", keys.list_keys, "saml")
        if key.retires_at is None or key.retires_at > now
    ]
    for key in published:
        print(f"Key {key.kid}, which signs from {_time(key.signs_from)}.", file=sys.stderr)
    document = saml_metadata.document(platform.settings.public_url, [key.public_jwk for key in published])
    print(document, end="")


def print_what_is_next(signs_from: datetime, *, at_once: bool) -> None:
    if at_once:
        print(f"Upload the metadata now. Until IAM has it, STS refuses every credential: {UPLOAD}.")
    else:
        print(
            f"Upload the metadata before {_time(signs_from)}, or STS refuses every credential from then on: {UPLOAD}."
        )
        print(
            "`tokenvend doctor` tells whether IAM has it. After that moment upload it once more: the old key is gone."
        )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
