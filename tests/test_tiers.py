"""What each tier runs, and what it says at its end: by a suite of a few tests in a process of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SUITE = """
import time

import pytest
from hypothesis import given, strategies as st

from tests import tiers

tiers.WHOLE = ["test_suite.py"]
tiers.BUDGET = 0.2  # far less than what the greedy test spends, however busy the machine is

@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    return request.param

def test_rule(database_url):
    pass

@pytest.mark.both_databases
def test_lock(database_url):
    pass

@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_race(database_url, number):
    pass

@pytest.mark.all
def test_browser():
    pass

@pytest.mark.all
@pytest.mark.sampled(4)
@pytest.mark.parametrize("row", range(8))
def test_matrix(row):
    pass

@pytest.mark.sampled(4)
@pytest.mark.parametrize("operation", range(8))
def test_operation(operation):
    pass

@pytest.mark.parametrize("row", range(6))
def test_table(row):
    pass

@pytest.mark.long
def test_everything():
    pass

def test_storm(in_full):
    print(f"in full: {in_full}")

@pytest.mark.parametrize("number", range(8))
def test_crowd(rounds, number):
    print(f"rounds: {rounds}")

@given(st.integers())
def test_property(number):
    pass

def spend(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass

def test_greedy():
    spend(2.1)

@pytest.mark.slow("it spends what it may")
def test_excused():
    spend(2.1)

@pytest.mark.parametrize("number", range(9))
def test_lacks(number):
    pytest.skip(f"{'Redis' if number < 3 else number} is missing")
"""
ROWS = {f"test_matrix[{row}]" for row in range(8)}
RACES = {f"test_race[postgresql-{row}]" for row in range(8)}
CROWDS = {f"test_crowd[{row}]" for row in range(8)}
OPERATIONS = {f"test_operation[{row}]" for row in range(8)}
Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="module")
def done() -> dict[Any, pytest.RunResult]:
    """What was run, by options and what was named."""
    return {}


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, done: dict[Any, pytest.RunResult]) -> Run:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest('pytest_plugins = ("tests.tiers",)')
    markers = "\n".join(f"    {name}: a mark" for name in ("all", "long", "slow", "sampled", "both_databases"))
    pytester.makeini(f"[pytest]\naddopts = -p no:cacheprovider\nmarkers =\n{markers}")
    pytester.makepyfile(test_suite=SUITE)

    def once(*options: str, named: str = "test_suite.py") -> pytest.RunResult:
        if (options, named) not in done:
            done[options, named] = pytester.runpytest_subprocess("-v", "-s", *options, named)
        return done[options, named]

    return once


def names(run: pytest.RunResult, outcome: str) -> list[str]:
    lines = [line for line in run.outlines if line.startswith("test_suite.py::") and f" {outcome}" in line]
    return [line.removeprefix("test_suite.py::").split(" ")[0] for line in lines]


def passes(run: pytest.RunResult) -> set[str]:
    return set(names(run, "PASSED"))


def crowds(run: pytest.RunResult) -> dict[str, str]:
    """How many rounds each was run."""
    told = [line.removeprefix("test_suite.py::").split(" rounds: ") for line in run.outlines if " rounds: " in line]
    return dict(told)  # type: ignore[arg-type]


@pytest.mark.all
class TestTiers:
    def test_quick_is_each_rule_on_one_database(self, run: Run) -> None:
        done = run("--tier", "quick")
        passed = passes(done)
        assert passed - RACES - OPERATIONS == {
            *("test_rule[sqlite]", "test_lock[sqlite]"),
            *("test_property", "test_excused", "test_table[0]", "test_table[3]"),
        }
        assert names(done, "FAILED") == ["test_greedy"]
        assert "s are what a test of `make test` may take" in done.stdout.str()
        assert set(crowds(done).values()) == {"1"}

    def test_all_is_what_quick_leaves_out(self, run: Run) -> None:
        done = run("--tier", "all")
        passed = passes(done)
        assert passed - RACES - OPERATIONS - ROWS == {
            *("test_lock[postgresql]", "test_browser", "test_property"),
            *("test_table[1]", "test_table[2]", "test_table[4]", "test_table[5]"),
        }
        assert "test_suite.py::test_storm in full: False" in done.outlines
        assert set(crowds(done).values()) == {"4"}

    def test_long_is_what_takes_minutes_in_full(self, run: Run) -> None:
        done = run("--tier", "long")
        assert passes(done) - ROWS == {"test_everything"}
        assert "test_suite.py::test_storm in full: True" in done.outlines
        assert crowds(done) == dict.fromkeys(CROWDS, "20")

    def test_large_tables_are_spread_over_two(self, run: Run) -> None:
        quick, some, full = (passes(run("--tier", tier)) for tier in ("quick", "all", "long"))
        for rows, first, second in ((OPERATIONS, quick, some), (RACES, quick, some), (ROWS, some, full)):
            assert 0 < len(first & rows) < len(rows)
            assert first & rows == rows - second

    @pytest.mark.long
    def test_for_a_part_quick_leaves_out_no_row(self, run: Run) -> None:
        done = run("--tier", "quick", named="./test_suite.py")
        assert passes(done) >= OPERATIONS | RACES | {f"test_table[{row}]" for row in range(6)}
        assert set(crowds(done)) == CROWDS
        assert not passes(done) & ROWS

    def test_of_the_races_quick_runs_some(self, run: Run) -> None:
        assert 0 < len(crowds(run("--tier", "quick"))) < len(CROWDS)
        assert set(crowds(run("--tier", "all"))) == CROWDS

    def test_what_is_lacking_takes_five_lines(self, run: Run) -> None:
        done = run("-k", "lacks")
        told = done.stdout.str().partition("what this machine lacks")[2].splitlines()
        first, *_, last, outcome = filter(None, told[1:])
        assert first == "3 skipped: Redis is missing"
        assert last == "and 3 more reasons: pytest -rs lists them"
        assert "9 skipped" in outcome

    def test_ci_takes_no_skip(self, run: Run) -> None:
        assert run("-k", "lacks", "--no-skips").parseoutcomes() == {"failed": 9, "deselected": 48}
