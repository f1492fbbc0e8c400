"""Reads codes as people type them."""

import unicodedata

MAX_LENGTH = 64


def plain(code: str) -> str:
    """Keeps letters and digits, in capitals. The decimal digits of every script become plain ones: phones type them in
    the user's own.
    """
    folded = unicodedata.normalize("NFKC", code).upper()
    return "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in folded
        if character.isalnum()
    )
