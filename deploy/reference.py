"""Writes the tables of docs/reference from the code: `make docs-reference`.

Each table stands between two comments, `<!-- settings -->` and `<!-- /settings -->`. The text around it is written by
hand. A test fails where a table is not what the code says.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import typer.main

from app.cli.commands import cli
from app.platform.limits import LIMITS, Limit
from app.platform.metrics import Metrics
from app.platform.problems import Problem
from app.platform.settings import PREFIX, Settings

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def problems() -> Iterator[str]:
    yield "| status | code | what it says |\n|---|---|---|"
    for problem in sorted(Problem.catalogue.values(), key=lambda problem: (problem.status, problem.code)):
        says = problem.default_detail or f"{problem.title}; `detail` says why."
        yield f"| {problem.status} | `{problem.code}` | {says} |"


def settings() -> Iterator[str]:
    yield "| name | default | what it sets |\n|---|---|---|"
    for name, field in Settings.model_fields.items():
        variable = "AWS_REGION" if name == "region" else PREFIX + name.upper()
        default = field.get_default()
        shown = ",".join(default) if isinstance(default, tuple) else str(getattr(default, "_secret_value", default))
        cell = f"`{shown.lower() if isinstance(default, bool) else shown}`" if shown not in ("", "None") else "–"
        yield f"| `{variable}` | {cell} | {field.description} |"


def commands() -> Iterator[str]:
    yield "| command | what it does |\n|---|---|"
    yield from _commands(typer.main.get_command(cli), ["tokenvend"])


def _commands(command: object, words: list[str]) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if not children:
        summary = (getattr(command, "help", "") or "").strip().splitlines()[0]
        yield f"| `{' '.join(words)}` | {summary} |"
        return
    for name, child in children.items():
        yield from _commands(child, [*words, name])


def metrics() -> Iterator[str]:
    yield "| name | what it tells |\n|---|---|"
    for metric in Metrics().registry.collect():
        yield f"| `{metric.name}{'_total' if metric.type == 'counter' else ''}` | {metric.documentation} |"


def limits() -> Iterator[str]:
    yield "| limit | how often | per | what counts |\n|---|---|---|---|"
    for name, limit in LIMITS.items():
        yield f"| `{name}` | {_amount(limit)} | {limit.per} | {limit.counts} |"


def _amount(limit: Limit) -> str:
    hits, window = limit.amount.split("/")
    return f"{hits} {'in' if window[0].isdecimal() else 'an' if window == 'hour' else 'a'} {window}"


TABLES: tuple[Callable[[], Iterator[str]], ...] = (problems, settings, commands, metrics, limits)
"""Each is the page of its own name."""


def page(table: Callable[[], Iterator[str]]) -> Path:
    return REFERENCE / f"{table.__name__}.md"


def written(table: Callable[[], Iterator[str]]) -> str:
    """The page, with its table as the code says now."""
    begin, end = f"<!-- {table.__name__} -->\n", f"<!-- /{table.__name__} -->\n"
    before, _, rest = page(table).read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page(table)} has no {begin.strip()} … {end.strip()}")
    rows = "".join(f"{row}\n" for row in table())
    return before + begin + rows + end + after


if __name__ == "__main__":
    for each in TABLES:
        page(each).write_text(written(each), encoding="utf-8")
