"""How the service's own lines look; what of them is a secret is in `tests/security/test_leakage.py`."""

import io
import json
import linecache
import logging
import sys
import threading
from collections.abc import Callable

import pytest

from app.platform.logs import configure_logging, log, request_id

Configure = Callable[..., io.StringIO]
LEVELS = ["debug", "info", "warning", "error", "critical"]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """What is printed from then on."""

    def configure(level: str, *, terminal: bool = False) -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging(level)
        return stream

    return configure


def fail() -> None:
    try:
        int("hunter2")
    except ValueError as error:
        log.error("failed", exc_info=error)


class TestLine:
    def test_is_an_object_with_what_happened_when_and_to_which_request(self, configure: Configure) -> None:
        stream = configure("info")
        token = request_id.set("0af7")
        log.info("request", status=200, tags=("a", "b"))
        request_id.reset(token)
        line = json.loads(stream.getvalue())
        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "event": "request",
            "level": "info",
            "request_id": "0af7",
            "status": 200,
            "tags": ["a", "b"],
        }

    def test_goes_to_the_standard_error_of_the_moment(
        self, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever runs the service inside another program may replace it, and close the earlier one."""
        configure("info").close()
        replaced = io.StringIO()
        monkeypatch.setattr(sys, "stderr", replaced)
        log.info("request", status=200)
        assert json.loads(replaced.getvalue())["status"] == 200

    def test_of_an_exception_has_its_frames_and_not_its_message(self, configure: Configure) -> None:
        stream = configure("info")
        fail()
        line = json.loads(stream.getvalue())
        assert line["exception"] == "builtins.ValueError"
        assert line["frames"][0].endswith(" fail")
        assert "hunter2" not in stream.getvalue()

    def test_of_an_exception_reads_no_source(self, configure: Configure) -> None:
        """It would stay in memory: a megabyte for the frames of one fault of the database."""
        configure("info")
        linecache.clearcache()
        fail()
        assert linecache.cache == {}

    def test_of_a_library_that_cannot_format_its_own_ends_nothing(self, configure: Configure) -> None:
        stream = configure("info")
        logging.getLogger("some.library").warning("%d", "no number")
        assert "Logging error" in stream.getvalue()

    def test_at_a_terminal_is_for_people(self, configure: Configure) -> None:
        stream = configure("info", terminal=True)
        log.warning("mail_dropped", kind="new_device", attempts=3)
        time, rest = stream.getvalue().split(" ", 1)
        assert time.count(":") == 2
        assert rest == "warning  mail_dropped kind=new_device attempts=3\n"
        fail()
        assert stream.getvalue().splitlines()[2].startswith("    ")

    def test_is_whole_among_those_of_other_threads(self, configure: Configure) -> None:
        stream = configure("info")
        threads = [threading.Thread(target=log.info, args=("thread",), kwargs={"n": n}) for n in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {json.loads(line)["n"] for line in stream.getvalue().splitlines()} == set(range(32))


class TestLevel:
    @pytest.mark.parametrize("level", LEVELS)
    def test_leaves_out_what_is_below(self, configure: Configure, level: str) -> None:
        stream = configure(level)
        for tell in (log.debug, log.info, log.warning, log.error, log.critical):
            tell("said")
        said = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
        assert said == LEVELS[LEVELS.index(level) :]

    def test_of_libraries_is_the_same(self, configure: Configure) -> None:
        stream = configure("warning")
        logging.getLogger("some.library").info("unheard")
        logging.getLogger("some.library").error("heard")
        assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["heard"]
