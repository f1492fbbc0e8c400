"""A password context that costs next to nothing and counts what it is asked."""

from typing import Any

from passlib.context import CryptContext


class CountingContext(CryptContext):
    def __init__(self) -> None:
        super().__init__(
            schemes=["argon2"], argon2__type="ID", argon2__memory_cost=64, argon2__time_cost=1, argon2__parallelism=1
        )
        self.hashed = 0
        self.verified: list[str] = []
        """The hashes that passwords were verified against, oldest first."""

    def hash(self, *args: Any, **kwargs: Any) -> str:
        self.hashed += 1
        return str(super().hash(*args, **kwargs))

    def verify(self, *args: Any, **kwargs: Any) -> bool:
        self.verified.append(args[1])
        return bool(super().verify(*args, **kwargs))
