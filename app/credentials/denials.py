"""Revocations as a policy: a pure function from rows to the JSON that the vending role gets.

It denies all actions, by the session's name as `aws:userid` has it after the role's id (`AROA…:<user>.<session>`) and,
for who goes on, by the second in which STS issued the session.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from app.crypto import b64url
from app.revocations import Scope


@dataclass(frozen=True, slots=True)
class Denial:
    scope: Scope
    user_id: uuid.UUID | None
    session_id: uuid.UUID | None
    not_before: datetime

    @property
    def pattern(self) -> str:
        """Of `aws:userid`. Ids hold no wildcard, and none is a part of another.

        A session's id is random, so it names the device without its user: there is room for twice as many.
        """
        if self.session_id is None:
            return f"*:{self.user_id}.*"
        return f"*.{b64url(self.session_id.bytes)}"


def build(denials: Iterable[Denial]) -> str:
    """Compact ASCII JSON, the same for the same denials in any order; empty where nothing is denied."""
    of: dict[Scope, list[Denial]] = {"everyone": [], "user": [], "session": []}
    for denial in sorted(denials, key=lambda one: (one.not_before, one.pattern if one.user_id else "")):
        of[denial.scope].append(denial)
    statements = []
    if of["everyone"]:
        statements.append(_deny(_before(of["everyone"][-1].not_before)))
    for not_before, users in groupby(of["user"], key=lambda one: one.not_before):
        statements.append(_deny(_named(users) | _before(not_before)))
    if of["session"]:
        statements.append(_deny(_named(of["session"])))  # they have ended, and get no others
    if not statements:
        return ""
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"), ensure_ascii=True)


def _named(denials: Iterable[Denial]) -> dict[str, Any]:
    return {"StringLike": {"aws:userid": sorted(denial.pattern for denial in denials)}}


def _before(moment: datetime) -> dict[str, Any]:
    return {"DateLessThan": {"aws:TokenIssueTime": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}}


def _deny(condition: Mapping[str, Any]) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
