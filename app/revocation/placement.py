"""Decides which document of the vending role denies what, and which one is written next: a pure function.

A name stays in the document where it is, so that one revocation needs one write. Documents are written one by one, and
a writer may die before or after each. So a document drops a name only once another one surely denies it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.revocation.denials import EVERYBODY, Names, Sheet, add

_LATEST = datetime.max.replace(tzinfo=UTC)
_BOUNDLESS = 1 << 30
"""The capacity of a document that cannot be written, for what it denies already."""


@dataclass(frozen=True)
class Document:
    capacity: int
    """In characters."""
    holds: Names
    """What it denies at the engine or, if not `sure`, what it may deny."""
    sure: bool = True
    """False if a write of it has begun and nobody knows whether it arrived."""
    usable: bool = True
    """False if the engine has lately refused to write it. What it surely denies still counts."""
    stale: bool = False
    """True if the last write is so old that it is written again, in case somebody has changed it by hand."""


@dataclass(frozen=True)
class Write:
    number: int
    """The index of the document."""
    names: Names


@dataclass(frozen=True)
class Plan:
    write: Write | None
    """What to write next; None if each document is as it should be."""
    told: frozenset[str]
    """The names that the engine surely denies as wanted."""


def plan(wanted: Names, documents: Sequence[Document]) -> Plan | None:
    """The next write. Returns None if the documents have no room for everything wanted."""
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
    """What the document may deny once a write of `names` has begun."""
    found = dict(names)
    for name, before in document.holds.items():
        if name in wanted or EVERYBODY in wanted:
            add(found, name, before)
    return found


def _urgency(document: Document, names: Names) -> int | None:
    """Lower is more urgent: adding denials comes before dropping them. None if the document is as it should be."""
    if not document.sure or names.items() - document.holds.items():
        return 0
    if names != document.holds:
        return 1
    return 2 if document.stale and names else None


def _kept(
    wanted: Names, number: int, document: Document, sheet: Sheet, told: Mapping[str, set[int]]
) -> list[tuple[str, datetime | None]]:
    """What the document must keep denying until another one surely denies it.

    The floor has replaced marks that are deleted. So the engine must be told of it before their names may be dropped.
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
    """A sheet for each document, with what it is to deny in the end. None if there is no room."""
    sheets = [Sheet(document.capacity if document.usable else _BOUNDLESS) for document in documents]
    holders = _holders(wanted, documents)
    losing: set[int] = set()
    """Documents that drop names. No such name moves to another of them, or two might wait for each other."""
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
    """Finds a sheet for a name that is new or no longer fits where it was. Returns False if none has room."""
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
    """The documents that deny a name or may do so. One that cannot be written counts if it surely denies as wanted."""
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for number, document in enumerate(documents):
        for name, before in document.holds.items():
            if name in wanted and (document.usable or (document.sure and before == wanted[name])):
                holders[name].append(number)
    return holders


def _ordered(names: Names) -> Iterable[str]:
    """The names with the floor first, then by moment, so that users of one second share a statement."""
    return sorted(names, key=lambda name: (name != EVERYBODY, names[name] or _LATEST, name))
