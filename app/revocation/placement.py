"""Which document of the vending role denies what, and which of them is written next: a pure function.

A name stays in the document where it is, so that one revocation is one write. Documents are written one by one, and a
writer may die before or after any of them. So a document gives up a name only once another one surely denies it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.revocation.denials import EVERYBODY, Names, Sheet, add

_LATEST = datetime.max.replace(tzinfo=UTC)
_BOUNDLESS = 1 << 30
"""For what a document that cannot be written denies already."""


@dataclass(frozen=True)
class Document:
    capacity: int
    """In characters."""
    holds: Names
    """What it denies at the engine. Where that is not `sure`, what it may deny."""
    sure: bool = True
    """False where a write of it has begun, and nobody knows whether it arrived."""
    usable: bool = True
    """False where the engine has lately refused to write it. What it surely denies counts."""
    stale: bool = False
    """Written so long ago that it is written again, in case somebody has changed it by hand."""


@dataclass(frozen=True)
class Write:
    number: int
    """Of the document."""
    names: Names


@dataclass(frozen=True)
class Plan:
    write: Write | None
    """What to write next; None where each document is as it should be."""
    told: frozenset[str]
    """The names that the engine surely denies, as they are wanted."""


def plan(wanted: Names, documents: Sequence[Document]) -> Plan | None:
    """None where the documents have no room for all that is wanted."""
    told: defaultdict[str, set[int]] = defaultdict(set)
    for number, document in enumerate(documents):
        if document.sure:
            for name in document.holds.items() & wanted.items():
                told[name[0]].add(number)
    sheets = _fill(wanted, documents, told)
    if sheets is None:
        return None
    found: list[tuple[int, Write]] = []
    waits = False
    for number, (document, sheet) in enumerate(zip(documents, sheets, strict=True)):
        if not document.usable:
            continue
        if not all(sheet.put(*item) for item in _kept(wanted, number, document, sheet, told)):
            waits = True
        elif (urgency := _urgency(document, sheet.names)) is not None:
            found.append((urgency, Write(number, dict(sheet.names))))
    if waits and not found:
        return None
    return Plan(min(found, key=lambda one: one[0])[1] if found else None, frozenset(told))


def may_hold(document: Document, names: Names, wanted: Names) -> dict[str, datetime | None]:
    """What the document may deny from the moment on at which a write of `names` begins."""
    found = dict(names)
    for name, before in document.holds.items():
        if name in wanted or EVERYBODY in wanted:
            add(found, name, before)
    return found


def _urgency(document: Document, names: Names) -> int | None:
    """What is to be denied comes before what is not any more. None where the document is as it should be."""
    if not document.sure or names.items() - document.holds.items():
        return 0
    if names != document.holds:
        return 1
    return 2 if document.stale and names else None


def _kept(
    wanted: Names, number: int, document: Document, sheet: Sheet, told: Mapping[str, set[int]]
) -> list[tuple[str, datetime | None]]:
    """What the document has to go on denying until another one surely denies it.

    A floor for everybody has taken the place of rows that are gone, so it has to be told before their names may go.
    """

    def is_safe(name: str) -> bool:
        return name in sheet.names or bool(told.get(name, set()) - {number})

    kept = []
    for name, before in document.holds.items():
        substitute = name if name in wanted else EVERYBODY
        if name not in sheet.names and substitute in wanted and not is_safe(substitute):
            kept.append((name, before))
    return kept


def _fill(wanted: Names, documents: Sequence[Document], told: Mapping[str, set[int]]) -> list[Sheet] | None:
    """A sheet for each document with what it is to deny in the end. None where there is no room."""
    sheets = [Sheet(document.capacity if document.usable else _BOUNDLESS) for document in documents]
    holders = _holders(wanted, documents)
    losing: set[int] = set()
    """Documents that give names up. None of these goes to another one of them, or two might wait for each other."""
    movers = []
    for name in _ordered(wanted):
        exact = [number for number in holders[name] if documents[number].holds[name] == wanted[name]]
        home = next(iter([*sorted(told.get(name, ())), *exact]), None)
        if home is None or not sheets[home].put(name, wanted[name]):
            movers.append(name)
        elif home not in told.get(name, ()):
            losing.update(number for number in holders[name] if number != home)
    for name in movers:
        if not _move((name, wanted[name]), documents, sheets, holders[name], losing):
            return None
    return sheets


def _move(
    item: tuple[str, datetime | None],
    documents: Sequence[Document],
    sheets: Sequence[Sheet],
    holders: Sequence[int],
    losing: set[int],
) -> bool:
    """Finds a sheet for a name that is new, or that has no room where it was. False where none has room."""
    for number in holders:
        if sheets[number].put(*item):
            losing.update(other for other in holders if other != number)
            return True
    losing.update(holders)
    others = [number for number, document in enumerate(documents) if document.usable and number not in holders]
    if not holders:
        others.sort(key=lambda number: number in losing)
    return any(sheets[number].put(*item) for number in others if not holders or number not in losing)


def _holders(wanted: Names, documents: Sequence[Document]) -> Mapping[str, list[int]]:
    """Documents that deny a name, or may. One that cannot be written counts where it surely does, as is wanted."""
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for number, document in enumerate(documents):
        for name, before in document.holds.items():
            if name in wanted and (document.usable or (document.sure and before == wanted[name])):
                holders[name].append(number)
    return holders


def _ordered(names: Names) -> Iterable[str]:
    """The floor first, then by moment, so that users of one second share a statement."""
    return sorted(names, key=lambda name: (name != EVERYBODY, names[name] or _LATEST, name))
