"""A process that has the whole service ready, and forks one that serves it for each line on its standard input.

`python -m tests.storms.forking`, with the settings in the environment, answers each line with `<process id> <port>`
once requests are answered there. It ends with its input, and what it forked ends with it.
"""

import gc
import os
import sys
import threading

from app.http import server
from app.main import create_app_from_environment


def serve(alive: int) -> None:
    """`alive` is the end of a pipe: at its end of file our parent is gone."""
    threading.Thread(target=lambda: (os.read(alive, 1), os._exit(1)), daemon=True).start()
    server.run(config, on_ready=lambda: print(os.getpid(), config.port, flush=True))


def main() -> None:
    alive, held = os.pipe()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.close(held)
            serve(alive)
            return
        os.waitpid(child, 0)


if __name__ == "__main__":
    # It connects to nothing, and starts no thread, before it is served: so each fork finds it as new.
    config = server.make_config(create_app_from_environment(), host="127.0.0.1", port=0)
    gc.collect()
    gc.freeze()  # or each fork would walk, and so copy, all of it
    main()
