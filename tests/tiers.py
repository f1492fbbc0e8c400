"""Three tiers: `make test` for each change, `make test-all` for the rest, `make test-long` for what takes minutes.

A test is in the first tier unless it is marked `all` or `long`, or asks for a fixture that is another program. It runs
on SQLite unless it is marked `both_databases`; then `test-all` runs it on PostgreSQL. What asks for `in_full` is in
`test-all` with a slice of its work and in `test-long` with all of it. A property is tried with few examples in `test`
and with all in `test-all`. Of a test marked `sampled`, its tier runs a fixed part of the rows, and the next tier the
others. A race, which asks for its `rounds`, is run in each tier, more often in each; `test` runs some of the races, and
of what wants PostgreSQL alone. Of a test with many rows, `test` runs the first of each three, and `test-all` the
others.

Without `--tier`, whatever is named on the command line runs, properties as in `test-all` and races as in `test-long`.
"""

import os
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from tests.support.needs import lacking

TIERS = ("quick", "all", "long")
WHOLE = ["tests"]
"""What pytest is given for all tests. With less, `make test TESTS=tests/auth`, no row of the first tier is left out."""
OTHER_PROGRAMS = {"browser", "javascript", "node", "pgbouncer", "redis", "replicas"}
"""Fixtures that are, or want, a program which pip does not install."""
BUDGET = 2.0
"""Seconds of the processor that a test of the first tier may take, its own process and children that ended."""
LOOP, LOOP_TAKES = 3_000_000, 0.18
"""Rounds of a plain loop, and how many seconds of the processor they took where the budget was made."""
PATIENCE = 60.0
"""Seconds by the clock, on a machine that is busy with something else."""
ROUNDS = {"quick": 1, "all": 4}
ALL_ROUNDS = 20
MANY_ROWS, ONE_IN = 4, 3
"""`make test` runs one in three rows of a test that has four or more, unless it is marked `sampled`."""
RACES = 3
"""`make test` runs one in so many of them: twenty clients at once take a second of a core."""
LINES = 5

# A busy machine must not fail a property for the time that its examples took.
_always = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", _always)
settings.register_profile("quick", _always, max_examples=25)


def up_to(examples: int) -> settings:
    """For a property that is tried more often than others, where there is time."""
    if settings.get_current_profile_name() == "quick":
        return settings()
    return settings(max_examples=examples)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tier", choices=TIERS, help="run this tier alone")
    parser.addoption("--no-skips", action="store_true", help="fail where a test is skipped: for CI, which has it all")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("quick" if config.getoption("--tier") == "quick" else "full")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tier = config.getoption("--tier")
    needed = [item for item in items if not _is_needless(item)]
    tiers = tiers_of(needed, in_part=tier == "quick" and config.args != WHOLE)
    kept = [item for item in needed if tier in {None, *tiers[item]}]
    if len(kept) < len(items):
        chosen = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = kept


def tiers_of(items: Iterable[pytest.Item], *, in_part: bool = False) -> dict[pytest.Item, set[str]]:
    """`in_part`: somebody works on what these tests are about, so the first tier leaves out no row."""
    tiers = {item: _tiers_of_whole(item, in_part=in_part) for item in items}
    if in_part:
        return tiers
    rows: dict[str, list[pytest.Item]] = defaultdict(list)
    for item, own in tiers.items():
        mark = item.get_closest_marker("sampled")
        if mark is None and "quick" in own:
            rows[item.nodeid.partition("[")[0]].append(item)
        elif mark is not None and not _is_sample(item, mark.args[0]):
            tiers[item] = {TIERS[min(TIERS.index(tier) + 1, len(TIERS) - 1)] for tier in own}
    for these in rows.values():
        if len(these) >= MANY_ROWS:
            for number, item in enumerate(these):
                if number % ONE_IN:
                    tiers[item] = tiers[item] - {"quick"} | {"all"}
    return tiers


def _tiers_of_whole(item: pytest.Item, *, in_part: bool) -> set[str]:
    fixtures = set(getattr(item, "fixturenames", ()))
    if item.get_closest_marker("long"):
        return {"long"}
    if "in_full" in fixtures:
        return {"all", "long"}
    if item.get_closest_marker("all") or fixtures & OTHER_PROGRAMS or _is_second_database(item):
        return {"all"}
    is_quick = in_part or _is_sample(item, RACES)
    if "rounds" in fixtures:
        return {"quick", "all", "long"} if is_quick else {"all", "long"}
    if "on_postgresql" in fixtures or _is_on_postgresql(item):
        return {"quick"} if is_quick else {"all"}
    return {"quick", "all"} if is_hypothesis_test(getattr(item, "obj", None)) else {"quick"}


def _is_sample(item: pytest.Item, one_in: int) -> bool:
    """By the row's name, so that it is the same in each process and each run."""
    return zlib.crc32(item.nodeid.encode()) % one_in == 0


def _database(item: pytest.Item) -> str | None:
    """Which one `database_url` would be, where the test leaves it open."""
    if any(mark.args[0] == "database_url" for mark in item.iter_markers("parametrize")):
        return None
    call = getattr(item, "callspec", None)
    return None if call is None else call.params.get("database_url")


def _is_needless(item: pytest.Item) -> bool:
    return _database(item) == "postgresql" and item.get_closest_marker("both_databases") is None


def _is_on_postgresql(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("database_url") == "postgresql"


def _is_second_database(item: pytest.Item) -> bool:
    return _database(item) == "postgresql"


@pytest.fixture(scope="session")
def in_full(request: pytest.FixtureRequest) -> bool:
    """Whether all of a long piece of work is wanted, or a slice that shows that it works."""
    return bool(request.config.getoption("--tier") == "long")


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> int:
    """How often a race is run."""
    return ROUNDS.get(request.config.getoption("--tier"), ALL_ROUNDS)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    cpu, clock = _cpu(), time.monotonic()
    yield
    cpu, clock = _cpu() - cpu, time.monotonic() - clock
    if item.config.getoption("--tier") != "quick" or item.get_closest_marker("slow"):
        return
    if (cpu > BUDGET and cpu > BUDGET * _slowness()) or clock > PATIENCE:
        pytest.fail(
            f"took {cpu:.1f} s of the processor and {clock:.0f} s by the clock; {BUDGET:.0f} s and {PATIENCE:.0f} s "
            "are what a test of `make test` may take: make it quicker, or mark it `slow(why)` or `all`",
            pytrace=False,
        )


def _slowness() -> float:
    """How much longer this machine takes at the moment than the one that the budget was made on."""
    before = _cpu()
    sum(number * number for number in range(LOOP))
    return max(1, (_cpu() - before) / LOOP_TAKES)


def _cpu() -> float:
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = [*_skipped(terminalreporter.stats.get("skipped", ()))]
    if config.getoption("--tier") == "quick" and (needs := lacking()):
        packages = " ".join(package for need in needs for package in need.missing())
        lines.append(f"make test-all would skip tests for want of {', '.join(need.name for need in needs)}: {packages}")
    if lines:
        terminalreporter.section("what this machine lacks")
        if len(lines) > LINES:
            lines[LINES - 1 :] = [f"and {len(lines) - LINES + 1} more reasons: pytest -rs lists them"]
        for line in lines:
            terminalreporter.write_line(line)


def _skipped(reports: Iterable[pytest.TestReport]) -> list[str]:
    """One line for each reason, the most frequent first."""
    reasons = Counter(str(report.longrepr[2]) for report in reports if isinstance(report.longrepr, tuple))
    return [f"{count} skipped: {reason.removeprefix('Skipped: ')}" for reason, count in reasons.most_common()]
