"""What the database knows of the vending role's documents, the policies that deny revoked credentials.

`begin` notes before a write what the policy may deny, and `settle` notes afterwards what it denies. Between the two,
nobody knows whether the write has arrived. The functions that write here need the role's row of `role_policies` locked.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.platform.settings import Settings
from app.records.models import RoleDocument, RolePolicy
from app.revocation import denials
from app.revocation.denials import Names, add
from app.revocation.iam_writer import MANAGED_SIZE, POLICY_NAME
from app.revocation.placement import Document

RENEWED_EVERY = timedelta(hours=1)
"""How often an unchanged document is written again, in case somebody has changed it by hand."""
REFUSED_FOR = timedelta(hours=1)
"""How long a managed policy is left alone after the engine has refused to write it."""
LEAST_ROOM = 512
"""Characters: enough for the floor for everybody and some names."""


def policies(settings: Settings) -> Sequence[str]:
    """The name of the inline policy, then the ARNs of the managed ones."""
    return (POLICY_NAME, *settings.revocation_policy_arns)


def room(settings: Settings) -> int:
    """Characters that all policies hold together."""
    return sum(_size(settings, policy) for policy in policies(settings))


def load(session: Session, now: datetime, settings: Settings, applied: Names) -> list[Document]:
    """The documents, in the order of `policies`. `applied` is what the engine was told of before, in any document."""
    told = session.get(RolePolicy, settings.role_arn)
    found = session.scalars(select(RoleDocument).where(RoleDocument.role_arn == settings.role_arn))
    known = {document.policy: document for document in found}
    return [
        _document(now, _size(settings, policy), known.get(policy), told if policy == POLICY_NAME else None, applied)
        for policy in policies(settings)
    ]


def begin(session: Session, settings: Settings, policy: str, may_hold: Names) -> None:
    """Notes that a write begins, and what the policy may deny from now on."""
    row = _row(session, settings, policy)
    row.names, row.settled = _stored(may_hold), False
    _agree(session, row, None)


def settle(session: Session, now: datetime, settings: Settings, policy: str, names: Names) -> None:
    """Notes that the write has arrived."""
    row = _row(session, settings, policy)
    row.names, row.settled, row.written_at, row.refused_at = _stored(names), True, now, None
    if not names:
        row.room = None  # the role's other policies may have changed
    _agree(session, row, hashlib.sha256(denials.write(names).encode()).hexdigest())


def doubt(session: Session, settings: Settings, policy: str, names: Names) -> None:
    """Notes that a write of `names` took so long that another replica's write may have come before or after it."""
    row = _row(session, settings, policy)
    may_hold = _read(row)
    for name, before in names.items():
        add(may_hold, name, before)
    row.names, row.settled = _stored(may_hold), False
    _agree(session, row, None)


def refuse(session: Session, now: datetime, settings: Settings, policy: str) -> None:
    """Notes that the engine refuses to write a managed policy, so that the others are used instead."""
    if policy != POLICY_NAME:
        _row(session, settings, policy).refused_at = now


def shrink(session: Session, settings: Settings, policy: str, text: str) -> bool:
    """Notes that the engine has no room for such a long text. Returns False if no other policy could take the rest."""
    room = len(text) // 2
    if not settings.revocation_policy_arns or room < LEAST_ROOM:
        return False
    _row(session, settings, policy).room = room
    return True


def _document(now: datetime, size: int, row: RoleDocument | None, told: RolePolicy | None, applied: Names) -> Document:
    """`told` is the role's row, for the inline policy. If its digest differs, an older version wrote the policy."""
    if row is None:
        before = told is not None and told.written_at is not None
        return Document(size, dict(applied) if before else {}, sure=not before)
    holds, sure = _read(row), row.settled
    if told is not None and told.digest != row.digest:
        sure = False
        for name, moment in applied.items():
            add(holds, name, moment)
    return Document(
        min(size, row.room or size),
        holds,
        sure=sure,
        usable=row.refused_at is None or now - row.refused_at > REFUSED_FOR,
        stale=row.written_at is None or now - row.written_at > RENEWED_EVERY,
    )


def _size(settings: Settings, policy: str) -> int:
    return settings.revocation_policy_size if policy == POLICY_NAME else MANAGED_SIZE


def _row(session: Session, settings: Settings, policy: str) -> RoleDocument:
    row = session.get(RoleDocument, (settings.role_arn, policy))
    if row is None:
        row = RoleDocument(role_arn=settings.role_arn, policy=policy, names={}, settled=True)
        session.add(row)
    return row


def _agree(session: Session, row: RoleDocument, digest: str | None) -> None:
    """Copies the digest to the role's row for replicas of older versions. They know no documents and compare that."""
    row.digest = digest
    if row.policy == POLICY_NAME and (told := session.get(RolePolicy, row.role_arn)) is not None:
        told.digest, told.written_at = digest, row.written_at


def _stored(names: Names) -> dict[str, str | None]:
    return {name: before.isoformat() if before else None for name, before in names.items()}


def _read(row: RoleDocument) -> dict[str, datetime | None]:
    return {name: datetime.fromisoformat(before) if before else None for name, before in row.names.items()}
