"""docs/reference/imported-hashes.md, and `seen.json`, which keeps what came of the last run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.documents import ROOT
from tests.systems.made import PASSWORDS, System

PAGE = ROOT / "docs" / "reference" / "imported-hashes.md"
SEEN = Path(__file__).parent / "seen.json"
TOLD_TO = "KEEP_WHAT_SYSTEMS_HASH"
"""The variable that lets a run keep what came of it."""

Seen = Mapping[str, Mapping[str, Any]]


def keep(system: System, signed_in: Mapping[str, bool]) -> None:
    """`signed_in`: for each password that the system took, whether it signs in here, and leaves argon2id."""
    came = {name: signed_in.get(name) for name in PASSWORDS}
    row = {"version": system.version, "stored": system.stored, "prehash": system.prehash, "came": came}
    kept = dict(sorted({**seen(), system.system: row}.items()))
    SEEN.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def seen() -> Seen:
    kept: Seen = json.loads(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else {}
    return kept


def written(kept: Seen) -> str:
    lines = [
        "# Imported hashes that were tried",
        "",
        "`make test-long LONG=systems` has each system's own package hash four passwords, imports them by",
        "`tokenvend users import`, and signs in by `POST /v1/auth/login`. It writes this page. Afterwards each hash is",
        "argon2id. The [import guide](../../deploy/imports/README.md#password-hashes) has all that is understood.",
        "",
        "The passwords: plain ASCII; with accents, decomposed (NFD) as some keyboards send them; of 80 bytes; with a",
        "space at each end. *Refused there* means that the system itself takes no such password.",
        "",
        f"| system | version | stored | `--prehash` | {' | '.join(PASSWORDS)} |",
        f"|---|---|---|---|{'---|' * len(PASSWORDS)}",
    ]
    words = {True: "signs in", False: "no", None: "refused there"}
    for system, row in kept.items():
        came = " | ".join(words[row["came"][name]] for name in PASSWORDS)
        prehash = f"`{row['prehash']}`" if row["prehash"] else "–"
        stored = row["stored"].replace("|", "\\|")
        lines.append(f"| {system} | {row['version']} | `{stored}` | {prehash} | {came} |")
    return "\n".join([*lines, ""])
