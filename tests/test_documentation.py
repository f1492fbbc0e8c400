"""What the README says is what the code does: settings, problems and commands, each one."""

import re
from pathlib import Path

import typer.main

from app.cli import cli
from app.metrics import Metrics
from app.problems import Problem
from app.settings import PREFIX, Settings

README = Path(__file__).parent.parent / "README.md"


def rows(section: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    table = re.search(rf"<!-- {section} -->\n(.*?)<!-- /{section} -->", text, re.DOTALL)
    assert table, section
    return table[1].splitlines()[2:]


def setting_rows() -> list[str]:
    lines = []
    for name, field in Settings.model_fields.items():
        environment_name = "AWS_REGION" if name == "region" else PREFIX + name.upper()
        default = field.get_default()
        shown = ",".join(default) if isinstance(default, tuple) else str(getattr(default, "_secret_value", default))
        cell = f"`{shown.lower() if isinstance(default, bool) else shown}`" if shown not in ("", "None") else "–"
        lines.append(f"| `{environment_name}` | {cell} | {field.description} |")
    return lines


def problem_rows() -> list[str]:
    problems = sorted(Problem.catalogue.values(), key=lambda problem: (problem.status, problem.code))
    return [f"| {p.status} | `{p.code}` | {p.default_detail or p.title + '; `detail` says why.'} |" for p in problems]


def command_rows() -> list[str]:
    lines = []

    def walk(command: object, words: list[str]) -> None:
        children = getattr(command, "commands", None)
        if children:
            for name, child in children.items():
                walk(child, [*words, name])
            return
        summary = (getattr(command, "help", "") or "").strip().splitlines()[0]
        lines.append(f"| `{' '.join(words)}` | {summary} |")

    walk(typer.main.get_command(cli), ["tokenvend"])
    return lines


def metric_rows() -> list[str]:
    found = Metrics().registry.collect()
    return [f"| `{m.name}{'_total' if m.type == 'counter' else ''}` | {m.documentation} |" for m in found]


class TestReadme:
    def test_lists_every_setting(self) -> None:
        assert rows("settings") == setting_rows()

    def test_lists_every_problem(self) -> None:
        assert rows("problems") == problem_rows()

    def test_lists_every_command(self) -> None:
        assert rows("commands") == command_rows()

    def test_lists_every_metric(self) -> None:
        assert rows("metrics") == metric_rows()
