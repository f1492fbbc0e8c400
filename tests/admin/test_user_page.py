"""What staff see of a user and do to them on the console's user page: ways in, address, devices, notes, shares."""

import uuid
from typing import Any

import pytest

from app.admin import notes
from app.platform.problems import RateLimited
from app.records.models import Identity, Passkey
from tests.admin.test_acts import WHY, act, change, on_record
from tests.security.observed import assert_problem
from tests.support.service import PASSWORD, Device, Service


@pytest.fixture
def admin(service: Service) -> Device:
    return service.staff("admin", "root@example.com")


@pytest.fixture
def support(service: Service) -> Device:
    return service.staff("support", "desk@example.com")


@pytest.fixture
def user(service: Service) -> Device:
    return service.device("ada@example.org")


def add_passkey(service: Service, device: Device) -> str:
    row = Passkey(
        id=uuid.uuid4(),
        user_id=uuid.UUID(device.user_id),
        credential_id=uuid.uuid4().bytes,
        public_key=b"key",
        sign_count=0,
        transports=["internal"],
        name="Ada's phone",
        backed_up=True,
        created_at=service.clock.now(),
    )
    passkey_id = str(row.id)
    service.runtime.platform.database.run("write", lambda session: session.add(row))
    return passkey_id


def add_identity(service: Service, device: Device) -> str:
    now = service.clock.now()
    row = Identity(
        id=uuid.uuid4(),
        user_id=uuid.UUID(device.user_id),
        provider="apple",
        issuer="https://appleid.apple.com",
        subject=uuid.uuid4().hex,
        email="relay@example.com",
        created_at=now,
        last_used_at=now,
    )
    identity_id = str(row.id)
    service.runtime.platform.database.run("write", lambda session: session.add(row))
    return identity_id


def listed(device: Device, user_id: str, what: str) -> list[dict[str, Any]]:
    answer = device.get(f"/v1/admin/users/{user_id}/{what}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.both_databases
class TestWaysIn:
    def test_are_removed_one_by_one_except_the_last(
        self, service: Service, admin: Device, support: Device, user: Device
    ) -> None:
        """AU14: with a reason, a row and a mail for each; another user's passkey is not found."""
        passkey, identity = add_passkey(service, user), add_identity(service, user)
        assert [row["name"] for row in listed(support, user.user_id, "passkeys")] == ["Ada's phone"]
        assert [row["provider"] for row in listed(support, user.user_id, "identities")] == ["apple"]
        assert_problem(act(support, user.user_id, f"passkeys/{passkey}/remove"), 403, "forbidden")
        assert_problem(act(admin, support.user_id, f"passkeys/{passkey}/remove"), 404, "not_found")
        assert act(admin, user.user_id, f"passkeys/{passkey}/remove").status_code == 200
        assert listed(support, user.user_id, "passkeys") == []
        service.sql("UPDATE users SET password_hash = NULL WHERE email = :email", email=user.email)
        assert_problem(act(admin, user.user_id, f"identities/{identity}/unlink"), 409, "last_sign_in")
        add_passkey(service, user)
        assert act(admin, user.user_id, f"identities/{identity}/unlink").status_code == 200
        assert [mail.subject for mail in service.mails(user.email)] == [
            "A passkey was removed",
            "A way to sign in was removed",
        ]
        assert on_record(service, "passkey.removed")[-1] == ("done", admin.user_id, user.user_id, WHY)
        refused, done = on_record(service, "identity.unlinked")
        assert refused == ("refused", admin.user_id, user.user_id, {"reason": "last_sign_in"})
        assert done == ("done", admin.user_id, user.user_id, {**WHY, "provider": "apple"})

    def test_of_ones_own_are_removed_elsewhere(self, service: Service, admin: Device) -> None:
        """AU14: this session alone would be no proof; the account's own settings ask for one."""
        passkey, identity = add_passkey(service, admin), add_identity(service, admin)
        for call in (f"passkeys/{passkey}/remove", f"identities/{identity}/unlink", "verify-email"):
            assert_problem(act(admin, admin.user_id, call), 409, "own_account")
        body = {"new_email": "new@example.org", **WHY}
        assert_problem(act(admin, admin.user_id, "email", body), 409, "own_account")
        assert len(listed(admin, admin.user_id, "passkeys")) == len(listed(admin, admin.user_id, "identities")) == 1
        assert on_record(service, "passkey.removed")[0][3] == {"reason": "own_account"}

    def test_of_one_device_end_alone(self, service: Service, support: Device, user: Device) -> None:
        """TK15: on the next request; the list says where each was last used."""
        other = service.device(user.email)
        sessions = listed(support, user.user_id, "sessions")
        assert {row["last_address"] for row in sessions} == {"127.0.0.1"}
        assert act(support, user.user_id, f"sessions/{other.session_id}/sign-out").status_code == 200
        assert (other.get("/v1/me").status_code, user.get("/v1/me").status_code) == (401, 200)
        assert_problem(act(support, user.user_id, f"sessions/{other.session_id}/sign-out"), 404, "not_found")
        assert_problem(act(support, user.user_id, f"sessions/{support.session_id}/sign-out"), 404, "not_found")
        (row,) = on_record(service, "user.signed_out")
        assert row == ("done", support.user_id, user.user_id, {**WHY, "device": other.session_id})


@pytest.mark.both_databases
class TestVerification:
    def test_is_sent_again(self, service: Service, support: Device, user: Device) -> None:
        """To the stored address, as the user could ask for it; with an audit row for each try."""
        assert act(support, user.user_id, "send-verification").status_code == 200
        [mail] = service.mails(user.email)
        body = {"token": mail.token}
        assert service.client.post("/v1/email-verifications/confirm", json=body).status_code == 204
        assert_problem(act(support, user.user_id, "send-verification"), 422, "invalid_request")
        assert [row[0] for row in on_record(service, "email.verification_requested")] == ["done", "refused"]

    def test_by_hand_is_for_administrators(
        self, service: Service, admin: Device, support: Device, user: Device
    ) -> None:
        assert_problem(act(support, user.user_id, "verify-email"), 403, "forbidden")
        answer = act(admin, user.user_id, "verify-email")
        assert (answer.status_code, answer.json()["email_verified"]) == (200, True)
        assert on_record(service, "email.verified")[-1] == ("done", admin.user_id, user.user_id, WHY)
        assert_problem(act(admin, user.user_id, "verify-email"), 422, "invalid_request")
        assert service.log_in(user.email).status_code == 200

    def test_by_hand_brings_no_strangers_password(self, make_service: Any) -> None:
        """AU21: of an address that was registered twice, nobody knows whose password it is."""
        service = make_service(email_verification="required")
        service.register("root@example.com")
        service.sql("UPDATE users SET role = 'admin', email_verified_at = created_at")
        tokens = service.log_in("root@example.com").json()["tokens"]
        admin = Device(
            service, "root@example.com", tokens["access_token"], tokens["refresh_token"], tokens["session_id"]
        )
        for password in (PASSWORD, "another tractor at dawn"):
            service.register("ada@example.org", password)
        user_id = service.sql("SELECT id FROM users WHERE email = 'ada@example.org'")[0][0]
        assert act(admin, str(uuid.UUID(str(user_id))), "verify-email").status_code == 200
        assert service.sql("SELECT password_hash FROM users WHERE email = 'ada@example.org'") == [(None,)]


@pytest.mark.both_databases
class TestEmail:
    def test_is_changed_at_once_and_both_addresses_are_told(
        self, service: Service, admin: Device, user: Device
    ) -> None:
        """AU14, AU20: the new one verifies itself by a link; links to the old one no longer work."""
        service.client.post("/v1/password-resets", json={"email": user.email})
        [reset] = service.mails(user.email)
        answer = act(admin, user.user_id, "email", {"new_email": "Ada@new.example", **WHY})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["email"], answer.json()["email_verified"]) == ("Ada@new.example", False)
        body = {"token": reset.token, "new_password": "another tractor at dawn"}
        assert_problem(service.client.post("/v1/password-resets/confirm", json=body), 400, "invalid_single_use_token")
        notice = service.mails(user.email)[-1]
        assert "gave your account another e-mail address" in notice.text
        assert "new.example" not in notice.text
        [link] = service.mails("Ada@new.example")
        assert "/account/verify-email#token=" in link.text
        confirmed = service.client.post("/v1/email-verifications/confirm", json={"token": link.token})
        assert confirmed.status_code == 204
        assert user.get("/v1/me").json()["email_verified"] is True
        assert service.log_in("ada@new.example").status_code == 200
        assert on_record(service, "email.changed") == [("done", admin.user_id, user.user_id, WHY)]

    def test_stays_where_it_must_not_change(
        self, service: Service, admin: Device, support: Device, user: Device
    ) -> None:
        """AZ1, TK19: not by support, not of staff, not to a taken address, not after a stale sign-in."""
        new = {"new_email": "new@example.org", **WHY}
        assert_problem(act(support, user.user_id, "email", new), 403, "forbidden")
        assert_problem(act(admin, support.user_id, "email", new), 403, "forbidden")
        assert_problem(act(admin, user.user_id, "email", {**new, "new_email": "desk@example.com"}), 409, "email_taken")
        for wrong in ("no address", user.email.upper()):
            assert_problem(act(admin, user.user_id, "email", {**new, "new_email": wrong}), 422, "invalid_request")
        guest = service.client.post("/v1/auth/guest", json={}).json()
        guest_id = service.client.get(
            "/v1/me", headers={"Authorization": f"Bearer {guest['tokens']['access_token']}"}
        ).json()["id"]
        assert_problem(act(admin, guest_id, "email", new), 422, "invalid_request")
        service.clock.advance(seconds=301)
        assert_problem(act(admin, user.user_id, "email", new), 403, "step_up_required")
        assert service.sql("SELECT count(*) FROM users WHERE email = 'new@example.org'") == [(0,)]
        assert {row[3]["reason"] for row in on_record(service, "email.changed")} == {
            "forbidden",
            "email_taken",
            "invalid_request",
        }


