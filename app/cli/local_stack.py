"""What `tokenvend dev` runs in a data directory, so that other commands find it without its keys on a command line."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from sqlalchemy.engine import URL

from app import engine
from app.engine import directory
from app.platform.environment import load_settings
from app.platform.settings import Settings

NOTE = "running.json"
"""In the data directory, while it runs. It holds no secret."""
NOTED = (
    *("public_url", "vending_mode", "bucket", "role_arn", "role_policy", "region", "sts_endpoint_url"),
    *("s3_endpoint_url", "s3_public_endpoint_url", "s3_force_path_style", "cors_origins", "allowed_hosts"),
)
"""Settings that `tokenvend dev` decided, or got from its own environment."""


@dataclass(frozen=True)
class Stack:
    settings: Settings
    aws: boto3.Session
    """The broker's."""


def database_url(data_dir: Path) -> str:
    return URL.create("sqlite", database=str(data_dir / "tokenvend.db")).render_as_string(hide_password=False)


@contextmanager
def noted(data_dir: Path, settings: Settings, url: str) -> Iterator[None]:
    """Leaves a note of the settings as long as they run. `url`: the service's, for people on this machine."""
    file = data_dir / NOTE
    values = {"pid": os.getpid(), "url": url, "settings": settings.model_dump(mode="json", include=set(NOTED))}
    directory.write(file, json.dumps(values, indent=2))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def find_note(data_dir: Path) -> dict[str, Any] | None:
    """What is noted of what runs with this data directory; None if nothing does."""
    try:
        note: dict[str, Any] = json.loads((data_dir / NOTE).read_text(encoding="utf-8"))
        os.kill(note["pid"], 0)
    except (OSError, ValueError, KeyError):  # never started, or killed before it could take the note away
        return None
    return note


def find(data_dir: Path) -> Stack | None:
    """What runs with this data directory; None if nothing does. Raises `EngineError`, `SettingsError`."""
    data_dir = data_dir.resolve()
    note = find_note(data_dir)
    if note is None or not (data_dir / "secret_key").is_file():
        return None
    secret_key = (data_dir / "secret_key").read_text(encoding="utf-8")
    values: dict[str, Any] = dict(note["settings"])
    values["AWS_REGION"] = values.pop("region")
    settings = load_settings(
        **values,
        environment="development",
        database_url=database_url(data_dir),
        database_iam_auth=False,
        database_pooler="none",
        secret_key=secret_key,
    )
    return Stack(settings, engine.broker_session(data_dir / "engine"))
