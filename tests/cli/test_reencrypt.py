"""`tokenvend keys reencrypt` as an operator runs it, killed in the middle, and beside a replica that serves."""

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, create_engine, insert, select

from app.compose import build_runtime
from app.crypto import kinds
from app.crypto.vault import DecryptionFailed, Vault
from app.platform.clock import SystemClock
from app.records import secret_keys
from app.records.models import SecretKeyHolder, TotpFactor, User
from tests.support.commands import begun, tokenvend
from tests.support.service import ROLE_ARN, SECRET_KEY, Service, test_settings

OLD, NEW = SECRET_KEY, "N3w-key-of-32-random-characters-0001"
MANY = 6_000
KEYS = {"TOKENVEND_SECRET_KEY": NEW, "TOKENVEND_SECRET_KEY_PREVIOUS": OLD}


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "AWS_EC2_METADATA_DISABLED": "true",
    } | KEYS


def fill(database_url: str, number: int) -> Engine:
    """A database of the old key, with so many authenticator apps. The caller disposes of the engine."""
    runtime = build_runtime(test_settings(database_url=database_url, secret_key=OLD))
    runtime.platform.database.close()
    engine, vault, now = create_engine(database_url), Vault(OLD), datetime.now(UTC)
    ids = [uuid4() for _ in range(number)]
    users = [{"id": user_id, "status": "active", "role": "user", "created_at": now} for user_id in ids]
    factors = [
        {
            "user_id": user_id,
            "secret_encrypted": vault.encrypt(kinds.TOTP_SECRET, user_id.bytes, bound_to=str(user_id)),
            "created_at": now,
        }
        for user_id in ids
    ]
    with engine.begin() as connection:
        connection.execute(insert(User), users)
        connection.execute(insert(TotpFactor), factors)
    return engine


def under(engine: Engine, key: str) -> list[UUID]:
    """The users whose secret this key alone opens, to what it was."""
    vault, found = Vault(key), []
    with engine.connect() as connection:
        for user_id, sealed in connection.execute(select(TotpFactor.user_id, TotpFactor.secret_encrypted)):
            try:
                assert vault.decrypt(kinds.TOTP_SECRET, sealed, bound_to=str(user_id)) == user_id.bytes
            except DecryptionFailed:
                continue
            found.append(user_id)
    return found


def ciphertext_of_the_first(engine: Engine) -> bytes:
    """Of the row that is encrypted anew before others."""
    with engine.connect() as connection:
        found = connection.scalar(select(TotpFactor.secret_encrypted).order_by(TotpFactor.user_id).limit(1))
    assert found is not None
    return found


@pytest.mark.all
@pytest.mark.both_databases
class TestReencrypt:
    def test_killed_in_the_middle_goes_on(self, database_url: str, environment: dict[str, str], tmp_path: Path) -> None:
        """AU12: kill -9 between two batches loses no secret; the second run does the rest and says when to go on."""
        before = environment | {"TOKENVEND_SECRET_KEY": OLD, "TOKENVEND_SECRET_KEY_PREVIOUS": ""}
        assert tokenvend("keys", "rotate", environment=before, cwd=tmp_path).returncode == 0
        engine = fill(database_url, MANY)
        try:
            first = ciphertext_of_the_first(engine)
            with begun("keys", "reencrypt", environment=environment, cwd=tmp_path) as process:
                while ciphertext_of_the_first(engine) == first:
                    assert process.is_alive(), (tmp_path / "begun.stderr").read_text()
                process.kill()
                process.join()
                assert process.exitcode == -signal.SIGKILL
            moved = under(engine, NEW)
            assert 0 < len(moved) < MANY
            assert len(under(engine, OLD)) == MANY - len(moved)

            done = tokenvend("keys", "reencrypt", environment=environment, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert f"secrets of authenticator apps: {MANY - len(moved)} encrypted anew" in done.stdout
            assert done.stdout.endswith("TOKENVEND_SECRET_KEY_PREVIOUS may be dropped now.\n")
            assert len(under(engine, NEW)) == MANY
            assert not any(key in text for key in KEYS.values() for text in (done.stdout, done.stderr))
        finally:
            engine.dispose()


@pytest.mark.all
class TestBesideReplicas:
    def test_without_the_new_key_changes_nothing(
        self, service: Service, environment: dict[str, str], tmp_path: Path
    ) -> None:
        """The replica of the test runs with the old key alone, and goes on to serve."""
        with service.runtime.platform.database.engine.begin() as connection:
            connection.execute(SecretKeyHolder.__table__.update().values(seen_at=SystemClock().now()))
        token = service.device().refresh_token
        refused = tokenvend("keys", "reencrypt", environment=environment, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("Nothing was changed: 1 running processes do not have this TOKENVEND_SECRET_")
        assert service.refresh(token).status_code == 200

    def test_with_it_is_waited_for(
        self,
        make_service: Callable[..., Service],
        environment: dict[str, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A process that serves looks by itself: what it writes from then on is under the new key."""
        monkeypatch.setattr(secret_keys, "LOOK_EVERY", 0.5)
        first = make_service()
        first.client.portal.call(first.runtime.secret_key.leave)  # type: ignore[union-attr]
        both = make_service(clock=SystemClock(), secret_key=NEW, secret_key_previous=(OLD,))
        device = both.device()
        done = tokenvend("keys", "reencrypt", environment=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert both.runtime.platform.vault.writes_with == Vault(NEW).fingerprints[0]
        assert both.refresh(device.refresh_token).status_code == 200
        assert "refresh tokens (1)" in done.stdout
