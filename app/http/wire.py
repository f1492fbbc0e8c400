"""Base models of requests and responses, and types of their members and of the parameters of lists.

The docstring below a member describes it in the OpenAPI document.
"""

import ast
import functools
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any

from fastapi import Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)

from app.platform.printable import cleaned, is_printable


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Describes each member that has a docstring and no description.

    It reads the source, but only while a document is built. Pydantic would read it when it makes the class, at import.
    """
    for cls in model.__mro__:
        texts = _docstrings(cls.__module__).get(cls.__name__, {}) if issubclass(cls, _Model) else {}
        for name, text in texts.items():
            field = model.model_fields[name]
            for key in (field.serialization_alias, field.alias, name):
                if key in schema["properties"]:
                    schema["properties"][key].setdefault("description", text)


@functools.cache
def _docstrings(module: str) -> Mapping[str, Mapping[str, str]]:
    """The docstrings of members, by class."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_below_members(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _below_members(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for member, text in pairwise(node.body):
        match member, text:
            case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said)))):
                yield name, " ".join(said.split())


class _Model(BaseModel):
    model_config = ConfigDict(json_schema_extra=_describe)


class RequestModel(_Model):
    """A closed model: an unknown member is a 422, and no type is converted into another."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class ResponseModel(_Model):
    """Every member is always present. A missing value is null."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()[:19] + "Z"


Timestamp = Annotated[
    datetime,
    PlainSerializer(rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""RFC 3339 in whole seconds, UTC, ending in `Z`."""

Limit = Annotated[int, Query(ge=1, le=200)]
"""How many members of a list a page has at most."""
Cursor = Annotated[str | None, Query(max_length=200)]
"""The `next_cursor` of an earlier page."""
LongCursor = Annotated[str | None, Query(max_length=2000)]
"""The same for a list that may be sorted by an address."""


_DATE = re.compile("[0-9]{4}-[0-9]{2}-")


def _written_out(value: object) -> object:
    """Refuses text that does not begin like a date. Pydantic would read a number as seconds since 1970."""
    if isinstance(value, str) and not _DATE.match(value):
        raise ValueError("write a time as 2026-11-23T18:00:00Z")
    return value


def _text_of_one(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("write a time as 2026-11-23T18:00:00Z")
    return _written_out(value)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("this time does not exist in UTC") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]
"""A time in a query, as RFC 3339."""


MomentInBody = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text_of_one), AfterValidator(_in_utc)]
"""A time in a JSON body, as RFC 3339 text. A number is refused."""


def _printable(value: str) -> str:
    if not is_printable(value):
        raise ValueError("control characters are not allowed")
    return value


def _no_nul(value: SecretStr) -> SecretStr:
    if "\0" in value.get_secret_value():
        raise ValueError("a NUL character is not allowed")
    return value


PrintableText = Annotated[str, AfterValidator(_printable)]


LONGEST_NAME = 100


def _cleaned(value: object) -> object:
    return cleaned(value, LONGEST_NAME) if isinstance(value, str) else value


DeviceName = Annotated[str | None, BeforeValidator(_cleaned)]
"""What people call a device. No name refuses a sign-in: it loses what is not printable, and what is over 100
characters."""


PasswordText = Annotated[SecretStr, AfterValidator(_no_nul)]
