"""Credentials as text: what shells evaluate and what AWS's SDKs read. Every value is quoted as if it were hostile."""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from app.client.service import ClientError


def environment(vended: Mapping[str, Any]) -> dict[str, str]:
    """The variables that AWS's SDKs read."""
    variables = {
        "AWS_ACCESS_KEY_ID": vended["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": vended["secret_access_key"],
        "AWS_SESSION_TOKEN": vended["session_token"],
        "AWS_CREDENTIAL_EXPIRATION": vended["expiration"],
        "AWS_REGION": vended["region"],
        "AWS_DEFAULT_REGION": vended["region"],  # the one that Python's SDK and CLI read
    }
    if vended.get("endpoint_url"):
        variables["AWS_ENDPOINT_URL_S3"] = vended["endpoint_url"]
    return variables


def posix(variables: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def fish(variables: Mapping[str, str]) -> str:
    # Between single quotes fish knows two escapes, \' and \\.
    return "\n".join(
        "set -gx {} '{}'".format(name, re.sub(r"([\\'])", r"\\\1", value)) for name, value in variables.items()
    )


def powershell(variables: Mapping[str, str]) -> str:
    # To PowerShell the typographic single quotes are single quotes too, and each is escaped by doubling it.
    return "\n".join(
        "$Env:{} = '{}'".format(name, re.sub("(['‘’‚‛])", r"\1\1", value)) for name, value in variables.items()
    )


SHELLS: Mapping[str, Callable[[Mapping[str, str]], str]] = {"env": posix, "fish": fish, "powershell": powershell}


def process(vended: Mapping[str, Any]) -> str:
    """What `credential_process` prints: https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html."""
    return json.dumps(
        {
            "Version": 1,
            "AccessKeyId": vended["access_key_id"],
            "SecretAccessKey": vended["secret_access_key"],
            "SessionToken": vended["session_token"],
            "Expiration": vended["expiration"],
        }
    )


def profile(vended: Mapping[str, Any]) -> str:
    """A section for an AWS credentials file. Raises `ClientError` for a value that its format cannot hold."""
    members = {
        "aws_access_key_id": vended["access_key_id"],
        "aws_secret_access_key": vended["secret_access_key"],
        "aws_session_token": vended["session_token"],
        "region": vended["region"],
    }
    if vended.get("endpoint_url"):
        members["endpoint_url"] = vended["endpoint_url"]
    if not all(re.fullmatch(r"[!-~]+", value) for value in members.values()):
        raise ClientError("A profile cannot hold these credentials: use another --format")
    return "\n".join(["[tokenvend]", *(f"{name} = {value}" for name, value in members.items())])


DOCUMENTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "json": json.dumps,
    "process": process,
    "profile": profile,
}


def render(style: str, vended: Mapping[str, Any]) -> str:
    """The answer of `POST /v1/credentials` in one of `SHELLS` or `DOCUMENTS`."""
    return SHELLS[style](environment(vended)) if style in SHELLS else DOCUMENTS[style](vended)
