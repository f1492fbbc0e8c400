"""The `tokenvend` command, also as `python -m app`."""

import sys


def main() -> None:
    # An SDK waits for `creds`, and importing the server takes many times as long as all that the client does.
    if sys.argv[1:2] in (["login"], ["logout"], ["creds"]):
        from app.client.commands import client as command  # noqa: PLC0415

        command(prog_name="tokenvend")
    else:
        from app.cli.commands import main as serve  # noqa: PLC0415

        serve()


if __name__ == "__main__":
    main()
