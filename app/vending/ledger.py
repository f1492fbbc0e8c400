"""The ledger: one row for each credential that STS issues, committed before anybody gets to see the credential."""

import functools
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Select,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.orm import Session

from app.auth import endings
from app.aws.sts_client import StsCredential
from app.platform.db import ROWS_REFUSED, Database
from app.platform.problems import AccountDisabled, InternalError, InvalidToken, LinkNotFound, Problem
from app.policy.session_policy import Share, contribution_prefix
from app.records import audit, listing
from app.records.audit import Origin
from app.records.models import DeviceSession, IssuedCredential, Link, User
from app.sharing import links
from app.vending.orders import Order

_LEDGER: Table = IssuedCredential.__table__  # type: ignore[assignment]
# Written in Core and built once: on this hot path the ORM would take most of the time.
_STATES = (
    select(DeviceSession.id, User.status, endings.ENDED.label("ended"))
    .select_from(User)  # first: every transaction locks users before sessions
    .join(DeviceSession, DeviceSession.user_id == User.id)
    .order_by(User.id, DeviceSession.id)  # the order in which every transaction locks several users
    .with_for_update(read=True)  # a transaction that ends or disables waits for our commit, or we see it
)
_STATES_IN = _STATES.where(DeviceSession.id.in_(bindparam("session_ids", expanding=True)))
# The ids are an array of their own: the planner expects a hundred rows from JSON and would read all sessions for them.
_STATES_ANY = _STATES.where(
    DeviceSession.id == any_(cast(func.string_to_array(bindparam("session_ids", type_=Text), ","), ARRAY(Uuid)))
)

_LINKS = (
    select(Link.id, User.status, links.ENDED.label("ended"))
    .select_from(User)
    .join(Link, Link.owner_id == User.id)
    .where(Link.id.in_(bindparam("link_ids", expanding=True)))
    .order_by(User.id, Link.id)
    .with_for_update(read=True)
)

GONE = ("active", True)
"""The state of a session whose row, with the user's account, was deleted while STS was working: it has ended."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A credential that STS issued and nobody has seen yet. An entry is equal only to itself."""

    id: uuid.UUID
    origin: Origin
    order: Order
    credential: StsCredential
    issued_at: datetime


Outcome = Mapping[Entry, Problem | None]
"""The problem that refuses an entry: its session ended, or its user was disabled, while STS was working.

A refused credential is dropped unseen."""


async def record(database: Database, entries: Sequence[Entry]) -> Outcome:
    """Writes all entries in one transaction. If one of them cannot be written, writes each in its own.

    Those of links have a transaction of their own. There are few: all viewers of a link share its credential.
    """
    of_links = [entry for entry in entries if entry.order.link_id is not None]
    if of_links and len(of_links) < len(entries):
        others = [entry for entry in entries if entry.order.link_id is None]
        return {**await record(database, others), **await record(database, of_links)}
    try:
        if of_links:
            return await database.write(_record_of_links, of_links)
        return await (_record_on_line(database, entries) if database.has_lines else database.write(_record, entries))
    except ROWS_REFUSED:
        if len(entries) == 1:
            return {entries[0]: InternalError(cause="the ledger refused the row")}
        outcomes = [await record(database, [entry]) for entry in entries]
        return {entry: problem for outcome in outcomes for entry, problem in outcome.items()}


async def _record_on_line(database: Database, entries: Sequence[Entry]) -> Outcome:
    """On PostgreSQL, one statement locks and reads the states, and writes both rows of each entry that is alive."""
    outcome = _outcome(entries, await database.on_line(*_states_and_rows(entries)))
    if any(outcome.values()):
        await database.write(_record_refusals, outcome)
    return outcome


def _record(session: Session, entries: Sequence[Entry]) -> Outcome:
    connection = session.connection()
    found = connection.execute(_STATES_IN, {"session_ids": list({entry.order.session_id for entry in entries})})
    outcome = _outcome(entries, found)
    _record_issued(session, outcome)
    _record_refusals(session, outcome)
    return outcome


def _record_of_links(session: Session, entries: Sequence[Entry]) -> Outcome:
    """An entry is refused by `LinkNotFound` if its link ended, or its owner was disabled, while STS was working."""
    found = session.connection().execute(_LINKS, {"link_ids": list({entry.order.link_id for entry in entries})})
    alive = {link_id for link_id, status, ended in found if status == "active" and not ended}
    outcome: Outcome = {entry: None if entry.order.link_id in alive else LinkNotFound() for entry in entries}
    _record_issued(session, outcome)
    _record_refusals(session, outcome)
    return outcome


def _record_issued(session: Session, outcome: Outcome) -> None:
    issued = [entry for entry, problem in outcome.items() if problem is None]
    if issued:
        session.connection().execute(insert(_LEDGER), [_row(entry) for entry in issued])
        audit.record_all(session, [_event(entry, None) for entry in issued])


def _outcome(entries: Sequence[Entry], found: Iterable[Sequence[Any]]) -> Outcome:
    states = {session_id: (status, ended) for session_id, status, ended in found}
    return {entry: _refusal(*states.get(entry.order.session_id, GONE)) for entry in entries}


