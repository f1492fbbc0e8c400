"""What the sign-ins of imported users will cost, by the kind of their hashes. It never holds a hash."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.crypto.password_hashes import (
    FIREBASE,
    IMPORTED,
    SUPABASE,
    WORDPRESS,
    FirebaseScrypt,
    UnusableHash,
    hash_price,
    scheme_of,
    supabase_scrypt,
)
from app.crypto.prehashes import divided

Measure = Callable[[str], "tuple[str, float] | None"]
"""The kind of a stored hash, and what one sign-in with it costs in sign-ins with a hash of our own."""


@dataclass
class HashKind:
    """Hashes of one kind."""

    kind: str
    rows: int = 0
    work: float = 0.0
    """What a first sign-in of each costs together, in those with a hash of our own."""
    dearest: float = 0.0

    @property
    def price(self) -> float:
        """What one sign-in costs on average."""
        return self.work / self.rows if self.rows else 0.0


def measure(stored: str, firebase: FirebaseScrypt | None) -> tuple[str, float] | None:
    """See `Measure`. None for a hash that cannot be verified. `firebase`: the project from which hashes come."""
    _, text = divided(stored.removeprefix(IMPORTED))
    try:
        if text.startswith(SUPABASE):
            return "firebase scrypt", supabase_scrypt(text)[0].price
        if text.startswith(FIREBASE):
            return ("firebase scrypt", firebase.price) if firebase else None
        price = hash_price(text)
    except UnusableHash:
        return None
    return ("wordpress bcrypt" if text.startswith(WORDPRESS) else scheme_of(text)), price


def add_up(hashes: Iterable[str], measured: Measure, counted: Iterable[HashKind]) -> list[HashKind]:
    """The kinds with these hashes, the one with the most work first."""
    kinds = {one.kind: one for one in counted}
    for stored in hashes:
        if (found := measured(stored)) is not None:
            kind = kinds.setdefault(found[0], HashKind(found[0]))
            kind.rows += 1
            kind.work += found[1]
            kind.dearest = max(kind.dearest, found[1])
    return sorted(kinds.values(), key=lambda one: -one.work)
