"""Outside identities of a signed-in user: linked, listed, removed."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, text

from app.records.models import Identity
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem, without_request_id
from tests.security.races import all_at_once
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, running_issuer
from tests.support.outside import Outside, add_passkey, device_of, events, guest, mails, trusting
from tests.support.service import Device, Service


def linked(device: Device) -> list[str]:
    return [entry["identity_id"] for entry in device.get("/v1/me/identities").json()["items"]]


@pytest.mark.both_databases
class TestLinking:
    def test_lets_its_user_sign_in_with_it(self, outside: Outside) -> None:
        device = outside.service.device("ada@example.org")
        answer = outside.link(device, email="lovelace@example.org")
        assert answer.status_code == 201
        assert answer.json().keys() == {"identity_id", "provider", "email", "created_at", "last_used_at"}
        assert (answer.json()["provider"], answer.json()["email"]) == ("local", "lovelace@example.org")
        page = device.get("/v1/me/identities").json()
        assert page == {"items": [answer.json()], "next_cursor": None}
        assert outside.device().user_id == device.user_id
        assert device.get("/v1/me").json()["email"] == "ada@example.org"
        assert mails(outside.service) == [("identity_linked", "ada@example.org")]
        assert events(outside.service, "identity.linked") == ["done"]

    def test_of_ones_own_changes_nothing(self, outside: Outside) -> None:
        device = outside.service.device("ada@example.org")
        first = outside.link(device)
        again = outside.link(device)
        assert (again.status_code, again.json()) == (201, first.json())
        assert len(mails(outside.service)) == len(events(outside.service, "identity.linked")) == 1

    def test_of_somebody_elses_is_refused(self, outside: Outside) -> None:
        """ID6: the identity stays where it is."""
        owner = outside.device()
        stranger = outside.service.device("bob@example.org")
        assert_problem(outside.link(stranger), 409, "identity_taken")
        assert linked(stranger) == []
        assert outside.device().user_id == owner.user_id
        assert events(outside.service, "identity.linked") == ["refused"]
        assert mails(outside.service) == []

    def test_takes_a_token_once(self, outside: Outside) -> None:
        """ID5: neither by both doors nor by one twice, whether it was linked or refused."""
        device = outside.service.device("ada@example.org")
        token = outside.token()
        assert outside.link(device, token).status_code == 201
        assert_problem(outside.link(device, token), 401, "invalid_identity_token")
        assert_problem(outside.present(token), 401, "invalid_identity_token")
        token = outside.token()
        stranger = outside.service.device("bob@example.org")
        assert_problem(outside.link(stranger, token), 409, "identity_taken")
        assert_problem(outside.present(token), 401, "invalid_identity_token")

    def test_takes_no_forged_token(self, outside: Outside) -> None:
        """ID4: as at sign-in."""
        device = outside.service.device("ada@example.org")
        for token in ("garbage", outside.token(aud="another"), outside.issuer.token("made up")):
            assert_problem(outside.link(device, token), 401, "invalid_identity_token")
        assert events(outside.service, "identity.linked") == ["refused"] * 3
        answer = device.post("/v1/me/identities", {"provider": "unknown", "id_token": outside.token()})
        assert_problem(answer, 404, "not_found")

    def test_wants_a_fresh_sign_in(self, outside: Outside) -> None:
        """AU14: who finds an unlocked phone adds no way in, and takes none away."""
        device = outside.device()
        outside.service.clock.advance(minutes=5, seconds=1)
        assert_problem(outside.link(device, sub="thief"), 403, "step_up_required")
        assert_problem(device.delete(f"/v1/me/identities/{linked(device)[0]}"), 403, "step_up_required")
        assert outside.service.sql("SELECT count(*) FROM identities") == [(1,)]

    @pytest.mark.parametrize(("status", "code"), [("erased", 401), ("disabled", 403)])
    def test_stops_where_the_account_ends_meanwhile(self, outside: Outside, status: str, code: int) -> None:
        """AZ5: erased or disabled while the provider's keys are fetched: nothing is written to what is left of it."""
        device, service = outside.service.device("ada@example.org"), outside.service
        outside.issuer.before_answer = lambda _path: end_account(service, status)
        assert outside.link(device).status_code == code
        assert service.sql("SELECT count(*) FROM identities") == [(0,)]
        assert mails(service) == []


def end_account(service: Service, status: str) -> None:
    service.sql("UPDATE users SET status = :status", status=status)


@pytest.mark.both_databases
class TestUnlinking:
    def test_ends_sign_in_with_it(self, outside: Outside) -> None:
        device = outside.service.device("ada@example.org")
        outside.link(device, email="lovelace@example.org")
        assert device.delete(f"/v1/me/identities/{linked(device)[0]}").status_code == 204
        assert linked(device) == []
        assert outside.device(email="lovelace@example.org").user_id != device.user_id
        assert mails(outside.service)[1:] == [("identity_unlinked", "ada@example.org")]
        assert events(outside.service, "identity.unlinked") == ["done"]

    def test_leaves_a_way_to_sign_in(self, outside: Outside) -> None:
        device = outside.device()
        (only,) = linked(device)
        assert_problem(device.delete(f"/v1/me/identities/{only}"), 409, "last_sign_in")
        assert events(outside.service, "identity.unlinked") == ["refused"]
        outside.link(device, sub="second")
        assert device.delete(f"/v1/me/identities/{only}").status_code == 204
        assert_problem(device.delete(f"/v1/me/identities/{linked(device)[0]}"), 409, "last_sign_in")

    def test_a_passkey_is_a_way_to_sign_in(self, outside: Outside) -> None:
        device = outside.device()
        add_passkey(outside.service, device.user_id)
        assert device.delete(f"/v1/me/identities/{linked(device)[0]}").status_code == 204

    def test_of_somebody_elses_is_as_of_none(self, outside: Outside) -> None:
        """AZ2: 404, the same bytes, and it stays."""
        owner, stranger = outside.device(), outside.service.device("bob@example.org")
        foreign = stranger.delete(f"/v1/me/identities/{linked(owner)[0]}")
        absent = stranger.delete(f"/v1/me/identities/{uuid.uuid4()}")
        assert_problem(foreign, 404, "not_found")
        assert without_request_id(foreign) == without_request_id(absent)
        assert linked(stranger) == []
        assert len(linked(owner)) == 1


