"""The `tokenvend` command, also as `python -m app`."""

import gc
import sys


def main() -> None:
    # An SDK waits for `creds`, and importing the server takes many times as long as all that the client does.
    if sys.argv[1:2] == ["creds"]:
        from app.client import credentials  # noqa: PLC0415

        if credentials.run(sys.argv[2:]):
            return
    if sys.argv[1:2] in (["login"], ["logout"], ["creds"]):
        from app.client.commands import client as command  # noqa: PLC0415

        command(prog_name="tokenvend")
    elif sys.argv[1:2] == ["serve"]:
        gc.disable()  # what start-up makes stays: to look through it takes a tenth of the time. The server ends this
        from app.cli.serving import main as serve  # noqa: PLC0415

        serve()
    else:
        from app.cli.commands import main as run  # noqa: PLC0415

        run()


if __name__ == "__main__":
    main()
