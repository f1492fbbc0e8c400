"""Judges passwords, and hashes them without blocking the event loop or using too much memory.

Each hash takes 19 MiB and about 25 ms of a core. So at most one runs per core: more would only take more memory.
"""

import functools
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import islice, pairwise

import structlog
from zxcvbn import zxcvbn
from zxcvbn.frequency_lists import FREQUENCY_LISTS
from zxcvbn.matching import L33T_TABLE, enumerate_l33t_subs, relevant_l33t_subtable

from app.crypto.password_hashes import (
    FIREBASE,
    HIGHEST_PRICE,
    PASSWORD_CONTEXT,
    SUPABASE,
    FirebaseScrypt,
    PasswordContext,
    UnusableHash,
    hash_price,
    supabase_scrypt,
)
from app.platform.lanes import Lane
from app.platform.problems import FieldError, Overloaded, WeakPassword

log = structlog.get_logger("tokenvend.passwords")

MAX_LENGTH = 1024
LEAST_GUESSES = 10**8
"""zxcvbn's score 3. Its exact bound is 10^8 + 5, which no password of eight characters reaches, however random."""
LETTERS_OF = Counter(symbol for symbols in L33T_TABLE.values() for symbol in symbols)
"""For how many letters zxcvbn lets a symbol stand."""
SCORED_LENGTH = 32
MOST_LOOK_UPS = 5_000
"""Parts of one password that zxcvbn may look up in each of its lists. With `SCORED_LENGTH` this bounds the time to some
10 ms of a core."""
AMBIGUOUS = {letter for letter, symbols in L33T_TABLE.items() if any(LETTERS_OF[symbol] > 1 for symbol in symbols)}
"""Letters that share a symbol with another one."""
PATIENCE = 10.0
"""Seconds that a call waits for its turn in a lane."""
DEAR = 3.0
"""As a multiple of our own hash's work. A costlier verification runs in a lane of its own, so that it does not delay
sign-ins. bcrypt with cost 10 takes less."""
SERVICE_WORDS = ("tokenvend",)
BLOCKLIST = frozenset(FREQUENCY_LISTS["passwords"])
"""The 30,000 most common passwords of real leaks. ASVS 6.2.4 requires 3,000. Rarer ones are variations of these, which
the rules below catch, or words and names, which zxcvbn catches."""


def normalize(password: str) -> str:
    """The password in NFC, so that every keyboard gives the same hash (NIST SP 800-63B-4 §3.1.1.2)."""
    return unicodedata.normalize("NFC", password)


def _spellings(password: str) -> Iterable[str]:
    """What another system may have hashed: the password in NFC, as given, or in NFD. For ASCII these are the same."""
    return dict.fromkeys((normalize(password), password, unicodedata.normalize("NFD", password)))


def check_strength(password: str, *, min_length: int, context: Iterable[str] = ()) -> None:
    """Raises `WeakPassword`. `context` are words an attacker would try first: the user's address and name."""
    if len(password) < min_length:
        raise _weak("too_short", f"Use {min_length} characters or more.")
    folded = unicodedata.normalize("NFKC", password).casefold()
    if folded in BLOCKLIST or _stem(folded) in BLOCKLIST or _repeats(folded):
        raise _weak("too_common", "This is one of the passwords that attackers try first.")
    words = [word for text in (*context, *SERVICE_WORDS) for word in _words(text)]
    rest = folded
    for word in sorted(words, key=len, reverse=True):
        rest = rest.replace(word, "")
    if rest != folded and len(rest) < 8:
        raise _weak("too_personal", "Leave your address, your name and this service's name out of the password.")
    result = zxcvbn(_scored(folded), user_inputs=words)
    if result["guesses"] < LEAST_GUESSES:
        advice = " ".join([result["feedback"]["warning"], *result["feedback"]["suggestions"]]).strip()
        raise _weak("too_guessable", advice or "Add another word or two; uncommon words are better.")


def _scored(folded: str) -> str:
    """As much of the beginning as zxcvbn can judge in a bounded time. The rest can only add strength.

    zxcvbn looks up each part of the text forwards, backwards, and once for each of its `_readings`.
    """
    folded = folded[:SCORED_LENGTH]
    readings = 0
    for length, character in enumerate(folded, 1):
        if character in LETTERS_OF and character not in folded[: length - 1]:
            readings = _readings(folded[:length])
        if (2 + readings) * length * (length + 1) / 2 > MOST_LOOK_UPS:
            return folded[: length - 1]
    return folded


def _readings(text: str) -> int:
    """The number of ways in which zxcvbn reads a text whose digits or symbols may stand for letters."""
    table = relevant_l33t_subtable(text, L33T_TABLE)
    ambiguous = {letter: symbols for letter, symbols in table.items() if letter in AMBIGUOUS}
    return len(enumerate_l33t_subs(ambiguous)) * math.prod(len(table[letter]) for letter in table.keys() - AMBIGUOUS)


def _weak(code: str, message: str) -> WeakPassword:
    return WeakPassword(errors=[FieldError("body.password", code, message)])


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    parts = [folded, *re.split(r"[\W_]+", folded)]
    return [part for part in parts if len(part) >= 4]


