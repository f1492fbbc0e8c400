"""Checks and cleans text that people see."""

import re
import unicodedata

UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that no name needs: controls, halves of a character, ends of lines. Joiners (Cf) and the no-break
space occur in real names. So do characters that the interpreter does not know (Cn), which are new emoji, and those of
private use (Co), such as Apple's logo."""
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""These characters could make a name look like another one."""


def is_printable(text: str) -> bool:
    return text.isprintable() if text.isascii() else all(map(_is_shown, text))


def cleaned(text: str, longest: int) -> str | None:
    """The text with a space in the place of what is not printable, cut to `longest` characters. None if none is left.

    For names that come along with something more important, such as a sign-in.
    """
    if not is_printable(text):
        text = "".join(character if _is_shown(character) else "\n" for character in text)
        text = re.sub(r"\s*\n\s*", " ", text)
    text = text.strip()
    if len(text) > longest:
        text = text[:longest].rstrip(" \u200d")  # a joiner without what it joined would show
    return text or None


def _is_shown(character: str) -> bool:
    return unicodedata.category(character) not in UNPRINTABLE and character not in BIDI_CONTROLS
