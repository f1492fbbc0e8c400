"""Credentials as text: what shells evaluate and what AWS's SDKs read. Every value is quoted as if it were hostile."""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from app.client.service import ClientError


def environment(vended: Mapping[str, Any]) -> dict[str, str]:
    """The variables that AWS's SDKs read."""
    variables = {
        "AWS_ACCESS_KEY_ID": vended["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": vended["secret_access_key"],
        "AWS_SESSION_TOKEN": vended["session_token"],
        "AWS_CREDENTIAL_EXPIRATION": vended["expiration"],
    }
    return variables | place(vended)


def place(vended: Mapping[str, Any]) -> dict[str, str]:
    """The variables that say where S3 is, and what it needs."""
    variables = {
        "AWS_REGION": vended["region"],
        "AWS_DEFAULT_REGION": vended["region"],  # the one that Python's SDK and CLI read
    }
    if vended.get("endpoint_url"):
        variables["AWS_ENDPOINT_URL_S3"] = vended["endpoint_url"]
    if not is_aws(vended):
        variables["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
    return variables


def is_aws(vended: Mapping[str, Any]) -> bool:
    """Whether S3 is AWS's own. Some other engines refuse checksums that SDKs add at the end of an upload.

    Raises `ClientError`.
    """
    try:
        host = urlsplit(vended.get("endpoint_url") or "https://s3.amazonaws.com").hostname or ""
    except ValueError:
        raise ClientError("The endpoint of S3 is no URL: ask the operator of the service") from None
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


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
    if not is_aws(vended):
        members["request_checksum_calculation"] = "when_required"
    return _section(members)


def rclone(vended: Mapping[str, Any]) -> str:
    """A section for rclone.conf: the remote `tokenvend:`. Raises `ClientError` as `profile` does."""
    members = {
        "type": "s3",
        "provider": "AWS" if is_aws(vended) else "Other",
        "access_key_id": vended["access_key_id"],
        "secret_access_key": vended["secret_access_key"],
        "session_token": vended["session_token"],
        "region": vended["region"],
    }
    if vended.get("endpoint_url"):
        members["endpoint"] = vended["endpoint_url"]
        members["force_path_style"] = "true" if vended.get("force_path_style") else "false"
    members["no_check_bucket"] = "true"  # else rclone tries to make the bucket, which is denied
    return _section(members, unreadable=r"[\"'`]|.*%")  # it takes quotes off, and `%(name)s` for another value


def _section(members: Mapping[str, str], *, unreadable: str = "(?!)") -> str:
    """`unreadable`: a pattern of values that the program would read as something else."""
    if not all(re.fullmatch(r"[!-~]+", value) and not re.match(unreadable, value) for value in members.values()):
        raise ClientError("No such file can hold these credentials: use another --format")
    return "\n".join(["[tokenvend]", *(f"{name} = {value}" for name, value in members.items())])


DOCUMENTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "json": json.dumps,
    "process": process,
    "profile": profile,
    "rclone": rclone,
}


def render(style: str, vended: Mapping[str, Any]) -> str:
    """The answer of `POST /v1/credentials` in one of `SHELLS` or `DOCUMENTS`."""
    return SHELLS[style](environment(vended)) if style in SHELLS else DOCUMENTS[style](vended)
