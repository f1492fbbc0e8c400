"""`python -m tests.long [PIECE …]`: runs what takes minutes each, and writes docs/test-long.md.

A piece that is not named keeps its row, with the date on which it was run. The exit status is 1 where a piece failed.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.support.needs import DEBIAN_POSTGRESQL

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "test-long.md"
ALONE = (sys.executable, "-m", "pytest", "-q", "--tier", "long")
PYTEST = (*ALONE, "--dist", "loadgroup", "--numprocesses", "2")
PIECES: dict[str, tuple[str, tuple[str, ...]]] = {
    "faults": ("each part of a deployment stopped under load", (*ALONE, "tests/chaos")),
    "races": ("fifty users at two replicas, and a replica killed fifty times", (*ALONE, "tests/storms")),
    "ceph": ("shared folders and their model on Ceph", (*PYTEST, "tests/journeys", "-k", "not (minio or engines)")),
    "minio": (
        "isolation, and what people do, on MinIO; what engines answer",
        (*PYTEST, "tests/journeys", "-k", "minio or engines"),
    ),
    "pages": ("what `test-all` leaves out of the pages", (*PYTEST, "tests/pages")),
    "rules": (
        "what else `test-all` leaves out, and each race twenty times",
        (
            *PYTEST,
            "tests",
            *(f"--ignore=tests/{name}" for name in ("chaos", "storms", "journeys", "pages", "clients", "systems")),
        ),
    ),
    "clients": ("each S3 client with vended credentials, on three engines", (sys.executable, "-m", "tests.clients")),
    "systems": ("hashes that other systems' own packages made, imported", (sys.executable, "-m", "tests.systems")),
    "storm": ("attacks from one address and from a hundred", (sys.executable, "-m", "tests.storms.attacks")),
    "bench": ("every figure of speed and size", (sys.executable, "-m", "tests.bench")),
    "sdk": ("all clients generated, compiled and used", ("make", "sdk-test")),
    "image": ("everything in deploy/ by the tools of its trade", ("make", "deploy-check")),
}
VERSIONS: dict[str, tuple[str, ...]] = {
    "PostgreSQL": (str(DEBIAN_POSTGRESQL / "postgres"), "--version"),
    "Ceph": ("radosgw", "--version"),
    "Redis": ("redis-server", "--version"),
    "HAProxy": ("haproxy", "-v"),
    "Chromium": ("chromium", "--version"),
    "Node": ("node", "--version"),
    "Java": ("java", "--version"),
    "Go": ("go", "version"),
}
NONE_COLLECTED = 5


@dataclass(frozen=True)
class Row:
    outcome: str
    seconds: int
    date: str


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.long", description=__doc__)
    parser.add_argument("pieces", nargs="*", metavar="PIECE", help=", ".join(PIECES))
    wanted = parser.parse_args().pieces or list(PIECES)
    if unknown := sorted(set(wanted) - set(PIECES)):
        parser.error(f"no such piece: {', '.join(unknown)}")
    rows = _read(TABLE)
    for piece in wanted:
        print(f"running: {piece}", file=sys.stderr, flush=True)
        rows[piece] = _run(piece)
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(page(rows, _versions()), encoding="utf-8")
    sys.exit(any(rows[piece].outcome == "failed" for piece in wanted))


def _run(piece: str) -> Row:
    begun = time.monotonic()
    _, command = PIECES[piece]
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    outcome = {0: "passed", NONE_COLLECTED: "empty"}.get(status, "failed")
    return Row(outcome, round(time.monotonic() - begun), datetime.now(UTC).date().isoformat())


def page(rows: dict[str, Row], versions: dict[str, str]) -> str:
    lines = [
        "# What takes minutes each",
        "",
        "`make test-long` runs these and writes this page; `make test-long LONG=storm` runs one of them.",
        "`make test-all` runs a slice of each but `minio`.",
        "",
        "| piece | what it does | outcome | seconds | date |",
        "|---|---|---|---|---|",
    ]
    for piece, (what, _) in PIECES.items():
        row = rows.get(piece)
        told = ("not run yet", "", "") if row is None else (row.outcome, row.seconds, row.date)
        lines.append(f"| {piece} | {what} | {' | '.join(map(str, told))} |")
    lines += ["", "The last run was on this machine:", ""]
    lines += [f"- {name}: {version}" for name, version in versions.items()]
    return "\n".join([*lines, ""])


def _read(path: Path) -> dict[str, Row]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.findall(r"^\| (\w+) \| .+ \| (\w+) \| (\d+) \| ([\d-]+) \|$", text, re.MULTILINE)
    return {piece: Row(outcome, int(seconds), date) for piece, outcome, seconds, date in found}


def _versions() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    versions = {
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
    return versions | {name: _first_line(command) for name, command in VERSIONS.items()}


def _first_line(command: tuple[str, ...]) -> str:
    if shutil.which(command[0]) is None:
        return "missing"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return next(iter((done.stdout or done.stderr).splitlines()), "").strip()


if __name__ == "__main__":
    main()
