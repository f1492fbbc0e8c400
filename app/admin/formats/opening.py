"""The beginning of a file: unpacks gzip, and tells of what kind a file is.

A packed file is read as a stream, and may unpack to so many bytes only.
"""

import csv
import re
import zlib
from collections.abc import Container, Iterable, Iterator

from app.admin.formats.records import BOM, peeked
from app.platform.problems import ContentTooLarge, UnreadableImport

CSV, NDJSON, JSON, SQL = "text/csv", "application/x-ndjson", "application/json", "application/sql"
LDIF = "text/x-ldif"
SUFFIXES = {".csv": CSV, ".ndjson": NDJSON, ".jsonl": NDJSON, ".json": JSON, ".sql": SQL, ".ldif": LDIF}
PACKED = ".gz"
GZIP = b"\x1f\x8b"
BEGINNING = 8_192
"""Bytes from which a file is recognised."""
_PIECE = 65_536


def unpacked(chunks: Iterable[bytes], most_bytes: int) -> Iterator[bytes]:
    """The file, unpacked if it is gzip. Raises `UnreadableImport`, and `ContentTooLarge` beyond `most_bytes`."""
    beginning, chunks = peeked(chunks, len(GZIP))
    return _unpacked(chunks, most_bytes) if beginning.startswith(GZIP) else chunks


def _unpacked(chunks: Iterable[bytes], most_bytes: int) -> Iterator[bytes]:
    member, size = zlib.decompressobj(zlib.MAX_WBITS | 16), 0
    try:
        for chunk in chunks:
            packed = chunk
            while (
                packed := packed.lstrip(b"\0") if member.eof else packed
            ):  # nulls may fill up the last block of a tape
                if member.eof:  # files of gzip may be joined
                    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                piece = member.decompress(packed, _PIECE)
                size += len(piece)
                if size > most_bytes:
                    raise ContentTooLarge(f"Unpacked, the file has over {most_bytes:,} bytes.")
                if piece:
                    yield piece
                packed = member.unused_data if member.eof else member.unconsumed_tail
    except zlib.error:
        raise UnreadableImport("The file is packed by gzip, and damaged.") from None
    if not member.eof:
        raise UnreadableImport("The file is packed by gzip, and ends too early.")


_MEMBER = re.compile(rb'"([$_A-Za-z][\w:$-]{0,40})"\s*:')
_AUTH_USERS = re.compile(rb'(?:COPY|INSERT INTO) "?auth"?\."?users"? ')
_DN = re.compile(rb"(?:version: *1\s+|#[^\n]*\n|\s+)*+dn::? ")
FIREBASE_CSV = "a line of Firebase"
SUPABASE_DUMP = "COPY auth.users"
LDIF_ENTRY = "dn:"


def names_in(beginning: bytes) -> set[str]:
    """The names that a file begins with: members of JSON, columns of CSV, or one of the names above."""
    text = beginning.removeprefix(BOM)
    if text.lstrip().startswith((b"{", b"[")):
        return {name.decode() for name in _MEMBER.findall(text)}
    if _DN.match(text):
        return {LDIF_ENTRY}
    if _AUTH_USERS.search(text):
        return {SUPABASE_DUMP}
    try:
        cells = next(csv.reader([text.partition(b"\n")[0].decode("utf-8", "replace")]), [])
    except csv.Error:
        return set()
    if len(cells) > 26 and cells[2] in ("true", "false"):
        return {FIREBASE_CSV}
    return {cell.strip().lower() for cell in cells}


def media_type_of(file_name: str) -> str | None:
    """The media type that the end of a name stands for, packed or not; None if it says nothing."""
    name = file_name.lower().removesuffix(PACKED)
    return next((media_type for suffix, media_type in SUFFIXES.items() if name.endswith(suffix)), None)


def sniffed(known: Container[str], beginning: bytes) -> str | None:
    """Which of the known media types a file has; None if it looks like none of them."""
    text = beginning.removeprefix(BOM).lstrip()
    names = names_in(beginning)
    if text.startswith((b"{", b"[")):
        likely = [JSON, NDJSON]
    elif LDIF_ENTRY in names:
        likely = [LDIF]
    elif SUPABASE_DUMP in names or text.startswith((b"--", b"SET ", b"\\", b"INSERT ", b"COPY ")):
        likely = [SQL]
    else:
        likely = [CSV]
    return next((media_type for media_type in likely if media_type in known), None)
