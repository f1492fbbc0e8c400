"""JSON objects that every parser reads the same way."""

import json
from typing import Any


def strict_object(data: bytes) -> dict[str, Any]:
    """Parses a JSON object in UTF-8 without duplicate members. Raises ValueError, RecursionError."""
    value = json.loads(data.decode("utf-8"), object_pairs_hook=unique_members, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` that refuses duplicate members. Raises ValueError."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
