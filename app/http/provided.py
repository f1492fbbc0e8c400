"""Gives routes the objects that `compose` built. A route asks for an object by its type."""

from dataclasses import dataclass
from typing import Any, TypeVar, cast

from fastapi import Depends, Request

T = TypeVar("T")


def find(request: Request, kind: type[T]) -> T:
    return cast(T, request.app.state.provided[kind])


@dataclass(frozen=True)
class Find:
    kind: type

    # `async` although it awaits nothing: FastAPI runs a plain function in a thread.
    async def __call__(self, request: Request) -> Any:
        return find(request, self.kind)


def provided(kind: type) -> Any:
    """A dependency on the object of this type."""
    return Depends(Find(kind))
