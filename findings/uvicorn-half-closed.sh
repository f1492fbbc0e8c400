#!/usr/bin/env bash
# uvicorn 0.54.0 (h11 and httptools, asyncio and uvloop), aiohttp 3.14.5, hypercorn 0.17.3: a client that ends its side of the
# connection once its request is sent (`nc -N`, shutdown(SHUT_WR)), and reads.
# Expected: all answer, as a request that is whole needs nothing more from its client.
# Seen: uvicorn and aiohttp close the connection at the client's FIN. uvicorn lets the application run to its end and drops its
# answer without a word in the log, so a request that changes something is done, and looks lost. hypercorn answers.
# Whoever writes a client or a health check: keep your side open until the answer is there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    uvicorn==0.54.0 httptools==0.9.0 uvloop==0.23.0 hypercorn==0.17.3 aiohttp==3.14.5
cd "$folder"
cat >served.py <<'PY'
import asyncio
import sys

from aiohttp import web

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep(0.2)
    print("the application answers", flush=True)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

async def handle(_request):
    await asyncio.sleep(0.2)
    return web.Response(text="ok")

if __name__ == "__main__":
    of_aiohttp = web.Application()
    of_aiohttp.router.add_get("/", handle)
    web.run_app(of_aiohttp, host="127.0.0.1", port=int(sys.argv[1]), print=None)
PY
"$folder/venv/bin/python" - <<'PY'
import contextlib, socket, subprocess, sys, time  # noqa: E401

UVICORN = [sys.executable, "-m", "uvicorn", "served:app", "--lifespan", "off", "--no-access-log", "--log-level", "error"]
SERVERS = {f"uvicorn, {h}, {lo}": [*UVICORN, "--http", h, "--loop", lo, "--port"] for h in ("h11", "httptools") for lo in ("asyncio", "uvloop")}
SERVERS["hypercorn"] = [sys.executable, "-m", "hypercorn", "served:app", "--log-level", "critical", "--bind"]
SERVERS["aiohttp"] = [sys.executable, "served.py"]
for name, command in SERVERS.items():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([*command, f"127.0.0.1:{port}" if name == "hypercorn" else str(port)])
    answer = None
    while answer is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(1000)
        time.sleep(0.1)
    process.terminate(), process.wait()
    print(f"{name}: {answer[:15]}", flush=True)
    assert bool(answer) == (name == "hypercorn"), name
PY
