"""From bytes to records of JSON: one object a line, or the objects of an array, however large file and array are."""

import codecs
import itertools
import re
from collections.abc import Callable, Iterable, Iterator

from app.admin.formats.records import BOM, MALFORMED, MOST_BYTES, NOT_UTF8, TOO_LONG, lines, peeked
from app.admin.formats.rows import Record, RowProblem
from app.crypto.strict_json import DECODER
from app.platform.problems import UnreadableImport

_SPACE = b" \t\r\n"
_AT_LEAST = 32_768
"""Characters of a piece of text. Parsing a row again with the next piece then costs little."""


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


def array_or_lines(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
    """Reads the objects of an array, or one from each line: many tools write either into a file of the same name."""
    beginning, chunks = peeked(chunks, 64)
    if not beginning.removeprefix(BOM).lstrip(_SPACE).startswith(b"["):
        return ndjson(chunks)
    texts = _texts(chunks)
    first = next(texts, "").lstrip(" \t\r\n")
    return _objects(texts, first[1:])


def member(name: str, what: str) -> Callable[[Iterable[bytes]], Iterator[Record | RowProblem]]:
    """A reader of the array that the file's one object has as that member. `what` names the file in an error."""
    wanted = re.compile(rf'"{re.escape(name)}"\s{{0,20}}:\s{{0,20}}\[')

    def read(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
        texts = _texts(chunks)
        rest = _after(texts, wanted)
        if rest is None:
            raise UnreadableImport(f"The file is not {what}: it is no JSON object with an array `{name}`.")
        yield from _objects(texts, rest)

    return read


def member_or_rows(name: str, what: str) -> Callable[[Iterable[bytes]], Iterator[Record | RowProblem]]:
    """A reader of `member`, of an array alone, or of one object a line."""
    document = re.compile(rb'\s*\{\s*"(?:total|' + name.encode() + rb')"\s*:')

    def read(chunks: Iterable[bytes]) -> Iterator[Record | RowProblem]:
        beginning, chunks = peeked(chunks, 256)
        if document.match(beginning.removeprefix(BOM)):
            return member(name, what)(chunks)
        return array_or_lines(chunks)

    return read


_IN_STRING = re.compile(r'\\.|"', re.DOTALL)
_OUTSIDE = re.compile(r'["{}\[\]]')
_LONGEST_NAME = 100
"""Characters of the name of a member that is looked for, with the space and the `[` behind it."""


def _after(texts: Iterator[str], wanted: re.Pattern[str]) -> str | None:
    """What follows where `wanted` begins as a member of the outermost object; None if nowhere. Other values are passed
    over, and not held.
    """
    depth, in_string = 0, False
    rest = ""
    for piece in itertools.chain(texts, [None]):
        text, at, ended = rest + (piece or ""), 0, piece is None
        while match := (_IN_STRING if in_string else _OUTSIDE).search(text, at):
            mark = match[0]
            if in_string:
                in_string = mark != '"'
            elif mark == '"':
                if depth == 1 and len(text) - match.start() < _LONGEST_NAME and not ended:
                    break  # the next piece tells
                if depth == 1 and (found := wanted.match(text, match.start())):
                    return text[found.end() :]
                in_string = True
            else:
                depth += 1 if mark in "{[" else -1
                if depth < 1 or (depth == 1 and mark == "["):
                    return None
            at = match.end()
        rest = _unread(text, at, match, in_string=in_string)
    return None


def _unread(text: str, at: int, match: re.Match[str] | None, *, in_string: bool) -> str:
    """What the next piece has to be put behind: an unfinished name, or the backslash of an escape."""
    if match is not None:
        return text[match.start() :]
    return "\\" if in_string and at < len(text) and text[-1] == "\\" else ""


def _objects(texts: Iterator[str], buffer: str) -> Iterator[Record | RowProblem]:
    """The objects of an array whose `[` was read. Raises `UnreadableImport` for any other text."""
    array = _Array(texts, buffer)
    divided = True
    while (mark := array.next_mark()) != "]" or (divided and array.rows):
        if mark == "," and not divided:
            array.at, divided = array.at + 1, True
        elif not divided:
            raise UnreadableImport(f"After {array.rows} rows the file is not JSON, or it ends too early.")
        else:
            divided = False
            yield array.row()


class _Array:
    """The text of an array, of which little more than a row is held."""

    def __init__(self, texts: Iterator[str], text: str) -> None:
        self._texts, self._text = texts, text
        self.at = 0
        self.rows = 0

    def next_mark(self) -> str:
        """The next character that is no space; none at the end."""
        while True:
            match = _SPACES.match(self._text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self._text) or not self._more():
                return self._text[self.at : self.at + 1]

    def row(self) -> Record | RowProblem:
        """The value that begins here, if it is an object. Raises `UnreadableImport` if no value does."""
        while True:
            begun = self._text[self.at : self.at + 1]
            try:
                value, end = DECODER.raw_decode(self._text, self.at)
            except (ValueError, RecursionError):
                if len(self._text) - self.at <= MOST_BYTES and self._more():
                    continue
                size = self._pass_over() if begun in ("{", "[") else None
                self.rows += 1
                if size is None:
                    message = f"Row {self.rows} of the file is not JSON, or the file ends within it."
                    raise UnreadableImport(message) from None
                return TOO_LONG if size > MOST_BYTES else MALFORMED
            size, self.at, self.rows = end - self.at, end, self.rows + 1
            return TOO_LONG if size > MOST_BYTES else value if isinstance(value, dict) else MALFORMED

    def _pass_over(self) -> int | None:
        """Goes to the end of the value whose bracket is here, and returns its length; None if it has no end."""
        depth, in_string, size = 0, False, 0
        while True:
            begun = self.at
            while match := (_IN_STRING if in_string else _OUTSIDE).search(self._text, self.at):
                self.at = match.end()
                if in_string or match[0] == '"':
                    in_string = match[0] != '"' if in_string else True
                    continue
                depth += 1 if match[0] in "{[" else -1
                if depth == 0:
                    return size + self.at - begun
            kept = 1 if in_string and self.at < len(self._text) and self._text[-1] == "\\" else 0
            self.at = len(self._text) - kept
            size += self.at - begun
            if not self._more():
                return None

    def _more(self) -> bool:
        """Drops what was read and appends the next piece, if there is one."""
        piece = next(self._texts, None)
        self._text, self.at = self._text[self.at :] + (piece or ""), 0
        return piece is not None


def _texts(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    waiting: list[bytes] = []
    size = 0
    try:
        for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size >= _AT_LEAST:
                yield decoder.decode(b"".join(waiting))
                waiting, size = [], 0
        yield decoder.decode(b"".join(waiting), final=True)
    except UnicodeDecodeError:
        raise UnreadableImport("The file is not text in UTF-8.") from None


_SPACES = re.compile(r"[ \t\r\n]*")
