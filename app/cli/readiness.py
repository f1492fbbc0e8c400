"""Says on standard output when the service is ready, and until then once what is missing, as `/readyz` tells it."""

import functools
import http.client
import json
import threading
import time
from collections.abc import Callable

from app.platform import forks

EVERY = 5.0
"""Seconds between two looks while it is not ready."""
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound


def tell(host: str, port: int, *, workers: int = 1) -> None:
    """Says where the service listens, and goes on in a thread that ends with the process.

    A process with several workers stays without threads, because it forks: there a process of its own goes on.
    """
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"listening {url}", flush=True)
    go_on = functools.partial(follow, LOOPBACK.get(host, host), port, url)
    if workers > 1 and forks.SHARED:
        forks.start(forks.make(functools.partial(go_on, wanted=forks.has_parent), daemon=True))
    else:
        threading.Thread(target=go_on, daemon=True).start()


def follow(host: str, port: int, url: str, *, every: float = EVERY, wanted: Callable[[], bool] = lambda: True) -> None:
    """Asks at `host` and `port` until it is ready, or nobody wants to know it any more."""
    told = False
    while missing := _missing(host, port):
        if not wanted():
            return
        if not told:
            print(missing, flush=True)
        told = True
        time.sleep(every)
    print(f"ready {url}", flush=True)


def _missing(host: str, port: int) -> str:
    """A sentence; empty if nothing is missing."""
    connection = http.client.HTTPConnection(host, port, timeout=30)  # it asks no proxy
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return "" if answer.status == 200 else str(json.load(answer)["detail"])
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        return f"Not ready: /readyz cannot be read ({error})."
    finally:
        connection.close()
