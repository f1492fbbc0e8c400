"""`tokenvend keys reencrypt` puts all data under the secret key, and says when the previous one is not needed."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from rich.console import Console

from app.cli.progress import moving
from app.compose import Runtime
from app.platform.hot_connection import ANSWER_WITHIN
from app.platform.problems import DatabaseUnavailable
from app.records import secret_keys
from app.records.models import SecretKeyHolder
from app.records.secret_keys import GONE_AFTER, MENDS, STATES, Left, SealedColumn
from app.upkeep.checks.secret_key import shares_counts, verdict

Pause = Callable[[float], None]


class NotYet(Exception):
    """Nothing was changed; the message says what has to be done first."""


def reencrypt(runtime: Runtime, console: Console, *, pause: Pause = time.sleep) -> Sequence[str]:
    """Returns what it did, in lines. Raises `NotYet`, `DatabaseUnavailable`."""
    platform = runtime.platform
    run, vault = platform.database.run, platform.vault
    state = run("write", secret_keys.begin, vault, platform.clock.now())
    if state in ("unknown", "lacking"):
        raise NotYet(f"Nothing was changed: {STATES[state]}. To repair: {MENDS[state]}")
    if state == "settled":
        return ["Everything is encrypted under TOKENVEND_SECRET_KEY already.", _said(runtime)]
    _refuse_strangers(runtime)
    run("write", secret_keys.switch, vault, platform.clock.now())
    _wait_for_replicas(runtime, console, pause)
    lines, moved, unreadable = [], 0, 0
    for of in secret_keys.sealed_columns():
        changed, closed = _move_all(runtime, console, of)
        moved, unreadable = moved + changed, unreadable + closed
        left = f", {closed} that no key opens were left as they are" if closed else ""
        lines.append(f"{of.sealed_as.kind.what}: {changed} encrypted anew{left}")
    run("write", secret_keys.finish, vault, platform.clock.now(), moved=moved, unreadable=unreadable)
    return [*lines, "Everything is encrypted under TOKENVEND_SECRET_KEY.", _said(runtime)]


def _refuse_strangers(runtime: Runtime) -> None:
    """A replica that lacks the new key would read nothing that the others write."""
    new = runtime.platform.vault.fingerprints[0]
    strangers = [holder for holder in _holders(runtime) if new not in holder.fingerprints]
    if strangers:
        gone = max(holder.seen_at for holder in strangers) + GONE_AFTER
        raise NotYet(
            f"Nothing was changed: {len(strangers)} running processes do not have this TOKENVEND_SECRET_KEY "
            f"(on {_hosts(strangers)}). Give it to them first, with the previous key in "
            f"TOKENVEND_SECRET_KEY_PREVIOUS. If they were killed, try again after {_time(gone)}"
        )


def _wait_for_replicas(runtime: Runtime, console: Console, pause: Pause) -> None:
    """Until each writes with the new key, and what it wrote a moment before is committed."""
    new, seen = runtime.platform.vault.fingerprints[0], False
    with console.status("Waiting for the replicas …") as status:
        while others := [holder for holder in _holders(runtime) if holder.writes_with != new]:
            seen = True
            status.update(f"Waiting for {len(others)} processes to take the new key (on {_hosts(others)}) …")
            pause(0.5)
        if seen:
            pause(ANSWER_WITHIN)


def _move_all(runtime: Runtime, console: Console, of: SealedColumn) -> tuple[int, int]:
    """How many rows were encrypted anew, and how many could not be."""
    run, vault = runtime.platform.database.run, runtime.platform.vault
    moved, unreadable, after = 0, 0, None
    with moving(console, of.sealed_as.kind.what, None, rows=run("read", secret_keys.count, of)) as tell:
        while batch := run("write", secret_keys.move, vault, of, after):
            moved, unreadable, after = moved + batch.moved, unreadable + batch.unreadable, batch.last
            tell(batch.rows)
    return moved, unreadable


def _said(runtime: Runtime) -> str:
    said = verdict(runtime.platform.settings, _left(runtime))
    return f"{said[0].upper()}{said[1:]}."


def _left(runtime: Runtime) -> Sequence[Left]:
    platform = runtime.platform
    run, now, shared = platform.database.run, platform.clock.now(), shares_counts(platform.settings)
    try:
        return run("read", secret_keys.list_left, now, shared=shared)
    except DatabaseUnavailable:  # so many rows that it takes longer than any statement may
        return run("read", secret_keys.list_left, now, shared=shared, counted=False)


def _holders(runtime: Runtime) -> Sequence[SecretKeyHolder]:
    return runtime.platform.database.run("read", secret_keys.list_holders, runtime.platform.clock.now())


def _hosts(holders: Sequence[SecretKeyHolder]) -> str:
    return ", ".join(dict.fromkeys(holder.host for holder in holders))


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