def _stem(folded: str) -> str:
    """Reduces `passwordpassword1` to `password`: attackers try digits at the end and repetition anyway."""
    stem = folded.rstrip("0123456789!.?") or folded
    for size in range(1, len(stem) // 2 + 1):
        if len(stem) % size == 0 and stem[:size] * (len(stem) // size) == stem:
            return stem[:size]
    return stem


def _repeats(folded: str) -> bool:
    """Whether the password is one repeated character, or a plain run such as 1234567890123456."""
    steps = {ord(b) - ord(a) for a, b in pairwise(folded)}
    return len(steps) == 1 or (folded.isdigit() and (steps <= {1, -9} or steps <= {-1, 9}))


@functools.cache
def _dummy_hash(context: PasswordContext) -> str:
    """The hash of a random password, one for each process."""
    return context.hash(os.urandom(16).hex())


class Hasher:
    """Judges, hashes and verifies passwords, each in a separate lane, so that sign-ins do not wait for the rest.

    `by` is the client's address as limits count it. Within a lane the clients take turns. A caller whose turn does not
    come in time gets `Overloaded`.
    """

    def __init__(self, *, threads: int | None = None, firebase: FirebaseScrypt | None = None) -> None:
        """`threads`: by default one per core. `firebase`: the project from which hashes of Firebase come."""
        threads = threads or os.cpu_count() or 2
        self._sign_ins = Lane("sign_in", threads=threads, most_waiting=500, patience=PATIENCE)
        # zxcvbn keeps a user's words in a module's variable, so two calls at once would mix them up.
        self._judging = Lane("judge", threads=1, most_waiting=200, patience=PATIENCE)
        self._new = Lane("new", threads=max(1, threads // 2), most_waiting=200, patience=PATIENCE)
        self._dear = Lane("dear", threads=1, most_waiting=50, patience=PATIENCE)
        self._firebase = firebase
        self._dummy_hash = _dummy_hash(PASSWORD_CONTEXT)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        return (self._sign_ins, self._judging, self._new, self._dear)

    async def hash(self, password: str, *, by: str, min_length: int, context: Iterable[str] = ()) -> str:
        """The hash of a new password, if it is strong enough. Raises `WeakPassword`, `Overloaded`."""
        await self._judging.run(by, lambda: check_strength(normalize(password), min_length=min_length, context=context))
        return await self.hash_again(password, by=by)

    async def hash_again(self, password: str, *, by: str) -> str:
        """The hash of a password whatever its strength, as another system has accepted it. Raises `Overloaded`."""
        return await self._new.run(by, lambda: PASSWORD_CONTEXT.hash(normalize(password)))

    async def verify(self, password: str, password_hash: str | None, *, by: str) -> tuple[bool, str | None]:
        """Whether the password is right, and a new hash if the stored one is weaker than today's.

        Without a stored hash a dummy is verified, so that an unknown address takes as long as a known one. A hash
        imported from another system takes as long as it took there, until its owner signs in.
        """
        price = None if password_hash is None else self._price(password_hash)
        if password_hash is None or price is None:
            await self._sign_ins.run(by, lambda: PASSWORD_CONTEXT.verify(normalize(password), self._dummy_hash))
            return False, None
        if self._is_ours(password_hash):
            return await self._sign_ins.run(
                by, lambda: PASSWORD_CONTEXT.verify(normalize(password), password_hash)
            ), None
        tries = 1 if password.isascii() else max(1, min(3, int(HIGHEST_PRICE / price)))
        lane = self._dear if price * tries > DEAR else self._sign_ins
        if not await lane.run(by, lambda: self._verify_imported(password, password_hash, tries)):
            return False, None
        try:
            return True, await self.hash_again(password, by=by)
        except Overloaded:  # the next sign-in replaces it
            return True, None

    def _price(self, password_hash: str) -> float | None:
        """The work of the hash. None if it cannot be verified: its work is beyond the bound, or it is not a hash."""
        try:
            scrypt = self._scrypt(password_hash)
            return hash_price(password_hash) if scrypt is None else scrypt[0].price
        except UnusableHash:
            log.error("password_hash_not_supported", mend="the account needs a new password, by mail")
            return None

    def _is_ours(self, password_hash: str) -> bool:
        return not password_hash.startswith((FIREBASE, SUPABASE)) and not PASSWORD_CONTEXT.needs_update(password_hash)

    def _scrypt(self, password_hash: str) -> tuple[FirebaseScrypt, str] | None:
        """The scrypt of the Firebase project that the hash is from, and the hash. Raises `UnusableHash`."""
        if password_hash.startswith(SUPABASE):
            return supabase_scrypt(password_hash)
        if self._firebase is not None and password_hash.startswith(FIREBASE):
            return self._firebase, password_hash
        return None

    def _verify_imported(self, password: str, password_hash: str, tries: int) -> bool:
        verify = PASSWORD_CONTEXT.verify
        if (scrypt := self._scrypt(password_hash)) is not None:
            verify, password_hash = scrypt[0].verify, scrypt[1]
        return any(verify(spelling, password_hash) for spelling in islice(_spellings(password), tries))

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()
