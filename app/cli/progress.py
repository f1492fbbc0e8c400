"""Shows how far a command is: by a bar on a terminal, otherwise by a plain line now and then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.platform.clock import SystemClock

CLOCK = SystemClock()
PIECE = 256 * 1024
LINE_EVERY = 10.0
"""Seconds."""


@contextmanager
def moving(
    console: Console, name: str, size: int | None, *, rows: int | None = None
) -> Iterator[Callable[[int], None]]:
    """Yields a function. Call it with how much was moved: bytes of a file of that size, or so many rows, or users."""
    if console.is_terminal:
        counted = DownloadColumn() if size is not None else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), counted, TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(name, total=rows if size is None else size)
            yield lambda count: progress.advance(task, count)
        return
    moved, told_at = 0, CLOCK.monotonic()

    def tell(count: int) -> None:
        nonlocal moved, told_at
        moved += count
        if CLOCK.monotonic() - told_at >= LINE_EVERY:
            told_at = CLOCK.monotonic()
            users = f"{moved:,} users" if rows is None else f"{moved:,} of {rows:,}"
            console.print(f"{name}: {moved:,} of {size:,} bytes" if size else f"{name}: {users}")

    yield tell


def pieces(stream: BinaryIO, moved: Callable[[int], None]) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece
        moved(len(piece))