def _record_refusals(session: Session, outcome: Outcome) -> None:
    refused = [_event(entry, problem) for entry, problem in outcome.items() if problem is not None]
    if refused:
        audit.record_all(session, refused)


def _states_and_rows(entries: Sequence[Entry]) -> tuple[Select[Any], dict[str, str]]:
    """The statement, with all rows as one JSON text: psycopg would spend more time on single values than the server."""
    rows = [_row(entry) | {f"audit_{name}": value for name, value in _event(entry, None).items()} for entry in entries]
    session_ids = ",".join({str(entry.order.session_id) for entry in entries})
    return _statement(tuple(rows[0])), {"rows": json.dumps(rows, default=str), "session_ids": session_ids}


@functools.cache
def _statement(names: tuple[str, ...]) -> Select[Any]:
    audited = tuple(name.removeprefix("audit_") for name in names if name.startswith("audit_"))
    columns = names[: -len(audited)]
    given = (
        func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
        .table_valued(
            *(column(name, _LEDGER.c[name].type) for name in columns),
            *(column(f"audit_{name}", audit.TABLE.c[name].type) for name in audited),
            name="given",
        )
        .render_derived(with_types=True)
    )
    states = _STATES_ANY.cte("states")
    alive = (
        select(given)
        .join(states, states.c.id == given.c.session_id)
        .where(states.c.status == "active", ~states.c.ended)
        .cte("alive")
    )
    ledger = insert(_LEDGER).from_select(columns, select(*(alive.c[name] for name in columns))).cte("ledger")
    events = audit.insert_from(audited, select(*(alive.c[f"audit_{name}"] for name in audited))).cte("audit")
    return select(states).add_cte(ledger, events)


def _refusal(status: str, ended: bool) -> Problem | None:
    if status == "disabled":
        return AccountDisabled()
    return InvalidToken() if status != "active" or ended else None


def _row(entry: Entry) -> dict[str, Any]:
    order, credential = entry.order, entry.credential
    return {
        "id": entry.id,
        "user_id": order.user_id,
        "session_id": order.session_id,
        **({} if order.link_id is None else {"link_id": order.link_id, "contributor_id": order.contributor_id}),
        "access_key_id": credential.access_key_id,
        "access": order.access,
        "prefix": order.prefix,
        "shared": [_carried(share, order.user_id) for share in order.shares] or None,
        "role_session_name": order.role_session_name,
        "sts_request_id": credential.request_id,
        # By the later clock, ours or STS's. A revocation reaches up to a second that is later than both.
        "issued_at": max(entry.issued_at, order.issued_at(credential.expires_at)),
        "expires_at": credential.expires_at,
    }


def _carried(share: Share, user_id: uuid.UUID) -> dict[str, str]:
    carried = {"grant_id": str(share.grant_id), "prefix": share.prefix}
    if share.contributes:
        carried["write_prefix"] = contribution_prefix(share.prefix, user_id)
    return carried


def _event(entry: Entry, problem: Problem | None) -> dict[str, Any]:
    order = entry.order
    detail = {"credential_id": str(entry.id), "access": order.access} if problem is None else {"reason": problem.code}
    if order.purpose is not None:
        detail["purpose"] = order.purpose
    if order.link_id is not None:  # nobody knows who opened it
        detail["link_id"] = str(order.link_id)
    if order.contributor_id is not None:
        detail["contributor_id"] = str(order.contributor_id)
    return audit.row(
        entry.origin,
        "credential.issued",
        entry.issued_at,
        outcome="done" if problem is None else "refused",
        actor_id=order.user_id if order.link_id is None else None,
        subject_id=order.user_id,
        session_id=order.session_id if order.link_id is None else None,
        **detail,
    )


def record_own(session: Session, entry: Entry) -> None:
    """Writes a credential that this service issued to itself. It depends on no session, and no user asked for it."""
    session.execute(insert(_LEDGER), [_row(entry)])
    audit.record_all(session, [_event(entry, None) | {"actor_id": None}])


def find_issued(session: Session, access_key_id: str) -> IssuedCredential | None:
    """The credential with that access key id."""
    return session.scalar(select(IssuedCredential).where(IssuedCredential.access_key_id == access_key_id))


def shared_prefixes(row: IssuedCredential) -> list[str]:
    """The other users' folders that the credential reads."""
    return [share["prefix"] for share in row.shared or ()]


def write_prefixes(row: IssuedCredential) -> list[str]:
    """Where in other users' folders, or in the folder of its link, the credential writes."""
    if row.contributor_id is not None:
        return [contribution_prefix(row.prefix, row.contributor_id)]
    return [share["write_prefix"] for share in row.shared or () if "write_prefix" in share]


def list_issued(
    session: Session, *, user_id: uuid.UUID, limit: int, cursor: str | None
) -> tuple[Sequence[IssuedCredential], str | None]:
    """One page of the user's credentials, newest first, and the cursor of the next. Raises `InvalidRequest`."""
    rows = select(IssuedCredential).where(IssuedCredential.user_id == user_id)
    return listing.page(session, rows, IssuedCredential.issued_at, IssuedCredential.id, limit=limit, cursor=cursor)
