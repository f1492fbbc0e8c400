"""S3's signature by the service's clock: S3 refuses those that are 15 minutes off, and boto3 reads the machine's."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import botocore.auth

NAME = "tokenvend-s3v4"


class _ByServerTime:
    def _modify_request_before_signing(self, request: Any) -> None:
        """The first step of a signature, and before anything else in it needs the time."""
        request.context["timestamp"] = request.context["server_time"]().strftime("%Y%m%dT%H%M%SZ")
        request.context["signed_by"] = self.credentials.access_key  # type: ignore[attr-defined]
        super()._modify_request_before_signing(request)  # type: ignore[misc]


class _Auth(_ByServerTime, botocore.auth.S3SigV4Auth):
    """Of a request's headers."""


class _QueryAuth(_ByServerTime, botocore.auth.S3SigV4QueryAuth):
    """Of a presigned URL."""


_SIGNERS: Any = botocore.auth.AUTH_TYPE_MAPS
_SIGNERS |= {NAME: _Auth, f"{NAME}-query": _QueryAuth}


def _choose_signer(*, signature_version: Any, **_: Any) -> str | None:
    """None leaves the choice to boto3: of a form's signature, say."""
    return NAME if signature_version in {"v4", "v4-query", "s3v4", "s3v4-query", "s3", "s3-query"} else None


def sign_by(server_time: Callable[[], datetime], events: Any) -> None:
    """Has the client of these events sign so; `signed_by` in a request's context is the access key id that it used."""

    def before_sign(*, request: Any, **_: Any) -> None:
        request.context["server_time"] = server_time

    events.register_first("choose-signer.s3", _choose_signer)
    events.register("before-sign.s3", before_sign)
