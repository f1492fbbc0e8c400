"""The service itself, as its staff see it: health, queues, settings without secrets, signing keys, imports."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import SecretStr
from sqlalchemy import insert

from app.admin import configuration, status
from app.platform.settings import Settings
from app.records.models import Canary, OutboxMail, UserImport
from tests.admin.test_acts import WHY, on_record
from tests.security.observed import assert_problem
from tests.support.service import Device, Service

CANARY = "sparrow-4471"


@pytest.fixture
def admin(service: Service) -> Device:
    return service.staff("admin", "root@example.com")


@pytest.fixture
def support(service: Service) -> Device:
    return service.staff("support", "desk@example.com")


def add(service: Service, model: Any, **row: Any) -> None:
    service.runtime.platform.database.run(
        "write", lambda session: session.execute(insert(model).values(**row)) and None
    )


def add_mail(service: Service, **changes: Any) -> str:
    now, mail_id = service.clock.now(), uuid.uuid4()
    row = {"kind": "passkey_removed", "recipient": "ada@example.org", "attempts": 3}
    add(service, OutboxMail, **({"id": mail_id, "created_at": now, "next_try_at": now} | row | changes))
    return str(mail_id)


@pytest.mark.both_databases
class TestStatus:
    def test_tells_what_waits_and_what_last_happened(
        self, service: Service, support: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Counts stop at a bound, so that a flooded queue costs no more than a short one."""
        monkeypatch.setattr(status, "MOST", 2)
        now = service.clock.now()
        for minutes in (9, 1, 5):
            add_mail(service, created_at=now - timedelta(minutes=minutes), next_try_at=now + timedelta(hours=1))
        add_mail(service, failed_at=now)
        add_mail(service, failed_at=now, recipient="")  # to nobody
        add(service, Canary, id=1, next_try_at=now, attempts=0, result="passed", passed_at=now)
        said = support.get("/v1/admin/status").json()
        assert {part["part"]: part["state"] for part in said["health"]} == {
            "database": "ok",
            "keys": "ok",
            "engine": "ok",
        }
        oldest = (now - timedelta(minutes=9)).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert said["mails_waiting"] == {"count": 2, "is_more": True, "oldest_at": oldest}
        assert (said["mails_failed"]["count"], said["mails_failed"]["is_more"]) == (1, False)
        assert said["erasures"] == {"count": 0, "is_more": False, "oldest_at": None}
        assert (said["canary"]["result"], said["revocation"]["mode"]) == ("passed", "off")

    def test_finds_what_doctor_finds_once_for_all_who_ask(self, service: Service, admin: Device) -> None:
        """AZ1: for administrators; without the settings' secrets, and without a call for each request."""
        first = admin.get("/v1/admin/findings")
        names = {finding["name"]: finding["state"] for finding in first.json()["items"]}
        assert names["database"] == "ok"
        assert service.settings.secret_key.get_secret_value() not in first.text
        calls = len(service.sts.requests)
        assert admin.get("/v1/admin/findings").json() == first.json()
        assert len(service.sts.requests) == calls

    def test_lists_erasures_under_way(self, service: Service, support: Device) -> None:
        gone = service.device()
        assert gone.erase().status_code == 202
        (erasure,) = support.get("/v1/admin/erasures").json()["items"]
        assert (erasure["user_id"], erasure["attempts"], erasure["deleted_objects"]) == (gone.user_id, 0, 0)
        service.sql("UPDATE erasures SET completed_at = requested_at")
        assert support.get("/v1/admin/erasures").json()["items"] == []


@pytest.mark.both_databases
class TestMails:
    def test_that_were_given_up_get_one_more_try(self, service: Service, support: Device) -> None:
        """With a reason; a mail with a link is refused, because its link was deleted."""
        user = service.device("ada@example.org")
        about = {"failed_at": service.clock.now(), "user_id": uuid.UUID(user.user_id)}
        notice, link = add_mail(service, **about), add_mail(service, kind="verify_email", **about)
        listed = support.get("/v1/admin/mails?state=failed").json()["items"]
        assert {mail["mail_id"]: mail["can_retry"] for mail in listed} == {notice: True, link: False}
        assert_problem(support.post(f"/v1/admin/mails/{link}/retry", WHY), 422, "invalid_request")
        assert support.post(f"/v1/admin/mails/{notice}/retry", WHY).status_code == 200
        assert [mail.subject for mail in service.mails("ada@example.org")] == ["A passkey was removed"]
        assert_problem(support.post(f"/v1/admin/mails/{notice}/retry", WHY), 404, "not_found")
        ((_, actor, subject, detail),) = on_record(service, "mail.retried")
        assert (actor, subject) == (support.user_id, user.user_id)
        assert detail == {**WHY, "mail": notice, "kind": "passkey_removed"}


