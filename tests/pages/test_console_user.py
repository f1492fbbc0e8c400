"""The console's page of one user: what staff see there, and what they end, verify, change and note."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.records.models import Grant, Identity, Passkey
from tests.pages.desk import Account, Company, Desk
from tests.pages.visit import ON_BOTH

WHY = "ticket 4711"


@pytest.fixture(scope="module")
def user(company: Company) -> Account:
    """Somebody with everything that the page can show."""
    person, other = company.person(name="Ada Lovelace"), company.person(name="Grace Hopper")
    person.sign_in_elsewhere("Ada's old phone")
    own = {"user_id": uuid.UUID(person.id), "created_at": company.now(), "last_used_at": company.now()}
    key = {"credential_id": b"1", "public_key": b"2", "sign_count": 0, "transports": [], "backed_up": True}
    apple = {"provider": "apple", "issuer": "https://appleid.apple.com", "subject": "001", "email": "relay@example.com"}
    shared = {"grantee_email": other.email, "grantee_email_key": other.email, "created_at": company.now()}
    sides = ((person, other), (other, person))
    grants = [{"owner_id": uuid.UUID(one.id), "grantee_id": uuid.UUID(two.id), "path": "a/"} for one, two in sides]
    rows: list[tuple[Any, dict[str, Any]]] = [
        (Passkey, {"name": "Ada's laptop", **key, **own}),
        (Identity, {**apple, **own}),
        *((Grant, grant | shared) for grant in grants),
    ]

    def add(session: Session) -> None:
        for model, row in rows:
            session.execute(insert(model).values(id=uuid.uuid4(), **row))

    company.runtime.platform.database.run("write", add)
    return person


def section(person: Desk, heading: str) -> str:
    return person.page.get_by_role("region", name=heading, exact=True).inner_text()


@pytest.mark.long
@ON_BOTH
def test_shows_what_a_user_has(
    desk: Callable[..., Desk], company: Company, user: Account, viewport: dict[str, int]
) -> None:
    support = desk(viewport=viewport).enter(company.person("support"), f"#/users/{user.id}")
    expect(support.page.locator("#user-events table")).to_have_attribute("aria-busy", "false")
    expect(support.page.locator("#user-received tbody tr")).to_have_count(1)
    assert "Ada's old phone" in section(support, "Devices")
    assert "127.0.0.1" in section(support, "Devices")
    assert "Ada's laptop" in section(support, "Passkeys")
    assert "relay@example.com" in section(support, "Outside identities")
    assert "not accepted yet" in section(support, "Shares")
    assert "a/" in section(support, "Shared with this user")
    expect(support.page.get_by_role("button", name="Remove: Ada's laptop")).to_have_count(0)
    expect(support.page.locator("#actions")).not_to_contain_text("Verify e-mail by hand")
    support.page.get_by_role("button", name="Add a note").click()
    support.dialog.get_by_label("Note").fill("Called on Monday.\nLost the old phone.")
    support.look("user-note")
    support.answer("Add it")
    expect(support.page.locator("#user-notes .note").first).to_have_text("Called on Monday.\nLost the old phone.")
    support.look("user-page")


def test_ends_and_changes_what_a_user_has(desk: Callable[..., Desk], company: Company, user: Account) -> None:
    """AU14: each after a question, with its reason in the audit; the page shows what became of it."""
    admin = desk().enter(company.person("admin"), f"#/users/{user.id}")
    page = admin.page
    page.get_by_role("button", name="Sign out: Ada's old phone").click()
    admin.answer("Sign out", reason=WHY)
    expect(page.locator("#user-sessions")).not_to_contain_text("Ada's old phone")
    page.get_by_role("button", name="Remove: Ada's laptop").click()
    admin.answer("Remove", reason=WHY)
    expect(page.locator("#user-passkeys .empty")).to_have_text("No passkeys.")
    page.get_by_role("button", name="Remove: apple").click()
    admin.answer("Remove", reason=WHY)
    expect(page.locator("#user-identities .empty")).to_have_text("No outside identities.")
    admin.act("Verify e-mail by hand", "Verify", reason=WHY)
    expect(page.locator("#profile .badge.good")).to_have_text("verified")
    expect(page.locator("[data-action=verify-email]")).to_have_count(0)
    admin.act("Change e-mail", "Change it", new_email="ada@new.example", reason=WHY)
    expect(page.locator("#profile")).to_contain_text("ada@new.example not verified")
    admin.act("Send verification", "Send the mail", reason=WHY)
    for event in ("user.signed_out", "passkey.removed", "identity.unlinked", "email.verified", "email.changed"):
        outcome, detail = company.audit_rows(event, user.id)[-1]
        assert (outcome, json.loads(detail)["reason"]) == ("done", WHY), event
