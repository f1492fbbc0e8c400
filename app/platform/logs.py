"""Structured logs on standard error, with secrets taken out by name and by shape.

JSON lines unless a person looks on. Libraries that print what they send (botocore logs issued keys at DEBUG) stay at
WARNING whatever the level.
"""

import functools
import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.typing import Processor

request_id: ContextVar[str] = ContextVar("request_id", default="")

REDACTED = "[redacted]"
_SECRET_NAME = re.compile(
    r"password|secret|token|authorization|cookie|credential_value|private_key|seed", re.IGNORECASE
)
_SECRET_VALUE = re.compile(
    r"eyJ[\w-]{10,}(?:\.[\w-]*){0,2}"  # JWTs, and the session tokens of engines that make them of JWTs
    r"|tv[rs]_[\w-]+"  # refresh tokens and single-use tokens
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
)


def configure_logging(level: str) -> None:
    """Gives structlog, and the standard library's logging, the same redacting processors.

    Our own lines, one for each request among them, go straight to the stream: it costs a sixth less than `logging`.
    """
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
    ]
    person = sys.stderr.isatty()
    renderer: Processor = structlog.dev.ConsoleRenderer() if person else structlog.processors.JSONRenderer()
    render: list[Processor] = [_exception_without_message, redact, renderer]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, *render],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )


def _add_request_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (current := request_id.get()) and "request_id" not in event:
        event["request_id"] = current
    return event


def _exception_without_message(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception's kind and frames; never its message, where drivers and parsers put the values they choked on."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info if isinstance(info, BaseException) else info[1] if info else None
    if error is not None:
        event["exception"] = f"{type(error).__module__}.{type(error).__qualname__}"
        event["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    event.pop("exc_text", None)
    event.pop("stack_info", None)
    return event


@functools.lru_cache(maxsize=1024)
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _has_mark(text: str) -> bool:
    """Whether `_SECRET_VALUE` can match at all: most texts need no more than this look, at a tenth of the cost."""
    return (
        "eyJ" in text
        or "tvr_" in text
        or "tvs_" in text
        or "AKIA" in text
        or "ASIA" in text
        or "IQoJ" in text
        or "FwoG" in text
        or "$" in text
        or "://" in text
    )


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Takes secrets out of an event and control characters out of its text, so that one event is one line."""
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
