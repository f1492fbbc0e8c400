"""Revocations as policies: pure functions from denials to the JSON of the vending role's policies.

A document denies all actions. It matches the STS session's name, which `aws:userid` has after the role's id
(`AROA…:<user>.<session>`). For a user who gets new credentials it also matches the second in which STS issued the
session.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.crypto.encoding import b64url
from app.revocation.marks import Scope

EVERYBODY = ""
"""The name in `Names` that stands for the denial of everybody."""
Names = Mapping[str, datetime | None]
"""What a document denies: patterns of `aws:userid`, each with a moment. Sessions issued before it are denied. With
None, all of them are."""


@dataclass(frozen=True, slots=True)
class Denial:
    scope: Scope
    user_id: uuid.UUID | None
    session_id: uuid.UUID | None
    """The session, or the link."""
    not_before: datetime
    goes_on: bool = False
    """Whether it gets new credentials, so that only its earlier ones are denied. A user always goes on."""

    @property
    def pattern(self) -> str:
        """The pattern of `aws:userid`. Ids contain no wildcard, and no id is part of another one.

        A session's id is random, so it identifies the session without its user. That makes room for twice as many.
        """
        if self.scope == "everyone":
            return EVERYBODY
        if self.session_id is None:
            return f"*:{self.user_id}.*"
        if self.scope == "link":
            return f"*:link.{self.session_id}*"
        return f"*.{b64url(self.session_id.bytes)}"

    @property
    def before(self) -> datetime | None:
        """None for a session or link that has ended: it gets no new credentials."""
        return None if self.scope in ("session", "link") and not self.goes_on else self.not_before


def names_of(denials: Iterable[Denial]) -> dict[str, datetime | None]:
    """The names of the denials. If several have the same name, the latest one counts."""
    names: dict[str, datetime | None] = {}
    for denial in denials:
        add(names, denial.pattern, denial.before)
    return names


def add(names: dict[str, datetime | None], name: str, before: datetime | None) -> None:
    """Adds a denial to `names`, unless a wider one of the same name is there."""
    known = names.get(name, before)
    names[name] = None if known is None or before is None else max(known, before)


def build(denials: Iterable[Denial]) -> str:
    return write(names_of(denials))


def write(names: Names) -> str:
    """Compact ASCII JSON, the same for the same names in any order; empty if nothing is denied."""
    of: defaultdict[datetime, list[str]] = defaultdict(list)
    always = []
    for name, before in names.items():
        if before is None:
            always.append(name)
        elif name != EVERYBODY:
            of[before].append(name)
    everybody = names.get(EVERYBODY)
    statements = [_deny(_before(everybody))] if everybody else []
    statements += [_deny(_named(of[before]) | _before(before)) for before in sorted(of)]
    statements += [_deny(_named(always))] if always else []
    return _json(_document(statements)) if statements else ""


class Sheet:
    """A document that is being filled. It knows the length of its text without writing it."""

    def __init__(self, capacity: int) -> None:
        """`capacity` is in characters. The text has no white space."""
        self.names: dict[str, datetime | None] = {}
        self._left = capacity - _FRAME
        self._groups: set[datetime | None] = set()

    def put(self, name: str, before: datetime | None) -> bool:
        """Adds a name that is not there yet. Returns False, and adds nothing, if the text would be too long."""
        if name == EVERYBODY:
            cost = _OF_ALL
        else:
            cost = len(name) + len('"",') + (0 if before in self._groups else _DATED if before else _UNDATED)
        if cost > self._left:
            return False
        self._left -= cost
        self.names[name] = before
        if name != EVERYBODY:
            self._groups.add(before)
        return True


def _document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _named(names: Iterable[str]) -> dict[str, Any]:
    return {"StringLike": {"aws:userid": sorted(names)}}


def _before(moment: datetime) -> dict[str, Any]:
    return {"DateLessThan": {"aws:TokenIssueTime": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}}


def _deny(condition: Mapping[str, Any]) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


# Each statement and each name is counted with a comma after it, although the last one has none.
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_FRAME = len(_json(_document([]))) - 1
_OF_ALL = len(_json(_deny(_before(_SOME_DAY)))) + 1
_DATED = len(_json(_deny(_named([]) | _before(_SOME_DAY))))
_UNDATED = len(_json(_deny(_named([]))))
