"""What a device may keep of the sample page: its files and nothing else, so that it opens without a line.

The page's service worker asks for the list at each visit, and takes all files again when the version is another one.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

KEPT = {".js", ".css", ".svg", ".png", ".json"}
WORKER = "service-worker.js"
"""It is not kept: browsers look for a newer one themselves."""


def describe(page: Path, folders: Mapping[str, Path]) -> dict[str, str | list[str]]:
    """The version, and the addresses of all files from the page's own folder. `folders`: what is served under which."""
    files = {
        f"{address}{file.relative_to(folder).as_posix()}": file
        for address, folder in folders.items()
        for file in sorted(folder.iterdir())
        if file.suffix in KEPT and file.name != WORKER
    }
    digest = hashlib.sha256()
    for address, file in [("", page), *files.items()]:
        content = file.read_bytes()
        digest.update(f"{address} {len(content)} ".encode() + content)
    return {"version": digest.hexdigest()[:16], "files": list(files)}
