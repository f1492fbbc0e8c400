"""The `tokenvend` command. Exit status: 0, 1 (failed, one sentence says why and what to do), 2 (usage).

3 is for an import that refused rows.
"""

import asyncio
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TextIO
from uuid import UUID, uuid4

import typer
from rich.console import Console
from sqlalchemy.engine import make_url

from app.accounts import guesses, prehash_keys, registration
from app.accounts.passwords import normalize
from app.admin import acts, exports, formats, imports
from app.admin import prune as stale_rows
from app.admin.audit_events import FLOOR
from app.admin.exports import Format
from app.admin.formats import opening
from app.admin.imports import Order
from app.auth import keys as signing_keys
from app.auth.tokens import ACCESS_TOKEN_TTL
from app.aws.rds_password import database_password
from app.cli import base_mfa, cdn_keys, doctor, saml_keys, secret_key, serving
from app.cli.opening import (
    ELSEWHERE,
    PORT,
    VAR,
    fail,
    failures_told,
    print_json,
    runtime_of_command,
    unchecked_runtime,
)
from app.cli.options import Json, MfaCode
from app.cli.progress import moving, pieces
from app.cli.serving import PORTS, WORKERS
from app.cli.user_commands import promote, users
from app.client.commands import client
from app.compose import Runtime, build_runtime
from app.crypto.hash_costs import HashKind
from app.crypto.prehashes import ANY_KEY, KEYED, LONGEST_KEY, Prehash, PrehashKind
from app.lifecycle import lost_guests
from app.platform.db import sqlite_file
from app.platform.environment import load_settings
from app.platform.logs import configure_logging
from app.platform.problems import DatabaseUnavailable, WeakPassword
from app.platform.settings import Settings
from app.records import addresses, audit
from app.records.migrate import upgrade
from app.records.models import UserImport
from app.upkeep.checks import Finding
from app.vending import ledger
from app.vending.broker import Broker
from app.vending.identity_token import TTL as IDENTITY_TOKEN_TTL

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
admin = typer.Typer(no_args_is_help=True, help="Administrators.")
keys = typer.Typer(no_args_is_help=True, help="The keys that sign tokens, assertions, and URLs of the CDN.")
sts = typer.Typer(no_args_is_help=True, help="What STS can tell an operator.")
cli.add_typer(admin, name="admin")
cli.add_typer(keys, name="keys")
cli.add_typer(sts, name="sts")
cli.add_typer(users, name="users")
cli.add_typer(client)
console = Console(stderr=True, highlight=False)
SHOWN_PROBLEMS = 100
PREHASH_KEY = "PREHASH_KEY"
ROWS_REFUSED = 3
"""The exit status."""
EXPORTS: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
Purpose = Annotated[
    signing_keys.Purpose,
    typer.Option(
        help="`sts`: the keys of `web_identity` mode; `saml`: those of `saml` mode; `cdn`: those of signed URLs, for "
        "CloudFront."
    ),
]


def main() -> None:
    with failures_told():
        cli(prog_name="tokenvend")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tokenvend {version('tokenvend')}")
        raise typer.Exit


@cli.callback(help=__doc__)
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


@cli.command()
def dev(
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 lets phones in.")] = "127.0.0.1",
    public_host: Annotated[
        str | None,
        typer.Option(
            help="The name or address by which apps reach this machine. Left out: `localhost`, or the address of this "
            "machine in its network with `--host 0.0.0.0`."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")] = PORT,
    engine_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=55_000,
            help="The port of S3 and STS. If it is taken, the next free one. Left out: 8333; with `--port 0`, and for "
            "0, any free one, which the data directory keeps.",
        ),
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="The folder for pictures, accounts and keys.")] = VAR,
    *,
    only_doctor: Annotated[
        bool, typer.Option("--doctor", help="Check what runs with this data directory already, and start nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With `--doctor`: print JSON, for a program.")] = False,
) -> None:
    """Runs everything on this machine: S3 and STS engine, SQLite, service, sample app. Ctrl-C stops all of it."""
    from app.cli import development  # noqa: PLC0415 - the engine is an extra that `serve` does without

    if only_doctor:
        _report(asyncio.run(doctor.examine(_local_runtime(data_dir))), as_json=as_json)
    if as_json:
        raise typer.BadParameter("--json goes with --doctor")
    try:
        development.run(host=host, public_host=public_host, port=port, engine_port=engine_port, data_dir=data_dir)
    except development.EngineError as error:
        fail(str(error))


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=PORTS[0], max=PORTS[-1], help="The port to listen on.")] = PORT,
    workers: Annotated[
        int, typer.Option(min=WORKERS[0], max=WORKERS[-1], help="Processes; one for each core serves most.")
    ] = 1,
    mfa_code: MfaCode = None,
) -> None:
    """Runs the service alone, from settings."""
    serving.serve(host, port, workers, mfa_code)


