"""The service as `tokenvend serve` runs it with one worker, on a free port, with one empty endpoint beside its own."""

from typing import Literal

import app.cli  # noqa: F401 - `serve` is part of the command, and all of that is in its memory
from app import server
from app.credentials import api
from app.main import create_app
from app.settings import load_settings
from app.telemetry import configure_logging
from app.web import ResponseModel


class Nothing(ResponseModel):
    status: Literal["ok"]


async def do_nothing() -> Nothing:
    return Nothing(status="ok")


def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_level)
    # Among the routes of /v1/credentials, so that finding it costs what finding them costs.
    api.router.add_api_route("/empty", do_nothing, methods=["POST"])
    config = server.make_config(create_app(settings), host="127.0.0.1", port=0)
    sock = server.bind(config.host, config.port)
    server.run(config, sock=sock, on_ready=lambda: print(config.port, flush=True))


if __name__ == "__main__":
    main()
