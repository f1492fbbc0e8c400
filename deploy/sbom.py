"""`make sbom`: the packages of `requirements.lock` as a CycloneDX 1.6 document, with the hashes that are installed."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?P<rest>(?:.*\\\n)*.*)", re.MULTILINE)


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
    """The same lock gives the same document: it has no time and no serial number."""
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": "tokenvend", "name": "tokenvend", "version": version},
        },
        "components": list(components(lock)),
    }


if __name__ == "__main__":
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (release,) = re.findall(r'^version = "([^"]+)"$', project, re.MULTILINE)
    made = document((ROOT / "requirements.lock").read_text(encoding="utf-8"), release)
    json.dump(made, sys.stdout, indent=2)
    sys.stdout.write("\n")
