"""What a route asks for by type: one of the objects that `compose` built."""

from dataclasses import dataclass
from typing import Any, TypeVar, cast

from fastapi import Depends, Request

T = TypeVar("T")


def find(request: Request, kind: type[T]) -> T:
    return cast(T, request.app.state.provided[kind])


@dataclass(frozen=True)
class Find:
    kind: type

    # `async`, although it waits for nothing: FastAPI sends a plain function through a thread.
    async def __call__(self, request: Request) -> Any:
        return find(request, self.kind)


def provided(kind: type) -> Any:
    """A dependency on the one object of that type."""
    return Depends(Find(kind))
