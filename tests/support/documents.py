"""The project's documents, read: their headings, links and blocks of code."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").glob("*.md")),
    *sorted((ROOT / "deploy").glob("*/*.md")),
]
FENCED = re.compile(r"^( *)```(.*?)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    document: str
    """Its path from the root."""
    language: str
    code: str


def name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def blocks(document: Path) -> list[Block]:
    found = FENCED.findall(document.read_text(encoding="utf-8"))
    return [Block(name(document), language, code) for _, language, code in found]


def prose(document: Path) -> str:
    """The text without its blocks of code."""
    return FENCED.sub("", document.read_text(encoding="utf-8"))


def headings(document: Path) -> list[str]:
    """Their anchors, as GitHub makes them of a heading that stands once."""
    return anchors(document.read_text(encoding="utf-8"))


def anchors(markdown: str) -> list[str]:
    found = re.findall(r"^#+ (.+)$", FENCED.sub("", markdown), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found]


def links(document: Path) -> list[tuple[str, str]]:
    """Of links within the repository, the path from the document, empty for the document itself, and the anchor."""
    text = re.sub(r"`[^`\n]*`", "", prose(document))
    return re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)", text)