@cli.command()
def migrate() -> None:
    """Upgrades the database. Safe to run twice, and from two hosts at once."""
    settings = load_settings()
    if (file := sqlite_file(make_url(settings.database_url))) is not None and not file.parent.is_dir():
        fail(f"There is no folder {file.parent.absolute()} for the database: make it, or {ELSEWHERE}")
    configure_logging(settings.log_level)
    with console.status("Migrating …"):
        upgrade(settings.database_url, database_password(settings), settings.database_pooler)
    print("The database is up to date.")


@cli.command()
def openapi(
    file: Annotated[Path | None, typer.Argument(help="The file to write; standard output if left out.")] = None,
) -> None:
    """Writes the OpenAPI document. Needs no settings."""
    from app.main import create_api  # noqa: PLC0415 - the web framework is a third of the time that `keys list` takes

    text = json.dumps(create_api().openapi(), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")


@cli.command(name="doctor")
def run_doctor(
    mfa_code: MfaCode = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Check what `tokenvend dev` runs with this data directory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Checks that everything works. Each check prints a line, with the fix if it fails."""
    settings = load_settings()
    if data_dir is not None or (not settings.bucket and (VAR / "running.json").is_file()):
        runtime = _local_runtime(data_dir or VAR)
    else:
        asyncio.run(base_mfa.exchange(settings, mfa_code))
        runtime = unchecked_runtime()
    _report(asyncio.run(doctor.examine(runtime)), as_json=as_json)


def _local_runtime(data_dir: Path) -> Runtime:
    from app.cli import local_stack  # noqa: PLC0415 - the engine is an extra that a service does without

    stack = local_stack.find(data_dir)
    if stack is None:
        fail(f"`tokenvend dev` does not run with the data directory {data_dir.absolute()}: start it first")
    configure_logging("error")
    return build_runtime(stack.settings, aws=stack.aws)


def _report(findings: list[Finding], *, as_json: bool) -> NoReturn:
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.state:7} {finding.name}: {finding.message}")
    raise typer.Exit(1 if any(finding.state == "failed" for finding in findings) else 0)


@admin.command(name="create")
def create_admin(
    email: Annotated[str, typer.Option(help="The address to sign in with.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read one line of standard input.")] = False,
    promotes: Annotated[
        bool, typer.Option("--promote", help="Make the account of the address an administrator, if there is one.")
    ] = False,
) -> None:
    """Makes an administrator. An account that exists keeps its password, and needs `--promote` or a yes."""
    runtime, address = runtime_of_command(), addresses.parse(email)
    if runtime.platform.database.run("read", acts.has_account, address.key):
        if not promotes and not (sys.stdin.isatty() and typer.confirm(f"Make the account of {address.text} one?")):
            fail("An account with this e-mail address exists. `--promote` makes it an administrator, as it is")
        promote(address.text, reason="admin create --promote")
        return
    min_length, context = runtime.platform.settings.password_min_length, (address.text,)
    from app.accounts.password_strength import check_strength  # noqa: PLC0415 - the other commands judge no password

    if password_stdin:
        password = _line(sys.stdin.buffer.readline())
    else:
        password = _ask_password(functools.partial(check_strength, min_length=min_length, context=context), min_length)
    password_hash = asyncio.run(
        runtime.hasher.hash(password, by="command line", min_length=min_length, context=context)
    )
    user_id = runtime.platform.database.run(
        "write",
        registration.add_user,
        audit.COMMAND_LINE,
        runtime.platform.clock.now(),
        address=address,
        password_hash=password_hash,
        role="admin",
        verified=True,  # who runs this command vouches for it
    )
    print(f"{address.text} is an administrator now ({user_id}).")
    print(f"Sign in at {_own_url(runtime.platform.settings)}/console")


def _ask_password(check: Callable[[str], None], min_length: int) -> str:
    """Asks three times. Raises `WeakPassword` if the third is too weak, `Abort` if it is repeated wrongly."""
    for attempt in range(3):
        password: str = typer.prompt(
            f"Password (at least {min_length} characters, and not easy to guess)", hide_input=True
        )
        try:
            check(normalize(password))
        except WeakPassword as weak:
            if attempt == 2:
                raise
            print(" ".join(error.message for error in weak.errors), file=sys.stderr)
        else:
            if typer.prompt("Repeat for confirmation", hide_input=True) == password:
                return password
            print("The two passwords differ.", file=sys.stderr)
    raise typer.Abort


def _own_url(settings: Settings) -> str:
    """Where a person on this machine reaches the service of this database."""
    file = sqlite_file(make_url(settings.database_url))
    if file is not None and file.with_name("running.json").is_file():
        from app.cli import local_stack  # noqa: PLC0415 - the engine is an extra that a service does without

        if note := local_stack.find_note(file.parent):
            return str(note["url"])
    return settings.public_url


@keys.command(name="list")
def list_keys(purpose: Purpose = "access", as_json: Json = False) -> None:
    """Lists the keys, oldest first: kid, state, when each begins to sign and when it is no longer trusted.

    Of keys for the CDN it lists the ids by which CloudFront knows them.
    """
    runtime = runtime_of_command()
    if purpose == "cdn":
        cdn_keys.print_list(runtime, as_json=as_json)
        return
    now, listed = runtime.platform.clock.now(), []
    for key in runtime.platform.database.run("read", signing_keys.list_keys, purpose):
        alive = key.retires_at is None or key.retires_at > now
        state = "retired" if not alive else "published" if key.signs_from > now else "signing"
        until = _time(key.retires_at) if key.retires_at else None
        listed.append({"kid": key.kid, "state": state, "signs_from": _time(key.signs_from), "believed_until": until})
    if as_json:
        print_json(listed)
        return
    for row in listed:
        until = f", believed until {row['believed_until']}" if row["believed_until"] else ""
        print(f"{row['kid']}  {row['state']}  signs from {row['signs_from']}{until}")


@keys.command()
def show(
    purpose: Annotated[
        Literal["cdn", "saml"],
        typer.Option(
            "--purpose", help="`cdn`: the key of signed URLs; `saml`: the metadata with the keys of assertions."
        ),
    ],
    kid: Annotated[
        str | None, typer.Option(help="An older key of the CDN, by its kid; the newest if left out.")
    ] = None,
) -> None:
    """Prints what is to be uploaded: the newest public key in PEM to CloudFront, or the SAML metadata to IAM.

    Makes the first key if there is none.
    """
    if purpose == "saml":
        saml_keys.print_metadata(runtime_of_command())
        return
    cdn_keys.print_public(runtime_of_command(), kid)


@keys.command()
def rotate(
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="After a theft: sign with the new key and trust no other, at once. With `--purpose cdn`: add a key "
            "although the newest was never in use.",
        ),
    ] = False,
    purpose: Purpose = "access",
) -> None:
    """Adds a key that takes over after it has been published for ten minutes.

    A key for the CDN takes over once its id at CloudFront is set. A key for assertions takes over a week later: upload
    the metadata to IAM before then.
    """
    runtime = runtime_of_command()
    if purpose == "cdn":
        cdn_keys.add(runtime, although_one_waits=now)
        return
    signs_from = runtime.platform.database.run(
        "write",
        signing_keys.rotate,
        audit.COMMAND_LINE,
        runtime.platform.vault,
        purpose,
        runtime.platform.clock.now(),
        at_once=now,
        token_ttl=timedelta(seconds=ACCESS_TOKEN_TTL if purpose == "access" else IDENTITY_TOKEN_TTL),
    )
    print(f"The new key signs from {_time(signs_from)}; running services take notice within a minute.")
    if purpose == "saml":
        saml_keys.print_what_is_next(signs_from, at_once=now)


@keys.command()
def reencrypt() -> None:
    """Puts all that is encrypted under TOKENVEND_SECRET_KEY, while the service runs with the previous key beside it.

    It can be stopped anywhere and run again. At the end it says from when on the previous key is not needed.
    """
    try:
        print("\n".join(secret_key.reencrypt(runtime_of_command(), console)))
    except secret_key.NotYet as refusal:
        fail(str(refusal))


@cli.command()
def prune(
    audit_older_than: Annotated[
        int | None,
        typer.Option(
            min=FLOOR.days,
            max=36_500,
            metavar="DAYS",
            help="Also delete audit events that are older. Left out, none is deleted.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be deleted, and delete nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Deletes all expired data now. The service deletes it bit by bit. Deletes old audit events if you ask for it."""
    runtime = runtime_of_command()
    now = runtime.platform.clock.now()
    lost = (
        runtime.platform.database.run("read", lost_guests.count, now)
        if dry_run
        else sum(lost_guests.prune(runtime.platform))
    )
    counts = {"guests who can never come back": lost}
    if not as_json:
        print(f"guests who can never come back: {lost} {'would be erased' if dry_run else 'erased'}", flush=True)
    kinds = [
        (kind, functools.partial(stale_rows.prune, runtime.platform, kind)) for kind in stale_rows.stale_kinds(now)
    ]
    if audit_older_than is not None:
        before = now - timedelta(days=audit_older_than)
        kinds.append(
            (stale_rows.old_events(before), functools.partial(stale_rows.prune_events, runtime.platform, before))
        )
    for kind, batches in kinds:
        with console.status(f"{kind.name} …") as status:
            if dry_run:
                counted = stale_rows.count_stale(runtime.platform, kind)
            else:
                counted = 0
                for deleted in batches():
                    counted += deleted
                    status.update(f"{kind.name}: {counted} deleted …")
        counts[kind.name] = counted
        if not as_json:
            print(f"{kind.name}: {counted} {'would be deleted' if dry_run else 'deleted'}", flush=True)
    if as_json:
        print_json([{"kind": name, "count": count, "dry_run": dry_run} for name, count in counts.items()])


@users.command(name="import")
def import_users(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help=".csv, .ndjson, .json, .sql or .ldif, or one of them packed: .gz."
        ),
    ],
    source: Annotated[formats.SourceName, typer.Option(help="The system that wrote the file.")] = "tokenvend",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row, and add no user.")] = False,
    keep_ids: Annotated[
        bool, typer.Option("--keep-ids", help="Keep ids and so prefixes: for another database of the same bucket.")
    ] = False,
    import_id: Annotated[UUID | None, typer.Option(help="The id of an interrupted import, to continue it.")] = None,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Check every row first, and add nobody if one is refused.")
    ] = False,
    invite_unsupported: Annotated[
        bool,
        typer.Option(
            "--invite-unsupported",
            help="Import users whose hash is not supported without a password, and mail them a link to choose one.",
        ),
    ] = False,
    prehash: Annotated[
        PrehashKind | None, typer.Option(help="The system whose hashes are of something made of the password.")
    ] = None,
    prehash_key_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help=f"Its key, in a file. In place of it {PREHASH_KEY} may be set."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Imports users from a file. The same file a second time changes nothing.

    The exit status is 3 if a row was refused.
    """
    key = _prehash_key(prehash, prehash_key_file)
    media_type = _media_type(file, source)
    runtime = runtime_of_command()
    if source == "firebase" and runtime.platform.settings.firebase_hash_config is None:
        fail("Set TOKENVEND_FIREBASE_HASH_CONFIG first. Without it no password from Firebase can be verified")
    if invite_unsupported and not runtime.platform.settings.sends_mail:
        fail("Set TOKENVEND_SMTP_URL and TOKENVEND_MAIL_FROM first. Without them no invitation is sent")
    order = Order(
        import_id or uuid4(),
        source,
        media_type,
        dry_run,
        audit.COMMAND_LINE,
        keep_ids=keep_ids,
        most_unpacked=runtime.platform.settings.import_max_bytes,
        has_old_system=runtime.platform.settings.migration_url is not None,
        inviting=runtime.platform.vault if invite_unsupported else None,
        measured=runtime.hasher.measure,
        prehash=None if prehash is None else Prehash(prehash, ANY_KEY if key else ""),
    )
    transact = functools.partial(runtime.platform.database.run, "write")

    def carry_out(one: Order) -> UserImport:
        if prehash is not None and key and not one.dry_run:
            platform = runtime.platform
            key_id = platform.database.run("write", prehash_keys.keep, platform.vault, platform.clock.now(), key)
            one = dataclasses.replace(one, prehash=Prehash(prehash, key_id))
        try:
            with file.open("rb") as stream, moving(console, file.name, file.stat().st_size) as moved:
                return imports.carry_out(one, pieces(stream, moved), runtime.platform.clock, transact)
        except (KeyboardInterrupt, DatabaseUnavailable):
            said = f"To go on: tokenvend users import … --import-id {one.import_id}"
            fail(f"Interrupted; what was imported stays. {said}")

    done = carry_out(dataclasses.replace(order, import_id=uuid4(), dry_run=True) if strict else order)
    if strict and not dry_run and not done.refused:
        done = carry_out(order)
    _print_import(runtime, done, as_json=as_json)
    if done.refused:
        if strict and not dry_run:
            print("Nobody was imported: --strict", file=sys.stderr)
        raise SystemExit(ROWS_REFUSED)


def _media_type(file: Path, source: formats.SourceName) -> str | None:
    """What the file's name says it is; None if it is packed and its name says nothing. Raises `typer.BadParameter`."""
    media_type = opening.media_type_of(file.name)
    readers = formats.SOURCES[source].readers
    if media_type in readers or (media_type is None and file.name.lower().endswith(opening.PACKED)):
        return media_type
    with file.open("rb") as stream:
        other = formats.other_source(source, formats.beginning_of(pieces(stream, lambda _: None)))
    if other is not None:
        title = formats.SOURCES[other].title
        raise typer.BadParameter(f"This looks like an export of {title}: use --source {other}.")
    known = [suffix for suffix, known_type in opening.SUFFIXES.items() if known_type in readers]
    raise typer.BadParameter(f"From {source}, the file's name has to end in {' or '.join(known)}, or that and .gz.")