class TestGuests:
    def test_linking_makes_a_guest_a_user(self, outside: Outside) -> None:
        """VC1: id, prefix and session stay; the verified address is taken over."""
        device = guest(outside.service)
        before = device.get("/v1/me").json()
        assert outside.link(device).status_code == 201
        after = device.get("/v1/me").json()
        assert (after["id"], after["prefix"]) == (before["id"], before["prefix"])
        assert (after["email"], after["email_verified"]) == ("ada@example.org", True)
        assert outside.device().user_id == device.user_id
        assert outside.service.refresh(device.refresh_token).status_code == 200
        assert events(outside.service, "guest.upgraded") == ["done"]
        outside.service.clock.advance(minutes=5, seconds=1)
        assert_problem(outside.link(device, sub="second"), 403, "step_up_required")

    def test_a_guest_needs_no_fresh_sign_in(self, outside: Outside) -> None:
        device = guest(outside.service)
        outside.service.clock.advance(minutes=6)
        assert outside.link(device).status_code == 201

    def test_a_taken_address_is_left_where_it_is(self, outside: Outside) -> None:
        """ID6: verified or not, it is another account's."""
        owner = outside.service.device("ada@example.org")
        device = guest(outside.service)
        assert outside.link(device).status_code == 201
        assert device.get("/v1/me").json()["email"] is None
        assert owner.get("/v1/me").json()["email"] == "ada@example.org"
        assert outside.device().user_id == device.user_id

    def test_an_address_that_is_not_verified_is_not_taken_over(self, outside: Outside) -> None:
        device = guest(outside.service)
        assert outside.link(device, email_verified="false").status_code == 201
        assert device.get("/v1/me").json()["email"] is None

    def test_a_refused_guest_stays_one(self, outside: Outside) -> None:
        outside.device()
        device = guest(outside.service)
        assert_problem(outside.link(device), 409, "identity_taken")
        assert outside.service.sql("SELECT count(*) FROM users WHERE guest") == [(1,)]


@pytest.mark.slow("twenty at once, again and again")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestRaces:
    def test_one_identity_goes_to_one_of_twenty(self, outside: Outside, hashing: CountingContext, rounds: int) -> None:
        """ID6: of 20 users who link it at once, one has it; twenty rounds."""
        devices = [outside.service.device() for _ in range(20)]
        assert hashing.hashed
        for number in range(rounds):
            tokens = [outside.token(sub=str(number), email=None) for _ in devices]
            answers = all_at_once(lambda index, tokens=tokens: outside.link(devices[index], tokens[index]).status_code)
            assert sorted(answers) == [201] + [409] * 19
        assert outside.service.sql("SELECT count(*) FROM identities") == [(rounds,)]

    def test_who_links_one_and_who_signs_in_with_it_do_not_wait_for_each_other(self, outside: Outside) -> None:
        """ID6: both take the identity first, then its address; in another order a deadlock would be a 503."""
        service, device = outside.service, guest(outside.service)
        id_token = outside.token(sub="248289761001", email="ada@example.org")
        now = service.clock.now()
        linking = insert(Identity).values(
            id=uuid.uuid4(),
            user_id=uuid.UUID(device.user_id),
            provider="local",
            issuer=outside.issuer.url,
            subject="248289761001",
            created_at=now,
            last_used_at=now,
        )
        with ThreadPoolExecutor(1) as pool, service.runtime.platform.database.engine.connect() as other:
            other.execute(linking)
            signing_in = pool.submit(outside.present, id_token)
            while not service.sql("SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert not signing_in.done()
            other.execute(text("UPDATE users SET email = 'ada@example.org', email_key = 'ada@example.org'"))
            other.commit()
            assert device_of(service, signing_in.result()).user_id == device.user_id

    def test_one_way_to_sign_in_is_left(self, outside: Outside, rounds: int) -> None:
        """AU14: two identities removed at once by 20 requests: one goes; twenty rounds."""
        for number in range(rounds):
            device = outside.device(sub=f"{number} a", email=None)
            assert outside.link(device, sub=f"{number} b").status_code == 201
            both = linked(device)
            paths = [f"/v1/me/identities/{both[index % 2]}" for index in range(20)]
            answers = all_at_once(lambda index, device=device, paths=paths: device.delete(paths[index]).status_code)
            assert answers.count(204) == 1
            assert set(answers) <= {204, 404, 409}
            assert len(linked(device)) == 1


class TestProviders:
    def test_one_user_may_have_several(self, make_service: Callable[..., Service], issuer: Issuer) -> None:
        with running_issuer(ManualClock()) as other:
            service = make_service(oidc_providers=trusting(issuer, other))
            issuer.clock = other.clock = service.clock
            one, two = Outside(service, issuer), Outside(service, other, "other1")
            device = one.device()
            service.clock.advance(seconds=1)
            assert two.link(device).status_code == 201
            assert two.device().user_id == one.device().user_id == device.user_id
            listed = device.get("/v1/me/identities").json()["items"]
            assert [entry["provider"] for entry in listed] == ["local", "other1"]
