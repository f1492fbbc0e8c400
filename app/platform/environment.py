"""Reads the settings from the environment and `.env`, and explains each one that is wrong or misspelt."""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError

from app.platform.settings import PREFIX, Settings, SettingsError

SERVICE_LINK = re.compile(rf"{PREFIX}(SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_(TCP|UDP)\w*)")
"""Variables that Kubernetes sets in each pod beside a Service named `tokenvend`."""
SDK_NAMES_READ = frozenset({"AWS_REGION", "AWS_DEFAULT_REGION"})
"""Of the AWS SDK's variables, those that count in `.env` too."""
SECRET_FILE = Path("var/secret_key")
"""Where development keeps its own, in the working directory."""
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def load_settings(*, needs_engine: bool = False, **overrides: object) -> Settings:
    """Settings from the environment and `.env`. `overrides` (by field name) win over both.

    Raises `SettingsError`, which names all that is wrong. With `needs_engine` an engine that is not set is wrong too.
    Makes no file. The secret key is empty if it is not set and development has not kept one in the working directory.
    From here on this process asks no proxy for what is on its own machine.
    """
    _pass_proxies_by()
    try:
        unknown = _unknown_names({**dotenv_values(".env"), **os.environ})
    except UnicodeDecodeError:
        raise SettingsError(".env: must be text in UTF-8") from None
    wrong = [*unknown]
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
        if needs_engine:
            settings.require_engine()
    except ValidationError as error:
        wrong += [*_explain(error), *_missing_beside(error, overrides, needs_engine=needs_engine)]
    except SettingsError as error:
        wrong.append(str(error))
    if wrong:
        raise SettingsError("\n".join(wrong))
    if settings.secret_key.get_secret_value() or not SECRET_FILE.is_file():
        return settings
    return _with_secret(settings, SECRET_FILE.read_text())


def _missing_beside(error: ValidationError, overrides: dict[str, object], *, needs_engine: bool) -> list[str]:
    """A sentence for each setting that is missing: nobody looks for them before the values of the others are right."""
    wrong = {str(entry["loc"][0]) for entry in error.errors() if entry["loc"]}
    fields = Settings.model_fields
    defaults = {name: fields[name].get_default(call_default_factory=True) for name in wrong & fields.keys()}
    try:
        settings = Settings(**{**overrides, **defaults})
        if needs_engine:
            settings.require_engine()
    except (ValidationError, SettingsError) as beside:
        said = _explain(beside) if isinstance(beside, ValidationError) else [str(beside)]
        known = _explain(error)
        return [line for text in said for line in text.splitlines() if ": must be set" in line and text not in known]
    return []


def keep_secret(settings: Settings) -> Settings:
    """The settings, with the secret key of development where none is set. It is made on first use."""
    if settings.secret_key.get_secret_value():
        return settings
    return _with_secret(settings, kept_secret(SECRET_FILE))


def _with_secret(settings: Settings, text: str) -> Settings:
    return settings.model_copy(update={"secret_key": SecretStr(text)})


def names_given() -> set[str]:
    """The names of all variables that have a value, in the environment or in `.env`."""
    return {name.upper() for name, value in {**dotenv_values(".env"), **os.environ}.items() if value}


@dataclass(frozen=True)
class IgnoredLine:
    """A line of `.env` that looks like a setting and is none. It never holds the value."""

    text: str
    repair: str


def ignored_lines() -> list[IgnoredLine]:
    """What people take for settings in `.env`: variables of the AWS SDK, and settings without their prefix."""
    try:
        given = {name for name, value in dotenv_values(".env").items() if value}
    except UnicodeDecodeError:  # which `load_settings` refuses
        return []
    ours = {name.upper() for name in Settings.model_fields if name != "region"}
    ignored = []
    for name in sorted(given):
        if name.startswith("AWS_") and name not in SDK_NAMES_READ and not os.environ.get(name):
            repair = "the AWS SDK reads the environment alone: run `set -a; . ./.env; set +a` first"
            ignored.append(IgnoredLine(f"{name} in .env is ignored", repair))
        elif name.upper() in ours and PREFIX + name.upper() not in given | os.environ.keys():
            ignored.append(IgnoredLine(f"{name} in .env is ignored", f"write {PREFIX}{name.upper()}"))
    return ignored


def _pass_proxies_by() -> None:
    """A proxy elsewhere cannot reach this machine's loopback, and HTTP_PROXY alone would send it there."""
    known = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    names = [name.strip() for name in known.split(",") if name.strip()]
    if "*" not in names:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys((*names, *LOOPBACK_HOSTS)))


def kept_secret(file: Path) -> str:
    """The development secret in `file`. It is made on first use, and only its owner can read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_urlsafe(48))
    try:
        os.link(draft, file)  # linking is atomic, so two processes agree on one secret
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return file.read_text()


def _unknown_names(environment: Mapping[str, str | None]) -> list[str]:
    """A sentence for each unknown setting. A misspelt one is refused, or its default would apply unnoticed."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields if name != "region"}
    unknown = []
    for name in sorted(name for name in environment if name.startswith(PREFIX) and name.upper() not in known):
        hint = ""
        if SERVICE_LINK.fullmatch(name):
            hint = "; Kubernetes sets it for a Service named tokenvend, unless the pod has `enableServiceLinks: false`"
        elif close := get_close_matches(name, known, n=1, cutoff=0.85):
            hint = f"; did you mean {close[0]}?"
        unknown.append(f"{name}: there is no such setting{hint}")
    return unknown


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for entry in error.errors(include_input=False, include_url=False):
        message = entry["msg"].removeprefix("Value error, ")
        name = str(entry["loc"][0]) if entry["loc"] else ""
        shown = "AWS_REGION" if name in ("region", "AWS_REGION", "AWS_DEFAULT_REGION") else PREFIX + name.upper()
        lines.append(f"{shown}: {message}" if name else message)
    return lines
