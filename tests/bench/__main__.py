"""`python -m tests.bench [--quick]`: takes every figure and prints one table. Nothing is asserted on time."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text

from tests.bench import crowd, deployment, rates, startup
from tests.bench.crowd import Crowd
from tests.bench.rates import Rates
from tests.support.databases import PostgresDatabases, SqliteDatabases


@dataclass(frozen=True)
class Scale:
    rounds: int
    seconds: float
    people: int
    starts: int


FULL = Scale(rounds=7, seconds=2.0, people=200, starts=3)
QUICK = Scale(rounds=1, seconds=0.4, people=20, starts=1)


@dataclass(frozen=True)
class Figures:
    rates: Rates
    crowd: Crowd


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each, to see that it works")
    scale = QUICK if parser.parse_args().quick else FULL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an ordinary end, which stops what was started
    started_at = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="tv-bench-"))
    try:
        taken = {}
        for name, database in (("SQLite", _sqlite), ("PostgreSQL", _postgresql)):
            with database(directory) as url:
                taken[name], client = _take(directory, name, url, scale)
        _say("tokenvend dev")
        dev = startup.measure(directory, times=scale.starts)
    finally:
        shutil.rmtree(directory)
    caption = (
        f"Medians of {scale.rounds} rounds; 64 connections, one worker, {os.cpu_count()} processors, Python "
        f"{sys.version.split()[0]}. The load generator alone reaches {client:,.0f} requests/s. "
        f"Taken in {time.monotonic() - started_at:.0f} s."
    )
    Console(width=110).print(_table(taken, dev, scale, caption))


def _say(what: str) -> None:
    print(f"measuring: {what} …", file=sys.stderr, flush=True)


@contextmanager
def _sqlite(directory: Path) -> Iterator[str]:
    yield SqliteDatabases(directory).create(directory)


@contextmanager
def _postgresql(directory: Path) -> Iterator[str]:
    # Not under `directory`: the socket's path must stay short, and the server's user must reach it.
    data = Path(tempfile.mkdtemp(prefix="tv-pg-"))
    databases = PostgresDatabases(data)
    try:
        url = databases.create()
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:  # tests do without; a commit that is measured reaches the disk
            connection.execute(text("ALTER SYSTEM SET fsync = on"))
            connection.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield url
    finally:
        databases.close()
        shutil.rmtree(data, ignore_errors=True)


def _take(directory: Path, name: str, url: str, scale: Scale) -> tuple[Figures, float]:
    """All figures on one database, and the load generator's ceiling."""
    users = deployment.sign_up(url)
    _say(f"{name}, vending")
    with deployment.deployed(directory, url, users) as running:
        client = rates.ceiling(running, scale.seconds)
        vending = rates.measure(running, rounds=scale.rounds, seconds=scale.seconds)
    _say(f"{name}, {scale.people} sign-ins at once")
    with deployment.deployed(directory, url, users) as running:
        return Figures(vending, crowd.measure(running, people=scale.people)), client


def _table(taken: dict[str, Figures], dev: startup.Startup, scale: Scale, caption: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("figure")
    for name in taken:
        table.add_column(name, justify="right")
    table.add_column("aim", justify="right")

    def row(figure: str, value: Callable[[Figures], str], aim: str = "") -> None:
        table.add_row(figure, *(value(one) for one in taken.values()), aim)

    row("empty endpoint, requests/s", lambda f: f"{f.rates.median(lambda r: r.empty.rate):,.0f}")
    row("cached vend, requests/s", lambda f: f"{f.rates.median(lambda r: r.cached.rate):,.0f}")
    row("  ÷ empty endpoint", lambda f: f"{f.rates.median(lambda r: r.cached.rate / r.empty.rate):.2f}", "≥ 0.5")
    row("  alone, p50 / p99 ms", lambda f: f"{f.rates.alone.p50:.1f} / {f.rates.alone.p99:.1f}")
    row("bare boto3 assume_role, calls/s", lambda f: f"{f.rates.median(lambda r: r.bare.rate):,.0f}")
    row("uncached vend, requests/s", lambda f: f"{f.rates.median(lambda r: r.uncached.rate):,.0f}")
    row("  ÷ bare boto3", lambda f: f"{f.rates.median(lambda r: r.uncached.rate / r.bare.rate):.2f}")
    row("  refused", lambda f: str(sum(r.uncached.refused + r.cached.refused for r in f.rates.rounds)), "0")
    row("CPU of an empty request, ms", lambda f: f"{f.rates.median(lambda r: r.empty.cpu) * 1000:.2f}")
    row("  of a cached vend, ms", lambda f: f"{f.rates.median(lambda r: r.cached.cpu) * 1000:.2f}")
    row("  of a bare boto3 call, ms", lambda f: f"{f.rates.median(lambda r: r.bare.cpu) * 1000:.2f}")
    row("  of an uncached vend, ms", lambda f: f"{f.rates.median(lambda r: r.uncached.cpu) * 1000:.2f}")
    row(
        "  uncached vend ÷ bare boto3",
        lambda f: f"{f.rates.median(lambda r: r.uncached.cpu / r.bare.cpu):.2f}",
        "≤ 2.2",
    )
    row("memory of the service at start, MB", lambda f: f"{f.rates.memory_at_start:.0f}", "< 150")
    row("  after that load", lambda f: f"{f.rates.memory_after:.0f}", "< 150")
    row(f"  peak in {scale.people} sign-ins at once", lambda f: f"{f.crowd.peak_memory:.0f}", "< 300")
    row(f"{scale.people} sign-ins: answers", lambda f: _answers(f.crowd))
    row("  the last one after, s", lambda f: f"{f.crowd.logins.longest / 1000:.1f}")
    row(
        "  /healthz meanwhile, p50 / p95 / max ms",
        lambda f: f"{f.crowd.healthz_within(50):.0f} / {f.crowd.healthz_within(95):.0f} / {f.crowd.healthz[-1]:.0f}",
        "< 300",
    )
    table.add_row("tokenvend dev to `ready`, cold / warm s", f"{dev.cold:.1f} / {dev.warm:.1f}", "", "< 6")
    return table


def _answers(seen: Crowd) -> str:
    return ", ".join(f"{count} × {status}" for status, count in sorted(seen.logins.statuses.items()))


if __name__ == "__main__":
    main()
