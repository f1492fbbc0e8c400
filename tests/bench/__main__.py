"""`python -m tests.bench [PART …]`: takes the figures and prints a table, which `build/bench.json` and `.md` hold too.

Nothing is asserted on time.
"""

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text

from tests.bench import baselines, console, cores, crowd, deployment, imports, million, node, rates, revocation, startup
from tests.bench.crowd import FirstVends
from tests.bench.imports import Imports
from tests.bench.million import Comparison
from tests.bench.rates import Rates, Sample, What, Who
from tests.support.databases import PostgresDatabases, SqliteDatabases

OPEN_FILES = 16_384
BUILD = Path(__file__).parents[2] / "build"
BASELINE_AIMS: dict[What, str] = {"cached": "≥ 1.8", "refresh": "≥ 1.4"}
"""Over the build of 27c7d3a."""
Key = tuple[Who, What]


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
    console_samples: int


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
    console_samples=20,
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
    console_samples=2,
)


PARTS = {
    "vending": "a phone's calls, beside floors, a Node service and an earlier build",
    "crowd": "sign-ins and first vends at the same moment",
    "revocation": "how soon Ceph refuses what was revoked",
    "many": "the same queries with few users and with many",
    "console": "what the console's views ask for",
    "imports": "users imported by the command, beside COPY",
    "start": "`tokenvend dev` to `ready`",
}


@dataclass
class Figure:
    name: str
    values: tuple[str, ...]
    """On PostgreSQL and, where it was taken, on SQLite."""
    aim: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="; ".join(f"{n}: {what}" for n, what in PARTS.items()))
    parser.add_argument("--quick", action="store_true", help="one short round of each, to see that it works")
    what = "builds this commit too, and takes both in turn"
    parser.add_argument("--baseline", metavar="COMMIT", default=os.environ.get("BASELINE"), help=what)
    parser.add_argument("--many", type=int, metavar="USERS", help="users of the large database")
    given = parser.parse_args()
    parts = given.parts or list(PARTS)
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"no such part: {', '.join(unknown)}")
    scale = QUICK if given.quick else FULL
    if given.many:
        scale = replace(scale, many=given.many)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an ordinary end, which stops what was started
    _allow_open_files()
    processors = os.cpu_count()
    core = cores.reserve()
    started_at = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="tv-bench-"))
    taken = _Taken([], {})
    try:
        _take(taken, parts, Bench(directory, scale, core, given.baseline))
    finally:
        shutil.rmtree(directory)
        if taken.figures:  # also those from before a part that failed: they took many minutes
            pinned = "not pinned" if core is None else f"alone on core {core}"
            caption = (
                f"Medians of {scale.rounds} rounds ({scale.rounds_on_sqlite} on SQLite); {rates.CONNECTIONS} "
                f"connections, one worker, {pinned} of {processors}, Python {sys.version.split()[0]}; rate limits, log "
                f"and metrics on. Commit {_commit()}. Taken in {time.monotonic() - started_at:.0f} s."
            )
            _write(taken, caption)
            _print(taken, caption)


@dataclass(frozen=True)
class Bench:
    directory: Path
    scale: Scale
    core: int | None
    """What is measured runs on it alone."""
    baseline: str | None
    """The commit of the earlier build."""


@dataclass
class _Taken:
    figures: list[Figure]
    rounds: dict[str, list[dict[str, dict[str, object]]]]
    """By database: each round's samples."""

    def add(self, name: str, *values: str, aim: str = "") -> None:
        self.figures.append(Figure(name, values, aim))


