"""What one call to STS is, and how it can fail: the small interface of the two transports."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

CONNECT_TIMEOUT = 1.0
READ_TIMEOUT = 2.0
USER_AGENT = "tokenvend"

FaultKind = Literal["throttled", "unavailable", "expired", "too_large", "refused"]

_KINDS: dict[str, FaultKind] = {
    "Throttling": "throttled",
    "ThrottlingException": "throttled",
    "RequestLimitExceeded": "throttled",
    "TooManyRequestsException": "throttled",
    "ExpiredToken": "expired",
    "ExpiredTokenException": "expired",
    "InvalidClientTokenId": "expired",  # the keys were replaced: the chain may have the new ones
    "SignatureDoesNotMatch": "expired",
    "PackedPolicyTooLarge": "too_large",
    "IDPCommunicationError": "unavailable",  # STS could not fetch our keys in time; AWS says to try again
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    region: str
    url: str


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs a call: a pair that lives long, or with a token a temporary one."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """The leaves of STS's answer by tag, such as `AccessKeyId`. In the answers that we ask for, no tag stands twice."""

    texts: Mapping[str, str] = field(repr=False)
    date: str | None
    """The `Date` header: STS's clock."""


class Fault(Exception):
    """STS did not do it. `code` is its own, or the kind of fault. Its message repeats the policy, so it is not kept."""

    def __init__(self, kind: FaultKind, code: str, date: str | None = None) -> None:
        super().__init__(code)
        self.kind = kind
        self.code = code
        self.date = date


def fault(status: int, code: str, date: str | None) -> Fault:
    """What an error answer means."""
    kind = _KINDS.get(code) or ("unavailable" if status >= 500 else "refused")
    return Fault(kind, code, date)


class Transport(Protocol):
    async def send(self, endpoint: Endpoint, action: str, parameters: Mapping[str, Any], keys: Keys | None) -> Answer:
        """One try of one call, unsigned without keys. `parameters` are boto3's. Raises `Fault`."""

    async def close(self) -> None: ...


def leaves(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every innermost value with its name."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from leaves(inner)
        else:
            yield name, inner
