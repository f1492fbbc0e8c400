"""The console's view of the service itself: how it is, what is set, its signing keys, its mails, erasures."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect
from sqlalchemy import insert

from app.records.models import OutboxMail, OutgoingEvent
from tests.pages.desk import Company, Desk, open_company
from tests.pages.visit import ON_BOTH
from tests.support.engine import eventually
from tests.support.receiver import receiving

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


def test_shows_events_out_sends_one_again_and_tries_the_server(desk: Callable[..., Desk], tmp_path: Path) -> None:
    """OP10: what waits and what was delivered; each act with a reason, which the audit keeps."""
    with receiving() as receiver, open_company(tmp_path, rate_limits="off", **receiver.settings) as told:
        user, now, event_id = told.person(), told.now(), uuid.uuid4()
        event = {"id": event_id, "type": "user.disabled", "user_id": uuid.UUID(user.id), "sequence": 3, "data": {}}
        tries = {"created_at": now, "next_try_at": now, "attempts": 15, "give_up_at": now, "failed_at": now}
        statement = insert(OutgoingEvent).values(**event, **tries, fault="status 500")
        told.runtime.platform.database.run("write", lambda session: session.execute(statement) and None)
        admin = desk(told).enter(told.person("admin"), "#/service/events")
        page = admin.page
        row = page.locator("#outgoing-undelivered tbody tr").filter(has=page.get_by_text("user.disabled"))
        expect(row).to_contain_text("given up")
        expect(row).to_contain_text("status 500")
        admin.look("service-events")
        page.get_by_role("button", name="Send a test").click()
        admin.answer("Send it", reason=WHY)
        expect(page.locator("#outgoing-delivered")).to_contain_text("webhook.test")
        page.get_by_role("button", name=f"Send again: user.disabled {event_id}").click()
        admin.answer("Send it", reason=WHY)
        expect(page.locator("#outgoing-undelivered").get_by_text("given up", exact=True)).to_have_count(0)
        assert eventually(lambda: str(event_id) in [message.id for message in receiver.messages])
        for audited in ("event.redelivered", "webhook.tested"):
            ((detail,),) = told.sql("SELECT detail FROM audit_events WHERE event = :event", event=audited)
            assert json.loads(detail)["reason"] == WHY
        support = desk(told).enter(told.person("support"), "#/service/events")
        expect(support.page.locator("#outgoing-delivered tbody tr").first).to_be_visible()
        expect(support.page.get_by_role("button", name="Send a test")).to_be_hidden()
        expect(support.page.get_by_role("button", name="Send again")).to_have_count(0)
        for one in (admin, support):
            one.page.goto("about:blank")
