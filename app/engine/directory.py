"""The engine's data directory. One process uses it at a time. Keys are chosen once and kept, and so are ports that
nobody asked for.

`engine.json` has the keys and the ports, `store` the objects; everything else is written anew at each start.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from app.engine import config
from app.engine.certificate import self_signed
from app.engine.errors import EngineError

STATE_FILE = "engine.json"
LOCK_FILE = "lock"
LOCK_TIMEOUT = 5.0
"""Seconds that an engine whose service was killed has to stop."""
ANEW = "Keys and ports are then chosen anew; the objects stay."
PORT_BLOCKS = range(12_000, 22_000, 10)
"""Their first ports. All ports lie under 32,768, where systems begin to take ports for outgoing connections."""
FIRST_PORTS = range(1024, 55_528)
"""Of blocks. The last port of a block is 10,008 above its first, and 65,535 is the last of all."""
MOST_TRIED = 20
"""Blocks that are tried from the wanted port on."""


@contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    """Makes the directory if need be, and holds its lock. Raises `EngineError` while another process has it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    with os.fdopen(os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as lock:
        _acquire(lock, path)
        yield lock


def kept(path: Path, *, wanted: int | None = None) -> tuple[int, config.Keys]:
    """The first port and the keys. The first call chooses them. Raises `EngineError` if their file is spoilt.

    The first port is the `wanted` one, or that of the next block which is free. With None it is the kept one.
    """
    file = path / STATE_FILE
    held, keys = _read(file) if file.exists() else (None, config.Keys.random())
    first_port = _next_block(wanted) if wanted is not None else _free_block() if held is None else held
    if first_port != held:
        write(file, json.dumps({"first_port": first_port, "keys": asdict(keys)}, indent=2))
    return first_port, keys


def _read(file: Path) -> tuple[int, config.Keys]:
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        secret = state["keys"]
        broker, owner = config.KeyPair(**secret["broker"]), config.KeyPair(**secret["owner"])
        keys = config.Keys(broker, owner, signing_key=secret["signing_key"])
        return FIRST_PORTS[FIRST_PORTS.index(state["first_port"])], keys
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{file} is spoilt: delete it. {ANEW}") from error


def require_free_ports(path: Path, first_port: int) -> None:
    for port in config.ports(first_port).values():
        if not _is_free(port):
            raise EngineError(
                f"Port {port} on {config.HOST}, which the engine uses, is in use by another process: stop that, "
                f"or delete {path / STATE_FILE}. {ANEW}"
            )


def write_configuration(path: Path, texts: Mapping[str, str]) -> None:
    certificate, key = self_signed("tokenvend engine")
    for name, text in texts.items():
        write(path / name, text)
    write(path / config.CERTIFICATE_FILE, certificate)
    write(path / config.KEY_FILE, key)
    (path / config.STORE).mkdir(mode=0o700, exist_ok=True)
    # SeaweedFS keeps its last command line there, and takes from it what the present one leaves out.
    (path / config.STORE / "mini.options").unlink(missing_ok=True)


def write(file: Path, text: str) -> None:
    """Writes the whole file or nothing, readable by its owner alone."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    new.replace(file)


def _acquire(lock: IO[str], path: Path) -> None:
    import fcntl  # noqa: PLC0415 - Windows has none, and must get as far as being told that it is not supported

    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read()
            # A service that was killed is gone at once; its engine has the lock for the second that it takes to stop.
            if _is_running(holder) or time.monotonic() > deadline:
                raise EngineError(
                    f"{path} is in use by process {holder}: stop that, or choose another data directory with "
                    "`tokenvend dev --data-dir`."
                ) from None
            time.sleep(0.05)
    lock.seek(0)
    lock.truncate()
    lock.write(str(os.getpid()))
    lock.flush()


def _is_running(pid: str) -> bool:
    if not pid.isdecimal():  # it is just about to write it
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _free_block() -> int:
    for first_port in secrets.SystemRandom().sample(PORT_BLOCKS, k=len(PORT_BLOCKS)):
        if _is_free_block(first_port):
            return first_port
    raise EngineError("No ten ports between 12000 and 32000 are free: stop what uses them.")


def _next_block(wanted: int) -> int:
    """The first port of the block at `wanted`, or of the next one that is free."""
    for first_port in range(wanted, min(wanted + 10 * MOST_TRIED, FIRST_PORTS.stop), 10):
        if _is_free_block(first_port):
            return first_port
    raise EngineError(f"No ten ports from {wanted} on are free for the engine: stop what uses them.")


def _is_free_block(first_port: int) -> bool:
    aside = config.ports(first_port, aside=True)["s3.port"]
    return all(map(_is_free, (*config.ports(first_port).values(), aside)))


def _is_free(port: int) -> bool:
    """Whether the port is free on loopback and on all addresses, as SeaweedFS needs it. It is bound for an instant."""
    for address in (config.HOST, ""):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
