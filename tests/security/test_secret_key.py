"""Another secret key takes the place of the one in use while the service runs, and no user notices."""

import ast
import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from limits import parse
from passlib.hash import bcrypt
from rich.console import Console
from sqlalchemy import LargeBinary, update
from sqlalchemy.orm import Session

import app
from app.accounts import prehash_keys
from app.auth import totp
from app.cli import doctor, secret_key
from app.cli.secret_key import NotYet
from app.compose import build_runtime
from app.crypto import kinds
from app.crypto.kinds import KINDS, Sealed
from app.crypto.vault import DecryptionFailed, Vault
from app.mail import bounds, outbox
from app.platform.limits import LIMITS, account_key
from app.platform.problems import InvalidSingleUseToken, RateLimited
from app.records import secret_keys, single_use
from app.records.models import Digested, Encrypted, Model, ProviderAuthorization, SecretKeyHolder, TotpFactor
from app.upkeep.checks.secret_key import check as check_secret_key
from tests.accounts.test_strength import imported
from tests.security.observed import assert_problem
from tests.security.races import all_at_once
from tests.support.authenticator import answer, challenge, enable
from tests.support.clock import ManualClock
from tests.support.logged import capture_logs
from tests.support.service import PASSWORD, SECRET_KEY, Device, Service, running_service

OLD, NEW = SECRET_KEY, "N3w-key-of-32-random-characters-0001"
NEWEST = "Th1rd-key-of-32-random-characters-03"
QUIET = Console(quiet=True)
ADA = "ada@example.org"
PLAIN = {
    *("link_contributors.token_digest", "links.secret_digest"),
    *("passkeys.credential_id", "passkeys.public_key", "write_probes.data"),
}
"""Binary columns that depend on no key."""


class Fleet:
    """Replicas over one database, with one clock."""

    def __init__(self, database_url: str) -> None:
        self.clock = ManualClock()
        self._url = database_url
        self._running: dict[int, ExitStack] = {}

    def start(self, key: str = OLD, *previous: str, **changes: Any) -> Service:
        stack = ExitStack()
        keys = {"secret_key": key, "secret_key_previous": previous}
        service = stack.enter_context(running_service(self._url, clock=self.clock, **(keys | changes)))
        self._running[id(service)] = stack
        return service

    def stop(self, *services: Service) -> None:
        for service in services:
            self._running.pop(id(service)).close()

    def stop_all(self) -> None:
        for stack in self._running.values():
            stack.close()


@pytest.fixture
def fleet(database_url: str) -> Iterator[Fleet]:
    replicas = Fleet(database_url)
    yield replicas
    replicas.stop_all()


def look(*replicas: Service) -> None:
    """What each does every ten seconds."""
    for replica in replicas:
        assert replica.client.portal is not None
        replica.client.portal.call(replica.runtime.secret_key.load)


def reencrypt(replica: Service, *others: Service) -> str:
    """As on a host with that replica's settings, while replicas look at their own times."""
    return "\n".join(secret_key.reencrypt(replica.runtime, QUIET, pause=lambda _: look(replica, *others)))


def judge(replica: Service) -> tuple[str, str]:
    """What doctor says."""
    found = asyncio.run(check_secret_key(replica.runtime.platform))
    return found.state, found.message


def at(replica: Service, device: Device) -> Device:
    """The same device, whose next calls another replica answers."""
    return Device(replica, device.email, device.access_token, device.refresh_token, device.session_id, device.user_id)


def opened_by(replica: Service, key: str) -> list[bool]:
    """Of each encrypted value: whether the key alone opens it."""
    found, vault = [], Vault(key)
    with Session(replica.runtime.platform.database.engine) as session:
        for of in secret_keys.sealed_columns():
            columns = (of.column, of.table.columns[of.sealed_as.bound_to])
            for sealed, bound_to in session.execute(of.table.select().with_only_columns(*columns)):
                if sealed is not None:
                    found.append(_opens(vault, of.sealed_as.kind, sealed, str(bound_to)))
    return found


