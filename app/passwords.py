"""Which passwords are good enough, and hashing that neither blocks the event loop nor outgrows memory.

Each hash takes 19 MiB and about 25 ms of a core, so as many run at once as there are cores; more would only add memory.
"""

import asyncio
import functools
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import structlog
from zxcvbn import zxcvbn
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from app.crypto import FIREBASE, PASSWORD_CONTEXT, FirebaseScrypt, PasswordContext, is_supported_hash
from app.problems import FieldError, Overloaded, WeakPassword

log = structlog.get_logger("tokenvend.passwords")

T = TypeVar("T")

MAX_LENGTH = 1024
LEAST_GUESSES = 10**8
"""zxcvbn's score 3. Its own bound, 10^8 + 5, is one that no password of eight characters reaches, however random."""
SCORED_LENGTH = 72
"""zxcvbn's work grows with the square of the length; what follows these characters can only add strength."""
SERVICE_WORDS = ("tokenvend",)
BLOCKLIST = frozenset(FREQUENCY_LISTS["passwords"])
"""The 30,000 most common ones of real leaks. ASVS 6.2.4 asks for 3,000; what follows them here is variations of these,
which the rules below know, or words and names, which zxcvbn does."""


def normalize(password: str) -> str:
    """NFC, so that the same keys pressed on another keyboard give the same hash (NIST SP 800-63B-4 §3.1.1.2)."""
    return unicodedata.normalize("NFC", password)


def _spellings(password: str) -> Iterable[str]:
    """What another system may have hashed: the password in NFC, as it was given, or in NFD. Of ASCII these are one."""
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
        raise _weak("too_personal", "Leave your address, your name and this service's name out of it.")
    result = zxcvbn(folded[:SCORED_LENGTH], user_inputs=words)
    if result["guesses"] < LEAST_GUESSES:
        advice = " ".join([result["feedback"]["warning"], *result["feedback"]["suggestions"]]).strip()
        raise _weak("too_guessable", advice or "Add another word or two; uncommon words are better.")


def _weak(code: str, message: str) -> WeakPassword:
    return WeakPassword(errors=[FieldError("body.password", code, message)])


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    parts = [folded, *re.split(r"[\W_]+", folded)]
    return [part for part in parts if len(part) >= 4]


def _stem(folded: str) -> str:
    """`password` of `passwordpassword1`: digits at the end and repetition add nothing that attackers do not try."""
    stem = folded.rstrip("0123456789!.?") or folded
    for size in range(1, len(stem) // 2 + 1):
        if len(stem) % size == 0 and stem[:size] * (len(stem) // size) == stem:
            return stem[:size]
    return stem


def _repeats(folded: str) -> bool:
    """One character over and over, or a plain run such as 1234567890123456."""
    steps = {ord(b) - ord(a) for a, b in pairwise(folded)}
    return len(steps) == 1 or (folded.isdigit() and (steps <= {1, -9} or steps <= {-1, 9}))


@functools.cache
def _dummy_hash(context: PasswordContext) -> str:
    """Of nobody's password; one for a process."""
    return context.hash(os.urandom(16).hex())


class Hasher:
    """argon2id in its own threads, one a core. What waits is bounded: beyond it callers get `Overloaded`."""

    def __init__(
        self, *, threads: int | None = None, most_waiting: int = 500, firebase: FirebaseScrypt | None = None
    ) -> None:
        """`firebase`: the project that hashes of Firebase come from."""
        self._threads = ThreadPoolExecutor(threads or os.cpu_count() or 2, thread_name_prefix="hasher")
        self._most_waiting = most_waiting
        self._waiting = 0
        self._firebase = firebase
        self._dummy_hash = _dummy_hash(PASSWORD_CONTEXT)

    async def hash(self, password: str, *, min_length: int, context: Iterable[str] = ()) -> str:
        """The hash of a new password that is strong enough. Raises `WeakPassword`, `Overloaded`."""
        password = normalize(password)

        def checked() -> str:
            check_strength(password, min_length=min_length, context=context)
            return PASSWORD_CONTEXT.hash(password)

        return await self._in_thread(checked)

    async def hash_again(self, password: str) -> str:
        """The hash of a password that another system has taken already, however weak. Raises `Overloaded`."""
        return await self._in_thread(functools.partial(PASSWORD_CONTEXT.hash, normalize(password)))

    async def verify(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        """Whether the password is right, and a new hash where the stored one is weaker than today's.

        Without a stored hash a dummy is verified: an unknown address takes as long as a known one. One that was
        imported from another system takes as long as it took there, up to three times for other letters than ASCII's,
        until its owner has signed in once.
        """
        firebase, verify = self._firebase, PASSWORD_CONTEXT.verify
        if password_hash is not None and password_hash.startswith(FIREBASE) and firebase is not None:
            return await self._in_thread(functools.partial(_verify_imported, firebase.verify, password, password_hash))
        if password_hash is not None and is_supported_hash(password_hash):
            if PASSWORD_CONTEXT.needs_update(password_hash):
                return await self._in_thread(functools.partial(_verify_imported, verify, password, password_hash))
            return await self._in_thread(lambda: (verify(normalize(password), password_hash), None))
        if password_hash is not None:
            log.error("password_hash_not_supported", mend="the account needs a new password, by mail")
        await self._in_thread(functools.partial(verify, normalize(password), self._dummy_hash))
        return False, None

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._waiting >= self._most_waiting:
            raise Overloaded(retry_after=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self._waiting -= 1

    @property
    def waiting(self) -> int:
        """Those that are hashed at the moment, too."""
        return self._waiting

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _verify_imported(verify: Callable[[str, str], bool], password: str, password_hash: str) -> tuple[bool, str | None]:
    """Whether the password is right in one of its spellings, and then its hash as ours are."""
    if not any(verify(spelling, password_hash) for spelling in _spellings(password)):
        return False, None
    return True, PASSWORD_CONTEXT.hash(normalize(password))
