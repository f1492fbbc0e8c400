"""From bytes to lines, and to records of CSV (RFC 4180)."""

import codecs
import csv
import itertools
from collections.abc import Callable, Iterable, Iterator

from app.admin.formats.rows import Record, RowProblem
from app.platform.problems import UnreadableImport

MOST_BYTES = 65_536
"""The longest row, in bytes."""
TOO_LONG = RowProblem("row_too_long", "The row has over 65,536 bytes, or a quotation mark in it is not closed.")
NOT_UTF8 = RowProblem("not_utf8", "The row is not text in UTF-8.")
MALFORMED = RowProblem("malformed_row", "The row is not well-formed.")
MISFIT = RowProblem("misfit_row", "The row does not have as many fields as the header.")
UNQUOTED = RowProblem(
    "misfit_row",
    "The row does not have as many fields as the header. A hash with commas, of argon2 or scrypt, has to stand in "
    "quotation marks.",
)
BOM = codecs.BOM_UTF8


def peeked(chunks: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """What the file begins with, of at least `size` bytes if it has as many, and the whole file."""
    rest = iter(chunks)
    beginning = bytearray()
    while len(beginning) < size and (chunk := next(rest, None)) is not None:
        beginning += chunk
    return bytes(beginning), itertools.chain([bytes(beginning)] if beginning else [], rest)


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


def pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their line ends; one over `MOST_BYTES` in several pieces, of which the last has the line end."""
    held, first = bytearray(), True
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for part in (*(end + b"\n" for end in ends), rest):
            held += part
            if part.endswith(b"\n") or len(held) > MOST_BYTES:
                yield bytes(held.removeprefix(BOM) if first else held)
                held, first = bytearray(), False
    if held:
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
        names = _header(next(rows, None), needed, known)
        for row in rows:
            if isinstance(row, RowProblem):
                yield row
            elif len(row) != len(names):
                yield UNQUOTED if any("$argon2" in cell or "$scrypt$" in cell for cell in row) else MISFIT
            else:
                yield dict(zip(names, row, strict=True))

    return read


def _header(row: list[str] | RowProblem | None, needed: Iterable[str], known: Iterable[str] | None) -> list[str]:
    """The names of the columns. Raises `UnreadableImport`."""
    if row is None:
        raise UnreadableImport("The file is empty.")
    if isinstance(row, RowProblem):
        raise UnreadableImport("The file does not begin with a header in UTF-8. Spreadsheets call it CSV UTF-8.")
    names = [name.strip().lower() for name in row]
    if len(set(names)) < len(names):
        raise UnreadableImport("The header has a column twice.")
    if missing := [name for name in needed if name not in names]:
        raise UnreadableImport(f"The header has no column `{missing[0]}`. Commas separate the columns.")
    for number, name in enumerate(names, 1):
        if known is not None and name not in known:
            raise UnreadableImport(f"Column {number} is none of {', '.join(known)}.")
    return names


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
        text = row.decode("utf-8")
        if '"' not in text and "\r" not in (plain := text.removesuffix("\n").removesuffix("\r")):
            return plain.split(",")  # as the module does it, in half the time
        parsed = list(csv.reader([text], strict=True))
    except UnicodeDecodeError:
        return NOT_UTF8
    except csv.Error:
        return MALFORMED
    return parsed[0] if len(parsed) == 1 else MALFORMED
