"""This machine: room on the disks that the service writes to, and lines of `.env` that nobody reads."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.engine import make_url

from app.platform.db import sqlite_file
from app.platform.environment import ignored_lines
from app.platform.settings import Settings
from app.upkeep.checks.findings import Finding

LEAST_FREE = 1 << 30
"""Bytes below which a disk is warned of. With a tenth of it the check fails."""
LEAST_FILES = 1000


def disk(settings: Settings, *, least: int = LEAST_FREE) -> list[Finding]:
    """The folders of an SQLite database and of temporary files, where imports are kept. One finding for each disk."""
    found: dict[int, Finding] = {}
    for use, folder in _folders(settings).items():
        try:
            device, free = folder.stat().st_dev, shutil.disk_usage(folder).free
        except OSError as error:
            found[-1] = Finding("disk", "failed", f"{folder} ({use}) cannot be read: {error.strerror}")
            continue
        if device not in found:
            found[device] = _judge(folder, use, free, least)
    return list(found.values())


def _judge(folder: Path, use: str, free: int, least: int) -> Finding:
    said = f"{free / (1 << 30):,.1f} GiB free in {folder} ({use})"
    repair = "make room, or give the folder a larger disk"
    if free < least:
        return Finding("disk", "failed" if free < least // 10 else "warning", said, repair)
    if hasattr(os, "statvfs") and (facts := os.statvfs(folder)).f_files and facts.f_favail < LEAST_FILES:
        said = f"{folder} ({use}) takes {facts.f_favail} more files, however small"
        return Finding("disk", "failed", said, "delete files: the disk has no inodes left")
    return Finding("disk", "ok", said)


def _folders(settings: Settings) -> Mapping[str, Path]:
    folders = {"temporary files": Path(tempfile.gettempdir())}
    file = sqlite_file(make_url(settings.database_url))
    return folders if file is None else {"the database": file.resolve().parent, **folders}


def dotenv() -> list[Finding]:
    return [Finding(".env", "warning", line.text, line.repair) for line in ignored_lines()]
