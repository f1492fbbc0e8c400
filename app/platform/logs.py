"""Structured logs on standard error. Secrets are redacted by the name of their field and by their form.

Lines are JSON unless standard error is a terminal. Some libraries log what they send: botocore logs issued credentials
at DEBUG. They stay at WARNING whatever the level.
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
    r"eyJ[\w-]{10,}(?:\.[\w-]*){0,2}"  # JWTs, which some engines also use as session tokens
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
    """Gives structlog and the standard library's `logging` the same redacting processors.

    Our own lines go straight to the stream, among them one for each request. That costs a sixth less than `logging`.
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
    """Logs an exception's kind and frames, never its message: drivers and parsers put the faulty values into it."""
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
    """Whether `_SECRET_VALUE` could match. For most texts it cannot, and this check costs a tenth of the match."""
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