def _take(taken: _Taken, parts: list[str], bench: Bench) -> None:
    directory, scale = bench.directory, bench.scale
    if {"vending", "crowd", "revocation"} & set(parts):
        with _postgresql() as databases:
            url = databases.create()
            _say(f"PostgreSQL, {scale.users:,} users sign up")
            users = deployment.sign_up(url, scale.users)
            if "vending" in parts:
                _take_vending(taken, bench, databases, (url, users))
            if "crowd" in parts:
                _take_crowd(taken, bench, url, users)
            if "revocation" in parts:
                _say("PostgreSQL, revocation on Ceph")
                revoked = revocation.measure(directory, url, times=scale.revocations, at_once=scale.sign_outs)
                _tell_of_revocation(taken, revoked, scale)
    if "many" in parts:
        million.warn(scale.many, _say)
        _tell_of_many(taken, million.compare(scale.many, scale.samples, _say), scale)
    if "console" in parts:
        calls = console.measure(directory, scale.many, scale.console_samples, _say)
        taken.add(
            f"the console with {scale.many:,} users and {scale.many * console.AUDIT_ROWS:,} audit rows, p50 / max ms"
        )
        for one in calls:
            shown = f"{one.times.within(50):.0f} / {one.times.taken[-1]:.0f}"
            taken.add(f"  {one.name}", shown, aim=f"< {console.AIM}")
    if "imports" in parts:
        _tell_of_imports(taken, imports.measure(*scale.imported, _say))
    if "start" in parts:
        _say("tokenvend dev")
        dev = startup.measure(directory, times=scale.starts)
        taken.add("tokenvend dev to `ready`, cold / warm s", f"{dev.cold:.1f} / {dev.warm:.1f}", aim="< 6")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _write(taken: _Taken, caption: str) -> None:
    """`build/bench.json` has every figure and every round, `build/bench.md` the table."""
    BUILD.mkdir(exist_ok=True)
    document = {"caption": caption, "figures": [asdict(one) for one in taken.figures], "rounds": taken.rounds}
    (BUILD / "bench.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    lines, of = ["| figure | PostgreSQL | SQLite | aim |", "|---|---|---|---|"], ""
    for one in taken.figures:
        if not one.name.startswith(" "):
            name, of = one.name, re.split(", |: ", one.name)[0]
        else:
            name = f"{of}: {one.name.strip()}"
        lines.append(f"| {name} | {' | '.join((*one.values, '', '')[:2])} | {one.aim} |")
    (BUILD / "bench.md").write_text("\n".join([*lines, "", caption, ""]), encoding="utf-8")


def _print(taken: _Taken, caption: str) -> None:
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("figure")
    for name in ("PostgreSQL", "SQLite", "aim"):
        table.add_column(name, justify="right")
    for one in taken.figures:
        table.add_row(one.name, *(*one.values, "", "")[:2], one.aim)
    Console(width=120).print(table)


def _say(what: str) -> None:
    print(f"measuring: {what} …", file=sys.stderr, flush=True)


def _allow_open_files() -> None:
    """For each of a crowd's connections, here and in what is started."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, enough), most))


@contextmanager
def _postgresql() -> Iterator[PostgresDatabases]:
    # Not where the rest is: the socket's path must stay short, and the server's user must reach it.
    data = Path(tempfile.mkdtemp(prefix="tv-pg-"))
    databases = PostgresDatabases(data)
    try:
        engine = create_engine(databases.create(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:  # tests do without; a commit that is measured reaches the disk
            connection.execute(text("ALTER SYSTEM SET fsync = on"))
            connection.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield databases
    finally:
        databases.close()
        shutil.rmtree(data, ignore_errors=True)


Signed = tuple[str, list[deployment.User]]
"""A database's address, and its signed-in users."""


def _take_vending(taken: _Taken, bench: Bench, databases: PostgresDatabases, signed: Signed) -> None:
    directory, scale, core, base = bench.directory, bench.scale, bench.core, bench.baseline
    missing = node.why_not()
    if missing is not None:
        _say(f"no Node service, because {missing}")
    url, users = signed
    with ExitStack() as stack:
        baseline = None
        if base is not None:
            _say(f"the build of {base}")
            build = stack.enter_context(baselines.built(base))
            _say(f"PostgreSQL, {scale.users:,} users sign up with the build of {base}")
            its_url = databases.create_empty()
            its_users = deployment.sign_up_in(build, its_url, scale.users)
            baseline = stack.enter_context(deployment.deployed(directory, its_url, its_users, core, build))
        running = stack.enter_context(deployment.deployed(directory, url, users, core))
        floor = stack.enter_context(deployment.floor(running, directory))
        beside = stack.enter_context(node.deployed(directory, url, running)) if missing is None else None
        _say("PostgreSQL, vending")
        client = rates.ceiling(running, scale.seconds)
        on_postgresql = rates.measure(running, floor, beside, baseline, rounds=scale.rounds, seconds=scale.seconds)
    _say(f"SQLite, {scale.users_on_sqlite:,} users sign up")
    url = SqliteDatabases(directory).create(directory)
    users = deployment.sign_up(url, scale.users_on_sqlite)
    _say("SQLite, vending")
    with deployment.deployed(directory, url, users, core) as running, deployment.floor(running, directory) as floor:
        on_sqlite = rates.measure(running, floor, None, None, rounds=scale.rounds_on_sqlite, seconds=scale.seconds)
    _tell_of_vending(taken, (on_postgresql, on_sqlite))
    taken.add("the load generator alone, requests/s", f"{client:,.0f}")
    if missing is not None:
        taken.add(f"Node: skipped, {missing}")


def _take_crowd(taken: _Taken, bench: Bench, url: str, users: list[deployment.User]) -> None:
    directory, scale, core = bench.directory, bench.scale, bench.core
    _say(f"PostgreSQL, {scale.sign_ins} sign-ins at once")
    with deployment.deployed(directory, url, users, core) as running:
        seen = crowd.sign_in(running, people=scale.sign_ins)
    taken.add(f"{scale.sign_ins} sign-ins at once: answers", _answers(seen.answers.statuses))
    taken.add("  the last one after, s", f"{seen.answers.longest / 1000:.1f}")
    taken.add("  peak memory, MB", f"{seen.watched.peak_memory:.0f}", aim="< 300")
    taken.add("  /healthz meanwhile, p50 / p95 / max ms", _healthz(seen.watched), aim="< 300")
    _say(f"PostgreSQL, {scale.first_vends:,} first vends in {scale.arrive_within:.0f} s")
    with deployment.deployed(directory, url, users, core, **crowd.STS) as running:
        first = crowd.vend_first(running, people=scale.first_vends, arrive_within=scale.arrive_within)
    _tell_of_crowd(taken, first, scale)


CALLS: dict[What, str] = {
    "cached": "cached vend",
    "container": "container endpoint",
    "refresh": "refresh",
    "uncached": "uncached vend",
}


def _tell_of_vending(taken: _Taken, both: tuple[Rates, Rates]) -> None:
    for name, one in zip(("PostgreSQL", "SQLite"), both, strict=True):
        taken.rounds[name] = [
            {f"{who} {what}": asdict(sample) for (who, what), sample in each.items()} for each in one.rounds
        ]

    def rate(sample: Sample) -> float:
        return sample.rate

    def cpu(sample: Sample) -> float:
        return sample.cpu

    def compare(name: str, one: Key, other: Key, of: Callable[[Sample], float], aim: str = "") -> None:
        ratios = [each.ratio(one, other, of) for each in both]
        if ratios[0] is not None:
            taken.add(name, *(f"{ratio:.2f}" for ratio in ratios if ratio is not None), aim=aim)

    for what, name in CALLS.items():
        ours: Key = ("ours", what)
        taken.add(f"{name}, requests/s", *(f"{one.middle(lambda r, k=ours: r[k].rate):,.0f}" for one in both))
        taken.add("  its CPU, ms", *(f"{one.middle(lambda r, k=ours: r[k].cpu) * 1000:.3f}" for one in both))
        compare("  ÷ the baseline", ours, ("baseline", what), rate, BASELINE_AIMS.get(what, ""))
        compare("  ÷ the Node service", ours, ("node", what), rate, "≥ 1.1" if what == "cached" else "")
        if what == "cached":
            compare("  ÷ an empty endpoint", ours, ("floor", "empty"), rate)
        if what == "uncached":
            compare("  CPU ÷ a bare boto3 call", ours, ("bare", "uncached"), cpu, "≤ 0.5, 0.65")
    taken.add(
        "a single client's cached vend, p50 ms", *(f"{m.middle(lambda r: r['ours', 'alone'].p50):.2f}" for m in both)
    )
    taken.add(
        f"container endpoint, {rates.CONNECTIONS} programs that ask 20 times a second: p50 / p99 ms",
        *(_waited(m, "ours") for m in both),
        aim="p99 ≤ 3",
    )
    taken.add("  the same of an empty endpoint", *(_waited(m, "floor") for m in both))
    taken.add("answers to all of these", *(_answers(one.statuses) for one in both), aim="200 alone")
    taken.add("memory of a worker, at start, MB", *(f"{one.memory['ours'].at_start:.0f}" for one in both))
    taken.add("  after that load, MB", *(f"{one.memory['ours'].after:.0f}" for one in both))
    base = both[0].memory.get("baseline")
    if base is not None:
        own = both[0].memory["ours"]
        taken.add("  at start ÷ the baseline", f"{own.at_start / base.at_start:.2f}", aim="≤ 0.72")
        taken.add("  after that load ÷ the baseline", f"{own.after / base.after:.2f}", aim="≤ 0.65")


def _waited(measured: Rates, who: Who) -> str:
    p50 = measured.middle(lambda taken: taken[who, "waited for"].p50)
    p99 = measured.middle(lambda taken: taken[who, "waited for"].p99)
    return f"{p50:.2f} / {p99:.2f}"


def _tell_of_crowd(taken: _Taken, seen: FirstVends, scale: Scale) -> None:
    answers = seen.answers

    taken.add(
        f"{scale.first_vends:,} first vends in {scale.arrive_within:.0f} s, STS at 600/s and 80 ms: served",
        f"{answers.served:,}",
        aim=f"{scale.first_vends:,}",
    )
    taken.add("  503 with Retry-After", f"{answers.statuses.get('503', 0):,}")
    taken.add("  any other answer, or a broken connection", _answers(answers.odd) or "0", aim="0")
    taken.add("  the last one after, s", f"{answers.last:.1f}", aim=f"< {crowd.GIVE_UP_AFTER:.0f}")
    taken.add("  p50 / p99 with all retries, ms", f"{answers.p50:,.0f} / {answers.p99:,.0f}")
    taken.add("  peak memory, MB", f"{seen.watched.peak_memory:.0f}")
    taken.add("  /healthz meanwhile, p50 / p95 / max ms", _healthz(seen.watched))


def _tell_of_many(taken: _Taken, compared: list[Comparison], scale: Scale) -> None:
    taken.add(f"with {scale.many:,} users, p50 / p99 ms (÷ with {million.FEW:,})")
    for one in compared:
        times, ratios = ([value(percent) for percent in (50, 99)] for value in (one.many.within, one.ratio))
        shown = f"{times[0]:.2f} / {times[1]:.2f} ({ratios[0]:.2f} / {ratios[1]:.2f})"
        taken.add(f"  {one.story}", shown, aim=f"≤ {one.aim}")


def _tell_of_imports(taken: _Taken, moved: Imports) -> None:
    many = moved.many
    taken.add(f"{many.rows:,} users imported by command, rows/s", f"{many.rate:,.0f}")
    taken.add("  by COPY alone into the same table, rows/s", f"{moved.copied:,.0f}")
    taken.add("  import ÷ COPY", f"{many.rate / moved.copied:.2f}", aim="≥ 0.5")
    taken.add(
        f"  peak memory, MB (more than with {moved.few.rows:,})",
        f"{many.peak_memory:.0f} ({moved.growth:+.1f})",
        aim="< 20",
    )


def _tell_of_revocation(taken: _Taken, seen: revocation.Revocation | None, scale: Scale) -> None:
    if seen is None:
        taken.add("Ceph: skipped, it is not installed")
        return
    refused, call = ([times.within(percent) for percent in (50, 99)] for times in (seen.refused, seen.call))
    taken.add("revocation to the first 403 on Ceph, p50 / p99 ms", f"{refused[0]:.0f} / {refused[1]:.0f}")
    taken.add("  the call itself, p50 / p99 ms", f"{call[0]:.0f} / {call[1]:.0f}")
    taken.add(f"  {scale.sign_outs:,} sign-outs at once, s", f"{seen.burst:.1f}")
    taken.add("  the last of them refused after, s", f"{seen.burst_refused:.1f}")
    taken.add("  writes of the policy for them", f"{seen.writes}")


def _answers(statuses: dict[str, int]) -> str:
    return ", ".join(f"{count:,} × {status}" for status, count in sorted(statuses.items()))


def _healthz(seen: crowd.Watched) -> str:
    return f"{seen.healthz_within(50):.0f} / {seen.healthz_within(95):.0f} / {seen.healthz[-1]:.0f}"


if __name__ == "__main__":
    main()
