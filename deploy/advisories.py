"""The advisories of `deploy/DEPENDENCIES.md`. Run as a module it prints the waivers as pip-audit takes them."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).with_name("DEPENDENCIES.md")
IDS = re.compile(r"\b(?:CVE-\d{4}-\d{4,}|GHSA(?:-[0-9a-z]{4}){3}|PYSEC-\d{4}-\d+)\b")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under the heading, without its first two lines."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def waived() -> list[str]:
    """Ids of advisories that are known, and that nothing here reaches."""
    return [found for row in rows("Open, and not reached") for found in IDS.findall(row[0])]


def fixed() -> dict[str, str]:
    """By package, the first version without a known weakness."""
    return {row[0].strip("`"): row[1] for row in rows("Fixed")}


if __name__ == "__main__":
    print(" ".join(f"--ignore-vuln {one}" for one in waived()))