def _opens(vault: Vault, kind: Sealed, sealed: bytes, bound_to: str) -> bool:
    try:
        vault.decrypt(kind, sealed, bound_to=bound_to)
    except DecryptionFailed:
        return False
    return True


class TestCoverage:
    """A new column, digest or derived key is part of the change, or a test here fails."""

    def test_every_binary_column_says_what_it_holds(self) -> None:
        columns = [column for table in Model.metadata.sorted_tables for column in table.columns]
        typed = {f"{column}" for column in columns if isinstance(column.type, (Encrypted, Digested))}
        binary = {f"{c}" for c in columns if isinstance(c.type, (LargeBinary, Encrypted, Digested))}
        assert binary - typed == PLAIN
        named = {f"{c}" for c in columns if c.name.endswith(("_encrypted", "_hash")) and c.name != "password_hash"}
        assert named <= typed

    def test_every_encrypted_kind_has_a_column_or_is_a_copy(self) -> None:
        moved = {kind for kind in KINDS if isinstance(kind, Sealed) and kind.fate == "moved"}
        assert {of.sealed_as.kind for of in secret_keys.sealed_columns()} == moved
        for of in secret_keys.sealed_columns():
            assert of.sealed_as.bound_to in of.table.columns

    def test_every_digest_that_expires_in_a_column_says_when(self) -> None:
        for table in Model.metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, Digested):
                    kind, said = column.type.kind, {column.type.since, column.type.until} - {None}
                    assert said <= set(table.columns.keys()), column
                    assert (column.type.until is not None) == (kind.fate == "expires"), column
                    assert kind.fate != "kept" or column.type.since is not None, column

    def test_nothing_else_derives_from_the_secret_key(self) -> None:
        """Kinds are made in one file, keys are derived in one, and the setting is read in few."""
        uses: dict[str, set[str]] = {"Sealed": set(), "Keyed": set(), "HKDF": set(), "secret_key": set()}
        root = Path(app.__path__[0])
        for file in root.rglob("*.py"):
            text = file.read_text()
            if not any(word in text for word in uses):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in uses:
                    uses[node.func.id].add(file.relative_to(root).as_posix())
                if isinstance(node, ast.Attribute) and node.attr == "secret_key":
                    uses["secret_key"].add(file.relative_to(root).as_posix())
        assert uses["Sealed"] == uses["Keyed"] == {"crypto/kinds.py"}
        assert uses["HKDF"] == {"crypto/vault.py"}
        of_aws = {"aws/generated_transport.py", "aws/base_credentials.py", "aws/signed_transport.py"}
        watch = {"main.py", "upkeep/checks/__init__.py", "upkeep/checks/database.py", "cli/opening.py"}
        settings = {"platform/settings.py", "platform/environment.py", "compose.py", "cli/development.py"}
        assert uses["secret_key"] - of_aws - watch <= settings

    def test_every_kind_is_used(self) -> None:
        source = "\n".join(file.read_text() for file in Path(app.__path__[0]).rglob("*.py"))
        names = [name for name, value in vars(kinds).items() if value in KINDS]
        assert [name for name in names if f"kinds.{name}" not in source] == []


