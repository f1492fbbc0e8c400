"""docs/app/clients.md, and `seen.json`, which keeps what came of the last run of each client."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.clients.acts import RENEWS, WORKS, YES, Outcome
from tests.clients.tools import CEPH, MINIO, TOOLS, Tool
from tests.support.documents import ROOT

PAGE = ROOT / "docs" / "app" / "clients.md"
SEEN = Path(__file__).parent / "seen.json"
TOLD_TO = "KEEP_WHAT_CLIENTS_DO"
"""The variable that lets a run keep what came of it."""
WAYS = {"process": "process", "file": "token file", "agent": "agent", "static": "static", "code": "own code"}
ACTS = {"small": "5 kB", "large": "20 MB", "list": "list", "down": "down", "rename": "rename", "delete": "delete"}
TABLES = re.compile(r"(?<=<!-- clients -->\n).*(?=<!-- /clients -->)", re.DOTALL)

Seen = Mapping[str, Mapping[str, Any]]


def keep(tool: Tool, outcome: Outcome) -> None:
    elsewhere = seen().get(tool.name, {}).get("elsewhere", {})
    _keep(tool.name, {"date": datetime.now(UTC).date().isoformat(), **asdict(outcome), "elsewhere": elsewhere})


def keep_elsewhere(tool: Tool, engine: str, outcome: Outcome) -> None:
    kept = seen().get(tool.name, {})
    _keep(tool.name, {**kept, "elsewhere": {**kept.get("elsewhere", {}), engine: outcome.acts}})


def _keep(name: str, of: Mapping[str, Any]) -> None:
    kept = dict(sorted({**seen(), name: of}.items()))
    SEEN.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def seen() -> Seen:
    kept: Seen = json.loads(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else {}
    return kept


def written(kept: Seen) -> str:
    """The page, with new tables in the text that is written by hand."""
    tables = "\n".join(["", *_lines(kept), "", ""])
    return TABLES.sub(lambda _: tables, PAGE.read_text(encoding="utf-8"))


def _lines(kept: Seen) -> Iterator[str]:
    yield "## What each does\n"
    yield from _table(
        ("client", "version", "tried on", *ACTS.values(), CEPH, MINIO),
        (
            (
                tool.name,
                of["version"],
                of["date"],
                *(_act(of, act) for act in ACTS),
                _elsewhere(of, CEPH),
                _elsewhere(of, MINIO),
            )
            for tool, of in _of_each(kept)
        ),
    )
    yield "\n## How each gets keys, and what must be set\n"
    yield from _table(
        ("client", *WAYS.values(), "must be set"),
        ((tool.name, *(_way(of, way) for way in WAYS), tool.must) for tool, of in _of_each(kept)),
    )
    yield "\n## What a person sees\n"
    yield from _table(
        ("client", "in another user's folder", "after the session has ended"),
        (
            (tool.name, _says(of["foreign"]), "<br>".join(map(_says, dict.fromkeys(of["signed_out"].values()))))
            for tool, of in _of_each(kept)
        ),
    )
    notes = [*_notes(kept)]
    if notes:
        yield "\n## What does not work\n"
        yield from notes


def _of_each(kept: Seen) -> Iterator[tuple[Tool, Mapping[str, Any]]]:
    return ((tool, kept[tool.name]) for tool in TOOLS if tool.name in kept)


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _act(of: Mapping[str, Any], act: str) -> str:
    return "–" if act not in of["acts"] else "yes" if of["acts"][act] == YES else "**no**"


def _elsewhere(of: Mapping[str, Any], engine: str) -> str:
    if engine not in of["elsewhere"]:
        return "not tried"
    acts = of["elsewhere"][engine]
    failed = [ACTS[act] for act, came in acts.items() if came != YES]
    if len(failed) == len(acts):
        return "none"
    return f"all but {', '.join(failed)}" if failed else "all"


def _way(of: Mapping[str, Any], way: str) -> str:
    return {RENEWS: "renews", WORKS: "works"}.get(of["ways"][way], "**no**") if way in of["ways"] else "–"


def _says(text: str) -> str:
    return "`{}`".format(text.replace("`", "'").replace("|", "¦"))


def _notes(kept: Seen) -> Iterator[str]:
    for tool, of in _of_each(kept):
        failed = [(ACTS[act], came) for act, came in of["acts"].items() if came != YES]
        failed += [(WAYS[way], came) for way, came in of["ways"].items() if came not in (RENEWS, WORKS)]
        for engine, acts in of["elsewhere"].items():
            failed += [(f"{ACTS[act]} on {engine}", came) for act, came in acts.items() if came != YES]
        for says in dict.fromkeys(came for _, came in failed):
            yield f"- {tool.name}, {', '.join(what for what, came in failed if came == says)}: {_says(says)}"
        if tool.note:
            yield f"- {tool.name}: {tool.note}"
