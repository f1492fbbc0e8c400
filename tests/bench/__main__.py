"""`python -m tests.bench [--quick]`: takes every figure and prints one table. Nothing is asserted on time."""

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text

from tests.bench import cores, crowd, deployment, imports, million, node, rates, revocation, startup
from tests.bench.crowd import FirstVends, SignIns
from tests.bench.imports import Imports
from tests.bench.million import Comparison
from tests.bench.rates import Alone, Hits, Misses, Rates, middle
from tests.support.databases import PostgresDatabases, SqliteDatabases

OPEN_FILES = 16_384


@dataclass(frozen=True)
class Scale:
    rounds: int
    rounds_on_sqlite: int
    seconds: float
    users: int
    """60 vends a minute are each one's limit, which no window may come near."""
    users_on_sqlite: int
    sign_ins: int
    first_vends: int
    arrive_within: float
    starts: int
    many: int
    """Users in the database that is compared with one of `million.FEW`."""
    samples: int
    imported: tuple[int, int]
    """Users, few and many."""
    revocations: int
    sign_outs: int
    """At once."""


FULL = Scale(
    *(7, 3, 2.0),
    users=5_000,
    users_on_sqlite=2_048,
    sign_ins=200,
    first_vends=5_000,
    arrive_within=10,
    starts=3,
    many=1_000_000,
    samples=3_000,
    imported=(50_000, 500_000),
    revocations=50,
    sign_outs=1_000,
)
QUICK = Scale(
    *(1, 1, 0.3),
    users=200,
    users_on_sqlite=100,
    sign_ins=10,
    first_vends=200,
    arrive_within=1,
    starts=1,
    many=3_000,
    samples=50,
    imported=(500, 2_000),
    revocations=2,
    sign_outs=20,
)


@dataclass(frozen=True)
class Figures:
    rates: Rates
    sign_ins: SignIns
    first_vends: FirstVends | None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each, to see that it works")
    scale = QUICK if parser.parse_args().quick else FULL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an ordinary end, which stops what was started
    _allow_open_files()
    processors = os.cpu_count()
    core = cores.reserve()
    missing = node.why_not()
    if missing is not None:
        _say(f"no Node service, because {missing}")
    started_at = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="tv-bench-"))
    try:
        with _postgresql(directory) as url:
            on_postgresql, client = _take_on_postgresql(directory, url, scale, core, compared=missing is None)
            _say("PostgreSQL, revocation on Ceph")
            revoked = revocation.measure(directory, url, times=scale.revocations, at_once=scale.sign_outs)
        on_sqlite = _take_on_sqlite(directory, SqliteDatabases(directory).create(directory), scale, core)
        compared = million.compare(scale.many, scale.samples, _say)
        moved = imports.measure(*scale.imported, _say)
        _say("tokenvend dev")
        dev = startup.measure(directory, times=scale.starts)
    finally:
        shutil.rmtree(directory)
    pinned = "not pinned" if core is None else f"alone on core {core}"
    caption = (
        f"Medians of {scale.rounds} rounds ({scale.rounds_on_sqlite} on SQLite); 64 connections, one worker, {pinned} "
        f"of {processors}, Python {sys.version.split()[0]}; rate limits, access log and metrics on. The load generator "
        f"alone reaches {client:,.0f} requests/s. Taken in {time.monotonic() - started_at:.0f} s."
    )
    table = _table({"PostgreSQL": on_postgresql, "SQLite": on_sqlite}, dev, scale, caption, missing)
    _tell_of_many(table, compared, scale)
    _tell_of_imports(table, moved)
    _tell_of_revocation(table, revoked, scale)
    Console(width=120).print(table)


def _say(what: str) -> None:
    print(f"measuring: {what} …", file=sys.stderr, flush=True)


def _allow_open_files() -> None:
    """For each of a crowd's connections, here and in what is started."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, enough), most))


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


def _take_on_postgresql(
    directory: Path, url: str, scale: Scale, core: int | None, *, compared: bool
) -> tuple[Figures, float]:
    """All figures, and the load generator's ceiling."""
    _say(f"PostgreSQL, {scale.users:,} users sign up")
    users = deployment.sign_up(url, scale.users)
    _say("PostgreSQL, vending")
    with ExitStack() as stack:
        running = stack.enter_context(deployment.deployed(directory, url, users, core))
        beside = stack.enter_context(node.deployed(directory, url, running)) if compared else None
        client = rates.ceiling(running, scale.seconds)
        vending = rates.measure(running, beside, rounds=scale.rounds, seconds=scale.seconds)
    _say(f"PostgreSQL, {scale.sign_ins} sign-ins at once")
    with deployment.deployed(directory, url, users, core, **crowd.PROXY) as running:
        sign_ins = crowd.sign_in(running, people=scale.sign_ins)
    _say(f"PostgreSQL, {scale.first_vends:,} first vends in {scale.arrive_within:.0f} s")
    with deployment.deployed(directory, url, users, core, **crowd.STS) as running:
        first_vends = crowd.vend_first(running, people=scale.first_vends, arrive_within=scale.arrive_within)
    return Figures(vending, sign_ins, first_vends), client


