#!/usr/bin/env bash
# redis-py 8.1.0: what an error of the server says.
# Expected: the text that the server sent, or an attribute with its code: Redis documents the first word as the code.
# Seen: the code is gone where the package has a class for it (OOM, READONLY, NOPERM), and is there where it has none (MISCONF, BUSY).
# So the text alone does not tell one from the other: whoever logs or compares it needs the class, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0
"$folder/venv/bin/python" - <<'PY'
import socket
import threading

import redis


def answered(line):
    """The class and text of the error that a command raises when the server answers it so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            client, _ = listener.accept()
            with client:
                while (asked := client.recv(4096)):
                    setting_up = b"SETINFO" in asked
                    client.sendall(b"+OK\r\n" * asked.count(b"SETINFO") if setting_up else f"-{line}\r\n".encode())

        threading.Thread(target=serve, daemon=True).start()
        client = redis.Redis("127.0.0.1", listener.getsockname()[1], protocol=2)
        try:
            client.get("key")
        except redis.RedisError as error:
            return type(error).__name__, str(error)


SAID = {
    "OOM command not allowed when used memory > 'maxmemory'.": ("OutOfMemoryError", False),
    "READONLY You can't write against a read only replica.": ("ReadOnlyError", False),
    "NOPERM this user has no permissions to run the 'get' command": ("NoPermissionError", False),
    "MISCONF Redis is configured to save RDB snapshots": ("ResponseError", True),
    "BUSY Redis is busy running a script.": ("ResponseError", True),
}
for line, (kind, has_code) in SAID.items():
    seen = answered(line)
    print(f"{line!r}: {seen}")
    assert seen == (kind, line if has_code else line.partition(" ")[2])
PY