def _prehash_key(kind: PrehashKind | None, file: Path | None) -> bytes:
    """The key of what a system hashed, without the newline at its end. Empty for a kind that has none."""
    if kind not in KEYED:
        if file is not None:
            raise typer.BadParameter(f"Only {' and '.join(sorted(KEYED))} have a key.", param_hint="--prehash-key-file")
        return b""
    key = os.environ.get(PREHASH_KEY, "").encode("utf-8", "surrogateescape") if file is None else file.read_bytes()
    key = key.removesuffix(b"\n").removesuffix(b"\r")
    try:
        is_text = bool(key.decode())
    except UnicodeDecodeError:
        is_text = False
    if not is_text or len(key) > LONGEST_KEY:
        where = f"{PREHASH_KEY} in the environment" if file is None else "the file"
        raise typer.BadParameter(
            f"{kind} has a key: {where} must hold 1 to {LONGEST_KEY} bytes of text in UTF-8.",
            param_hint="--prehash-key-file",
        )
    return key


def _print_import(runtime: Runtime, done: UserImport, *, as_json: bool) -> None:
    """Prints the first problems of an import, and its counts."""
    _, problems, more = runtime.platform.database.run("read", imports.find, done.id, limit=SHOWN_PROBLEMS, cursor=None)
    if as_json:
        rows = [{"row": problem.row, "code": problem.code, "message": problem.message} for problem in problems]
        counts = {name: getattr(done, name) for name in ("rows", "created", "existing", "refused", "invited")}
        hashes = [
            {"kind": one.kind, "rows": one.rows, "price": round(one.price, 2), "dearest": round(one.dearest, 2)}
            for one in imports.hash_kinds(done)
        ]
        report = {"import_id": str(done.id), "dry_run": done.dry_run, **counts, "hashes": hashes}
        print_json({**report, "problems": rows, "more": bool(more)})
    else:
        for problem in problems:
            print(f"row {problem.row}: {problem.code}: {problem.message}")
        if more:
            print(f"… and more: GET /v1/admin/user-imports/{done.id}")
        _print_hashes(imports.hash_kinds(done))
        would = "would be " if done.dry_run else ""
        invited = f" ({done.invited} invited)" if done.invited else ""
        counts_of_others = f"{done.existing} existing, {done.refused} refused"
        print(f"{done.rows} rows: {done.created} {would}imported{invited}, {counts_of_others}")


