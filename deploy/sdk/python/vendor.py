"""Temporary AWS keys for boto3, vended anew before they expire, and once when S3 refuses them. Clock: the service's."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, ReadOnlyCredentials
from botocore.credentials import Credentials as Keys
from tokenvend_client import AuthenticatedClient
from tokenvend_client.api.credentials import issue_credentials
from tokenvend_client.models import Credentials, CredentialsRequest
from tokenvend_client.signer import sign_by
from tokenvend_client.token_store import expect

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

EARLY, LATE = timedelta(minutes=5), timedelta(minutes=1)
"""Before their end: when keys are replaced, and from when on nobody uses the old ones meanwhile."""
EXPIRED = frozenset({"ExpiredToken", "InvalidAccessKeyId"})
"""What S3 says of keys that are over; engines other than AWS know only the second."""
DENIED = frozenset({"AccessDenied", "403"})
"""What S3 says of revoked keys, and of whatever the user may not do; the second in answer to HEAD."""
PAUSE = 60.0
"""Seconds in which the service is not asked again about denied keys that it has said are still good."""


def _now() -> datetime:
    return datetime.now(UTC)


class _Keys(Keys):
    """Those that are good at the moment of each signature."""

    def __init__(self, vendor: "Vendor") -> None:
        self._vendor, vended = vendor, vendor.vended
        super().__init__(vended.access_key_id, vended.secret_access_key, vended.session_token, vendor.METHOD)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        vended = self._vendor.fresh()
        return ReadOnlyCredentials(vended.access_key_id, vended.secret_access_key, vended.session_token)


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
        self._lock = threading.Lock()
        self._ask_at = 0.0
        self.vended = self._vend()

    def load(self) -> Keys:
        """What botocore asks of a provider."""
        return _Keys(self)

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
        sign_by(self.server_time, events)
        return client

    def server_time(self) -> datetime:
        """By the service's clock."""
        return self._clock() + self._ahead

    def fresh(self) -> Credentials:
        """Keys that last. While one thread replaces them others go on with the old ones, as do all if that fails."""
        if self._left() < EARLY and self._lock.acquire(blocking=self._left() < LATE):
            try:
                if self._left() < EARLY:
                    self.vended = self._vend()
            except Exception:
                if self._left() < LATE:
                    raise
            finally:
                self._lock.release()
        return self.vended

    def _left(self) -> timedelta:
        return self.vended.expiration - self.server_time()

    def _on_answer(self, *, response: Any, request_dict: Any, **_: Any) -> float | None:
        """Seconds after which botocore signs and sends the request again; None to leave it."""
        code = response[1].get("Error", {}).get("Code") if response else None
        context = request_dict["context"]
        if code not in EXPIRED | DENIED or context.get("sent_again"):
            return None
        context["sent_again"] = True
        used = context.get("signed_by", self.vended.access_key_id)
        return 0.0 if self._replaced(used, denied=code in DENIED) else None

    def _replaced(self, refused: str, *, denied: bool) -> bool:
        """Whether there are other keys than the refused ones. Asks the service once for all who were refused."""
        with self._lock:
            if self.vended.access_key_id == refused and not (denied and time.monotonic() < self._ask_at):
                self._ask_at = time.monotonic() + PAUSE
                self.vended = self._vend()
                if self.vended.access_key_id != refused:
                    self._ask_at = 0.0
            return self.vended.access_key_id != refused

    def _vend(self) -> Credentials:
        vended = expect(issue_credentials.sync(client=self._client, body=self._wish))
        self._ahead = vended.server_time - self._clock()
        return vended
