"""The other end of `driving.Lines`: an act a line, as a JSON array, and an answer a line."""

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

BUCKET, PREFIX = os.environ["BUCKET"], os.environ["PREFIX"]
ENDPOINT, REGION = os.environ["AWS_ENDPOINT_URL_S3"], os.environ["AWS_REGION"]


def serve(package: str, store: Callable[[], Any]) -> None:
    """`store()` has the acts as methods. It is made for the first act, whose answer a failure of it is."""
    _say(version=version(package))
    made = None
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            made = made or store()
            _say(done=getattr(made, name)(*arguments))
        except Exception as error:  # noqa: BLE001 - whatever it is, a person would see it
            _say(says=f"{type(error).__name__}: {error}")


def _say(**answer: Any) -> None:
    print("=", json.dumps(answer), flush=True)