@pytest.mark.both_databases
class TestSideBySide:
    """Before `keys reencrypt`: some replicas know the new key beside the old one, some the old one alone."""

    def test_each_reads_what_the_other_writes(self, fleet: Fleet) -> None:
        """TK8, AU12, AU15, AU16: sessions, seeds, recovery codes and links of either work at the other."""
        old, both = fleet.start(), fleet.start(NEW, OLD)
        for one, other in ((old, both), (both, old)):
            device = one.device()
            authenticator = enable(device)
            token = at(other, device).service.refresh(device.refresh_token).json()["refresh_token"]
            assert one.refresh(token).status_code == 200
            for replica in (other, one):
                code = authenticator.fresh_code()
                assert answer(replica, challenge(at(one, device)), code).json()["status"] == "complete"
            recovery = authenticator.recovery_codes[0]
            assert answer(other, challenge(device), recovery, "recovery_code").json()["status"] == "complete"
            one.client.post("/v1/password-resets", json={"email": device.email})
            reset = {"token": other.mails(device.email)[-1].token, "new_password": "another violet tractor"}
            assert other.client.post("/v1/password-resets/confirm", json=reset).status_code == 204
        assert all(opened_by(old, OLD))

    def test_a_lost_answer_is_repeated_by_the_other(self, fleet: Fleet) -> None:
        """TK11: the one successor, whichever replica made it."""
        old, both = fleet.start(), fleet.start(NEW, OLD)
        token = old.device().refresh_token
        first = both.refresh(token).json()["refresh_token"]
        assert old.refresh(token).json()["refresh_token"] == first

    def test_the_switch_waits_for_those_that_lack_the_key(self, fleet: Fleet) -> None:
        """Nothing is changed while a replica runs that could not read what is written from then on."""
        old, both = fleet.start(), fleet.start(NEW, OLD)
        token = old.device().refresh_token
        with pytest.raises(NotYet, match="1 running processes do not have this TOKENVEND_SECRET_KEY"):
            reencrypt(both, old)
        look(old, both)
        assert old.refresh(token).status_code == 200
        assert all(opened_by(old, OLD))
        fleet.clock.advance(minutes=4)
        look(both)
        assert "Everything is encrypted under TOKENVEND_SECRET_KEY." in reencrypt(both)


@pytest.mark.both_databases
class TestChange:
    def test_loses_nothing(self, fleet: Fleet) -> None:
        """TK8, TK11, AU12, AU15, AU16, AU18: what was made before works after it, under both keys and then the new."""
        before = fleet.start(email_verification="required")
        device = _verified(before, ADA)
        lost = _verified(before, "lost@example.org")
        authenticator = enable(device)
        mfa_token = challenge(device)
        assert before.register("late@example.org").status_code == 201
        before.client.post("/v1/password-resets", json={"email": lost.email})
        first = before.refresh(lost.refresh_token).json()["refresh_token"]
        authorization = _authorization(before, device)

        both, second = fleet.start(NEW, OLD), fleet.start(NEW, OLD)
        fleet.stop(before)
        said = reencrypt(both, second)
        assert "secrets of authenticator apps: 1 encrypted anew" in said
        assert "signing keys: 1 encrypted anew" in said
        assert "TOKENVEND_SECRET_KEY_PREVIOUS may be dropped after" in said
        assert all(opened_by(both, NEW))

        assert at(both, device).get("/v1/me").status_code == 200, "its access token is good"
        assert answer(second, mfa_token, authenticator.fresh_code()).json()["status"] == "complete"
        assert second.refresh(lost.refresh_token).json()["refresh_token"] == first, "the lost answer"
        link = {"token": both.mails("late@example.org")[0].token}
        assert both.client.post("/v1/email-verifications/confirm", json=link).status_code == 204
        assert second.client.post("/v1/email-verifications/confirm", json=link).status_code == 204, "a second click"
        reset = {"token": both.mails(lost.email)[-1].token, "new_password": "another violet tractor"}
        assert both.client.post("/v1/password-resets/confirm", json=reset).status_code == 204
        assert both.client.post("/v1/password-resets/confirm", json=reset).status_code == 400, "it works once"
        token = second.refresh(device.refresh_token).json()["refresh_token"]

        new = fleet.start(NEW)
        assert at(new, device).get("/v1/me").status_code == 200
        assert new.refresh(token).status_code == 200
        device = at(new, device)
        assert answer(new, challenge(device), authenticator.fresh_code()).json()["status"] == "complete"
        recovery = authenticator.recovery_codes[0]
        assert answer(new, challenge(device), recovery, "recovery_code").json()["status"] == "complete"
        assert_problem(answer(new, challenge(device), recovery, "recovery_code"), 401, "invalid_mfa_code")
        with Session(new.runtime.platform.database.engine) as session:
            row = session.get_one(ProviderAuthorization, authorization)
            plain = new.runtime.platform.vault.decrypt(kinds.PROVIDER_TOKEN, row.token_encrypted, bound_to=str(row.id))
            assert plain == b"a token of Apple's"

    def test_takes_the_keys_of_imported_hashes_along(self, fleet: Fleet) -> None:
        """AU12: users whose hash needs one sign in where the previous secret key is not known."""
        first = fleet.start()
        platform = first.runtime.platform
        key_id = platform.database.run("write", prehash_keys.keep, platform.vault, fleet.clock.now(), b"pepper")
        email = imported(first, f"$prehash=devise,{key_id}{bcrypt.using(rounds=4).hash(PASSWORD + 'pepper')}")
        fleet.stop(first)
        both = fleet.start(NEW, OLD)
        assert "keys of other systems' password hashes: 1 encrypted anew" in reencrypt(both)
        fleet.stop(both)
        assert fleet.start(NEW).log_in(email).status_code == 200

    def test_of_a_key_that_was_changed_before(self, fleet: Fleet) -> None:
        """AU15: recovery codes of two keys ago work, for their own keys go along; without codes these are dropped."""
        first = fleet.start()
        device = first.device()
        authenticator = enable(device)
        fleet.stop(first)
        second = fleet.start(NEW, OLD)
        reencrypt(second)
        fleet.stop(second)
        third = fleet.start(NEWEST, NEW)
        reencrypt(third)
        fleet.stop(third)
        only = fleet.start(NEWEST)
        assert all(opened_by(only, NEWEST))
        for code in authenticator.recovery_codes[:2]:
            assert answer(only, challenge(at(only, device)), code, "recovery_code").json()["status"] == "complete"
        assert only.sql("SELECT count(*) FROM kept_keys") == [(2,)]
        only.sql("DELETE FROM recovery_codes")
        fleet.stop(only)
        last = fleet.start(OLD, NEWEST)
        reencrypt(last)
        assert last.sql("SELECT count(*) FROM kept_keys") == [(0,)]

    def test_ends_where_it_was_killed(self, fleet: Fleet) -> None:
        """After each batch: whatever was moved is read under the new key, the rest under the old, and it goes on."""
        old = fleet.start()
        devices = [old.device() for _ in range(3)]
        authenticators = [enable(device) for device in devices]
        fleet.stop(old)
        both = fleet.start(NEW, OLD)
        run, vault = both.runtime.platform.database.run, both.runtime.platform.vault
        run("write", secret_keys.switch, vault, fleet.clock.now())
        (factors,) = [of for of in secret_keys.sealed_columns() if of.table.name == "totp_factors"]
        look(both)
        assert run("read", secret_keys.follow, vault) == "unfinished"
        run("write", _move_one, vault, factors)
        assert sorted(opened_by(both, NEW)).count(True) == 2, "one factor, and the key of recovery codes"
        for device, authenticator in zip(devices, authenticators, strict=True):
            done = answer(both, challenge(at(both, device)), authenticator.fresh_code())
            assert done.json()["status"] == "complete"
        assert "secrets of authenticator apps: 2 encrypted anew" in reencrypt(both)
        assert all(opened_by(both, NEW))
        assert "already" in reencrypt(both)

    def test_of_a_seed_in_the_moment_of_its_use_refuses_no_code(self, fleet: Fleet) -> None:
        """AU11: the code is used once, although the ciphertext that it was read from is another one by then."""
        service = fleet.start()
        device = service.device()
        authenticator = enable(device)
        mfa_token, code = challenge(device), authenticator.fresh_code()
        vault, user_id = service.runtime.platform.vault, UUID(device.user_id)

        def use(session: Session) -> bool:
            factor = session.get_one(TotpFactor, user_id)
            sealed = vault.encrypt(kinds.TOTP_SECRET, authenticator.secret.encode(), bound_to=device.user_id)
            changed = update(TotpFactor).values(secret_encrypted=sealed)
            session.execute(changed.execution_options(synchronize_session=False))
            assert factor.secret_encrypted != sealed
            return totp.use(session, vault, fleet.clock.now(), user_id=user_id, code=code)

        assert service.runtime.platform.database.run("write", use)
        assert_problem(answer(service, mfa_token, code), 401, "invalid_mfa_code")

    def test_of_a_value_that_is_replaced_meanwhile_leaves_it(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """AU12: a user sets up another app after the old seed was read, and before it is written anew."""
        old = fleet.start()
        device = old.device()
        enable(device)
        vault = Vault(NEW, [OLD])
        vault.write_with(vault.fingerprints[0])
        [seeds] = [of for of in secret_keys.sealed_columns() if of.sealed_as.kind == kinds.TOTP_SECRET]
        another = vault.encrypt(kinds.TOTP_SECRET, b"another seed", bound_to=device.user_id)
        renewed = vault.renewed

        def walk(session: Session) -> bytes:
            def renew(*arguments: Any, **bound: str) -> bytes | None:
                session.connection().execute(update(TotpFactor).values(secret_encrypted=another))
                return renewed(*arguments, **bound)

            monkeypatch.setattr(vault, "renewed", renew)
            secret_keys.move(session, vault, seeds, None)
            return session.get_one(TotpFactor, UUID(device.user_id)).secret_encrypted

        assert old.runtime.platform.database.run("write", walk) == another

    def test_of_rows_that_none_of_the_keys_opens_leaves_them_and_tells_of_them(self, fleet: Fleet) -> None:
        old = fleet.start()
        device = old.device()
        enable(device)
        old.sql("UPDATE totp_factors SET secret_encrypted = :bytes", bytes=b"neither key made this one")
        fleet.stop(old)
        both = fleet.start(NEW, OLD)
        assert "1 that no key opens were left as they are" in reencrypt(both)
        assert both.sql("SELECT count(*) FROM totp_factors") == [(1,)]

    def test_is_on_record(self, fleet: Fleet) -> None:
        """OP2: who did it cannot be told on a host; when, and how much, can."""
        fleet.stop(fleet.start())
        both = fleet.start(NEW, OLD)
        reencrypt(both)
        rows = both.sql("SELECT event, detail FROM audit_events WHERE event LIKE 'secret_key.%' ORDER BY id")
        assert [event for event, _ in rows] == ["secret_key.switched", "secret_key.moved"]
        detail = json.loads(rows[1][1]) if isinstance(rows[1][1], str) else rows[1][1]
        assert (detail["moved"], detail["unreadable"]) == (1, 0)
        assert OLD not in str(rows)
        assert NEW not in str(rows)


def _verified(service: Service, email: str) -> Device:
    service.register(email)
    link = {"token": service.mails(email)[-1].token}
    assert service.client.post("/v1/email-verifications/confirm", json=link).status_code == 204
    return service.device(email)


def _authorization(service: Service, device: Device) -> UUID:
    kept_id, platform = uuid4(), service.runtime.platform
    sealed = platform.vault.encrypt(kinds.PROVIDER_TOKEN, b"a token of Apple's", bound_to=str(kept_id))
    values = {"user_id": UUID(device.user_id), "identity_id": uuid4(), "provider": "apple", "client_id": "app"}
    with Session(platform.database.engine) as session:
        session.add(
            ProviderAuthorization(
                id=kept_id, token_encrypted=sealed, created_at=platform.clock.now(), attempts=0, **values
            )
        )
        session.commit()
    return kept_id


def _move_one(session: Session, vault: Vault, of: secret_keys.SealedColumn) -> None:
    monkey, secret_keys.BATCH = secret_keys.BATCH, 1
    try:
        batch = secret_keys.move(session, vault, of, None)
    finally:
        secret_keys.BATCH = monkey
    assert batch is not None
    assert (batch.rows, batch.moved) == (1, 1)


@pytest.mark.both_databases
class TestWhatIsOnlyKeyed:
    def test_a_link_is_used_once_by_replicas_of_both_keys(self, fleet: Fleet) -> None:
        """AU16: one statement looks under all keys and claims, whichever wrote the token."""
        old, both = fleet.start(), fleet.start(NEW, OLD)
        for replica in (old, both):
            platform = replica.runtime.platform
            issue = ("password_reset",)
            token = platform.database.run(
                "write", single_use.issue, platform.vault, fleet.clock.now(), *issue, ttl=timedelta(minutes=10)
            )

            def claim(number: int, token: str = token) -> bool:
                platform = (old, both)[number % 2].runtime.platform
                try:
                    platform.database.run(
                        "write", single_use.claim, platform.vault, fleet.clock.now(), "password_reset", token
                    )
                except InvalidSingleUseToken:
                    return False
                return True

            assert all_at_once(claim, 8).count(True) == 1

    def test_mails_to_one_recipient_stay_bounded(self, fleet: Fleet) -> None:
        """AU24: the change of the key renews no bound."""
        old, both = fleet.start(rate_limits="on"), fleet.start(NEW, OLD, rate_limits="on")
        most = bounds.BOUNDS["verify_email"].most
        for replica, puts in ((old, most - 1), (both, 3)):
            for _ in range(puts):
                replica.runtime.platform.database.run("write", _put, replica.runtime.platform.vault, fleet.clock.now())
            replica.mails(ADA)
        assert len(old.mails(ADA)) + len(both.mails(ADA)) == most
        both.runtime.platform.vault.write_with(both.runtime.platform.vault.fingerprints[0])
        both.runtime.platform.database.run("write", _put, both.runtime.platform.vault, fleet.clock.now())
        assert len(old.mails(ADA)) + len(both.mails(ADA)) == most

    def test_guesses_go_on_from_where_they_were(self, fleet: Fleet) -> None:
        """AU7: those counted by the old key alone, and those counted since by both, are one count."""
        service = fleet.start(NEW, OLD, rate_limits="on")
        vault, limiter = service.runtime.platform.vault, service.runtime.platform.limiter
        most = parse(LIMITS["guess"].amount).amount
        assert service.client.portal is not None
        call = service.client.portal.call
        for _ in range(most - 1):
            call(limiter.hit, "guess", account_key(Vault(OLD), ADA))
        call(limiter.hit, "guess", account_key(vault, ADA))
        vault.write_with(vault.fingerprints[0])
        for _ in range(2):
            with pytest.raises(RateLimited):
                call(limiter.hit, "guess", account_key(vault, ADA))
        assert call(limiter.waits, [("guess", account_key(vault, ADA))])[0] > 0
        assert call(limiter.waits, [("guess", account_key(Vault(NEW), ADA))]) == [0], "what was refused is not counted"
        call(limiter.clear, "guess", account_key(vault, ADA))
        call(limiter.hit, "guess", account_key(Vault(OLD), ADA))

    def test_says_until_when_a_previous_key_is_needed(self, fleet: Fleet) -> None:
        """TK8: as long as the last refresh token of before may live, and not a moment less; then it may go."""
        old = fleet.start()
        token = old.device().refresh_token
        fleet.stop(old)
        both = fleet.start(NEW, OLD)
        assert "after 2026-07-01T12:00:00Z; until then it is needed for: refresh tokens (1)." in reencrypt(both)
        fleet.clock.advance(days=29, hours=23)
        state, said = judge(both)
        assert (state, "refresh tokens (1)" in said) == ("ok", True)
        new = fleet.start(NEW)
        state, said = judge(new)
        assert (state, "is not set, and is needed until 2026-07-01T12:00:00Z" in said) == ("warning", True)
        assert_problem(new.refresh(token), 401, "invalid_refresh_token")
        assert both.refresh(token).status_code == 200
        fleet.clock.advance(hours=1)
        said = judge(both)
        assert said == ("ok", "TOKENVEND_SECRET_KEY_PREVIOUS may be dropped now")

    def test_counts_in_redis_are_needed_for_a_day(self, fleet: Fleet) -> None:
        """AU7: nobody can tell by which key they were made."""
        fleet.stop(fleet.start())
        both = fleet.start(NEW, OLD, rate_limits="on", rate_limit_url="redis://127.0.0.1:1/0")
        assert "after 2026-06-02T12:00:00Z; until then it is needed for: counts of guesses and mails." in reencrypt(
            both
        )


def _put(session: Session, vault: Vault, now: Any) -> None:
    outbox.put(session, vault, now, "verify_email", about=None, recipient=ADA)


class TestState:
    def test_is_told_at_start_and_to_doctor_and_metrics(self, fleet: Fleet) -> None:
        """OP1, OP2: each state once, with what to do; no key is in it."""
        first = fleet.start()
        enable(first.device())
        fleet.stop(first)
        with capture_logs() as logs:
            both = fleet.start(NEW, OLD)
        assert [entry["event"] for entry in logs if "secret_key" in entry["event"]] == ["secret_key_waiting"]
        assert judge(both)[0] == "warning"
        both.runtime.platform.database.run("write", secret_keys.switch, both.runtime.platform.vault, fleet.clock.now())
        with capture_logs() as logs:
            look(both, both)
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [("secret_key_unfinished", "warning")]
        assert _pending(both) == 1
        with capture_logs() as logs:
            lacking = fleet.start(NEW)
        told = [entry["event"] for entry in logs if entry["log_level"] == "error"]
        assert told == ["secret_key_lacking", "key_of_another_secret"]
        assert judge(lacking)[0] == "failed"
        with pytest.raises(NotYet, match="under a previous key that is not in"):
            reencrypt(lacking)
        fleet.stop(lacking)
        reencrypt(both)
        look(both)
        assert _pending(both) == 0
        with capture_logs() as more:
            stranger = fleet.start(OLD)
        assert "secret_key_unknown" in [entry["event"] for entry in more]
        assert stranger.client.get("/readyz").status_code == 503
        assert judge(stranger)[0] == "failed"
        with pytest.raises(NotYet, match="neither TOKENVEND_SECRET_KEY nor"):
            reencrypt(stranger)
        assert not any(key in f"{logs}{more}" for key in (OLD, NEW))

    def test_of_a_database_from_before_is_taken_from_its_signing_keys(self, fleet: Fleet) -> None:
        """An upgrade and a change in one go: the old key is written with until `keys reencrypt`."""
        first = fleet.start()
        fleet.stop(first)
        both = fleet.start(NEW, OLD)
        both.sql("DELETE FROM secret_keys")
        look(both)
        assert both.runtime.platform.vault.writes_with == Vault(OLD).fingerprints[0]
        wrong = fleet.start(NEWEST)
        wrong.sql("DELETE FROM secret_keys")
        look(wrong)
        assert wrong.sql("SELECT count(*) FROM secret_keys") == [(0,)]
        assert judge(wrong)[0] == "failed"

    def test_is_in_what_doctor_says(self, fleet: Fleet) -> None:
        service = fleet.start()
        settings = service.settings.model_copy(update={"bucket": ""})
        found = asyncio.run(doctor.examine(build_runtime(settings, clock=fleet.clock)))
        (said,) = [finding for finding in found if finding.name == "secret key"]
        assert (said.state, said.message) == ("ok", "there is one key, and nothing is left under another")

    def test_a_dead_replica_is_forgotten(self, fleet: Fleet) -> None:
        service = fleet.start()
        with Session(service.runtime.platform.database.engine) as session:
            session.add(
                SecretKeyHolder(
                    id=uuid4(), host="dead", fingerprints=["old"], writes_with="old", seen_at=fleet.clock.now()
                )
            )
            session.commit()
        assert {holder.host for holder in _holders(service)} > {"dead"}
        fleet.clock.advance(minutes=3)
        assert _holders(service) == []
        fleet.clock.advance(hours=1)
        look(service)
        assert service.sql("SELECT count(*) FROM secret_key_holders") == [(1,)]


def _pending(service: Service) -> float:
    value = service.runtime.platform.metrics.registry.get_sample_value("tokenvend_secret_key_pending")
    assert value is not None
    return value


def _holders(service: Service) -> list[SecretKeyHolder]:
    return list(service.runtime.platform.database.run("read", secret_keys.list_holders, service.clock.now()))
