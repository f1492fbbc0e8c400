"""Writes the tables of docs/reference from the code: `make docs-reference`.

Each table stands between two comments, `<!-- settings -->` and `<!-- /settings -->`. The text around it is written by
hand. A test fails where a table is not what the code says.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import typer.main

from app.accounts import passwords
from app.auth import cognito, migration_endpoint
from app.aws import sns, sts_client, transport
from app.cli.commands import cli
from app.http import server
from app.http.protocol import Protocol
from app.mail import transport as mail
from app.platform import db, fetcher, hot_connection, pooler
from app.platform import limits as rates
from app.platform.limits import LIMITS, Limit
from app.platform.metrics import Metrics
from app.platform.problems import Problem
from app.platform.settings import PREFIX, Settings
from app.vending import downloads, replica_cache

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def problems() -> Iterator[str]:
    yield "| status | code | what it says |\n|---|---|---|"
    for problem in sorted(Problem.catalogue.values(), key=lambda problem: (problem.status, problem.code)):
        says = problem.default_detail or f"{problem.title}; `detail` says why."
        yield f"| {problem.status} | `{problem.code}` | {says} |"


def settings() -> Iterator[str]:
    yield "| name | default | what it sets |\n|---|---|---|"
    for name, field in Settings.model_fields.items():
        variable = "AWS_REGION" if name == "region" else PREFIX + name.upper()
        default = field.get_default()
        shown = ",".join(default) if isinstance(default, tuple) else str(getattr(default, "_secret_value", default))
        cell = f"`{shown.lower() if isinstance(default, bool) else shown}`" if shown not in ("", "None") else "–"
        yield f"| `{variable}` | {cell} | {field.description} |"


def commands() -> Iterator[str]:
    yield "| command | what it does |\n|---|---|"
    yield from _commands(typer.main.get_command(cli), ["tokenvend"])


def _commands(command: object, words: list[str]) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if not children:
        summary = (getattr(command, "help", "") or "").strip().splitlines()[0]
        yield f"| `{' '.join(words)}` | {summary} |"
        return
    for name, child in children.items():
        yield from _commands(child, [*words, name])


def metrics() -> Iterator[str]:
    yield "| name | what it tells |\n|---|---|"
    for metric in Metrics().registry.collect():
        yield f"| `{metric.name}{'_total' if metric.type == 'counter' else ''}` | {metric.documentation} |"


def limits() -> Iterator[str]:
    yield "| limit | how often | per | what counts |\n|---|---|---|---|"
    for name, limit in LIMITS.items():
        yield f"| `{name}` | {_amount(limit)} | {limit.per} | {limit.counts} |"


def _amount(limit: Limit) -> str:
    hits, window = limit.amount.split("/")
    return f"{hits} {'in' if window[0].isdecimal() else 'an' if window == 'hour' else 'a'} {window}"


def waits() -> Iterator[str]:
    """What the service waits for and for how long, from what it runs with."""
    statement, lock = (pooler.LIMITS[name] / 1000 for name in ("statement_timeout", "lock_timeout"))
    config = server.make_config("app.main:create_app_from_environment", host="127.0.0.1", port=0)
    told = [
        ("a client's request: the head, then each part of the body", f"{Protocol.head_timeout:g} s each", "408"),
        (f"a client to read {Protocol.reader_progress // 1024} KiB of an answer, or its rest",
         f"{Protocol.reader_timeout:g} s", "closed"),
        ("an idle client connection (`TOKENVEND_KEEP_ALIVE`)", f"{config.timeout_keep_alive} s", "closed"),
        ("open requests at a stop", f"{config.timeout_graceful_shutdown} s, less the time of draining", "closed"),
        ("a connection to PostgreSQL, for each host that its URL names",
         f"{pooler.CONNECT_TIMEOUT} s", "503"),
        ("a free connection of the pool (`TOKENVEND_DATABASE_POOL_SIZE`)", f"{db.POOL['pool_timeout']} s", "503"),
        ("a statement, a lock", f"{statement:g} s, {lock:g} s", "503"),
        ("the database, for each step of a request, even if it is frozen",
         f"{hot_connection.ANSWER_WITHIN:g} s", "503"),
        ("another writer on SQLite", f"{db.SQLITE_BUSY_TIMEOUT:g} s", "503"),
        ("a turn at checking or hashing a password", f"{passwords.PATIENCE:g} s", "503"),
        ("a turn at signing for the CDN", f"{downloads.PATIENCE:g} s", "503"),
        ("a connection to STS, its answer", f"{transport.CONNECT_TIMEOUT:g} s, {transport.READ_TIMEOUT:g} s",
         f"another try: {sts_client.LEAST_TRIES} in all, or one in each Region"),
        ("STS, all tries together", f"{sts_client.DEADLINE:g} s", "503"),
        ("Redis with the limits", f"{rates.TIMEOUT:g} s",
         f"the replica counts by itself for {rates.AVOIDED_FOR:g} s"),
        ("Redis with the credentials", f"{replica_cache.TIMEOUT:g} s",
         f"the replica goes without it for {replica_cache.AVOIDED_FOR:g} s"),
        ("an OpenID provider's keys", f"{fetcher.FETCH_WITHIN:g} s", "503"),
        ("a Cognito user pool", f"{cognito.CONNECT_WITHIN:g} s, {cognito.ANSWER_WITHIN:g} s", "503"),
        ("the endpoint of `TOKENVEND_MIGRATION_URL`",
         f"{migration_endpoint.CONNECT_WITHIN:g} s, {migration_endpoint.ANSWER_WITHIN:g} s", "503"),
        ("SNS, for a certificate or a confirmation", f"{sns.FETCH_WITHIN:g} s", "429, and SNS delivers again"),
        ("a mail server", f"{mail.TIMEOUT:g} s a step, {mail.SEND_WITHIN:g} s a mail", "tried again for a day"),
    ]  # fmt: skip
    yield "| for | at most | then |\n|---|---|---|"
    for what, how_long, then in told:
        yield f"| {what} | {how_long} | {then} |"


TABLES: tuple[Callable[[], Iterator[str]], ...] = (problems, settings, commands, metrics, limits, waits)


def page(table: Callable[[], Iterator[str]]) -> Path:
    """The one of its name, but for waits, which stand beside the limits."""
    return REFERENCE / f"{'limits' if table is waits else table.__name__}.md"


def written(table: Callable[[], Iterator[str]]) -> str:
    """The page, with its table as the code says now."""
    begin, end = f"<!-- {table.__name__} -->\n", f"<!-- /{table.__name__} -->\n"
    before, _, rest = page(table).read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page(table)} has no {begin.strip()} … {end.strip()}")
    rows = "".join(f"{row}\n" for row in table())
    return before + begin + rows + end + after


if __name__ == "__main__":
    for each in TABLES:
        page(each).write_text(written(each), encoding="utf-8")
