"""Shortcuts: answers without the application, for the calls that every phone makes most often.

A shortcut does what its route would do, by the same objects: the rules of the door, the token, the look-up of the
session. Where the route would refuse a caller, and where a request is unusual, it does nothing, and the route gets the
request from the beginning. What fails once the work has begun is for the edge to answer. So each refusal has one place.
"""

import asyncio
import secrets
from asyncio import Future
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar
from urllib.parse import quote

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.auth import authentication
from app.auth.sessions import SessionState, SessionStates
from app.auth.tokens import AccessClaims, AccessTokens
from app.http.door import Door, Failure, Headers
from app.platform.limits import LimitName
from app.platform.logs import Answered, log
from app.platform.logs import request_id as current_request_id
from app.platform.problems import Problem
from app.platform.process import Platform
from app.records.actor import Actor
from app.records.audit import Origin

LONGEST_BODY = 2048
"""Bytes. A longer body is read by the route."""
MOST_HEADS = 100
KEEP_ALIVE = b"keep-alive"

P = ParamSpec("P")
R = TypeVar("R")


class Shortcut(Protocol):
    """What a route answers where nothing stands against it."""

    method: str
    path: str
    """The template, by which metrics and log know the route."""
    takes_bare_token: bool
    """Whether `Authorization` may be the token without `Bearer`."""

    def read(self, query: bytes, body: bytes) -> Any:
        """What the caller wants. None if the request is unusual."""

    def find(self, actor: Actor, wanted: Any) -> Any:
        """What the answer is made of, if it is at hand; else None. Counts nothing. May raise `Problem`."""

    def counter(self, claims: AccessClaims) -> tuple[LimitName, str]:
        """What the route counts its calls by."""

    def hand_out(self, found: Any) -> bytes:
        """The JSON of a 200 of what was at hand. It counts as handed out: it is sent now."""

    async def obtain(self, origin: Origin, actor: Actor, wanted: Any) -> bytes:
        """The same of what is not at hand. Counts the call, waits and raises as the route does."""


@dataclass(slots=True)
class Known:
    """A shortcut, and the lines of its answers in the log."""

    shortcut: Shortcut
    answered: Answered


@dataclass(slots=True)
class Opened:
    """A request whose head is in order. Its caller has shown a token that was verified before."""

    known: Known
    scope: Scope
    claims: AccessClaims
    origin: bytes
    address: str
    came_at: float = 0.0
    """When the request was whole, in monotonic seconds."""


@dataclass(slots=True)
class Reply:
    """Gives the answer: calls `send` with all of its bytes or, if the application has to answer, `decline`."""

    default_headers: Headers
    """Of every answer of the server. The list is another one as soon as they change."""
    send: Callable[[bytes], None]
    decline: Callable[[], None]
    wait: Callable[[Coroutine[Any, Any, None]], object]
    """Runs what gives the answer later. A server that stops waits for it."""


