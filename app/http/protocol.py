"""HTTP as the service speaks it: uvicorn's httptools protocol with the caps, deadlines and strictness that it lacks.

A request that is refused here never reaches the application. The client gets a problem document, the connection ends,
and later bytes on it are ignored (RFC 9112 §9.6, §11.2).
"""

import asyncio
import json
import logging
import re
import sys
import uuid
from collections.abc import Coroutine, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, cast

import httptools
from starlette.types import Scope
from uvicorn._types import ASGI3Application, ASGIApplication
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.http.cors import Cors
from app.http.edge import problem_document
from app.http.outflow import Outflow
from app.http.shortcuts import Opened, Reply, Shortcuts
from app.platform.problems import HeadersTooLarge, MalformedRequest, Problem, RequestTimeout

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]

NOT_HTTP = "The request is not well-formed HTTP/1.1."
SLASH, HASH = b"/#"
_ABSOLUTE = re.compile(rb"https?://([^/?#@\\\s]+)(/[^?#]*)?(\?[^#]*)?", re.IGNORECASE)


MOST_CONNECTIONS = 10_000
"""Some 110 MB. A load balancer keeps far fewer."""


def _room() -> int:
    """How many connections a process may have before it closes idle ones: a quarter of its files stays for the rest."""
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files * 3 // 4)


def refusal(problem: Problem, request_id: str, headers: Headers = ()) -> bytes:
    """A whole answer with a problem document (RFC 9457). It announces the end of the connection."""
    body = json.dumps(problem_document(problem, request_id)).encode()
    head = (
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
        f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
        f"x-request-id: {request_id}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
    ).encode()
    return head + b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + body


def fault_of(method: bytes, version: str, target: bytes, headers: Headers) -> str | None:
    """What is wrong with a head that the parser accepted; None if nothing is.

    The parser (llhttp, with every leniency off) already refuses bare LF, obs-fold, space before a colon, control and
    non-ASCII bytes in the target, repeated or malformed Content-Length, and Content-Length with Transfer-Encoding.
    """
    if version not in ("1.1", "1.0"):
        return "Only HTTP/1.1 and HTTP/1.0 are spoken here."
    if (target[0] != SLASH and not (target == b"*" and method == b"OPTIONS")) or HASH in target:
        return "The request target must be a path, with or without a query."
    hosts = codings = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            codings += 1
            if value != b"chunked" or codings > 1 or version == "1.0":
                return "Transfer-Encoding may only be 'chunked', in HTTP/1.1."
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return "One Host field is needed."
    return None


