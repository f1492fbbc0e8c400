"""A small evaluator of IAM policies, written from AWS's documentation and not from the builder of ours.

It knows Allow and Deny, Action, Resource and their opposites, and five conditions on the keys that a request has;
anything else in a policy fails the test.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def matches(pattern: str, text: str) -> bool:
    """IAM's wildcards: `*` is any run of characters, `/` too, and `?` any one. Case matters."""
    return _compiled(pattern).fullmatch(text) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(symbol) or re.escape(symbol) for symbol in pattern), re.DOTALL)


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def applies(statement: dict[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    assert statement.keys() <= {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
    assert ("Action" in statement) != ("NotAction" in statement)
    assert ("Resource" in statement) != ("NotResource" in statement)
    actions = [pattern.lower() for pattern in listed(statement.get("Action") or statement["NotAction"])]
    if any(matches(pattern, action.lower()) for pattern in actions) != ("Action" in statement):
        return False
    resources = listed(statement.get("Resource") or statement["NotResource"])
    if any(matches(pattern, resource) for pattern in resources) != ("Resource" in statement):
        return False
    return all(
        holds(operator, listed(values), context.get(key))
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    )


def holds(operator: str, values: list[str], actual: str | None) -> bool:
    """A key that the request does not have fulfils negated conditions alone."""
    match operator:
        case "StringEquals":
            return actual in values
        case "StringLike":
            return actual is not None and any(matches(pattern, actual) for pattern in values)
        case "StringNotLike":
            return actual is None or not any(matches(pattern, actual) for pattern in values)
        case "DateLessThan":
            return actual is not None and any(_moment(actual) < _moment(value) for value in values)
    raise AssertionError(operator)


def _moment(text: str) -> datetime:
    """ISO 8601, as IAM writes and takes it."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return moment


def allowed(
    text: str,
    action: str,
    resource: str,
    *,
    also: Sequence[str] = (),
    s3_prefix: str | None = None,
    context: Mapping[str, str] | None = None,
) -> bool:
    """What IAM decides by this session policy and those that are sent along with it: one allows and none denies.

    Policy variables are not evaluated: a policy that has one fails the test.
    """
    request = dict(context or {}) | ({} if s3_prefix is None else {"s3:prefix": s3_prefix})
    effects = set()
    for one in (text, *also):
        document = json.loads(one)
        assert document.keys() == {"Version", "Statement"}
        assert "${" not in one
        effects |= {s["Effect"] for s in document["Statement"] if applies(s, action, resource, request)}
    assert effects <= {"Allow", "Deny"}
    return effects == {"Allow"}
