"""`python -m deploy.licences`: the licence of each package of `requirements.lock`, as what is installed says of itself.

It exits with 1 where a licence is missing, or is not among those that this project takes. With `--notice` it prints the
notice that the image carries: the same list, and the texts of all licences.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker

from deploy import sbom

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0", "Python-2.0"),
}
EXCEPTIONS = {
    "certifi": ("MPL-2.0", "data, unmodified"),
    "email-validator": ("Unlicense", "public domain"),
    "psycopg": ("LGPL-3.0-only", "an unmodified library, in files of its own that may be replaced"),
    "psycopg-binary": ("LGPL-3.0-only", "an unmodified library, in files of its own that may be replaced"),
}
"""By package, for that package alone, and why."""
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
"""Of packages that state no SPDX expression."""
TEXT = re.compile(r"\.dist-info/.*(licen[cs]e|copying|notice|authors)", re.IGNORECASE)
OFFER = """\
psycopg and psycopg-binary are used unmodified, under the GNU Lesser General Public License, version 3 (see below).
It builds on the GNU General Public License, version 3: /usr/share/common-licenses/GPL-3. Their source is at
https://github.com/psycopg/psycopg, under the tag of the version that is named here. They are files of their own in
/opt/tokenvend/lib: a changed version may be put in their place, with pip or by hand, and this service runs with it.
"""


@dataclass(frozen=True)
class Licence:
    name: str
    version: str
    expression: str
    """SPDX, or what the package says in words that nobody here knows."""
    texts: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        if self.name in EXCEPTIONS:
            return self.expression == EXCEPTIONS[self.name][0]
        choices = self.expression.replace("(", "").replace(")", "").split(" OR ")
        return any(all(part.strip() in ALLOWED for part in choice.split(" AND ")) for choice in choices)


def installed(lock: str) -> Iterator[Licence]:
    """Of each package of the lock that this platform has. Raises `PackageNotFoundError` where one is not installed."""
    for name, version, marker in re.findall(r"^([\w.-]+)==([^\s;\\]+)(?: ; ([^\\\n]+))?", lock, re.MULTILINE):
        if marker and not Marker(marker.strip()).evaluate():
            continue
        package = metadata.distribution(name)
        files = [file for file in package.files or [] if TEXT.search(file.as_posix())]
        texts = [Path(str(file.locate())).read_text(encoding="utf-8", errors="replace") for file in files]
        yield Licence(name.lower(), version, expression(package.metadata), tuple(texts))


def expression(said: "metadata.PackageMetadata") -> str:
    """SPDX of a package's metadata: its expression, else its words, else its classifiers."""
    if stated := said.get("License-Expression"):
        return str(stated)
    words = (said.get("License") or "").strip()
    if SPELLINGS.get(words, words) in ALLOWED | {licence for licence, _ in EXCEPTIONS.values()}:
        return SPELLINGS.get(words, words)
    classified = [
        entry.rpartition(" :: ")[2] for entry in said.get_all("Classifier") or () if entry.startswith("License")
    ]
    return " AND ".join(SPELLINGS.get(name, name) for name in classified) or words or "none stated"


def vendored(directory: Path) -> Iterator[Licence]:
    for part in sbom.vendored(directory):
        files = sorted((directory / part["directory"]).glob("*"))
        texts = [file.read_text(encoding="utf-8") for file in files if "LICENSE" in file.name or file.name == "NOTICE"]
        yield Licence(part["name"], part["version"], part["licence"], tuple(texts))


def notice(found: list[Licence]) -> str:
    lines = [f"{one.name} {one.version}: {one.expression}" for one in found]
    texts = [f"{'=' * 80}\n{one.name} {one.version}\n\n{text.strip()}\n" for one in found for text in one.texts]
    return "\n".join(["tokenvend contains these packages.\n", *lines, "", OFFER, *texts])


def main(arguments: list[str]) -> int:
    lock = (sbom.ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = [*installed(lock), *vendored(sbom.VENDOR)]
    refused = [one for one in found if not one.accepted]
    if arguments == ["--notice"]:
        print(notice(found))
    else:
        for one in found:
            why = f" ({EXCEPTIONS[one.name][1]})" if one.name in EXCEPTIONS else ""
            print(f"{one.name} {one.version}: {one.expression}{why}")
    for one in refused:
        print(f"not among the licences that this project takes: {one.name}: {one.expression}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
