"""Structured logs on standard error. Secrets are redacted by the name of their field and by their form.

Lines are JSON unless standard error is a terminal. Some libraries log what they send: botocore logs issued credentials
at DEBUG. They stay at WARNING whatever the level.
"""

import asyncio
import functools
import json
import logging
import re
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from app.platform.clock import SystemClock

request_id: ContextVar[str] = ContextVar("request_id", default="")

REDACTED = "[redacted]"
_SECRET_NAME = re.compile(
    r"password|secret|token|authorization|cookie|credential_value|private_key|seed", re.IGNORECASE
)
_SECRET_VALUE = re.compile(
    r"eyJ[\w-]{10,}(?:\.[\w-]*){0,2}"  # JWTs, which some engines also use as session tokens
    r"|PHNhbWxwOlJlc3BvbnNl[\w+/=%]*"  # a SAML response: whoever has one may assume the role
    r"|tv[clrs]_[\w-]+"  # tokens of contributors, secrets of links, refresh tokens and single-use tokens
    r"|\b(?:AKIA|ASIA)[A-Za-z0-9]{12,}\b"
    r"|\b(?:IQoJ|FwoG)[\w+/=]{40,}"  # AWS session tokens
    r"|\$(?:argon2|2[aby]\$|scrypt|pbkdf2)[^\s\"']+"
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"  # user:password in a URL
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]|\r|\n")

_QUIET = (
    "botocore",
    "boto3",
    "urllib3",
    "s3transfer",
    "sqlalchemy",
    "alembic",
    "asyncio",
    "httpx",
    "opentelemetry",
    "passlib",
    "signxml",
)


Event = dict[str, Any]


@dataclass(frozen=True)
class Output:
    """From which level on events are printed, and how."""

    level: int
    render: Callable[[Event], str]


class Log:
    """What this service says of itself: a name for what happened, and fields. `exc_info`: the exception behind it."""

    def debug(self, event: str, /, **fields: Any) -> None:
        if _output.level <= logging.DEBUG:
            _print("debug", event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        if _output.level <= logging.INFO:
            _print("info", event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        if _output.level <= logging.WARNING:
            _print("warning", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        if _output.level <= logging.ERROR:
            _print("error", event, fields)

    def critical(self, event: str, /, **fields: Any) -> None:
        _print("critical", event, fields)


log = Log()
_clock = SystemClock()


def configure_logging(level: str) -> None:
    """Lets `log`, and the standard library's `logging` for libraries, print from this level on, both redacted."""
    global _output  # noqa: PLW0603 - it is the process that prints
    render = _as_text if sys.stderr.isatty() else _as_json
    _output = Output(logging.getLevelNamesMapping()[level.upper()], render)
    root = logging.getLogger()
    root.handlers = [_Foreign()]
    root.setLevel(_output.level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Foreign(logging.Handler):
    """Prints what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _print(record.levelname.lower(), record.getMessage(), {"exc_info": record.exc_info})
        except Exception:  # noqa: BLE001 - as every handler: a line that cannot be printed must not end a request
            self.handleError(record)


def _print(level: str, event: str, fields: Event) -> None:
    fields["event"], fields["level"] = event, level
    fields["timestamp"] = _now()
    if (current := request_id.get()) and "request_id" not in fields:
        fields["request_id"] = current
    if "exc_info" in fields:
        _without_message(fields)
    # In one piece, so that lines of several threads do not mix.
    sys.stderr.write(f"{_output.render(redact(fields))}\n")


def _now() -> str:
    return _clock.now().isoformat().replace("+00:00", "Z")


def _without_message(event: Event) -> None:
    """Logs an exception's kind and frames, never its message: drivers and parsers put the faulty values into it."""
    info = event.pop("exc_info")
    if info is True:
        info = sys.exc_info()
    error = info if isinstance(info, BaseException) else info[1] if info else None
    if error is not None:
        event["exception"] = f"{type(error).__module__}.{type(error).__qualname__}"
        # `extract_tb` would also read the whole source of each frame, and keep it in memory for ever.
        event["frames"] = [
            f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
            for frame, line in traceback.walk_tb(error.__traceback__)
        ]


_as_json = json.JSONEncoder().encode


def _as_text(event: Event) -> str:
    """For a person at a terminal: the time of day, the level, what happened, the fields, and a frame a line."""
    time, level, name = (event.pop(key) for key in ("timestamp", "level", "event"))
    frames = event.pop("frames", ())
    fields = [f"{key}={value if isinstance(value, str) else _as_json(value)}" for key, value in event.items()]
    lines = [" ".join((time[11:23], f"{level:8}", name, *fields)), *frames]
    return "\n    ".join(lines)


_output = Output(logging.NOTSET, _as_json)
"""Until `configure_logging`."""


class Answered:
    """The lines `request` of one route's answers with 200. They need no redaction, and are written once a turn.

    A turn of the event loop may answer many requests. One line by `Log.info` takes as long as the rest of an answer
    from memory.
    """

    def __init__(self, method: str, route: str) -> None:
        self._fields = {"method": method, "route": route, "status": 200}
        self._begin = _as_json(self._fields).removesuffix("}")
        self._lines: list[str] = []

    def note(self, ms: float, *, address: str, request_id: str) -> None:
        """`address` is an IP address and `request_id` is hexadecimal. Call it in the event loop."""
        if _output.level > logging.INFO:
            return
        if _output.render is not _as_json:
            log.info("request", **self._fields, ms=ms, address=address, request_id=request_id)
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(
            f'{self._begin}, "ms": {ms}, "address": "{address}", "event": "request", "level": "info", '
            f'"timestamp": "{_now()}", "request_id": "{request_id}"}}\n'
        )

    def _write(self) -> None:
        lines = "".join(self._lines)
        self._lines.clear()
        sys.stderr.write(lines)


@functools.lru_cache(maxsize=1024)
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _has_mark(text: str) -> bool:
    """Whether `_SECRET_VALUE` could match. For most texts it cannot, and this check costs a tenth of the match."""
    return (
        "eyJ" in text
        or "PHNhbWxw" in text
        or "tvc_" in text
        or "tvl_" in text
        or "tvr_" in text
        or "tvs_" in text
        or "AKIA" in text
        or "ASIA" in text
        or "IQoJ" in text
        or "FwoG" in text
        or "$" in text
        or "://" in text
    )


def redact(event: Event) -> Event:
    """Redacts secrets in an event and escapes control characters, so that one event is one line."""
    return {name: _redact_value(name, value) for name, value in event.items()}


def _redact_value(name: str, value: Any) -> Any:
    if _is_secret_name(name):
        return REDACTED
    if isinstance(value, str):
        if _has_mark(value):
            value = _SECRET_VALUE.sub(REDACTED, value)
        return value if value.isprintable() else _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", value)
    if isinstance(value, dict):
        return {key: _redact_value(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value("", item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _redact_value(name, str(value))