def _take_on_sqlite(directory: Path, url: str, scale: Scale, core: int | None) -> Figures:
    _say(f"SQLite, {scale.users_on_sqlite:,} users sign up")
    users = deployment.sign_up(url, scale.users_on_sqlite)
    _say("SQLite, vending")
    with deployment.deployed(directory, url, users, core) as running:
        vending = rates.measure(running, None, rounds=scale.rounds_on_sqlite, seconds=scale.seconds)
    _say(f"SQLite, {scale.sign_ins} sign-ins at once")
    with deployment.deployed(directory, url, users, core, **crowd.PROXY) as running:
        return Figures(vending, crowd.sign_in(running, people=scale.sign_ins), None)


def _table(taken: dict[str, Figures], dev: startup.Startup, scale: Scale, caption: str, missing: str | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("figure")
    for name in taken:
        table.add_column(name, justify="right")
    table.add_column("aim", justify="right")

    def row(figure: str, value: Callable[[Figures], str], aim: str = "") -> None:
        table.add_row(figure, *(value(one) for one in taken.values()), aim)

    def hits(figure: str, value: Callable[[Hits], float], form: str, aim: str = "") -> None:
        row(figure, lambda f: format(middle(f.rates.hits, value), form), aim)

    def misses(figure: str, value: Callable[[Misses], float], form: str, aim: str = "") -> None:
        row(figure, lambda f: format(middle(f.rates.misses, value), form), aim)

    def alone(figure: str, value: Callable[[Alone], float], form: str, aim: str = "") -> None:
        row(figure, lambda f: format(middle(f.rates.alone, value), form), aim)

    hits("cached vend, requests/s", lambda r: r.cached.rate, ",.0f")
    hits("  empty POST endpoint, requests/s", lambda r: r.empty.rate, ",.0f")
    hits("  cached vend ÷ empty endpoint", lambda r: r.cached.rate / r.empty.rate, ".2f", "≥ 0.8")
    hits("  CPU of a cached vend, ms", lambda r: r.cached.cpu * 1000, ".2f")
    hits("  CPU of an empty request, ms", lambda r: r.empty.cpu * 1000, ".2f")
    alone("a single client's cached vend, p50 ms", lambda r: r.batched.p50, ".2f")
    alone("  the same by a plain query, p50 ms", lambda r: r.plain.p50, ".2f")
    alone("  cached vend ÷ plain query", lambda r: r.batched.p50 / r.plain.p50, ".2f", "≤ 1")
    misses("uncached vend, requests/s", lambda r: r.uncached.rate, ",.0f")
    misses("  bare boto3 assume_role, calls/s", lambda r: r.bare.rate, ",.0f")
    misses("  CPU of an uncached vend, ms", lambda r: r.uncached.cpu * 1000, ".2f")
    misses("  CPU of a bare boto3 call, ms", lambda r: r.bare.cpu * 1000, ".2f")
    misses("  uncached vend ÷ bare boto3, CPU", lambda r: r.uncached.cpu / r.bare.cpu, ".2f", "≤ 0.7")
    row("answers to all of these vends", lambda f: _answers(f.rates.statuses), "200 alone")
    if missing is None:
        _compare(table, taken["PostgreSQL"].rates)
    else:
        table.add_row(f"Node: skipped, {missing}", "", "", "")
    row("memory of the service at start, MB", lambda f: f"{f.rates.memory_at_start:.0f}", "< 150")
    row("  after that load", lambda f: f"{f.rates.memory_after:.0f}", "< 150")
    row(f"{scale.sign_ins} sign-ins at once: answers", lambda f: _answers(f.sign_ins.answers.statuses))
    row("  the last one after, s", lambda f: f"{f.sign_ins.answers.longest / 1000:.1f}")
    row("  peak memory, MB", lambda f: f"{f.sign_ins.watched.peak_memory:.0f}", "< 300")
    row("  /healthz meanwhile, p50 / p95 / max ms", lambda f: _healthz(f.sign_ins.watched), "< 300")
    crowded = taken["PostgreSQL"].first_vends
    assert crowded is not None
    _tell_of_crowd(table, crowded, scale)
    table.add_row("tokenvend dev to `ready`, cold / warm s", f"{dev.cold:.1f} / {dev.warm:.1f}", "", "< 6")
    return table


def _compare(table: Table, taken: Rates) -> None:
    hits = [(one, one.node_empty, one.node_cached) for one in taken.hits if one.node_empty and one.node_cached]
    misses = [(one, one.node_uncached) for one in taken.misses if one.node_uncached]

    def row(figure: str, value: str, aim: str = "") -> None:
        table.add_row(figure, value, "", aim)

    row("Node, cached vend, requests/s", f"{middle(hits, lambda r: r[2].rate):,.0f}")
    row("  its empty POST endpoint, requests/s", f"{middle(hits, lambda r: r[1].rate):,.0f}")
    row("  its uncached vend, requests/s", f"{middle(misses, lambda r: r[1].rate):,.0f}")
    row(
        "  its CPU of a cached / uncached vend, ms",
        f"{middle(hits, lambda r: r[2].cpu) * 1000:.2f} / {middle(misses, lambda r: r[1].cpu) * 1000:.2f}",
    )
    row("  ours ÷ Node, cached", f"{middle(hits, lambda r: r[0].cached.rate / r[2].rate):.2f}")
    row("  ours ÷ Node, uncached", f"{middle(misses, lambda r: r[0].uncached.rate / r[1].rate):.2f}")


def _tell_of_crowd(table: Table, seen: FirstVends, scale: Scale) -> None:
    answers = seen.answers

    def row(figure: str, value: str, aim: str = "") -> None:
        table.add_row(figure, value, "", aim)

    row(
        f"{scale.first_vends:,} first vends in {scale.arrive_within:.0f} s, STS at 600/s and 80 ms: served",
        f"{answers.served:,}",
        f"{scale.first_vends:,}",
    )
    row("  503 with Retry-After", f"{answers.statuses.get('503', 0):,}")
    row("  any other answer, or a broken connection", _answers(answers.odd) or "0", "0")
    row("  the last one after, s", f"{answers.last:.1f}", f"< {crowd.GIVE_UP_AFTER:.0f}")
    row("  p50 / p99 with all retries, ms", f"{answers.p50:,.0f} / {answers.p99:,.0f}")
    row("  peak memory, MB", f"{seen.watched.peak_memory:.0f}")
    row("  /healthz meanwhile, p50 / p95 / max ms", _healthz(seen.watched))


def _tell_of_many(table: Table, compared: list[Comparison], scale: Scale) -> None:
    table.add_row(f"with {scale.many:,} users, p50 / p99 ms (÷ with {million.FEW:,})", "", "", "")
    for one in compared:
        times, ratios = ([value(percent) for percent in (50, 99)] for value in (one.many.within, one.ratio))
        shown = f"{times[0]:.2f} / {times[1]:.2f} ({ratios[0]:.2f} / {ratios[1]:.2f})"
        table.add_row(f"  {one.story}", shown, "", f"≤ {one.aim}")


def _tell_of_imports(table: Table, moved: Imports) -> None:
    many = moved.many
    table.add_row(f"{many.rows:,} users imported by command, rows/s", f"{many.rate:,.0f}", "", "")
    table.add_row("  by COPY alone into the same table, rows/s", f"{moved.copied:,.0f}", "", "")
    table.add_row("  import ÷ COPY", f"{many.rate / moved.copied:.2f}", "", "")
    table.add_row(
        f"  peak memory, MB (more than with {moved.few.rows:,})",
        f"{many.peak_memory:.0f} ({moved.growth:+.1f})",
        "",
        "< 20",
    )


def _tell_of_revocation(table: Table, seen: revocation.Revocation | None, scale: Scale) -> None:
    if seen is None:
        table.add_row("Ceph: skipped, it is not installed", "", "", "")
        return
    refused, call = ([times.within(percent) for percent in (50, 99)] for times in (seen.refused, seen.call))
    table.add_row("revocation to the first 403 on Ceph, p50 / p99 ms", f"{refused[0]:.0f} / {refused[1]:.0f}", "", "")
    table.add_row("  the call itself, p50 / p99 ms", f"{call[0]:.0f} / {call[1]:.0f}", "", "")
    table.add_row(f"  {scale.sign_outs:,} sign-outs at once, s", f"{seen.burst:.1f}", "", "")
    table.add_row("  the last of them refused after, s", f"{seen.burst_refused:.1f}", "", "")
    table.add_row("  writes of the policy for them", f"{seen.writes}", "", "")


def _answers(statuses: dict[str, int]) -> str:
    return ", ".join(f"{count:,} × {status}" for status, count in sorted(statuses.items()))


def _healthz(seen: crowd.Watched) -> str:
    return f"{seen.healthz_within(50):.0f} / {seen.healthz_within(95):.0f} / {seen.healthz[-1]:.0f}"


if __name__ == "__main__":
    main()
