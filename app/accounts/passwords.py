"""Judges passwords, and hashes them without blocking the event loop or using too much memory.

Each hash takes 19 MiB and about 25 ms of a core. So at most one runs per core: more would only take more memory.
"""

import functools
import os
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from app.crypto import hash_costs
from app.crypto.password_hashes import (
    FIREBASE,
    HIGHEST_PRICE,
    IMPORTED,
    MD5_FIRST,
    PASSWORD_CONTEXT,
    SUPABASE,
    UNKNOWN,
    WORDPRESS,
    FirebaseScrypt,
    PasswordContext,
    UnusableHash,
    hash_price,
    supabase_scrypt,
)
from app.crypto.prehashes import Form, divided
from app.platform.lanes import Lane
from app.platform.logs import log
from app.platform.problems import Overloaded

MAX_LENGTH = 1024
PATIENCE = 10.0
"""Seconds that a call waits for its turn in a lane."""
DEAR = 3.0
"""As a multiple of our own hash's work. A costlier verification runs in a lane of its own, so that it does not delay
sign-ins. bcrypt with cost 10 takes less."""

FORMS: tuple[Form | None, ...] = (None, "NFC", "NFD", "NFKC")
"""What another system may have hashed of a password: what it was sent, which is None here, or a normal form of it. The
same keyboard sent it then, so that is the likeliest, and the only one that is tried against the costliest hashes."""
TRIMMING = (WORDPRESS, "$P$", "$S$", *MD5_FIRST)
"""How hashes of WordPress and Drupal begin, which trim a password before they hash it."""
TRIMMED = " \t\n\r\0\v"
"""By PHP's `trim`."""


def normalize(password: str) -> str:
    """The password in NFC, so that every keyboard gives the same hash (NIST SP 800-63B-4 §3.1.1.2)."""
    return unicodedata.normalize("NFC", password)


def _spellings(password: str, forms: Iterable[Form | None]) -> Iterable[str]:
    return (password if form is None else unicodedata.normalize(form, password) for form in forms)


def _judge(password: str, min_length: int, context: Iterable[str]) -> None:
    from app.accounts.password_strength import check_strength  # noqa: PLC0415 - 14 MB, for new passwords alone

    check_strength(normalize(password), min_length=min_length, context=context)


@functools.cache
def _dummy_hash(context: PasswordContext) -> str:
    """The hash of a random password, one for each process."""
    return context.hash(os.urandom(16).hex())


@dataclass(frozen=True)
class _Usable:
    """A stored hash that can be verified."""

    price: float
    """Of one try."""
    is_ours: bool
    spell: Callable[[str], Iterable[str]]
    """What may have been hashed for a password, the likeliest first."""
    verify: Callable[[str], bool]


