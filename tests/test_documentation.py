"""What the README says is what the code does: settings, problems, commands, metrics and limits, each one."""

import re
from collections import Counter
from pathlib import Path

import pytest
import typer.main

from app.cli import cli
from app.limits import LIMITS, Limit
from app.metrics import Metrics
from app.problems import Problem
from app.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [
    README,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "deploy").glob("*.md")),
    *sorted((ROOT / "deploy").glob("*/*.md")),
]

SAYS_NOTHING = {".lock", ".json", ".png", ".svg", ".ico", ".pyc", ".woff2"}
TOLD = [
    file
    for place in ("app", "deploy", "changelog.d", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml")
    for file in ((ROOT / place).rglob("*") if (ROOT / place).is_dir() else [ROOT / place])
    if file.is_file() and file.suffix not in SAYS_NOTHING and "vendor" not in file.parts
]
"""Whatever a person reads, or sees when something is missing."""


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


def amount(limit: Limit) -> str:
    hits, window = limit.amount.split("/")
    return f"{hits} {'in' if window[0].isdecimal() else 'an' if window == 'hour' else 'a'} {window}"


def limit_rows() -> list[str]:
    return [f"| `{name}` | {amount(limit)} | {limit.per} | {limit.counts} |" for name, limit in LIMITS.items()]


class TestReadme:
    def test_lists_every_setting(self) -> None:
        assert rows("settings") == setting_rows()

    def test_lists_every_problem(self) -> None:
        assert rows("problems") == problem_rows()

    def test_lists_every_command(self) -> None:
        assert rows("commands") == command_rows()

    def test_lists_every_metric(self) -> None:
        assert rows("metrics") == metric_rows()

    def test_lists_every_limit(self) -> None:
        assert rows("limits") == limit_rows()

    def test_names_every_target_of_make(self) -> None:
        targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        text = README.read_text(encoding="utf-8")
        unnamed = {target for target in targets if not re.search(rf"(?:make |`){target}(?![\w-])", text)}
        assert unnamed <= {"help", "install"}, "`run` installs, and `make` alone is the help"


INSTALLS = re.compile(r"\b(?:pip|pipx|uv|uvx|npm|npx|poetry)\b[^\n`]*")
"""A command that may ask a package index, up to the end of the line."""
BY_NAME = re.compile(r"(?<![\w./@$-])tokenvend(?:-client)?(?![\w/.-])")


class TestInstalling:
    """The project is on no package index: whoever registered its name there would run code beside the secret key."""

    @pytest.mark.parametrize(
        ("command", "by_name"),
        [
            ("pip install tokenvend", True),
            ("pip install 'tokenvend[redis]'", True),
            ('pip install "tokenvend[dev]"', True),
            ("/opt/tokenvend/bin/pip install -U tokenvend==0.1.0", True),
            ("uvx tokenvend login", True),
            ("npm install tokenvend-client", True),
            ("/opt/tokenvend/bin/pip install --no-deps dist/tokenvend-*.whl", False),
            ("pip install build/sdk/python", False),
        ],
    )
    def test_by_name_is_told_from_a_file(self, command: str, by_name: bool) -> None:
        assert asks_an_index(command) is by_name

    def test_is_never_by_name(self) -> None:
        """OP6."""
        lines = [line for file in TOLD for line in file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()]
        assert [line for line in lines if asks_an_index(line)] == []


def asks_an_index(line: str) -> bool:
    return any(BY_NAME.search(command) for command in INSTALLS.findall(line))


class TestDocuments:
    """What joining two branches does to prose, and no other test sees."""

    @pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
    def test_have_a_blank_line_before_each_heading(self, document: Path) -> None:
        text = re.sub(r"^ *```.*?^ *```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert re.findall(r"[^\n]\n(#{1,4} .+)", text) == []

    @pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
    def test_say_nothing_twice_in_a_table(self, document: Path) -> None:
        """By the first cell of a row, where that is more than a number."""
        for table in re.findall(r"(?:^\|.*\n)+", document.read_text(encoding="utf-8"), re.MULTILINE):
            firsts = Counter(re.findall(r"^\| ([^|]*[a-z][^|]*) \|", table, re.MULTILINE))
            assert [first for first, times in firsts.items() if times > 1] == []
