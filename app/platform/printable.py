"""Checks text that people see."""

import unicodedata

UNPRINTABLE = frozenset({"Cc", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories that no name needs. Joiners (Cf) and the no-break space occur in real names."""
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""These characters could make a name look like another one."""


def is_printable(text: str) -> bool:
    if text.isascii():
        return text.isprintable()
    return not any(unicodedata.category(c) in UNPRINTABLE or c in BIDI_CONTROLS for c in text)
