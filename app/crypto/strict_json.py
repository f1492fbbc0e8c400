"""JSON that every parser reads the same way."""

import json
from typing import Any


def strict_object(data: bytes) -> dict[str, Any]:
    """Parses a JSON object in UTF-8 with `DECODER`. Raises ValueError, RecursionError."""
    value = DECODER.decode(data.decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_refuse_constant)
"""Refuses duplicate members, NaN and Infinity. Raises ValueError, RecursionError."""
