"""The same act on many users."""

import uuid
from typing import Any

import pytest

from app.platform.problems import DatabaseUnavailable
from tests.admin.test_acts import on_record
from tests.security.observed import assert_problem
from tests.support.service import Device, Service

PATH = "/v1/admin/user-acts"
WHY = "a leak of passwords, ticket 4711"


@pytest.fixture
def admin(service: Service) -> Device:
    return service.staff("admin", "root@example.com")


def act(device: Device, name: str, *user_ids: str, **members: Any) -> Any:
    return device.post(PATH, json={"act": name, "user_ids": user_ids, "reason": WHY, **members})


@pytest.mark.both_databases
def test_refusals_of_some_leave_the_others_done(service: Service, admin: Device) -> None:
    """AZ6: the last administrator stays. Each of the others is audited with the reason, by one request."""
    ada, bob = service.device(), service.device()
    nobody = str(uuid.uuid4())
    answer = act(admin, "disable", admin.user_id, ada.user_id, nobody, bob.user_id, ada.user_id)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["done"], body["refused"]) == (2, 2)
    assert [(one["user_id"], one["outcome"], one["code"]) for one in body["items"]] == [
        (admin.user_id, "refused", "last_admin"),
        (ada.user_id, "done", None),
        (nobody, "refused", "not_found"),
        (bob.user_id, "done", None),
    ]
    done = [row for row in on_record(service, "user.disabled") if row[0] == "done"]
    assert [(row[1], row[2], row[3]["reason"]) for row in done] == [
        (admin.user_id, device.user_id, WHY) for device in (ada, bob)
    ]
    requests = {"request_id": answer.headers["X-Request-ID"], "event": "user.disabled"}
    assert len(admin.get("/v1/admin/audit-events", params=requests).json()["items"]) == 3
    assert ada.get("/v1/me").status_code == bob.get("/v1/me").status_code == 401
    assert act(admin, "enable", ada.user_id, bob.user_id).json()["done"] == 2
    assert [service.log_in(device.email).status_code for device in (ada, bob)] == [200, 200]


class TestOthers:
    def test_do_what_the_single_calls_do(self, service: Service, admin: Device) -> None:
        ada, bob = service.device("ada@example.org"), service.device()
        assert act(admin, "send_password_reset", ada.user_id).json()["done"] == 1
        assert len(service.mails("ada@example.org")) == 1
        for name, event in (("unlock", "user.unlocked"), ("revoke_credentials", "credential.revoked")):
            assert act(admin, name, ada.user_id).json()["done"] == 1
            assert on_record(service, event)[-1][3]["reason"] == WHY
        assert act(admin, "sign_out", ada.user_id, bob.user_id).json()["done"] == 2
        assert ada.get("/v1/me").status_code == bob.get("/v1/me").status_code == 401

    def test_end_the_actor_last(self, service: Service, admin: Device) -> None:
        ada = service.device()
        body = act(admin, "sign_out", admin.user_id, ada.user_id).json()
        assert [one["outcome"] for one in body["items"]] == ["done", "done"]
        assert_problem(admin.get("/v1/me"), 401, "invalid_token")

    def test_of_support_are_those_of_support(self, service: Service, admin: Device) -> None:
        """AZ1: and support acts on no administrator."""
        support, ada = service.staff("support"), service.device()
        for name in ("disable", "enable", "revoke_credentials"):
            assert_problem(act(support, name, ada.user_id), 403, "forbidden")
        body = act(support, "sign_out", ada.user_id, admin.user_id).json()
        assert [one["code"] for one in body["items"]] == [None, "forbidden"]
        assert on_record(service, "user.disabled") == []

    @pytest.mark.parametrize(
        "wrong",
        [
            {"user_ids": []},
            {"user_ids": [str(uuid.uuid4())] * 101},
            {"user_ids": ["1"]},
            {"act": "erase"},
            {"reason": " "},
            {"more": 1},
        ],
        ids=["none", "too many", "no id", "erase", "no reason", "more"],
    )
    def test_are_refused_whole_if_malformed(self, service: Service, admin: Device, wrong: dict[str, Any]) -> None:
        ada = service.device()
        assert_problem(act(admin, "disable", ada.user_id, **wrong), 422, "invalid_request")
        assert ada.get("/v1/me").status_code == 200

    def test_stop_where_the_database_fails(
        self, service: Service, admin: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And say for each user that it was not done."""
        ada, bob, eve = (service.device() for _ in range(3))
        database, tries = service.runtime.platform.database, 0
        write = database.write

        async def fail_second(story: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal tries
            tries += 1
            if tries == 2:
                raise DatabaseUnavailable
            return await write(story, *args, **kwargs)

        monkeypatch.setattr(database, "write", fail_second)
        body = act(admin, "disable", ada.user_id, bob.user_id, eve.user_id).json()
        assert [one["code"] for one in body["items"]] == [None, "database_unavailable", "database_unavailable"]
        assert tries == 2
        assert [device.get("/v1/me").status_code for device in (ada, bob, eve)] == [401, 200, 200]
