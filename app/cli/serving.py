"""`tokenvend serve`, apart from the other commands: a server that runs for months holds none of what they import."""

import argparse
import asyncio
import functools
import sys

from app.cli import base_mfa, readiness
from app.cli.opening import PORT, fail, failures_told, require_database
from app.http import server
from app.http.local import is_loopback
from app.platform.environment import ignored_lines, keep_secret, load_settings
from app.platform.logs import configure_logging

PORTS = range(1, 65536)
WORKERS = range(1, 65)


def main() -> None:
    """The command alone, from the arguments after its name."""
    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("--host")
    parser.add_argument("--port", type=int, choices=PORTS)
    parser.add_argument("--workers", type=int, choices=WORKERS)
    parser.add_argument("--mfa-code")
    try:
        options, others = parser.parse_known_args(sys.argv[2:])
    except argparse.ArgumentError:
        others = ["wrong"]
    if others:  # `commands` explains what is wrong, and has the help
        from app.cli import commands  # noqa: PLC0415

        commands.main()
    else:
        with failures_told():
            serve(**vars(options))


def serve(host: str = "127.0.0.1", port: int = PORT, workers: int = 1, mfa_code: str | None = None) -> None:
    """Runs the service alone, from settings."""
    for line in ignored_lines():
        print(f"{line.text}; {line.repair}", file=sys.stderr, flush=True)
    settings = load_settings(needs_engine=True)
    if settings.answers_this_machine_alone and not is_loopback(host):
        fail(
            f"--host {host}: development answers this machine alone, for it has fewer guards than production. "
            "Set TOKENVEND_ENVIRONMENT=production, or TOKENVEND_DEVELOPMENT_REMOTE=on to let other machines in"
        )
    require_database(settings)
    configure_logging(settings.log_level)
    keep_secret(settings)
    asyncio.run(base_mfa.exchange(settings, mfa_code))
    server.run(
        server.make_config(
            "app.main:create_app_from_environment",
            host=host,
            port=port,
            workers=workers,
            factory=True,
            drain=settings.drains_for,
            keep_alive=settings.keep_alive,
        ),
        on_ready=functools.partial(readiness.tell, host, port, workers=workers),
    )
