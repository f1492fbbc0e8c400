"""From bytes to records: lines, CSV (RFC 4180), lines of JSON, and the members of a large JSON array."""

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator

from app.admin.formats.rows import Record, RowProblem
from app.crypto.strict_json import DECODER
from app.platform.problems import UnreadableImport

MOST_BYTES = 65_536
"""The longest row, in bytes."""
TOO_LONG = RowProblem("row_too_long", "The row has over 65,536 bytes, or a quotation mark in it is not closed.")
NOT_UTF8 = RowProblem("not_utf8", "The row is not text in UTF-8.")
MALFORMED = RowProblem("malformed_row", "The row is not well-formed.")
MISFIT = RowProblem("misfit_row", "The row does not have as many fields as the header.")
BOM = codecs.BOM_UTF8


def lines(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Lines with their line ends; None for a line over `MOST_BYTES`, of which no more than that is held."""
    held, size, first = bytearray(), 0, True
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            if size + len(end) > MOST_BYTES:
                yield None
            else:
                line = bytes(held) + end + b"\n" if held else end + b"\n"
                yield line.removeprefix(BOM) if first else line
            held, size, first = bytearray(), 0, False
        size += len(rest)
        if size > MOST_BYTES:
            held = bytearray()
        else:
            held += rest
    if size > MOST_BYTES:
        yield None
    elif held:
        yield bytes(held.removeprefix(BOM) if first else held)


def closed(found: Iterable[bytes | None], mark: bytes) -> Iterator[bytes | None]:
    """Rows: each line joined with the next ones until its quotation marks are closed. None for one that is too long.

    Marks are counted once for each line, and lines are joined once. So a row of many lines costs no more than a line of
    the same length. At the end of the file the last row may be open.
    """
    parts: list[bytes] = []
    size, opened = 0, False
    for line in found:
        size += MOST_BYTES + 1 if line is None else len(line)
        if line is None or size > MOST_BYTES:
            yield None
        else:
            parts.append(line)
            opened ^= line.count(mark) % 2 == 1
            if opened:
                continue
            yield b"".join(parts)
        parts, size, opened = [], 0, False
    if parts:
        yield b"".join(parts)


def csv_of(
    *needed: str, known: Iterable[str] | None = None
) -> Callable[[Iterable[bytes]], Iterator[Record | RowProblem]]:
    """A reader of comma-separated CSV whose header must have the `needed` columns and only `known` ones."""

    def read(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
        rows = _csv_rows(lines(chunks))
        header = next(rows, None)
        if not isinstance(header, list):
            raise UnreadableImport("The file does not begin with a header in UTF-8.")
        names = [name.strip().lower() for name in header]
        if len(set(names)) < len(names):
            raise UnreadableImport("The header has a column twice.")
        if missing := [name for name in needed if name not in names]:
            raise UnreadableImport(f"The header has no column `{missing[0]}`. Commas separate the columns.")
        for number, name in enumerate(names, 1):
            if known is not None and name not in known:
                raise UnreadableImport(f"Column {number} is none of {', '.join(known)}.")
        for row in rows:
            if isinstance(row, RowProblem):
                yield row
            elif len(row) != len(names):
                yield MISFIT
            else:
                yield dict(zip(names, row, strict=True))

    return read


def _csv_rows(found: Iterable[bytes | None]) -> Iterator[list[str] | RowProblem]:
    """Rows of CSV. A row continues on the next line while a quotation mark is open. Empty lines are skipped."""
    for row in closed(found, b'"'):
        if row is None:
            yield TOO_LONG
        elif row.strip(b"\r\n"):
            yield _csv_row(row)


def _csv_row(row: bytes) -> list[str] | RowProblem:
    if row.count(b'"') % 2:
        return MALFORMED
    try:
        parsed = list(csv.reader([row.decode("utf-8")], strict=True))
    except UnicodeDecodeError:
        return NOT_UTF8
    except csv.Error:
        return MALFORMED
    return parsed[0] if len(parsed) == 1 else MALFORMED


def ndjson(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    """Reads one JSON object from each line."""
    for line in lines(chunks):
        if line is None:
            yield TOO_LONG
        elif line.strip():
            yield _json_row(line)


def _json_row(line: bytes) -> Record | RowProblem:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return NOT_UTF8
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError):
        return MALFORMED
    return value if isinstance(value, dict) else MALFORMED


def array(chunks: Iterable[bytes], *, start: re.Pattern[str], what: str) -> Iterator[Record | RowProblem]:
    """The objects of a JSON array that begins where `start` ends. Raises `UnreadableImport` for any other text."""
    pieces = _text(chunks)
    buffer, ended = "", False

    def more() -> None:
        """Appends the next piece, or notes that there is none."""
        nonlocal buffer, ended
        piece = next(pieces, None)
        ended = piece is None
        buffer += piece or ""

    more()
    begun = start.match(buffer)
    if begun is None:
        raise UnreadableImport(f"The file does not begin as {what} does.")
    at, row, divided = begun.end(), 0, True
    while True:
        at = _after_space(buffer, at)
        if at >= len(buffer) and not ended:
            buffer, at = buffer[at:], 0
            more()
        elif buffer[at : at + 1] == "]" and (row == 0 or not divided):
            return
        elif buffer[at : at + 1] == "," and not divided:
            at, divided = at + 1, True
        elif not divided:
            raise UnreadableImport(f"After {row} rows the file is not JSON, or it ends too early.")
        else:
            try:
                value, end = DECODER.raw_decode(buffer, at)
            except (ValueError, RecursionError):
                if ended or len(buffer) - at > MOST_BYTES:
                    message = f"After {row} rows the file is not JSON, ends too early, or has a row over 65,536 bytes."
                    raise UnreadableImport(message) from None
                buffer, at = buffer[at:], 0
                more()
                continue
            too_long = end - at > MOST_BYTES
            row, at, divided = row + 1, end, False
            yield TOO_LONG if too_long else value if isinstance(value, dict) else MALFORMED


def _text(chunks: Iterable[bytes], at_least: int = 32_768) -> Iterator[str]:
    """Text in pieces so large that parsing a row again with the next piece costs little."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    waiting: list[bytes] = []
    size = 0
    try:
        for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size >= at_least:
                yield decoder.decode(b"".join(waiting))
                waiting, size = [], 0
        yield decoder.decode(b"".join(waiting), final=True)
    except UnicodeDecodeError:
        raise UnreadableImport("The file is not text in UTF-8.") from None


_SPACE = re.compile(r"[ \t\r\n]*")


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
