"""One call to STS and how it can fail: the interface of the two transports."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

CONNECT_TIMEOUT = 1.0
READ_TIMEOUT = 2.0
"""Seconds until the first byte of an answer, and between two pieces of it."""
USER_AGENT = "tokenvend"

FaultKind = Literal["throttled", "unavailable", "expired", "too_large", "refused"]

_KINDS: dict[str, FaultKind] = {
    "Throttling": "throttled",
    "ThrottlingException": "throttled",
    "RequestLimitExceeded": "throttled",
    "TooManyRequestsException": "throttled",
    "ExpiredToken": "expired",
    "ExpiredTokenException": "expired",
    "InvalidClientTokenId": "expired",  # the keys may have been replaced: the chain may have new ones
    "SignatureDoesNotMatch": "expired",
    "PackedPolicyTooLarge": "too_large",
    "IDPCommunicationError": "unavailable",  # STS could not fetch our public keys in time; AWS says to retry
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    region: str
    url: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys that sign a call: long-lived ones, or temporary ones with a token."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """The leaves of STS's answer by tag, such as `AccessKeyId`. In the answers that we need, tags are unique."""

    texts: Mapping[str, str] = field(repr=False)
    date: str | None
    """The `Date` header: STS's clock."""


class Fault(Exception):
    """A call failed. `code` is STS's own, or the kind of fault. STS's message repeats the policy, so it is not kept."""

    def __init__(self, kind: FaultKind, code: str, date: str | None = None) -> None:
        super().__init__(code)
        self.kind = kind
        self.code = code
        self.date = date


def fault(status: int, code: str, date: str | None) -> Fault:
    """The fault for an error answer."""
    kind = _KINDS.get(code) or ("unavailable" if status >= 500 else "refused")
    return Fault(kind, code, date)


class Transport(Protocol):
    async def send(self, endpoint: Endpoint, action: str, parameters: Mapping[str, Any], keys: Keys | None) -> Answer:
        """Tries a call once, unsigned if there are no keys. `parameters` are named as in boto3. Raises `Fault`."""

    async def close(self) -> None: ...


def leaves(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All innermost values with their names."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from leaves(inner)
        else:
            yield name, inner
