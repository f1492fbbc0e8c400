"""`tokenvend users list`, `disable`, `enable` and `promote`: an operator's acts on accounts, each with an audit row.

The rules are those of the administrators' calls: each act has a reason, and the last administrator stays. The audit has
no actor, and the address `command line`.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from app.admin import acts
from app.admin import users as accounts
from app.admin.acts import OPERATOR, Act
from app.admin.user_filters import Filters, Role, Status
from app.admin.users import Account
from app.cli.opening import fail, print_json, runtime_of_command
from app.cli.options import Json
from app.platform.printable import cleaned
from app.records import addresses, audit

users = typer.Typer(no_args_is_help=True, help="Users: list them, keep them out, move them in and out.")
console = Console(stderr=True, highlight=False)
PAGE = 100
LONGEST_REASON = 500


def _printable(reason: str) -> str:
    if cleaned(reason, LONGEST_REASON) != reason or not reason.strip():
        raise typer.BadParameter(f"must be 1 to {LONGEST_REASON} printable characters")
    return reason


Email = Annotated[str, typer.Argument(help="The address that the user signs in with.")]
Reason = Annotated[str, typer.Option(help="The reason, for the audit.", callback=_printable)]


@users.command(name="list")
def list_users(
    query: Annotated[str | None, typer.Option(help="A part of the address or of the name.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only users of this status.")] = None,
    role: Annotated[Role | None, typer.Option(help="Only users of this role.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="The most users to list.")] = PAGE,
    as_json: Json = False,
) -> None:
    """Lists users, newest first: id, address, role, status, when they were made and last seen."""
    runtime = runtime_of_command()
    found: list[Account] = []
    cursor: str | None = None
    search = partial(accounts.search, filters=Filters(query=query, status=status, role=role))
    while len(found) < limit:
        size = min(PAGE, limit - len(found))
        page, cursor = runtime.platform.database.run("read", search, limit=size, cursor=cursor)
        found += page
        if cursor is None:
            break
    rows = list(map(_row, found))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        seen = row["last_seen_at"] or "never"
        print(f"{row['id']}  {row['role']:7}  {row['status']:8}  {row['created_at']}  {seen:20}  {row['email'] or '-'}")
    if cursor is not None:
        console.print(f"… and more: --limit {limit * 10}")


def _row(account: Account) -> dict[str, Any]:
    user = account.user
    return {
        "id": str(user.id),
        "email": user.email,
        "email_verified": user.email_verified_at is not None,
        "display_name": user.display_name,
        "role": user.role,
        "status": user.status,
        "guest": user.guest,
        "mfa_enabled": account.mfa_enabled,
        "created_at": _time(user.created_at),
        "last_seen_at": _time(account.last_seen_at) if account.last_seen_at else None,
    }


@users.command()
def disable(email: Email, reason: Reason) -> None:
    """Keeps a user out: ends all sessions and lets nobody sign in. The last administrator stays."""
    _act(email, reason, acts.disable)
    print(f"{email} is disabled, and signed out everywhere.")


@users.command()
def enable(email: Email, reason: Reason) -> None:
    """Lets a disabled user in again."""
    _act(email, reason, acts.enable)
    print(f"{email} can sign in again.")


@users.command(name="promote")
def promote_user(
    email: Email,
    reason: Reason,
    role: Annotated[Literal["support", "admin"], typer.Option(help="The role to give.")] = "admin",
) -> None:
    """Makes the account of a user an administrator's, or support's. It keeps its password and its pictures."""
    promote(email, reason=reason, role=role)


def promote(email: str, *, reason: str, role: Literal["support", "admin"] = "admin") -> None:
    verifies = runtime_of_command().platform.settings.verifies_email
    account = _act(email, reason, partial(acts.promote, role=role, verifies=verifies))
    what = "an administrator" if role == "admin" else "support"
    print(f"{account.user.email} is {what} now ({account.user.id}).")


def _act(email: str, reason: str, deed: Callable[..., Account]) -> Account:
    runtime = runtime_of_command()
    address = addresses.parse(email)
    act = Act(audit.COMMAND_LINE, runtime.platform.clock.now(), OPERATOR, reason)
    account: Account = runtime.platform.database.run("write", acts.on_address, act, address.key, deed)
    if account.user.status == "erased":
        fail("This account is erased")
    return account


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
