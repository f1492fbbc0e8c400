"""Cells of CSV that no spreadsheet takes for a formula (CWE-1236; OWASP, "CSV Injection"), and the way back."""

import csv
import io
import re
from collections.abc import Iterable

_BEGINNING = r"(?:^|(?<=[,;|:\t\r\n]))"
"""Of a cell, whatever character the spreadsheet divides a line at."""
_FORMULA = r"""["\s]*?(?:['=+\-@＝＋－＠]|[\t\r\n])"""
"""What a formula begins with, after marks and spaces that a spreadsheet may look past. An apostrophe is among them: so
each apostrophe that `disarmed` puts is told from one that was there before.
"""
_TO_DISARM = re.compile(f"{_BEGINNING}(?={_FORMULA})")
_DISARMED = re.compile(f"{_BEGINNING}'(?={_FORMULA})")


def disarmed(text: str) -> str:
    """The text with an apostrophe wherever a cell of it could begin as a formula does."""
    return _TO_DISARM.sub("'", text)


def armed(text: str) -> str:
    """The inverse of `disarmed`; other text is as it was."""
    return _DISARMED.sub("", text)


def csv_line(cells: Iterable[str]) -> str:
    """A line of CSV (RFC 4180), each cell in quotation marks and disarmed."""
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerow([disarmed(cell) for cell in cells])
    return written.getvalue()
