"""What the documents say is what the code does, and they read well: tables, links, names of targets."""

import ast
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from app.platform.settings import PREFIX, Settings
from app.records import audit
from deploy import reference
from tests.support.documents import DOCUMENTS, ROOT, headings, links, name, prose

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EVENTS = ROOT / "docs" / "reference" / "events.md"
LONGEST = {"README.md": 200} | {name(document): 250 for document in DOCUMENTS if name(document).startswith("docs/")}
"""In lines: a page that is longer has two subjects."""

SAYS_NOTHING = {".lock", ".json", ".png", ".svg", ".ico", ".pyc", ".woff2"}
TOLD = [
    file
    for place in (
        "app",
        "deploy",
        "docs",
        "changelog.d",
        *sorted(map(name, ROOT.glob("*.md"))),
        "Makefile",
        "pyproject.toml",
    )
    for file in ((ROOT / place).rglob("*") if (ROOT / place).is_dir() else [ROOT / place])
    if file.is_file() and file.suffix not in SAYS_NOTHING and "vendor" not in file.parts
]
"""Whatever a person reads, or sees when something is missing."""


def targets() -> list[str]:
    return re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


class TestReference:
    @pytest.mark.parametrize("table", reference.TABLES, ids=lambda table: table.__name__)
    def test_is_what_the_code_says(self, table: Callable[[], Iterator[str]]) -> None:
        page = reference.page(table).read_text(encoding="utf-8")
        assert page == reference.written(table), "run: make docs-reference"

    def test_lists_every_event_of_the_audit(self) -> None:
        rows = re.findall(r"^\| `([a-z_.]+)` \|", EVENTS.read_text(encoding="utf-8"), re.MULTILINE)
        assert rows == list(get_args(audit.Event))

    def test_has_words_for_every_event_in_the_console(self) -> None:
        words = (ROOT / "app" / "pages" / "console" / "words.js").read_text(encoding="utf-8")
        named = re.findall(r'^  "([a-z_.]+)": "', words, re.MULTILINE)
        assert named == list(get_args(audit.Event))


class TestContributing:
    def test_names_every_target_of_make(self) -> None:
        """But for `help`, which is `make` alone."""
        named = set(re.findall(r"`make ([a-z-]+)", CONTRIBUTING.read_text(encoding="utf-8")))
        assert named == set(targets()) - {"help"}

    def test_targets_that_others_name_are_ones(self) -> None:
        named = {(name(file), target) for file in DOCUMENTS for target in re.findall(r"`make ([a-z-]+)", prose(file))}
        assert {one for one in named if one[1] not in targets()} == set()


class TestArchitecture:
    def test_names_the_floors_that_imports_are_held_to(self) -> None:
        page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
        floors = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| (`[^|]*) \|", page, re.MULTILINE)]
        (layers,) = [
            each["layers"] for each in PROJECT["tool"]["importlinter"]["contracts"] if each["type"] == "layers"
        ]
        assert floors == [re.split(r" \| ", layer) for layer in layers if layer != "__main__"]

    def test_walks_through_files_and_names_that_exist(self) -> None:
        page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
        assert page.count("### ") == 5
        for file, named in re.findall(r"`(\w+/[\w/]+\.py)`(?:, `([\w.]+)`)?", page):
            code = (ROOT / "app" / file).read_text(encoding="utf-8")
            for part in named.split(".") if named else []:
                assert re.search(rf"^\s*(async def|def|class) {part}\b|^{part} = ", code, re.MULTILINE), (file, named)


class TestSite:
    def test_has_every_document_in_its_contents(self) -> None:
        """docs/conf.py is read and not imported: Sphinx is installed for `make docs` alone."""
        module = ast.parse((ROOT / "docs" / "conf.py").read_text(encoding="utf-8"))
        (contents,) = [
            ast.literal_eval(line.value)
            for line in module.body
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "CONTENTS"
        ]
        listed = [page[1:] if page.startswith("/") else f"docs/{page}" for pages in contents.values() for page in pages]
        outside = ["changelog.d/README", "tests/security/REQUIREMENTS"]
        assert sorted(listed) == sorted(
            [name(file).removesuffix(".md") for file in DOCUMENTS if name(file) != "docs/index.md"] + outside
        )


class TestRelease:
    def test_says_its_version_everywhere(self) -> None:
        package, document, released = (
            json.loads((ROOT / "deploy" / "sdk" / file).read_text(encoding="utf-8"))
            for file in ("typescript/package.json", "openapi.json", "released.json")
        )
        told = {package["version"], document["info"]["version"], released["info"]["version"]}
        assert told == {PROJECT["project"]["version"]}

    def test_fragments_are_of_a_kind(self) -> None:
        """Others would be left out of the changelog without a word."""
        kinds = "|".join(kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"])
        files = {file.name for file in (ROOT / "changelog.d").iterdir()} - {"README.md"}
        assert {file for file in files if not re.fullmatch(rf"\+[a-z0-9-]+\.({kinds})\.md", file)} == set()


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

    @pytest.mark.parametrize("document", DOCUMENTS, ids=name)
    def test_have_a_blank_line_before_each_heading(self, document: Path) -> None:
        assert re.findall(r"[^\n]\n(#{1,4} .+)", prose(document)) == []

    @pytest.mark.parametrize("document", DOCUMENTS, ids=name)
    def test_say_nothing_twice_in_a_table(self, document: Path) -> None:
        """By the first cell of a row, where that is more than a number."""
        for table in re.findall(r"(?:^\|.*\n)+", document.read_text(encoding="utf-8"), re.MULTILINE):
            firsts = Counter(re.findall(r"^\| ([^|]*[a-z][^|]*) \|", table, re.MULTILINE))
            assert [first for first, times in firsts.items() if times > 1] == []

    @pytest.mark.parametrize("document", DOCUMENTS, ids=name)
    def test_name_settings_that_there_are(self, document: Path) -> None:
        named = set(re.findall(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]\b", document.read_text(encoding="utf-8")))
        assert named <= {PREFIX + field.upper() for field in Settings.model_fields}

    @pytest.mark.parametrize("document", DOCUMENTS, ids=name)
    def test_name_files_that_there_are(self, document: Path) -> None:
        named = re.findall(r"`((?:app|deploy|docs|findings|migrations|tests)/[^`\s:*…]*)`", prose(document))
        assert [path for path in named if not (ROOT / path).exists()] == []

    @pytest.mark.parametrize("document", DOCUMENTS, ids=name)
    def test_lead_somewhere(self, document: Path) -> None:
        for target, anchor in links(document):
            file = (document.parent / target) if target else document
            assert file.exists(), target
            assert not anchor or anchor in headings(file), f"{target}#{anchor}"

    @pytest.mark.parametrize("document", DOCUMENTS, ids=name)
    def test_have_no_heading_twice(self, document: Path) -> None:
        """A link would lead to the first one. The changelog has the same ones for each version."""
        twice = [heading for heading, times in Counter(headings(document)).items() if times > 1]
        assert twice == [] or name(document) == "CHANGELOG.md"

    def test_have_no_page_that_nothing_leads_to(self) -> None:
        reached = {(file.parent / target).resolve() for file in DOCUMENTS for target, _ in links(file) if target}
        assert [name(document) for document in DOCUMENTS if document not in reached] == []

    @pytest.mark.parametrize("document", LONGEST)
    def test_are_short(self, document: str) -> None:
        assert len((ROOT / document).read_text(encoding="utf-8").splitlines()) <= LONGEST[document]
