"""Judges how well a new password stands up to guessing.

To import this takes a tenth of a second and 14 MB, mostly for zxcvbn's lists of words: do so where a password is
judged, in its thread.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from zxcvbn import zxcvbn
from zxcvbn.frequency_lists import FREQUENCY_LISTS
from zxcvbn.matching import L33T_TABLE, enumerate_l33t_subs, relevant_l33t_subtable

from app.platform.problems import FieldError, WeakPassword

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
SERVICE_WORDS = ("tokenvend",)
BLOCKLIST = frozenset(FREQUENCY_LISTS["passwords"])
"""The 30,000 most common passwords of real leaks. ASVS 6.2.4 requires 3,000. Rarer ones are variations of these, which
the rules below catch, or words and names, which zxcvbn catches."""


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