class Protocol(HttpToolsProtocol):
    """One connection.

    The client has to send a whole head within `head_timeout` of its first byte; for the first head the time begins
    with the connection. Then it has to send the body, or `body_progress` bytes of it, in each `body_timeout`. Bodies of
    ordinary routes are no larger than `body_progress`, so they have one `body_timeout`. A streamed upload may last as
    long as it makes progress. The time does not count while the client waits for us: while reading is paused, or before
    the application asks for the body of a request that expects 100 Continue.

    The client also has to take `reader_progress` bytes of an answer, or the rest of it, in each `reader_timeout`. If
    a client sends requests and does not read answers, its requests wait too: one answer is sent at a time.

    A connection that has had an answer may then be idle for as long as the server keeps it alive. When a process has
    more than `most_connections`, each new one closes the one that has been idle longest.
    """

    most_connections = _room()
    max_head = 16 * 1024
    # One read of small requests could otherwise put thousands of them into memory. No client pipelines more.
    max_pipelined = 32
    head_timeout = 10.0
    body_timeout = 10.0
    body_progress = 64 * 1024
    reader_timeout = 30.0
    # A hundredth of the rate of the slowest mobile network.
    reader_progress = 4 * 1024
    # After a refusal, incoming bytes are read and dropped for this long. Closing a socket with unread bytes resets
    # the connection, and the client might never see the answer.
    linger = 1.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn accepts a request after one with `Connection: close`, where a proxy in front sees the end.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._active: RequestResponseCycle | None = None
        """The request that is being answered. `cycle` is the newest request, which may still wait in `pipeline`."""
        self._owed: Literal["head", "body"] | None = "head"
        self._deadline: asyncio.TimerHandle | None = None
        self._held = False
        self._progress = 0
        self._idle_since = 0.0
        # Of all connections of this server, the one that has been idle longest is the first.
        self._idle: dict[Protocol, None] = vars(self.server_state).setdefault("idle", {})
        # Bytes since the last complete head or piece of body: of an unfinished head, chunk extension or trailer.
        self._framing = 0
        # Whether to check the size of a head that completes now: it began in earlier data, or the data is large.
        self._measured = False
        self._finished = False
        self._farewell = b""
        state = getattr(self.app, "state", None)
        self._cors: Cors | None = getattr(state, "cors", None)
        self._shortcuts: Shortcuts | None = getattr(state, "shortcuts", None)
        self._is_first = False
        """Whether the request whose head has just been read is the one to answer next."""
        self._short: tuple[Opened, RequestResponseCycle] | None = None
        """A request that may take a shortcut once its body is there. No task works on it yet."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._outflow = Outflow(transport, self.loop, seconds=self.reader_timeout, pace=self.reader_progress)
        self.transport = self._outflow  # type: ignore[assignment]  # it has all that uvicorn uses of a transport
        self._start_deadline()
        if len(self.connections) > self.most_connections and self._idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.pop(self, None)
        self._stop_deadline()
        self._outflow.end()
        self.pipeline.clear()
        self._leave_shortcut()
        if self._active is not None:
            # uvicorn tells only the newest request. An earlier one would write to a transport that is gone.
            self._active.disconnected = True
            self._active.message_event.set()
        self._unset_keepalive_if_required()  # otherwise its timer would keep a reset connection in memory
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays for the answers that are due: a client may end its side after a whole request.

        uvicorn would close it, and the application's answer would be lost without a word.
        """
        cycle = self.cycle
        if self._owed is not None or cycle is None or cycle.response_complete:
            return False
        self._finished = True
        cycle.keep_alive = False  # of the newest request: the connection ends with its answer
        return True

    def data_received(self, data: bytes) -> None:
        if self._finished:
            return
        self._idle.pop(self, None)
        self._measured = self._owed is not None or len(data) > self.max_head
        if self._owed is None:
            self._owed = "head"
        self._framing += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._framing = 0
            self.data_received(self._head_without_upgrade() + data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            if not self._finished:
                self._refuse(cause if isinstance(cause, Problem) else MalformedRequest(NOT_HTTP))
            return
        if self._owed is None:
            if self.scope is None:
                return
            self._owed = "head"  # of a request that began right after the last one
        if self._framing > self.max_head:
            self._refuse(HeadersTooLarge() if self._owed == "head" else MalformedRequest(NOT_HTTP))
        elif self._deadline is None:
            self._start_deadline()

    def _head_without_upgrade(self) -> bytes:
        """The head without its Upgrade field, for a new parser. The old parser would take the body for a new request.

        A server may ignore Upgrade (RFC 9110 §7.8). This one has to: Java's HTTP client sends it with every request.
        """
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", b""])

    def on_headers_complete(self) -> None:
        if self._measured:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.max_head:
                raise HeadersTooLarge
        self._check_head()
        if len(self.pipeline) >= self.max_pipelined:
            raise MalformedRequest("Too many requests are waiting on this connection.")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise MalformedRequest("This server is not a proxy.")
            return
        self._is_first = True
        super().on_headers_complete()
        self._is_first = False
        # Trailer fields go to a list that nobody reads. uvicorn would add them to the headers of a request that the
        # application already has, and a proxy in front may not filter them.
        self.headers = []
        if self.expect_100_continue:
            # If we answer first, only the client knows whether it still sends the body (RFC 9110 §10.1.1).
            self.cycle.keep_alive = False
        self._owed = "body"
        self._framing = 0
        if self._deadline is not None:
            self._stop_deadline()

    def _check_head(self) -> None:
        """Brings an absolute target into the usual form. Raises `MalformedRequest`."""
        version = self.parser.get_http_version()
        absolute = _ABSOLUTE.fullmatch(self.url)
        if absolute is not None:
            self.url = (absolute[2] or b"/") + (absolute[3] or b"")
        fault = fault_of(self.parser.get_method(), version, self.url, self.headers)
        if fault is not None:
            raise MalformedRequest(fault)
        if absolute is not None:  # what the target says replaces the field (RFC 9112 §3.2.2)
            self.headers[:] = [field for field in self.headers if field[0] != b"host"] + [(b"host", absolute[1])]
        if version == "1.0":
            self.expect_100_continue = False  # such a client knows no interim answers (RFC 9110 §10.1.1)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._active = cycle if isinstance(cycle, RequestResponseCycle) else None  # None at the end: see `run_asgi`
        if self._is_first and self._shortcuts is not None and not self.flow.write_paused:
            opened = self._shortcuts.open(cast(Scope, cycle.scope))
            if opened is not None:
                self._short = opened, cycle
                return
        super()._start_asgi_task(cycle, app)

    def _take_shortcut(self, shortcuts: Shortcuts, opened: Opened, cycle: RequestResponseCycle) -> None:
        self._short = None
        reply = Reply(
            self.server_state.default_headers,
            partial(self._send_answer, cycle),
            partial(super()._start_asgi_task, cycle, self.app),
            self._wait,
        )
        shortcuts.answer(opened, bytes(cycle.body), reply)

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _leave_shortcut(self) -> None:
        """Lets the application see the end of a request that ends before its body does."""
        if self._short is not None:
            _, cycle = self._short
            self._short = None
            super()._start_asgi_task(cycle, self.app)

    def _send_answer(self, cycle: RequestResponseCycle, answer: bytes) -> None:
        """Writes a whole answer at once, and does what uvicorn does at the end of one."""
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            answer = answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
        self.transport.write(answer)
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        cycle = self.cycle
        if cycle.response_complete:
            return  # it is no progress either: a body that nobody reads must not last for ever
        self._progress += len(body)
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._owed != "body":
            return  # an upgrade: the same head is parsed again
        self._owed = None
        self._framing = 0
        self.scope = None  # type: ignore[assignment]  # until the next request begins
        if self._deadline is not None:
            self._stop_deadline()
        cycle = self.cycle
        if not cycle.keep_alive:
            self._finished = True
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()
            if self._short is not None and self._shortcuts is not None:
                self._take_shortcut(self._shortcuts, *self._short)
        elif cycle.keep_alive:
            self._idle[self] = None

    def on_response_complete(self) -> None:
        """Does what uvicorn's does, but with another timer.

        One timer that checks how long the connection has been idle costs less than a new timer for each request. The
        saving pays for most of the checks here.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self._owed is None:
            self._idle[self] = None
        if self.timeout_keep_alive_task is None:
            self._watch_idle(self.timeout_keep_alive)

    def _watch_idle(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._owed is not None or not self.cycle.response_complete:
            return  # the end of the current request starts the timer again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._watch_idle(left)
        else:
            self.transport.close()

    def _start_deadline(self) -> None:
        self._held = self._waits_for_us()
        self._progress = 0
        seconds = self.head_timeout if self._owed == "head" else self.body_timeout
        self._deadline = self.loop.call_later(seconds, self._on_deadline)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _waits_for_us(self) -> bool:
        return self.flow.read_paused or (self._owed == "body" and self.cycle.waiting_for_100_continue)

    def _on_deadline(self) -> None:
        if self._held or self._waits_for_us() or self._progress >= self.body_progress:
            self._start_deadline()
        elif self.scope is None:
            self.transport.close()  # no request has begun: there is nothing to answer
        else:
            self._refuse(RequestTimeout(f"The {self._owed} of the request did not come in time."))

    def _refuse(self, problem: Problem) -> None:
        """Ends the connection with the problem, after the answers to earlier requests on it."""
        request_id = uuid.uuid4().hex
        log.info("%s: %s request_id=%s", problem.code, problem.detail, request_id)
        self._farewell = refusal(
            problem, request_id, headers=[*self.server_state.default_headers, *self._cors_headers()]
        )
        self._finished = True
        self._stop_deadline()
        self._leave_shortcut()
        cycle = self.cycle
        if self._owed == "body" and not self.pipeline:
            if cycle.response_started:
                self._farewell = b""  # an answer that has begun can only be cut short
            cycle.disconnected = True
            cycle.message_event.set()
            self._part()
        elif cycle is None or cycle.response_complete:
            self._part()
        else:
            if self._owed == "body":
                self.pipeline.popleft()  # the application has not seen it
            self.pipeline.appendleft((self, self.app))  # type: ignore[arg-type]

    def _cors_headers(self) -> Headers:
        """Those for the request that is refused, as far as it was read."""
        request = self.scope["headers"] if self._owed == "body" else self.headers
        return self._cors.headers_for(list(request or ())) if self._cors is not None else ()

    async def run_asgi(self, _app: ASGIApplication) -> None:
        """Ends the connection. `_refuse` puts it into uvicorn's pipeline, which runs it after the earlier requests."""
        self._part()

    def _part(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self.transport.write(self._farewell)
            self.transport.write_eof()
            self._deadline = self.loop.call_later(self.linger, self.transport.abort)