def _print_hashes(kinds: Sequence[HashKind]) -> None:
    """What sign-ins of imported users cost, in sign-ins with a hash of this service."""
    if not kinds:
        return
    print(f"{'hash':<24}{'rows':>10}  a sign-in ÷ ours   dearest")
    for one in kinds:
        print(f"{one.kind:<24}{one.rows:>10}{one.price:>18.2f}{one.dearest:>10.2f}")
    print(f"All first sign-ins together: {sum(one.work for one in kinds):,.0f} of ours. Later ones cost 1 each.")


@users.command()
def unlock(
    email: Annotated[str, typer.Argument(help="The address that the user signs in with.")],
    reason: Annotated[str, typer.Option(help="The reason, for the audit.")],
) -> None:
    """Ends the lock-out of a user after too many wrong passwords or codes.

    Running services need no restart: they look into the database before they refuse a sign-in.
    """
    runtime = runtime_of_command()
    address = addresses.parse(email)
    now = runtime.platform.clock.now()
    user = runtime.platform.database.run("write", acts.unlock_from_host, now, email_key=address.key, reason=reason)

    async def forget() -> None:
        try:
            await guesses.unlock(runtime.platform, user)
        finally:
            await runtime.close()

    asyncio.run(forget())
    print(f"{address.text} is not locked out any more.")


