"""Writes CSV cells that no spreadsheet takes for a formula (CWE-1236; OWASP, "CSV Injection"), and reads them back."""

import csv
import io
import re
from collections.abc import Iterable

_BEGINNING = r"(?:^|(?<=[,;|:\t\r\n]))"
"""The beginning of a cell, whatever separator the spreadsheet uses."""
_FORMULA = r"""["\s]*?(?:['=+\-@＝＋－＠]|[\t\r\n])"""
"""How a formula begins, after quotation marks and spaces that a spreadsheet may ignore. The apostrophe is included, so
that `armed` can tell an apostrophe that `disarmed` added from one of the text.
"""
_TO_DISARM = re.compile(f"{_BEGINNING}(?={_FORMULA})")
_DISARMED = re.compile(f"{_BEGINNING}'(?={_FORMULA})")


def disarmed(text: str) -> str:
    """The text with an apostrophe wherever a cell could begin like a formula."""
    return _TO_DISARM.sub("'", text)


def armed(text: str) -> str:
    """The inverse of `disarmed`. Other text stays as it is."""
    return _DISARMED.sub("", text) if "'" in text else text


def csv_line(cells: Iterable[str]) -> str:
    """A line of CSV (RFC 4180), each cell in quotation marks and disarmed."""
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerow([disarmed(cell) for cell in cells])
    return written.getvalue()
