"""What the service logs meanwhile: as events, or as the lines that are printed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.platform import logs

AT_FIRST = logs._output


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """Each event with its fields and its `log_level`, oldest first, before it is redacted.

    Of an exception it has kind and frames, as the log has: its message is dropped.
    """
    captured: list[dict[str, Any]] = []

    def note(level: str, event: str, fields: dict[str, Any]) -> None:
        if "exc_info" in fields:
            logs._without_message(fields)
        captured.append({**fields, "event": event, "log_level": level})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "_print", note)
        yield captured


@pytest.fixture(autouse=True)
def logging_not_configured() -> None:
    """What a test configured is of no effect in the next one."""
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, logs._Foreign)]
    root.setLevel(logging.WARNING)
    logs._output = AT_FIRST


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """All that is printed, set up as `serve` sets it up at its most talkative."""
    logs.configure_logging("debug")
    text = ""

    def all_so_far() -> str:
        nonlocal text
        text += capsys.readouterr().err
        return text

    return all_so_far
