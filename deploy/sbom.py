"""`make sbom`: what the service is made of, as a CycloneDX 1.6 document.

That is the packages of `requirements.lock`, with the hashes that are installed, and the copies of other projects' files
that its pages are made of.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?P<rest>(?:.*\\\n)*.*)", re.MULTILINE)

VENDOR = ROOT / "app" / "pages" / "vendor"
VENDORED = re.compile(
    r"(?P<title>.+?) (?P<version>[\d.]+) by .+?, (?P<licence>[\w.-]+) \(see"
    r".*?npm package\s+`(?P<name>[\w-]+)@(?P=version)`",
    re.DOTALL,
)
"""What the first sentences of a `VERSION.md` say."""


def vendored(directory: Path) -> Iterator[dict[str, str]]:
    """Name and version at npm, licence and directory of each copy. Raises ValueError where `VERSION.md` lacks one."""
    for file in sorted(directory.glob("*/VERSION.md")):
        found = VENDORED.match(file.read_text(encoding="utf-8"))
        if found is None:
            raise ValueError(f"{file} does not say what it is a copy of")
        yield {**found.groupdict(), "directory": file.parent.name}


def copies(directory: Path) -> Iterator[dict[str, Any]]:
    for part in vendored(directory):
        purl = f"pkg:npm/{part['name']}@{part['version']}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": part["name"],
            "version": part["version"],
            "licenses": [{"license": {"id": part["licence"]}}],
            "purl": purl,
        }


def components(lock: str) -> Iterator[dict[str, Any]]:
    for found in PACKAGE.finditer(lock):
        name, version = found["name"].lower(), found["version"]
        purl = f"pkg:pypi/{name}@{version}"
        hashes = [{"alg": "SHA-256", "content": digest} for digest in re.findall(r"sha256:(\w{64})", found["rest"])]
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            # Of each file that may be installed: one for every platform.
            "hashes": hashes,
        }


def document(lock: str, version: str) -> dict[str, Any]:
    """The same lock and the same copies give the same document: it has no time and no serial number."""
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": "tokenvend", "name": "tokenvend", "version": version},
        },
        "components": [*components(lock), *copies(VENDOR)],
    }


if __name__ == "__main__":
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (release,) = re.findall(r'^version = "([^"]+)"$', project, re.MULTILINE)
    made = document((ROOT / "requirements.lock").read_text(encoding="utf-8"), release)
    json.dump(made, sys.stdout, indent=2)
    sys.stdout.write("\n")