class TestSettings:
    def test_show_no_value_that_may_be_secret(self) -> None:
        """OP1: each setting with a secret in it, in whatever form; only those that are listed as plain show theirs."""
        for name, field in Settings.model_fields.items():
            value = _secret(field.annotation)
            settings = Settings.model_construct(_fields_set={name}, **{name: value})
            (shown,) = [one for one in configuration.list_settings(settings) if not one.is_default]
            assert shown.is_set, name
            assert (CANARY in str(shown)) == (name in configuration.PLAIN and CANARY in str(value)), name
        assert not [name for name in configuration.PLAIN if Settings.model_fields[name].repr is False]
        assert not [name for name in configuration.PLAIN if "Secret" in str(Settings.model_fields[name].annotation)]

    def test_are_for_administrators(self, service: Service, admin: Device, support: Device) -> None:
        """AZ1: as they are now, whether by default or not."""
        assert_problem(support.get("/v1/admin/settings"), 403, "forbidden")
        answer = admin.get("/v1/admin/settings")
        shown = {one["name"]: one for one in answer.json()["items"]}
        assert (shown["TOKENVEND_BUCKET"]["value"], shown["TOKENVEND_BUCKET"]["is_default"]) == ("photos", False)
        assert shown["TOKENVEND_GUESTS"]["value"] == "on"
        secret = shown["TOKENVEND_SECRET_KEY"]
        assert (secret["value"], secret["is_shown"], secret["is_set"]) == (None, False, True)
        assert service.settings.secret_key.get_secret_value() not in answer.text
        assert service.settings.database_url not in answer.text


def _secret(annotation: Any) -> Any:
    """A value of the type, with the canary in it if any value can have it."""
    parts = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return _secret(next(part for part in parts if part is not type(None)))
    if annotation is SecretStr:
        return SecretStr(CANARY)
    if get_origin(annotation) is tuple:
        return (CANARY,)
    if get_origin(annotation) is dict:
        return {"apple": CANARY}
    if annotation in (bool, int, float):
        return annotation(1)
    return CANARY if annotation is str or not parts else parts[0]


@pytest.mark.both_databases
class TestSigningKeys:
    def test_rotate_after_a_fresh_sign_in_with_a_reason(self, service: Service, admin: Device, support: Device) -> None:
        """TK18, TK19: the new key is published before it signs; the list holds no private part."""
        (first,) = support.get("/v1/admin/signing-keys").json()["items"]
        assert (first["purpose"], first["state"]) == ("access", "signs")
        assert_problem(support.post("/v1/admin/signing-keys/rotate", WHY), 403, "forbidden")
        assert_problem(admin.post("/v1/admin/signing-keys/rotate", {}), 422, "invalid_request")
        rotated = admin.post("/v1/admin/signing-keys/rotate", WHY)
        assert rotated.status_code == 200, rotated.text
        assert [key["state"] for key in rotated.json()["items"]] == ["published", "signs"]
        assert {key["kid"] for key in service.client.get("/.well-known/jwks.json").json()["keys"]} == {
            key["kid"] for key in rotated.json()["items"]
        }
        assert rotated.json()["items"][0].keys() == {
            *("kid", "purpose", "state", "created_at", "signs_from", "retires_at"),
        }
        outcome, actor, _, detail = on_record(service, "signing_key.created")[-1]
        assert (outcome, actor, detail["reason"], detail["at_once"]) == ("done", admin.user_id, WHY["reason"], 0)
        service.clock.advance(seconds=601)
        assert_problem(admin.post("/v1/admin/signing-keys/rotate", WHY), 403, "step_up_required")
        assert [key["state"] for key in support.get("/v1/admin/signing-keys").json()["items"]] == ["signs", "retiring"]

    def test_of_a_stolen_key_ends_its_tokens_at_once(self, service: Service, admin: Device) -> None:
        body = {"at_once": True, **WHY}
        answer = admin.post("/v1/admin/signing-keys/rotate", body)
        assert [key["state"] for key in answer.json()["items"]] == ["signs", "retired"]
        assert_problem(admin.get("/v1/me"), 401, "invalid_token")
        assert service.refresh(admin.refresh_token).status_code == 200

    def test_that_sts_trusts_is_published_and_signs_at_once_too(self, make_service: Callable[..., Service]) -> None:
        """Each replica reads its keys once a minute, and this one when it has made one."""
        service = make_service(vending_mode="web_identity")
        admin = service.staff("admin", "root@example.com")
        before = service.client.get("/sts/jwks.json").json()["keys"]
        answer = admin.post("/v1/admin/signing-keys/rotate", {"purpose": "sts", "at_once": True, **WHY})
        assert answer.status_code == 200, answer.text
        after = service.client.get("/sts/jwks.json").json()["keys"]
        assert {key["kid"] for key in after}.isdisjoint(key["kid"] for key in before)
        assert len(after) == 1


@pytest.mark.both_databases
def test_imports_stay_on_the_list(service: Service, admin: Device) -> None:
    """With their counts, the command line's too, newest first."""
    now = service.clock.now()
    row = {"source": "cognito", "dry_run": False, "status": "completed", "lease": uuid.uuid4(), "digest": "", "rows": 7}
    row |= {"created": 4, "existing": 2, "refused": 1, "updated_at": now, "finished_at": now}
    ids = [uuid.uuid4() for _ in range(3)]
    for age, import_id in enumerate(ids):
        add(service, UserImport, id=import_id, started_at=now - timedelta(hours=age), **row)
    page = admin.get("/v1/admin/user-imports?limit=2").json()
    rest = admin.get(f"/v1/admin/user-imports?cursor={page['next_cursor']}").json()
    assert [one["import_id"] for one in page["items"] + rest["items"]] == list(map(str, ids))
    assert (page["items"][0]["refused"], page["items"][0]["started_by"]) == (1, None)