class Hasher:
    """Judges, hashes and verifies passwords, each in a separate lane, so that sign-ins do not wait for the rest.

    `by` is the client's address as limits count it. Within a lane the clients take turns. A caller whose turn does not
    come in time gets `Overloaded`.
    """

    def __init__(
        self,
        *,
        threads: int | None = None,
        firebase: FirebaseScrypt | None = None,
        prehash_key: Callable[[str], Awaitable[bytes | None]] | None = None,
    ) -> None:
        """`threads`: by default one per core. `firebase`: the project from which hashes of Firebase come.

        `prehash_key`: finds the key of a hash that was made of password and key.
        """
        threads = threads or os.cpu_count() or 2
        self._sign_ins = Lane("sign_in", threads=threads, most_waiting=500, patience=PATIENCE)
        # zxcvbn keeps a user's words in a module's variable, so two calls at once would mix them up.
        self._judging = Lane("judge", threads=1, most_waiting=200, patience=PATIENCE)
        self._new = Lane("new", threads=max(1, threads // 2), most_waiting=200, patience=PATIENCE)
        self._dear = Lane("dear", threads=1, most_waiting=50, patience=PATIENCE)
        self._firebase = firebase
        self._prehash_key = prehash_key

    @functools.cached_property
    def _dummy_hash(self) -> str:
        return _dummy_hash(PASSWORD_CONTEXT)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        return (self._sign_ins, self._judging, self._new, self._dear)

    async def hash(self, password: str, *, by: str, min_length: int, context: Iterable[str] = ()) -> str:
        """The hash of a new password, if it is strong enough. Raises `WeakPassword`, `Overloaded`."""
        await self._judging.run(by, lambda: _judge(password, min_length, context))
        return await self.hash_again(password, by=by)

    async def hash_again(self, password: str, *, by: str) -> str:
        """The hash of a password whatever its strength, as another system has accepted it. Raises `Overloaded`."""
        return await self._new.run(by, lambda: PASSWORD_CONTEXT.hash(normalize(password)))

    async def verify(self, password: str, password_hash: str | None, *, by: str) -> tuple[bool, str | None]:
        """Whether the password is right, and a new hash if the stored one is weaker than today's.

        Without a stored hash a dummy is verified, so that an unknown address takes as long as a known one. A hash
        imported from another system takes as long as it took there, until its owner signs in.
        """
        if "_dummy_hash" not in vars(self):  # the first call, whoever it is for, also loads what knows the hashes
            await self._sign_ins.run(by, lambda: self._dummy_hash)
        usable = None if password_hash is None else await self._find_usable(password_hash)
        if usable is None:
            await self._sign_ins.run(by, lambda: PASSWORD_CONTEXT.verify(normalize(password), self._dummy_hash))
            return False, None
        tries = _tries(usable, password)
        lane = self._dear if usable.price * len(tries) > DEAR else self._sign_ins
        if not await lane.run(by, lambda: any(map(usable.verify, tries))):
            return False, None
        if usable.is_ours:
            return True, None
        try:
            return True, await self.hash_again(password, by=by)
        except Overloaded:  # the next sign-in replaces it
            return True, None

    async def _find_usable(self, stored: str) -> _Usable | None:
        """None for a hash that nothing can be verified against: it is none, it costs too much, or it lacks its key."""
        try:
            return await self._read(stored)
        except UnusableHash:
            log.error("password_hash_not_supported", mend="the account needs a new password, by mail")
            return None

    async def _read(self, stored: str) -> _Usable:
        prehash, text = divided(stored)
        if prehash is not None:
            price, key = hash_price(text), b""
            if prehash.key_id:
                found = None if self._prehash_key is None else await self._prehash_key(prehash.key_id)
                if found is None:
                    raise UnusableHash(UNKNOWN)
                key = found

            def made_of(password: str) -> Iterable[str]:
                return (prehash.made_of(each, key) for each in _spellings(password, prehash.forms))

            return _Usable(price, is_ours=False, spell=made_of, verify=_against(text))
        text = stored.removeprefix(IMPORTED)
        if (scrypt := self._scrypt(text)) is not None:
            project, text = scrypt
            return _Usable(project.price, is_ours=False, spell=_foreign, verify=lambda each: project.verify(each, text))
        price = hash_price(text)
        if text == stored and not PASSWORD_CONTEXT.needs_update(text):
            return _Usable(price, is_ours=True, spell=lambda password: [normalize(password)], verify=_against(text))
        spell = _trimmed_first if text.startswith(TRIMMING) else _foreign
        return _Usable(price, is_ours=False, spell=spell, verify=_against(text))

    def _scrypt(self, password_hash: str) -> tuple[FirebaseScrypt, str] | None:
        """The scrypt of the Firebase project that the hash is from, and the hash. Raises `UnusableHash`."""
        if password_hash.startswith(SUPABASE):
            return supabase_scrypt(password_hash)
        if self._firebase is not None and password_hash.startswith(FIREBASE):
            return self._firebase, password_hash
        return None

    def measure(self, stored: str) -> tuple[str, float] | None:
        """The kind of a stored hash and the price of one sign-in; None if it cannot be verified."""
        return hash_costs.measure(stored, self._firebase)

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()


def _against(password_hash: str) -> Callable[[str], bool]:
    return lambda spelling: PASSWORD_CONTEXT.verify(spelling, password_hash)


def _foreign(password: str) -> Iterable[str]:
    return _spellings(password, FORMS)


def _trimmed_first(password: str) -> Iterable[str]:
    return [*_foreign(password.strip(TRIMMED) or password), *_foreign(password)]


def _tries(usable: _Usable, password: str) -> Sequence[str]:
    """What is tried for the password, each once, and together within `HIGHEST_PRICE`; but one at least."""
    return list(dict.fromkeys(usable.spell(password)))[: max(1, int(HIGHEST_PRICE / usable.price))]
