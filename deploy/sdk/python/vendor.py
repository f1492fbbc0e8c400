"""Temporary AWS keys for boto3, vended anew before they expire, and once when S3 refuses them. Clock: the service's."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import botocore.auth
import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, RefreshableCredentials
from tokenvend_client import AuthenticatedClient
from tokenvend_client.api.credentials import issue_credentials
from tokenvend_client.models import Credentials, CredentialsRequest
from tokenvend_client.token_store import expect

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

EARLY = 300
"""Seconds before their end that keys are replaced; the last 60 of them nobody uses the old ones."""
EXPIRED = frozenset({"ExpiredToken", "InvalidAccessKeyId"})
"""What S3 says of keys that are over; engines other than AWS know only the second."""


SIGNER = "tokenvend-s3v4"
"""S3's signature, by the service's clock: S3 refuses those that are 15 minutes off, and boto3 reads the machine's."""


def _now() -> datetime:
    return datetime.now(UTC)


class _ByServerTime:
    def _modify_request_before_signing(self, request: Any) -> None:
        """The first step of a signature, and before anything else in it needs the time."""
        request.context["timestamp"] = request.context["server_time"]().strftime("%Y%m%dT%H%M%SZ")
        super()._modify_request_before_signing(request)  # type: ignore[misc]


class _Auth(_ByServerTime, botocore.auth.S3SigV4Auth):
    """Of a request's headers."""


class _QueryAuth(_ByServerTime, botocore.auth.S3SigV4QueryAuth):
    """Of a presigned URL."""


_SIGNERS: Any = botocore.auth.AUTH_TYPE_MAPS
_SIGNERS |= {SIGNER: _Auth, f"{SIGNER}-query": _QueryAuth}


def _choose_signer(*, signature_version: Any, **_: Any) -> str | None:
    """None leaves the choice to boto3: of a form's signature, say."""
    return SIGNER if signature_version in {"v4", "v4-query", "s3v4", "s3v4-query", "s3", "s3-query"} else None


class Vendor(CredentialProvider):
    """`vended` is the last answer of the service: bucket and prefix are in it. Keys stay in memory."""

    METHOD = "tokenvend"
    CANONICAL_NAME = "tokenvend"

    def __init__(
        self,
        client: AuthenticatedClient,
        wish: CredentialsRequest | None = None,
        *,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        super().__init__()
        self._client, self._wish, self._clock = client, wish or CredentialsRequest(), clock
        self._ahead = timedelta()
        self._refused = False
        self.vended = self._vend()

    def load(self) -> RefreshableCredentials:
        """What botocore asks of a provider."""
        keys = self._keys()
        return RefreshableCredentials(
            keys["access_key"],
            keys["secret_key"],
            keys["token"],
            self.vended.expiration,
            refresh_using=self._renew,
            method=self.METHOD,
            time_fetcher=self.server_time,
            advisory_timeout=EARLY,
            mandatory_timeout=60,
        )

    def s3(self, **options: Any) -> "S3Client":
        """A client for the bucket, wherever it is."""
        session = botocore.session.get_session()
        session.register_component("credential_provider", CredentialResolver([self]))
        client: S3Client = boto3.Session(botocore_session=session).client(
            "s3",
            region_name=self.vended.region,
            endpoint_url=self.vended.endpoint_url,
            config=Config(s3={"addressing_style": "path" if self.vended.force_path_style else "auto"}),
            **options,
        )
        events: Any = client.meta.events
        events.register("needs-retry.s3", self._on_answer)
        events.register_first("choose-signer.s3", _choose_signer)
        events.register("before-sign.s3", self._before_sign)
        return client

    def server_time(self) -> datetime:
        """By the service's clock; after a refusal, later than any key lives."""
        return datetime.max.replace(tzinfo=UTC) if self._refused else self._clock() + self._ahead

    def _before_sign(self, *, request: Any, **_: Any) -> None:
        request.context["server_time"] = lambda: self._clock() + self._ahead

    def _on_answer(self, *, response: Any, request_dict: Any, **_: Any) -> float | None:
        """Seconds after which botocore signs and sends the request again; None to leave it."""
        refused = response is not None and response[1].get("Error", {}).get("Code") in EXPIRED
        if not refused or request_dict["context"].get("vended_anew"):
            return None
        request_dict["context"]["vended_anew"] = True
        self._refused = True
        return 0.0

    def _renew(self) -> dict[str, str]:
        self.vended = self._vend()
        return self._keys() | {"expiry_time": self.vended.expiration.isoformat()}

    def _vend(self) -> Credentials:
        vended = expect(issue_credentials.sync(client=self._client, body=self._wish))
        self._ahead = vended.server_time - self._clock()
        self._refused = False
        return vended

    def _keys(self) -> dict[str, str]:
        vended = self.vended
        return {
            "access_key": vended.access_key_id,
            "secret_key": vended.secret_access_key,
            "token": vended.session_token,
        }
