"""Fetches credentials by the stored session, and prints them without what the other commands need: an SDK waits.

`run` knows the plain ways to call `creds`. Everything else, such as help and mistakes, is for `commands.py`.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from app.client import formats
from app.client.service import ClientError, Refused, Service
from app.client.session import Store

MIN_LEFT = 60.0
"""Seconds that an access token must still live to be used once."""
ACCESS = ("read", "write", "read_write", "read_delete")
OPTIONS = ("--format", "--access", "--path", "--duration")

P = ParamSpec("P")


def run(arguments: Sequence[str]) -> bool:
    """Prints what `creds` with these arguments prints. False, and nothing is done, if they are not plain."""
    given = _read(arguments)
    if given is None:
        return False
    try:
        _print(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try once more at its end.
        sys.stdout = None
        raise SystemExit(1) from None
    return True


def _read(arguments: Sequence[str]) -> dict[str, str] | None:
    """The options' values by name. None if something is unknown, missing or said twice."""
    given: dict[str, str] = {}
    left = list(arguments)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if name not in OPTIONS or name in given or not (equals or left):
            return None
        given[name] = value if equals else left.pop(0)
    style, access, duration = given.get("--format"), given.get("--access", "read"), given.get("--duration", "0")
    if style not in {*formats.SHELLS, *formats.DOCUMENTS} or access not in ACCESS:
        return None
    is_plain = duration.isascii() and duration.isdecimal() and not given.get("--path", "").startswith("-")
    return given if is_plain else None


def in_one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """Ends with status 1 and one sentence where the command fails."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            raise
        except ClientError as error:
            complain(error)
        except UnicodeEncodeError:  # bytes that the terminal, a pipe or an argument gave
            complain("The password or an option is not text in UTF-8")
        except OSError as error:
            said = error.strerror or str(error)
            complain(f"{said}: {error.filename}" if error.filename else said)
        else:
            return
        raise SystemExit(1)

    return run


def complain(message: object) -> None:
    sys.stderr.write(f"{message}\n")


@in_one_sentence
def _print(given: dict[str, str]) -> None:
    access, path, duration = given.get("--access", "read_write"), given.get("--path", ""), given.get("--duration")
    vended = vend(Store.of_user(), access=access, path=path, duration=int(duration) if duration else None)
    sys.stdout.write(f"{formats.render(given['--format'], vended)}\n")


def vend(store: Store, *, access: str, path: str, duration: int | None) -> dict[str, Any]:
    session = store.fresh(min_left=MIN_LEFT)
    for last in (False, True):
        token = session.tokens.access_token
        try:
            return Service(session.url).vend(token, access=access, path=path, duration=duration)
        except Refused as refusal:
            if refusal.status != 401:
                raise
            if last:
                raise session.ended() from refusal
        # This machine's clock is wrong, or the service changed its keys.
        session = store.fresh(min_left=MIN_LEFT, refused=token)
    raise AssertionError
