"""Base credentials: they sign our calls to STS. The SDK's default chain finds them on this machine."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.httpsession import get_cert_path
from botocore.session import Session

from app.aws.transport import CONNECT_TIMEOUT, READ_TIMEOUT, Fault, Keys
from app.platform.settings import SettingsError

Sdk: TypeAlias = Session
"""A session of the SDK's core. boto3's, which wraps one, is imported only where a client for S3 is made."""
REFRESH_BEFORE = 900
"""Seconds before expiry when new ones are fetched in the background."""
NEEDED_BEFORE = 600
"""Seconds before expiry from when callers wait for new ones. Both limits are botocore's own."""
PROVIDERS_CONFIG = Config(
    connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT, retries={"mode": "standard", "total_max_attempts": 2}
)
"""For the SDK's own calls for a profile's role and IRSA. By default it makes five tries of a minute each, and every
caller would wait for them."""
FAULTS = (
    *(BotoCoreError, ClientError, HTTPClientError, SettingsError, RuntimeError, OSError, ValueError),
    *(LookupError, TypeError, AttributeError),
)
"""What the providers raise: a profile is incomplete or gone, the metadata service does not answer, a role is denied, or
an answer does not hold credentials."""


def default_session(region: str | None = None) -> Session:
    """The SDK's default chain, with only version 2 of the instance metadata service.

    If the chain itself calls STS, it uses `region`, unless the SDK's own configuration names another: it does
    not read AWS_REGION. Raises `SettingsError` for a configuration that the SDK cannot read.
    """
    try:
        core: Session = botocore.session.get_session()
        core.set_config_variable("ec2_metadata_v1_disabled", True)
        core.set_config_variable("sts_regional_endpoints", "regional")  # the global one is signed for another Region
        core.set_default_client_config(PROVIDERS_CONFIG)
        if core.get_config_variable("region") is None:
            core.set_config_variable("region", region)
        role_of_profile: Any = core.get_component("credential_provider").get_provider("assume-role")
        role_of_profile._prompter = _refuse_to_prompt  # noqa: SLF001 - the chain has no public option for it
    except BotoCoreError as error:
        raise SettingsError(f"AWS: {error}") from error
    return core


class ProfileNeedsMfaCode(RuntimeError):
    """The profile has `mfa_serial`. Use TOKENVEND_MFA_SERIAL with a profile of the user's own keys instead."""


def _refuse_to_prompt(_prompt: str) -> str:
    """The SDK would wait until a person types the code. A service would wait for ever, and again within the hour."""
    raise ProfileNeedsMfaCode


def ca_file(session: Session) -> str:
    """The file of CA certificates that the SDK trusts: `AWS_CA_BUNDLE`, or its own."""
    return str(session.get_config_variable("ca_bundle") or get_cert_path(verify=True))


class BaseCredentials:
    """Holds the base credentials and refreshes them before they expire.

    One refresh serves all callers. It runs in a thread, because providers wait for networks.
    """

    def __init__(self, make_session: Callable[[], Session]) -> None:
        self._make_session = make_session
        self._credentials: Any = None
        self._keys: Keys | None = None
        self._work: asyncio.Future[Keys] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="base-credentials")

    async def current(self) -> Keys:
        """Keys that do not expire soon. Raises `Fault`."""
        keys = self._keys
        if keys is None:
            return await asyncio.shield(self._once(self._load))
        if self._expires_within(REFRESH_BEFORE):
            work = self._once(self._freeze)
            if self._expires_within(NEEDED_BEFORE):
                return await asyncio.shield(work)
        return keys

    async def renew(self, refused: Keys) -> bool:
        """Asks the chain again because STS refused these keys. False if it has no other keys. Raises `Fault`."""
        if self._keys == refused:
            await asyncio.shield(self._once(self._load))
        return self._keys != refused

    @property
    def method(self) -> str:
        """botocore's name of the credentials' source, such as `iam-role`; empty before the first use."""
        return str(getattr(self._credentials, "method", ""))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _expires_within(self, seconds: int) -> bool:
        needed = getattr(self._credentials, "refresh_needed", None)  # long-lived keys have no such method
        return needed is not None and needed(refresh_in=seconds)

    def _once(self, call: Callable[[], Keys]) -> "asyncio.Future[Keys]":
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().run_in_executor(self._thread, call)
            self._work.add_done_callback(_retrieve)
        return self._work

    def _load(self) -> Keys:
        try:
            self._credentials = self._make_session().get_credentials()
        except FAULTS as error:
            raise Fault("unavailable", _cause(error)) from error
        if self._credentials is None:
            raise Fault("refused", "NoCredentials")
        return self._freeze()

    def _freeze(self) -> Keys:
        try:
            frozen = self._credentials.get_frozen_credentials()
        except FAULTS as error:
            raise Fault("unavailable", _cause(error)) from error
        self._keys = Keys(frozen.access_key, frozen.secret_key, frozen.token)
        return self._keys


def _cause(error: Exception) -> str:
    if isinstance(error, ClientError):  # from an STS call of the chain itself
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    if type(error) is RuntimeError:  # botocore raises it if refreshed credentials have expired
        return "BaseCredentialsExpired"
    return type(error).__name__


def _retrieve(work: "asyncio.Future[Keys]") -> None:
    """Marks a failure as seen, because nobody may wait for a background refresh."""
    if not work.cancelled():
        work.exception()
