"""Which row of a file was the first with an address. Memory stays flat: what is much goes to a file without a name."""

import hashlib
import itertools
import secrets
from collections.abc import Sequence

MOST_ASKED = 499
"""Addresses in one statement. Older versions of SQLite take 999 parameters at most."""


class FirstRows:
    """Of one import. It holds keyed digests of addresses, and leaves nothing behind.

    Once there is no room for the file, it knows the rows of one call alone.
    """

    def __init__(self) -> None:
        import sqlite3  # noqa: PLC0415 - on PostgreSQL a worker may never import users

        self._error = sqlite3.Error
        self._secret = secrets.token_bytes(16)
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE first_rows (address INTEGER PRIMARY KEY, row INTEGER)")
        self._database.execute("BEGIN")
        self._full = False

    def before(self, rows: Sequence[tuple[int, str]]) -> dict[int, int]:
        """Of rows, by number and key of an address: the first row with that address, for those that are not the first.

        The same rows may be asked for again. Only one caller may ask at a time.
        """
        if not self._full:
            try:
                return self._before([(self._digest(key), number) for number, key in rows])
            except self._error:
                self._full = True
        first: dict[str, int] = {}
        return {number: row for number, key in rows if (row := first.setdefault(key, number)) != number}

    def close(self) -> None:
        self._database.close()

    def _before(self, rows: Sequence[tuple[int, int]]) -> dict[int, int]:
        changes = self._database.total_changes
        for at in range(0, len(rows), MOST_ASKED):
            # Not `executemany`: that gives the interpreter to another thread after each row, and waits for it.
            some = rows[at : at + MOST_ASKED]
            marks = ", ".join(["(?, ?)"] * len(some))
            self._database.execute(
                f"INSERT OR IGNORE INTO first_rows VALUES {marks}",  # noqa: S608 - marks alone
                [*itertools.chain.from_iterable(some)],
            )
        if self._database.total_changes - changes == len(rows):
            return {}
        first: dict[int, int] = {}
        for at in range(0, len(rows), MOST_ASKED):
            asked = [digest for digest, _ in rows[at : at + MOST_ASKED]]
            marks = ", ".join("?" * len(asked))
            found = f"SELECT address, row FROM first_rows WHERE address IN ({marks})"  # noqa: S608 - marks alone
            first.update(self._database.execute(found, asked).fetchall())
        return {number: first[digest] for digest, number in rows if first[digest] != number}

    def _digest(self, key: str) -> int:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, signed=True)
