"""Reads codes as people type them."""

import unicodedata

MAX_LENGTH = 64


def plain(code: str) -> str:
    """Keeps letters and digits, in capitals. The wide digits of East Asian keyboards become plain ones."""
    folded = unicodedata.normalize("NFKC", code).upper()
    return "".join(character for character in folded if character.isalnum())
