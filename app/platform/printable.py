"""Text that people see."""

import unicodedata

UNPRINTABLE = frozenset({"Cc", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Categories of characters that no name needs; joiners (Cf) and the no-break space are parts of real ones."""
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They would make a name read as another one."""


def is_printable(text: str) -> bool:
    if text.isascii():
        return text.isprintable()
    return not any(unicodedata.category(c) in UNPRINTABLE or c in BIDI_CONTROLS for c in text)
