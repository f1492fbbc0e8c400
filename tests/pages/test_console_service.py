"""The console's view of the service itself: how it is, what is set, its signing keys, its mails, erasures."""

import json
import uuid
from collections.abc import Callable

from playwright.sync_api import expect
from sqlalchemy import insert

from app.records.models import OutboxMail
from tests.pages.desk import Company, Desk
from tests.pages.visit import ON_BOTH

WHY = "ticket 4711"


@ON_BOTH
def test_shows_the_service_to_its_staff(desk: Callable[..., Desk], company: Company, viewport: dict[str, int]) -> None:
    """OP1, AZ1: health and settings, without one secret in the page; support sees no settings."""
    admin = desk(viewport=viewport).enter(company.person("admin"), "#/service")
    page = admin.page
    expect(page.locator("#service-facts")).to_contain_text("Database")
    expect(page.locator("#findings tbody tr").first).to_be_visible()
    admin.look("service-health")
    page.get_by_role("link", name="Settings").click()
    for name, value in (("TOKENVEND_SECRET_KEY", "set"), ("TOKENVEND_BUCKET", "photos")):
        row = page.locator("#settings-list tr").filter(has=page.get_by_text(name, exact=True))
        expect(row.locator("td").nth(1)).to_have_text(value)
    settings = company.runtime.platform.settings
    for secret in (settings.secret_key.get_secret_value(), settings.database_url):
        assert secret not in page.content()
    admin.look("service-settings")
    support = desk(viewport=viewport).enter(company.person("support"), "#/service/settings")
    expect(support.page.locator("#service-facts")).to_contain_text("Database")
    expect(support.page.get_by_role("link", name="Settings")).to_have_count(0)
    expect(support.page.locator("#findings")).to_be_hidden()


def test_rotates_a_key_and_tries_a_mail_again(desk: Callable[..., Desk], company: Company) -> None:
    """TK18: each with a reason, which the audit keeps."""
    gone = company.person()
    company.sql("UPDATE users SET status = 'erased', email = NULL, email_key = NULL WHERE id = :id", id=gone.hex)
    now = company.now()
    company.sql(
        "INSERT INTO erasures (user_id, requested_at, next_try_at, attempts, deleted_objects)"
        " VALUES (:id, :now, '2099-01-01 00:00:00', 3, 12)",
        id=gone.hex,
        now=now.replace(tzinfo=None),
    )
    user = company.person()
    mail = {"id": uuid.uuid4(), "user_id": uuid.UUID(user.id), "recipient": user.email, "attempts": 9, "failed_at": now}
    statement = insert(OutboxMail).values(kind="passkey_removed", created_at=now, next_try_at=now, **mail)
    company.runtime.platform.database.run("write", lambda session: session.execute(statement) and None)
    admin = desk().enter(company.person("admin"), "#/service/signing-keys")
    page = admin.page
    expect(page.locator("#signing-key-list tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Rotate").click()
    admin.look("service-rotate")
    admin.answer("Rotate", reason=WHY)
    expect(page.locator("#signing-key-list tbody tr")).to_have_count(2)
    expect(page.locator("#signing-key-list")).to_contain_text("signs soon")
    admin.look("service-keys")
    page.get_by_role("link", name="Mail", exact=True).click()
    page.get_by_role("button", name=f"Try now: passkey removed to {user.email}").click()
    admin.answer("Try now", reason=WHY)
    expect(page.locator("#mails-failed .empty")).to_have_text("No mail was given up.")
    admin.look("service-mail")
    page.get_by_role("link", name="Erasures").click()
    expect(page.locator("#erasure-list tbody tr")).to_contain_text("12")
    admin.look("service-erasures")
    ((detail,),) = company.sql("SELECT detail FROM audit_events WHERE event = 'mail.retried'")
    assert json.loads(detail)["reason"] == WHY
