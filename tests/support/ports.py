"""Ports for servers that have to be told theirs, as when they are to come back at it."""

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

PORTS = range(10_000, 12_000)
"""Below those that the kernel gives to connections and to servers that take any (from 32,768 on; 49,152 elsewhere), and
below the embedded engine's."""


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody listens at, which no other test process gets as long as this one lives."""
    locks = Path(tempfile.gettempdir()) / "tokenvend-test-ports"
    locks.mkdir(mode=0o777, exist_ok=True)
    for port in secrets.SystemRandom().sample(PORTS, k=len(PORTS)):
        lock = os.open(locks / str(port), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.create_server((host, port)):
                return port  # the lock is let go with the process
        except OSError:
            os.close(lock)
    raise AssertionError(f"no port of {PORTS} is free")
