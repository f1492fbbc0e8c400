"""Evaluates a request against a policy document as IAM does. It never allows what it cannot judge.

An explicit deny wins over an allow. Without either the request is not allowed. A statement cannot be judged if it has
an unknown element, operator, condition key or policy variable. If such a statement could decide, the verdict is
`unknown`.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt
from typing import Any, Literal

Statement = Mapping[str, Any]
Truth = bool | None
"""None if it cannot be judged."""

ELEMENTS = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_TOKEN = re.compile(r"\$\{[^}]*\}|[*?]|[^*?$]+|\$", re.DOTALL)


@dataclass(frozen=True)
class Request:
    action: str
    resource: str
    context: Mapping[str, tuple[str, ...]]
    """The request's values by condition key in lower case; an empty tuple if the request has no such key. A key that is
    not in the mapping is unknown."""


@dataclass(frozen=True)
class Verdict:
    outcome: Literal["allowed", "denied", "missing", "unknown"]
    statement: Statement | None
    """The statement that decided, or could not be judged; None if none applies."""


def evaluate(policy: Mapping[str, Any], request: Request) -> Verdict:
    found: dict[tuple[str, Truth], Statement] = {}
    for statement in _list(policy.get("Statement", ())):
        found.setdefault((str(statement.get("Effect")), _applies(statement, request)), statement)
    if denial := found.get(("Deny", True)):
        return Verdict("denied", denial)
    if doubt := found.get(("Deny", None)):
        return Verdict("unknown", doubt)
    if allowance := found.get(("Allow", True)):
        return Verdict("allowed", allowance)
    doubt = found.get(("Allow", None))
    return Verdict("unknown", doubt) if doubt else Verdict("missing", None)


def _applies(statement: Statement, request: Request) -> Truth:
    if not statement.keys() <= ELEMENTS:
        return None
    conditions = (
        _holds(operator, key.lower(), _texts(wanted), request.context)
        for operator, keys in statement.get("Condition", {}).items()
        for key, wanted in keys.items()
    )
    return _all(
        (
            _named(statement, "Action", lambda pattern: like(pattern.lower(), request.action.lower(), {})),
            _named(statement, "Resource", lambda pattern: like(pattern, request.resource, request.context)),
            *conditions,
        )
    )


def _named(statement: Statement, element: str, matches: Callable[[str], Truth]) -> Truth:
    if element in statement:
        return _any(matches(pattern) for pattern in _texts(statement[element]))
    if (excluded := statement.get(f"Not{element}")) is not None:
        return _not(_any(matches(pattern) for pattern in _texts(excluded)))
    return None


def _holds(operator: str, key: str, wanted: list[str], context: Mapping[str, tuple[str, ...]]) -> Truth:
    quantifier, _, name = operator.rpartition(":")
    base = name.removesuffix("IfExists")
    if key not in context or quantifier not in ("", "ForAnyValue", "ForAllValues"):
        return None
    values = context[key]
    if base == "Null":
        return any((text == "true") is (not values) for text in wanted)
    if base not in _OPERATORS:
        return None
    compare, negated = _OPERATORS[base]
    if not values:
        return base != name or quantifier == "ForAllValues" or (negated and quantifier != "ForAnyValue")

    def fits(value: str) -> Truth:
        found = _any(compare(text, value, context) for text in wanted)
        return _not(found) if negated else found

    return _any(map(fits, values)) if quantifier == "ForAnyValue" else _all(map(fits, values))


def like(pattern: str, text: str, context: Mapping[str, tuple[str, ...]]) -> Truth:
    """Whether the text matches the pattern, which may have `*`, `?` and policy variables. Case matters."""
    values = []
    for name in _VARIABLE.findall(pattern):
        value = (name,) if name in ("*", "?", "$") else context.get(name.lower(), ())
        if len(value) != 1:
            return None
        values.append(value[0])
    return _regex(pattern, tuple(values)).fullmatch(text) is not None


@functools.lru_cache(maxsize=1000)
def _regex(pattern: str, variables: tuple[str, ...]) -> re.Pattern[str]:
    written = {"*": ".*", "?": "."}
    values = iter(variables)
    parts = (
        re.escape(next(values)) if token.startswith("${") else written.get(token) or re.escape(token)
        for token in _TOKEN.findall(pattern)
    )
    return re.compile("".join(parts), re.DOTALL)


Compare = Callable[[str, str, Mapping[str, tuple[str, ...]]], Truth]


def _equal(wanted: str, value: str, _context: Mapping[str, tuple[str, ...]]) -> Truth:
    return None if "${" in wanted else wanted == value


def _equal_in_any_case(wanted: str, value: str, _context: Mapping[str, tuple[str, ...]]) -> Truth:
    return None if "${" in wanted else wanted.lower() == value.lower()


def _arn_like(wanted: str, value: str, context: Mapping[str, tuple[str, ...]]) -> Truth:
    """Matches each part of the ARN alone, so that a wildcard does not reach into the next part."""
    parts, found = wanted.split(":", 5), value.split(":", 5)
    return len(parts) == len(found) and _all(map(like, parts, found, [context] * len(parts)))


def _ordered(compare: Callable[[Any, Any], bool], read: Callable[[str], Any]) -> Compare:
    def compared(wanted: str, value: str, _context: Mapping[str, tuple[str, ...]]) -> Truth:
        try:
            return compare(read(value), read(wanted))
        except ValueError:
            return None

    return compared


def _moment(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_ORDERS = {"LessThan": lt, "LessThanEquals": le, "GreaterThan": gt, "GreaterThanEquals": ge, "Equals": eq}
_OPERATORS: dict[str, tuple[Compare, bool]] = {
    "Bool": (_equal_in_any_case, False),
    **{f"String{no}Equals": (_equal, bool(no)) for no in ("", "Not")},
    **{f"String{no}EqualsIgnoreCase": (_equal_in_any_case, bool(no)) for no in ("", "Not")},
    **{f"String{no}Like": (like, bool(no)) for no in ("", "Not")},
    **{f"Arn{no}{how}": (_arn_like, bool(no)) for no in ("", "Not") for how in ("Equals", "Like")},
    **{
        kind + name: (_ordered(compare, read), False)
        for kind, read in (("Numeric", float), ("Date", _moment))
        for name, compare in _ORDERS.items()
    },
    **{f"{kind}NotEquals": (_ordered(eq, read), True) for kind, read in (("Numeric", float), ("Date", _moment))},
}
"""The comparison of each operator, and whether the operator negates it."""


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _texts(value: Any) -> list[str]:
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in _list(value)]


def _all(truths: Iterable[Truth]) -> Truth:
    found = set(truths)
    return False if False in found else None if None in found else True


def _any(truths: Iterable[Truth]) -> Truth:
    return _not(_all(_not(truth) for truth in truths))


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth
