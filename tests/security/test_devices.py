"""Whose device is signed in, and how one is signed out."""

import pytest

from tests.security.observed import assert_problem
from tests.support.service import Device, Service

EMAIL = "ada@example.org"


def is_out(service: Service, device: Device) -> None:
    assert_problem(device.get("/v1/me"), 401, "invalid_token")
    assert_problem(device.vend(), 401, "invalid_token")
    assert_problem(service.refresh(device.refresh_token), 401, "invalid_refresh_token")


@pytest.mark.both_databases
class TestDevices:
    """TK15: a user sees their own devices and signs them out; it takes effect on the next request."""

    def test_one_signed_out_by_another_is_out_at_once(self, service: Service) -> None:
        phone, tablet = service.device(EMAIL), service.device(EMAIL)
        assert tablet.vend().status_code == 200  # so that a cached credential could answer
        listed = {entry["session_id"]: entry["current"] for entry in phone.get("/v1/me/sessions").json()["items"]}
        assert listed == {phone.session_id: True, tablet.session_id: False}
        assert phone.delete(f"/v1/me/sessions/{tablet.session_id}").status_code == 204
        is_out(service, tablet)
        assert [entry["session_id"] for entry in phone.get("/v1/me/sessions").json()["items"]] == [phone.session_id]
        assert phone.vend().status_code == 200

    def test_all_signed_out_are_out_at_once_and_nobody_else_is(self, service: Service) -> None:
        phone, tablet, stranger = service.device(EMAIL), service.device(EMAIL), service.device()
        assert phone.delete("/v1/me/sessions").status_code == 204
        is_out(service, phone)
        is_out(service, tablet)
        assert stranger.get("/v1/me").status_code == 200

    def test_are_listed_a_page_at_a_time(self, service: Service) -> None:
        """By the user and by support alike, the newest first, each once; of those at one moment too."""
        devices = [service.device(EMAIL) for _ in range(3)]
        service.clock.advance(seconds=1)
        devices.append(service.device(EMAIL))
        support = service.staff("support")
        lists = ((devices[-1], "/v1/me/sessions"), (support, f"/v1/admin/users/{devices[0].user_id}/sessions"))
        for caller, path in lists:
            pages, cursor = [], None
            while cursor is not None or not pages:
                page = caller.get(path, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
                pages.append([entry["session_id"] for entry in page["items"]])
                cursor = page["next_cursor"]
            assert [len(page) for page in pages] == [2, 2]
            assert pages[0][0] == devices[-1].session_id
            assert {one for page in pages for one in page} == {device.session_id for device in devices}
            assert_problem(caller.get(path, params={"cursor": "x"}), 422, "invalid_request")
            assert_problem(caller.get(path, params={"limit": 201}), 422, "invalid_request")

    def test_an_erased_account_has_none(self, service: Service) -> None:
        phone, tablet = service.device(EMAIL), service.device(EMAIL)
        assert phone.erase().status_code == 202
        is_out(service, phone)
        is_out(service, tablet)
