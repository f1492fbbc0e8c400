"""A small evaluator of IAM policies, written from AWS's documentation and not from the builder of ours.

It knows Allow and Deny, Action, Resource and StringLike on s3:prefix; anything else in a policy fails the test.
"""

import json
from typing import Any


def matches(pattern: str, text: str) -> bool:
    """IAM's wildcards: `*` is any run of characters, `/` too, and `?` any one. Case matters."""
    reached = {0}
    for symbol in pattern:
        if symbol == "*":
            reached = set(range(min(reached), len(text) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(text) and symbol in ("?", text[at])}
    return len(text) in reached


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def applies(statement: dict[str, Any], action: str, resource: str, s3_prefix: str | None) -> bool:
    assert statement.keys() <= {"Sid", "Effect", "Action", "Resource", "Condition"}
    if not any(matches(pattern.lower(), action.lower()) for pattern in listed(statement["Action"])):
        return False
    if not any(matches(pattern, resource) for pattern in listed(statement["Resource"])):
        return False
    for operator, keys in statement.get("Condition", {}).items():
        assert (operator, list(keys)) == ("StringLike", ["s3:prefix"])
        if s3_prefix is None or not any(matches(pattern, s3_prefix) for pattern in listed(keys["s3:prefix"])):
            return False
    return True


def allowed(text: str, action: str, resource: str, *, s3_prefix: str | None = None) -> bool:
    """What IAM decides. Policy variables are not evaluated: a policy that has one fails the test."""
    document = json.loads(text)
    assert document.keys() == {"Version", "Statement"}
    assert "${" not in text
    effects = {s["Effect"] for s in document["Statement"] if applies(s, action, resource, s3_prefix)}
    assert effects <= {"Allow", "Deny"}
    return effects == {"Allow"}
