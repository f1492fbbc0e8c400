"""The service with an empty endpoint beside its own: what a request costs that does nothing."""

from typing import Literal

from app.api.credentials import credentials
from app.http import server
from app.http.wire import ResponseModel
from app.main import create_app
from app.platform.environment import load_settings
from app.platform.logs import configure_logging

EMPTY = "/v1/empty"


class Nothing(ResponseModel):
    status: Literal["ok"]


async def do_nothing() -> Nothing:
    return Nothing(status="ok")


def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_level)
    # Among the routes of /v1/credentials, so that finding it costs what finding them costs.
    credentials.router.add_api_route(EMPTY.removeprefix("/v1"), do_nothing, methods=["POST"])
    config = server.make_config(create_app(settings), host="127.0.0.1", port=0)
    sock = server.bind(config.host, config.port)
    server.run(config, sock=sock, on_ready=lambda: print(config.port, flush=True))


if __name__ == "__main__":
    main()
