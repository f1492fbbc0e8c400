"""The commands for developers and scripts. Secrets go to standard output or private files, never to standard error."""

import functools
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec
from urllib.parse import urlencode

import typer

from app.client import formats
from app.client.service import Challenge, ClientError, Refused, Service
from app.client.session import Session, SignedOut, Store, write_private

MIN_LEFT = 60.0
"""Seconds that an access token must still live to be used once."""
MIN_LEFT_IN_FILE = 300.0
"""The same for one in a file, which an SDK may read at any time."""
LOOK_EVERY = 15.0
"""Seconds. To look is cheap, and a machine that slept does not wait for the rest of a long timer."""

P = ParamSpec("P")
Access = Literal["read", "write", "read_write", "read_delete"]
Format = Literal["env", "fish", "powershell", "json", "process", "profile"]

client = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help=__doc__)


def _in_one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            raise
        except ClientError as error:
            _complain(error)
            raise typer.Exit(1) from None
        except UnicodeEncodeError:  # bytes that the terminal, a pipe or an argument gave
            _complain("The password or an option is not text in UTF-8")
            raise typer.Exit(1) from None
        except OSError as error:
            _complain(f"{error.strerror or error}: {error.filename}" if error.filename else error)
            raise typer.Exit(1) from None

    return run


def _complain(message: object) -> None:
    typer.echo(str(message), err=True)


@client.command()
@_in_one_sentence
def login(
    url: Annotated[str, typer.Option(help="The service's address, such as https://tokens.example.org.")],
    email: Annotated[str, typer.Option(help="The address of your account.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read one line of standard input.")] = False,
    mfa_code: Annotated[
        str | None,
        typer.Option(help="A code of your authenticator app, or a recovery code. The command asks if it needs one."),
    ] = None,
) -> None:
    """Signs you in for `creds`. Asks for the password and does not keep it."""
    service = Service(url)
    if password_stdin:
        password = sys.stdin.buffer.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, err=True)
    tokens = service.log_in(email, password, device_name=f"tokenvend on {socket.gethostname()}"[:100])
    if isinstance(tokens, Challenge):
        tokens = service.show_code(tokens, mfa_code or _ask_for_code())
    Store.of_user().keep(Session(service.url, email, tokens))
    typer.echo(f"Signed in to {service.url} as {email}.")


def _ask_for_code() -> str:
    if not sys.stdin.isatty():
        raise ClientError("This account has a second factor: give its code, or a recovery code, by --mfa-code")
    code: str = typer.prompt("Code of your authenticator app, or a recovery code", err=True)
    return code


@client.command()
@_in_one_sentence
def logout() -> None:
    """Ends the session at the service and forgets it."""
    typer.echo("Signed out." if Store.of_user().end() else "Nobody was signed in.")


@client.command()
@_in_one_sentence
def creds(
    style: Annotated[Format, typer.Option("--format", help="env, fish and powershell are for a shell to evaluate.")],
    access: Annotated[Access, typer.Option(help="What the credentials allow.")] = "read_write",
    path: Annotated[str, typer.Option(help="One of your folders, such as albums/2026/.")] = "",
    duration: Annotated[int | None, typer.Option(help="The lifetime of the credentials, in seconds.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Keep an access token fresh in this file until Ctrl-C, and print how the AWS SDKs use it."),
    ] = None,
) -> None:
    """Prints temporary AWS credentials: eval "$(tokenvend creds --format env)"."""
    if token_file is None:
        typer.echo(formats.render(style, _vend(Store.of_user(), access=access, path=path, duration=duration)))
        return
    if style not in formats.SHELLS or duration is not None:
        raise typer.BadParameter("goes with --format env, fish or powershell, and without --duration")
    _keep_token_file(token_file.absolute(), style, {"access": access, "path": path})


def _vend(store: Store, *, access: Access, path: str, duration: int | None) -> dict[str, Any]:
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


def _keep_token_file(file: Path, style: str, wish: dict[str, str]) -> None:
    reader, writer = os.pipe()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: os.write(writer, b"."))
    store = Store.of_user()
    session = store.fresh(min_left=MIN_LEFT_IN_FILE)
    write_private(file, session.tokens.access_token)
    variables = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{session.url}/v1/credentials/container?{urlencode(wish)}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
    }
    typer.echo(formats.SHELLS[style](variables))
    # A shell's $(…) ends when the last writer has closed the pipe.
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    keep_fresh(store, file, session, ended=lambda seconds: bool(select.select([reader], [], [], seconds)[0]))


def keep_fresh(store: Store, file: Path, session: Session, *, ended: Callable[[float], bool]) -> None:
    """Keeps the file fresh until `ended`, which waits for the seconds it is given. Waits for a service that fails.

    Raises `SignedOut`, `Refused`.
    """
    token, away = session.tokens.access_token, False
    while not ended(LOOK_EVERY):
        try:
            session = store.fresh(min_left=MIN_LEFT_IN_FILE)
        except ClientError as failure:
            if isinstance(failure, SignedOut) or (isinstance(failure, Refused) and failure.status < 500):
                raise
            if not away:  # the service is, or it fails, or a stranger answers in its stead
                _complain(failure)
            away = True
            continue
        away = False
        if session.tokens.access_token != token:
            token = session.tokens.access_token
            write_private(file, token)
