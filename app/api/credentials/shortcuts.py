"""Credentials by shortcut: what `credentials.py` answers, written from parts that need no model."""

from abc import ABC, abstractmethod
from json.encoder import encode_basestring as quoted
from typing import get_args
from urllib.parse import parse_qsl

from pydantic import TypeAdapter, ValidationError

from app.api.credentials.credentials import LONGEST_PATH, CredentialsRequest
from app.auth.tokens import AccessClaims
from app.http.routes import strict_json
from app.http.wire import rfc3339
from app.platform.limits import LimitName
from app.platform.problems import MalformedRequest
from app.platform.process import Platform
from app.policy.session_policy import Access
from app.records.actor import Actor
from app.records.audit import Origin
from app.vending import admission
from app.vending.entries import Issued
from app.vending.vending import Vending, Wish

MOST_KEPT = 1_000
"""Bodies and queries whose wish is remembered."""
LONGEST_QUERY = 2048
"""Bytes. The route reads a longer one."""
_REQUEST: TypeAdapter[CredentialsRequest | None] = TypeAdapter(CredentialsRequest | None)
_ACCESS: dict[str, Access] = {access: access for access in get_args(Access)}


class _Vend(ABC):
    """A shortcut to a credential. It remembers the wishes of the bodies or queries that come often."""

    for_sdk = False

    def __init__(self, vending: Vending) -> None:
        self._vending = vending
        self._wishes: dict[bytes, Wish] = {}

    def _remember(self, text: bytes, wish: Wish) -> Wish:
        if len(self._wishes) >= MOST_KEPT:
            self._wishes.clear()
        self._wishes[text] = wish
        return wish

    def counter(self, claims: AccessClaims) -> tuple[LimitName, str]:
        return admission.counter(claims, for_sdk=self.for_sdk)

    def find(self, actor: Actor, wanted: Wish) -> Issued | None:
        return self._vending.at_hand(actor, wanted)

    def hand_out(self, found: Issued) -> bytes:
        self._vending.note_handed_out()
        return self.write(found)

    async def obtain(self, origin: Origin, actor: Actor, wanted: Wish) -> bytes:
        return self.write((await self._vending.issue(origin, actor, wanted, for_sdk=self.for_sdk)).issued)

    @abstractmethod
    def write(self, issued: Issued) -> bytes:
        """The answer's JSON, of a credential that carries no shares."""


class Vend(_Vend):
    """`POST /v1/credentials`."""

    method = "POST"
    path = "/v1/credentials"
    takes_bare_token = False

    def __init__(self, platform: Platform, vending: Vending) -> None:
        super().__init__(vending)
        settings = platform.settings
        self._clock = platform.clock
        endpoint = settings.s3_public_endpoint_url or settings.s3_endpoint_url
        self._bucket = quoted(settings.bucket)
        self._place = (
            f'"region":{quoted(settings.region)},"endpoint_url":{"null" if endpoint is None else quoted(endpoint)},'
            f'"force_path_style":{"true" if settings.s3_force_path_style else "false"}}}'
        )

    def read(self, _query: bytes, body: bytes) -> Wish | None:
        wish = self._wishes.get(body)
        if wish is not None:
            return wish
        try:
            request = _REQUEST.validate_python(strict_json(body) if body else None)
        except (MalformedRequest, ValidationError):
            return None
        wish = (request or CredentialsRequest()).wish
        return None if wish.include_shared else self._remember(body, wish)

    def write(self, issued: Issued) -> bytes:
        credential, order, now = issued.credential, issued.order, self._clock.now()
        left = max(0, int((credential.expires_at - now).total_seconds()))
        return (
            f'{{"credential_id":"{issued.credential_id}","access_key_id":{quoted(credential.access_key_id)},'
            f'"secret_access_key":{quoted(credential.secret_access_key)},'
            f'"session_token":{quoted(credential.session_token)},"expiration":"{rfc3339(credential.expires_at)}",'
            f'"expires_in":{left},"server_time":"{rfc3339(now)}","access":"{order.access}","bucket":{self._bucket},'
            f'"prefix":{quoted(order.prefix)},"shared_prefixes":[],"write_prefixes":[],'
            f'"shared_part":1,"shared_parts":1,{self._place}'
        ).encode()


class ContainerVend(_Vend):
    """`GET /v1/credentials/container`."""

    method = "GET"
    path = "/v1/credentials/container"
    takes_bare_token = True
    for_sdk = True

    def read(self, query: bytes, body: bytes) -> Wish | None:
        if body or len(query) > LONGEST_QUERY:
            return None
        wish = self._wishes.get(query)
        if wish is not None:
            return wish
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        asked = dict(pairs)
        if len(asked) < len(pairs) or asked.keys() - {"access", "path"} or len(asked.get("path", "")) > LONGEST_PATH:
            return None
        access = _ACCESS.get(asked.get("access", "read_write"))
        return None if access is None else self._remember(query, Wish(access=access, path=asked.get("path", "")))

    def write(self, issued: Issued) -> bytes:
        credential = issued.credential
        return (
            f'{{"AccessKeyId":{quoted(credential.access_key_id)},'
            f'"SecretAccessKey":{quoted(credential.secret_access_key)},"Token":{quoted(credential.session_token)},'
            f'"Expiration":"{rfc3339(credential.expires_at)}"}}'
        ).encode()