@users.command(name="export")
def export_users(
    file: Annotated[Path, typer.Argument(dir_okay=False, help=".csv or .ndjson; only you can read it.")],
    with_hashes: Annotated[
        bool, typer.Option("--with-hashes", help="Include password hashes. Guard the file.")
    ] = False,
) -> None:
    """Exports all users who have an address."""
    form = EXPORTS.get(file.suffix.lower())
    if form is None:
        raise typer.BadParameter("The file's name has to end in .csv or .ndjson.")
    runtime = runtime_of_command()
    runtime.platform.database.run(
        "write", exports.begin, audit.COMMAND_LINE, runtime.platform.clock.now(), None, with_hashes=with_hashes
    )
    exported, after = 0, None
    with _only_mine(file) as stream, moving(console, file.name, None) as moved:
        stream.write(exports.header(form, with_hashes=with_hashes))
        while page := runtime.platform.database.run("read", exports.page, runtime.platform.clock.now(), None, after):
            stream.writelines(exports.line(form, user, with_hashes=with_hashes) for user in page)
            exported, after = exported + len(page), exports.position(page[-1])
            moved(len(page))
    print(f"{exported} users exported to {file}")


def _only_mine(file: Path) -> TextIO:
    """Replaces a file by a new one that only its owner can read."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")


@sts.command()
def whoami() -> None:
    """Prints who this machine is to STS (GetCallerIdentity)."""

    async def say(broker: Broker) -> str:
        return await broker.caller_arn() or "This engine answers, and does not say."

    print(_ask_sts(say))


@sts.command()
def access_key(
    access_key_id: Annotated[str, typer.Argument(help="The access key id, as a log or a leak report shows it.")],
    as_json: Json = False,
) -> None:
    """Prints whose access key it is: the account (GetAccessKeyInfo) and, if vended here, the ledger's row."""
    runtime = runtime_of_command()
    row = runtime.platform.database.run("read", ledger.find_issued, access_key_id)
    facts: dict[str, str | None] = {"user": None}
    if row is not None:
        expired = row.expires_at <= runtime.platform.clock.now()
        alive = "expired" if expired else "revoked" if row.withdrawn_at else "alive"
        got_by = "link" if row.link_id else "session"
        facts = {"user": str(row.user_id), got_by: str(row.session_id), "credential": str(row.id)}
        facts |= {"prefix": row.prefix, "access": row.access, "issued": _time(row.issued_at)}
        facts |= {"expires": _time(row.expires_at), "state": alive}
    if as_json:
        print_json(facts | {"account": _ask_sts(lambda broker: broker.account_of(access_key_id))})
        return
    if row is None:
        print("user: none, this service did not vend it")
    else:
        print(f"user: {row.user_id}\n{got_by}: {row.session_id}\ncredential: {row.id}")
        print(f"reaches: {row.prefix} ({row.access})")
        print(f"issued: {facts['issued']}\nexpires: {facts['expires']} ({facts['state']})")
    print(f"account: {_ask_sts(lambda broker: broker.account_of(access_key_id))}")


@sts.command()
def decode(message: Annotated[str, typer.Argument(help="The encoded message in AWS's refusal.")]) -> None:
    """Explains why AWS refused a request (DecodeAuthorizationMessage)."""
    print(_ask_sts(lambda broker: broker.decode(message)))


def _ask_sts(question: Callable[[Broker], Awaitable[str]]) -> str:
    async def ask() -> str:
        runtime = unchecked_runtime()
        try:
            return await question(runtime.vending.broker)
        finally:
            await runtime.close()

    return asyncio.run(ask())


def _line(data: bytes) -> str:
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        fail("The password on standard input is not text in UTF-8")


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
