"""Receives the messages of one SNS topic, which tell what happens in the bucket, and verifies their signatures.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import asyncio
import math
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast
from urllib.parse import parse_qs, urlsplit

from app.aws.endpoints import dns_suffix
from app.crypto import aws_signatures
from app.platform.clock import Clock
from app.platform.fetcher import Unusable
from app.platform.limits import Limiter, address_key
from app.platform.logs import log
from app.platform.problems import InvalidStorageEvent, RateLimited

Kind = Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
SIGNED: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""The signed members of each kind, in the order in which they are signed."""
OLDEST = timedelta(hours=1)
"""The greatest age of a message. SNS tries to deliver one for as long."""
FETCH_WITHIN = 3.0
"""Seconds to fetch the certificate, or to confirm a subscription."""
SOUGHT_EVERY = 5.0
"""Seconds between two attempts to fetch the same certificate. Strangers can invent addresses of certificates, so each
address has its own interval, and failed attempts are limited by the sender's client address."""
MOST_SOUGHT = 1_000
MOST_CERTIFICATES = 10
MOST_REMEMBERED = 10_000
"""Messages that are remembered, because SNS may deliver one twice."""

Fetch = Callable[[str], Awaitable[bytes]]
_FAULTS = (Unusable, TimeoutError, ValueError)
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9a-f]{32}\.pem")


@dataclass(frozen=True)
class Message:
    kind: Kind
    id: str
    text: str


@dataclass(slots=True)
class _Search:
    """The attempts to fetch one certificate."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    began_at: float = -math.inf


class Topic:
    """The topic whose messages this service accepts."""

    def __init__(self, arn: str, clock: Clock, fetch: Fetch) -> None:
        """`fetch` returns the body at an address and follows no redirect. It raises what `Fetcher.get` raises."""
        _, partition, _, region, *_ = arn.split(":")
        self.arn = arn
        self._host = f"sns.{region}.{dns_suffix(partition)}"
        self._clock = clock
        self._fetch = fetch
        self._certificates: OrderedDict[str, bytes] = OrderedDict()
        self._searches: OrderedDict[str, _Search] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def receive(self, value: Any, limiter: Limiter, address: str) -> Message:
        """Verifies the message, and confirms a subscription. `address` is the sender's client address.

        Raises `InvalidStorageEvent`, or `RateLimited` if the certificate or the confirmation is not available now.
        """
        message = _members(value)
        self._check(message)
        certificate = await self._certificate(message["SigningCertURL"], limiter, address)
        try:
            signed = aws_signatures.is_signed(
                certificate,
                message["Signature"],
                _signed_text(message),
                digest="SHA-1" if message["SignatureVersion"] == "1" else "SHA-256",
                at=self._clock.now(),
            )
        except ValueError:
            signed = False
        if not signed:
            raise InvalidStorageEvent("The signature does not match the message.")
        kind = cast(Kind, message["Type"])
        if kind == "SubscriptionConfirmation":
            await self._confirm(message["SubscribeURL"])
        return Message(kind, message["MessageId"], message["Message"])

    def is_new(self, message: Message) -> bool:
        """Whether this process was not told to remember the message."""
        return message.id not in self._seen

    def remember(self, message: Message) -> None:
        self._seen[message.id] = None
        if len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)

    def _check(self, message: Mapping[str, str]) -> None:
        """Makes the cheap checks. Raises `InvalidStorageEvent`."""
        if message["TopicArn"] != self.arn:
            raise InvalidStorageEvent("The message is from another topic.")
        if message["SignatureVersion"] not in ("1", "2"):
            raise InvalidStorageEvent("The signature has an unknown version.")
        try:
            sent_at = datetime.strptime(message["Timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        except ValueError:
            raise InvalidStorageEvent("The time of the message cannot be read.") from None
        if abs(self._clock.now() - sent_at) > OLDEST:
            raise InvalidStorageEvent("The message is too old.")
        if not self._is_own(message["SigningCertURL"], _CERTIFICATE_PATH):
            raise InvalidStorageEvent("The certificate is not at an address of SNS in the topic's Region.")

    def _is_own(self, url: str, path: re.Pattern[str] | None = None) -> bool:
        """Whether it is an address of SNS in the topic's Region. With `path`, nothing may follow the path."""
        try:
            parts = urlsplit(url)
            place = (parts.scheme, parts.netloc)
        except ValueError:
            return False
        if place != ("https", self._host) or parts.fragment or not url.isascii() or not url.isprintable():
            return False
        return path is None or (path.fullmatch(parts.path) is not None and not parts.query)

    async def _certificate(self, url: str, limiter: Limiter, address: str) -> bytes:
        """Raises `RateLimited`."""
        if (known := self._certificates.get(url)) is not None:
            return known
        search = self._searches.setdefault(url, _Search())
        if len(self._searches) > MOST_SOUGHT:
            self._searches.popitem(last=False)
        async with search.lock:
            if (known := self._certificates.get(url)) is not None:
                return known
            if self._clock.monotonic() - search.began_at < SOUGHT_EVERY:
                raise RateLimited(retry_after=int(SOUGHT_EVERY))
            await limiter.hit("storage_event", address_key(address))
            search.began_at = self._clock.monotonic()
            certificate = self._certificates[url] = await self._get(url)
        self._searches.pop(url, None)
        if len(self._certificates) > MOST_CERTIFICATES:
            self._certificates.popitem(last=False)
        await limiter.take_back("storage_event", address_key(address))
        return certificate

    async def _confirm(self, url: str) -> None:
        query = parse_qs(urlsplit(url).query) if self._is_own(url) else {}
        if query.get("Action") != ["ConfirmSubscription"] or query.get("TopicArn") != [self.arn]:
            raise InvalidStorageEvent("The address does not confirm a subscription of the topic.")
        await self._get(url)

    async def _get(self, url: str) -> bytes:
        """The body at the address. Raises `RateLimited`: SNS retries after a 429, but not after another 4xx."""
        try:
            async with asyncio.timeout(FETCH_WITHIN):
                return await self._fetch(url)
        except _FAULTS as error:
            cause = str(error) if isinstance(error, Unusable) else type(error).__name__
            log.warning("sns_unavailable", cause=cause)
            raise RateLimited(retry_after=int(SOUGHT_EVERY)) from None


def _members(value: Any) -> Mapping[str, str]:
    """The members of a message. Raises `InvalidStorageEvent` if it does not have the form of an SNS message."""
    kind = value.get("Type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in SIGNED:
        raise InvalidStorageEvent
    needed = {*SIGNED[kind], "Signature", "SignatureVersion", "SigningCertURL"} - {"Subject"}
    if not all(isinstance(value.get(name), str) for name in needed):
        raise InvalidStorageEvent
    if not isinstance(value.get("Subject"), str | None):
        raise InvalidStorageEvent
    return cast(Mapping[str, str], value)


def _signed_text(message: Mapping[str, str]) -> bytes:
    given = (name for name in SIGNED[message["Type"]] if message.get(name) is not None)
    return "".join(f"{name}\n{message[name]}\n" for name in given).encode()