@pytest.mark.both_databases
class TestNotes:
    def test_are_written_read_removed_and_never_audited(
        self, service: Service, admin: Device, support: Device, user: Device
    ) -> None:
        """AZ1: by staff for staff; the audit has who and when, and not the text, which it could not erase."""
        text = "Called on Monday.\nLost the phone, not the laptop."
        written = act(support, user.user_id, "notes", {"text": text})
        assert written.status_code == 201, written.text
        note = written.json()
        assert (note["text"], note["author_id"], note["author_email"]) == (text, support.user_id, support.email)
        assert listed(admin, user.user_id, "notes") == [note]
        remove = f"notes/{note['note_id']}/remove"
        assert_problem(act(support, user.user_id, remove), 403, "forbidden")
        assert_problem(act(admin, support.user_id, remove), 404, "not_found")
        assert act(admin, user.user_id, remove).status_code == 204
        assert listed(admin, user.user_id, "notes") == []
        about = {"note": note["note_id"]}
        assert on_record(service, "user.note_added") == [("done", support.user_id, user.user_id, about)]
        assert on_record(service, "user.note_removed")[-1] == ("done", admin.user_id, user.user_id, WHY | about)

    @pytest.mark.parametrize("text", ["", " \n ", "x" * 1001, "a\x1b[2J", "a\0b"], ids=repr)
    def test_are_bounded_printable_text(self, support: Device, user: Device, text: str) -> None:
        assert_problem(act(support, user.user_id, "notes", {"text": text}), 422, "invalid_request")

    def test_are_as_many_as_a_page_can_show(
        self, service: Service, support: Device, user: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notes, "MOST", 2)
        answers = [act(support, user.user_id, "notes", {"text": f"note {n}"}) for n in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 422]
        assert len(on_record(service, "user.note_added")) == 2

    def test_are_the_users_to_read_and_end_with_the_user(self, service: Service, support: Device, user: Device) -> None:
        """Articles 15 and 17 of the GDPR: the text without its author; gone at once with the account."""
        act(support, user.user_id, "notes", {"text": "a note"})
        export = user.get("/v1/me/export").json()
        assert [note["text"] for note in export["notes"]] == ["a note"]
        assert support.user_id not in str(export["notes"])
        assert user.erase().status_code == 202
        assert service.sql("SELECT count(*) FROM user_notes") == [(0,)]


class TestGrants:
    def test_given_and_received_show_their_whole_story(self, service: Service, support: Device, user: Device) -> None:
        """Withdrawn ones too, and what the other side is not told: that it was accepted, or left."""
        friend = service.device("grace@example.org")
        body = {"grantee_email": friend.email, "path": "albums/2026/"}
        grant_id = user.post("/v1/grants", json=body).json()["grant_id"]
        friend.get("/v1/grants/received")
        friend.post(f"/v1/grants/received/{grant_id}/accept")
        user.delete(f"/v1/grants/{grant_id}")
        (given,) = listed(support, user.user_id, "grants/given")
        (received,) = listed(support, friend.user_id, "grants/received")
        assert (given["other_email"], received["other_email"]) == (friend.email, user.email)
        for one in (given, received):
            assert (one["grant_id"], one["path"], one["grantee_id"]) == (grant_id, "albums/2026/", friend.user_id)
            assert one["accepted_at"] is not None
            assert one["withdrawn_at"] is not None
        assert listed(support, user.user_id, "grants/received") == []


def test_what_staff_send_has_one_limit_of_their_own(make_service: Any) -> None:
    """AU24: strangers cannot use it up, and staff cannot flood a mailbox."""
    service = make_service(rate_limits="on")
    user, support = service.device("ada@example.org"), service.staff("support")
    statuses = [act(support, user.user_id, "send-verification").status_code for _ in range(12)]
    assert statuses[0] == 200
    assert statuses[-1] == RateLimited.status


def test_a_change_of_role_ends_the_power_over_others(service: Service) -> None:
    """AZ5: an administrator who was demoted a moment ago acts no more, and that is on record."""
    admin, other = service.staff("admin", "root@example.com"), service.staff("admin", "other@example.com")
    user = service.device()
    assert change(other, admin.user_id, role="user", **WHY).status_code == 200
    assert_problem(act(admin, user.user_id, "verify-email"), 403, "forbidden")