class Shortcuts:
    def __init__(
        self,
        door: Door,
        tokens: AccessTokens,
        session_states: SessionStates,
        platform: Platform,
        *,
        shortcuts: Iterable[Shortcut],
        path: str = "",
    ) -> None:
        """`path`: the service's own on its host."""
        self._door = door
        self._tokens = tokens
        self._session_states = session_states
        self._metrics = platform.metrics
        self._limiter = platform.limiter
        self._clock = platform.clock
        self._counting: set[asyncio.Task[bool]] = set()
        self._known: Mapping[tuple[str, bytes], Known] = {
            (one.method, quote(f"{under}{one.path}").encode()): Known(one, Answered(one.method, one.path))
            for one in shortcuts
            for under in {"", path}
        }
        self._heads_of: Headers | None = None
        self._heads: dict[bytes, tuple[bytes, bytes, bytes]] = {}

    def open(self, scope: Scope) -> Opened | None:
        """The request, if its head lets it take a shortcut. It waits for its body then."""
        known = self._known.get((scope["method"], scope["raw_path"]))
        if known is None or scope["http_version"] != "1.1" or not scope["client"]:
            return None
        fields: dict[bytes, bytes] = dict(scope["headers"])
        if len(fields) != len(scope["headers"]) or not _is_usual(fields):
            return None
        client = self._door.client(scope)
        if client.fault is not None or not self._door.admits(scope, fields.get(b"host", b"")):
            return None
        try:
            claims = self._tokens.remembered(_token(known.shortcut, fields.get(b"authorization", b"")))
        except Problem:
            return None
        return Opened(known, scope, claims, fields.get(b"origin", b""), client.address) if claims else None

    def answer(self, opened: Opened, body: bytes, reply: Reply) -> None:
        """Gives the answer, soon or at once."""
        opened.came_at = self._clock.monotonic()
        wanted = opened.known.shortcut.read(opened.scope["query_string"], body)
        if wanted is None:
            reply.decline()
            return

        def go_on(looked_up: "Future[SessionState | None]") -> None:
            actor = _or_none(self._actor, opened, looked_up)
            if actor is None:
                reply.decline()
                return
            looked = _or_none(lambda: (opened.known.shortcut.find(actor, wanted),))
            if looked is None:
                reply.decline()
                return
            (found,) = looked
            if found is None:
                reply.wait(self._obtain(opened, actor, wanted, reply))
            elif self._limiter.asks_redis:
                self._count_in_redis(opened, found, reply)
            elif self._limiter.try_hit(*opened.known.shortcut.counter(opened.claims)):
                self._hand_out(opened, found, reply)
            else:
                reply.decline()

        self._session_states.ask(opened.claims.session_id).add_done_callback(go_on)

    def _actor(self, opened: Opened, looked_up: "Future[SessionState | None]") -> Actor | None:
        """The caller; None if the route has to look closer."""
        if looked_up.cancelled():
            return None
        claims, state = opened.claims, looked_up.result()
        if state is None or not authentication.is_that_of(state, claims.user_id, self._clock.now()):
            return None
        if state.status != "active" or state.role != "user":
            return None
        return authentication.actor_of(state, claims.session_id)

    def _count_in_redis(self, opened: Opened, found: Any, reply: Reply) -> None:
        """Then answers. The route counts the hit that is refused once more, which changes nothing."""

        def go_on(counted: "asyncio.Task[bool]") -> None:
            self._counting.discard(counted)
            if not counted.cancelled() and counted.exception() is None and counted.result():
                self._hand_out(opened, found, reply)
            else:
                reply.decline()

        hit = self._limiter.try_shared_hit(*opened.known.shortcut.counter(opened.claims))
        counting = asyncio.create_task(hit)
        self._counting.add(counting)
        counting.add_done_callback(go_on)

    def _hand_out(self, opened: Opened, found: Any, reply: Reply) -> None:
        body = _or_none(opened.known.shortcut.hand_out, found)
        if body is None:
            reply.decline()
        else:
            self._send(opened, body, reply, secrets.token_hex(16))

    async def _obtain(self, opened: Opened, actor: Actor, wanted: Any, reply: Reply) -> None:
        shortcut, request_id = opened.known.shortcut, secrets.token_hex(16)
        current_request_id.set(request_id)
        try:
            body = await shortcut.obtain(Origin(request_id, opened.address), actor, wanted)
        except Exception as error:  # noqa: BLE001 - the edge tells faults from refusals, and logs them
            opened.scope["state"]["failure"] = Failure(error, request_id, opened.came_at, shortcut.path)
            reply.decline()
        else:
            self._send(opened, body, reply, request_id)

    def _send(self, opened: Opened, body: bytes, reply: Reply, request_id: str) -> None:
        shortcut, head = opened.known.shortcut, _or_none(self._head, opened, reply.default_headers)
        if head is None:
            reply.decline()
            return
        before, between, after = head
        reply.send(b"%b%d%b%b%b%b" % (before, len(body), between, request_id.encode(), after, body))
        seconds = self._clock.monotonic() - opened.came_at
        self._metrics.count_request(shortcut.method, shortcut.path, 200, seconds)
        opened.known.answered.note(round(seconds * 1000, 1), address=opened.address, request_id=request_id)

    def _head(self, opened: Opened, default_headers: Headers) -> tuple[bytes, bytes, bytes]:
        """The head around the length of the body and the request's id. It is the same for a second."""
        if self._heads_of is not default_headers or len(self._heads) > MOST_HEADS:
            self._heads_of = default_headers
            self._heads.clear()
        head = self._heads.get(opened.origin)
        if head is None:
            headers: Headers = [(b"content-length", b"\0"), (b"content-type", b"application/json")]
            headers = self._door.answer_headers("\0", headers, opened.scope["headers"])
            lines = [b"%b: %b\r\n" % field for field in (*default_headers, *headers)]
            before, between, after = b"".join([STATUS_LINE[200], *lines, b"\r\n"]).split(b"\0")
            head = self._heads[opened.origin] = before, between, after
        return head


def _or_none(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """What the call returns; None if it raises. Nobody above would see a fault, and the caller would wait for ever."""
    try:
        return call(*args, **kwargs)
    except Problem:
        return None
    except Exception as error:  # noqa: BLE001 - the route answers, and may fail in the open
        log.error("shortcut_failed", exc_info=error)
        return None


def _is_usual(fields: Mapping[bytes, bytes]) -> bool:
    """Whether the head promises a short JSON body, or none, and asks for nothing special."""
    length = fields.get(b"content-length", b"0")
    if len(length) > len(str(LONGEST_BODY)) or int(length) > LONGEST_BODY:
        return False
    if b"transfer-encoding" in fields or b"expect" in fields:
        return False
    media_type = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    is_json = length == b"0" or media_type == b"application/json"
    return is_json and fields.get(b"connection", KEEP_ALIVE).lower() == KEEP_ALIVE


def _token(shortcut: Shortcut, authorization: bytes) -> str:
    text = authorization.decode("latin-1").strip()
    scheme, _, token = text.partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return text if shortcut.takes_bare_token else ""
