"""The commands for developers and scripts. Secrets go to standard output or private files, never to standard error."""

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlencode

import typer

from app.client import formats
from app.client.credentials import complain, in_one_sentence, vend
from app.client.service import Challenge, ClientError, Refused, Service
from app.client.session import Session, SignedOut, Store, write_private

MIN_LEFT_IN_FILE = 300.0
"""The same for one in a file, which an SDK may read at any time."""
LOOK_EVERY = 15.0
"""Seconds. To look is cheap, and a machine that slept does not wait for the rest of a long timer."""

Access = Literal["read", "write", "read_write", "read_delete"]
Format = Literal["env", "fish", "powershell", "json", "process", "profile", "rclone"]

client = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help=__doc__)


@client.command()
@in_one_sentence
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
@in_one_sentence
def logout() -> None:
    """Ends the session at the service and forgets it."""
    typer.echo("Signed out." if Store.of_user().end() else "Nobody was signed in.")


@client.command()
@in_one_sentence
def creds(
    *,
    style: Annotated[Format, typer.Option("--format", help="env, fish and powershell are for a shell to evaluate.")],
    access: Annotated[Access, typer.Option(help="What the credentials allow.")] = "read_write",
    path: Annotated[str, typer.Option(help="One of your folders, such as albums/2026/.")] = "",
    duration: Annotated[int | None, typer.Option(help="The lifetime of the credentials, in seconds.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Keep an access token fresh in this file until Ctrl-C, and print how the AWS SDKs use it."),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Hand credentials out at a loopback address until Ctrl-C, and print how to ask."),
    ] = False,
    port: Annotated[int, typer.Option(help="The port of --serve. 0: any that is free.", min=0, max=65535)] = 0,
) -> None:
    """Prints temporary AWS credentials: eval "$(tokenvend creds --format env)"."""
    if port and not serve:
        raise typer.BadParameter("goes with --serve")
    if serve:
        if style not in formats.SHELLS or duration is not None or token_file is not None:
            raise typer.BadParameter("--serve goes with --format env, fish or powershell, and without --duration")
        _serve(port, style, access=access, path=path)
        return
    if token_file is None:
        typer.echo(formats.render(style, vend(Store.of_user(), access=access, path=path, duration=duration)))
        return
    if style not in formats.SHELLS or duration is not None:
        raise typer.BadParameter("goes with --format env, fish or powershell, and without --duration")
    _keep_token_file(token_file.absolute(), style, {"access": access, "path": path})


def _serve(port: int, style: str, *, access: Access, path: str) -> None:
    from app.client.agent import serving  # noqa: PLC0415 - the others need no server

    ended, store = _until_told(signal.SIGINT, signal.SIGTERM, signal.SIGHUP), Store.of_user()
    vended = vend(store, access=access, path=path, duration=None)
    with serving(store, port=port, access=access, path=path) as agent:
        variables = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.url,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": agent.bearer,
            "CREDS_AGENT_PID": str(os.getpid()),  # not TOKENVEND_…: those are settings, and this is none
        }
        if _is_left_behind() and os.getpgrp() != os.getpid():
            # A shell's $(… &) leaves it in the shell's own process group. Ctrl-C at the prompt is not for it.
            os.setpgid(0, 0)
        _print_and_stay(formats.SHELLS[style](variables | formats.place(vended)))
        shell, parent = os.getsid(0), 0
        while not ended(1.0):
            # Where a shell evaluates this, the first parent ends at once: it is known after the first second.
            parent = parent or os.getppid()
            if os.getppid() != parent or not _is_alive(shell):
                break


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with suppress(OSError):  # only Linux has the file
        # What started it may wait first for the end of all output, which this process holds open.
        return not Path(f"/proc/{process}/stat").read_text("latin-1").rpartition(")")[2].startswith(" Z")
    return True


def _until_told(*endings: signal.Signals) -> Callable[[float], bool]:
    """Waits for so many seconds, or for one of the signals. Tells whether one has come."""
    reader, writer = os.pipe()
    for ending in endings:
        signal.signal(ending, lambda *_: os.write(writer, b"."))
    return lambda seconds: bool(select.select([reader], [], [], seconds)[0])


def _print_and_stay(text: str) -> None:
    typer.echo(text)
    # A shell's $(…) ends when the last writer has closed the pipe.
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _is_left_behind() -> bool:
    """Whether the process that started this one has ended, and one outside of the shell's session has adopted it."""
    try:
        return os.getsid(os.getppid()) != os.getsid(0)
    except OSError:
        return True


def _keep_token_file(file: Path, style: str, wish: dict[str, str]) -> None:
    ended = _until_told(signal.SIGINT, signal.SIGTERM)
    store = Store.of_user()
    session = store.fresh(min_left=MIN_LEFT_IN_FILE)
    write_private(file, session.tokens.access_token)
    variables = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{session.url}/v1/credentials/container?{urlencode(wish)}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
    }
    _print_and_stay(formats.SHELLS[style](variables))
    keep_fresh(store, file, session, ended=ended)


def keep_fresh(store: Store, file: Path, session: Session, *, ended: Callable[[float], bool]) -> None:
    """Keeps the file fresh until `ended`, which waits for the seconds it is given. Waits for a service that fails.

    Raises `SignedOut`, `Refused`.
    """
    token, away = session.tokens.access_token, False
    while not ended(LOOK_EVERY):
        try:
            session = store.fresh(min_left=MIN_LEFT_IN_FILE, of=session)
        except ClientError as failure:
            if isinstance(failure, SignedOut) or (isinstance(failure, Refused) and failure.status < 500):
                raise
            if not away:  # the service is, or it fails, or a stranger answers in its stead
                complain(failure)
            away = True
            continue
        away = False
        if session.tokens.access_token != token:
            token = session.tokens.access_token
            write_private(file, token)
