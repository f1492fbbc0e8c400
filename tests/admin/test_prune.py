"""`tokenvend prune`: at once what the service cleans by and by, and audit events as old as an operator says."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.admin import prune as cleaning
from app.platform.clock import SystemClock
from app.records import single_use
from tests.admin.test_audit_events import write
from tests.security.races import all_at_once
from tests.support.clock import ManualClock
from tests.support.commands import tokenvend
from tests.support.service import ROLE_ARN, SECRET_KEY, Service, running_service

UNTOUCHED = [
    *(
        "mails: 0",
        "events out: 0",
        "counts of mails: 0",
        "revocations: 0",
        "expired refresh tokens: 0",
        "refresh tokens of old sessions: 0",
    ),
    *("old sessions: 0", "grants that are over: 0", "contributors of links that are over: 0"),
    *("links that are over: 0", "counts over time: 0"),
    *("reports of old imports: 0", "old imports: 0"),
]


@pytest.fixture
def service(database_url: str) -> Iterator[Service]:
    """Of the present: the command and the database have no clock of a test's."""
    with running_service(database_url, clock=ManualClock(SystemClock().now())) as running:
        yield running


def environment(service: Service) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "TOKENVEND_DATABASE_URL": service.settings.database_url,
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
    }


def prune(service: Service, *arguments: str, status: int = 0) -> list[str]:
    done = tokenvend("prune", *arguments, environment=environment(service), cwd=Path(__file__).parents[2])
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    guests, *lines = done.stdout.splitlines() or [""]
    if status == 0:
        assert guests.startswith("guests who can never come back: 0 ")
    return lines


def stale_tokens(service: Service, number: int) -> None:
    now = service.clock.now() - timedelta(days=3)
    for _ in range(number):
        service.runtime.platform.database.run(
            "write", single_use.issue, service.runtime.platform.vault, now, "oidc_nonce", ttl=timedelta(minutes=5)
        )


def events(service: Service, *, days: float, number: int = 1) -> None:
    for _ in range(number):
        write(service, at=service.clock.now() - timedelta(days=days), event="session.ended")


def count(service: Service, table: str, where: str = "true") -> int:
    return int(service.sql(f"SELECT count(*) FROM {table} WHERE {where}")[0][0])


@pytest.mark.both_databases
class TestPrune:
    @pytest.mark.all
    def test_it_deletes_what_is_stale_and_no_audit_event_unless_told(self, service: Service) -> None:
        stale_tokens(service, 3)
        events(service, days=1000)
        assert prune(service) == [f"{line} deleted" for line in ("single-use tokens: 3", *UNTOUCHED)]
        assert count(service, "single_use_tokens") == 0
        assert count(service, "audit_events", "event = 'session.ended'") == 1
        assert prune(service) == [f"{line} deleted" for line in ("single-use tokens: 0", *UNTOUCHED)]

    @pytest.mark.all
    def test_it_deletes_audit_events_past_their_time_and_leaves_one_that_says_so(self, service: Service) -> None:
        events(service, days=91, number=3)
        events(service, days=89, number=2)
        assert prune(service, "--audit-older-than", "90")[-1] == "audit events: 3 deleted"
        assert count(service, "audit_events", "event = 'session.ended'") == 2
        ((address, detail),) = service.sql("SELECT address, detail FROM audit_events WHERE event = 'audit.pruned'")
        assert address == "command line"
        assert "before" in str(detail)
        assert prune(service, "--audit-older-than", "90")[-1] == "audit events: 0 deleted"
        assert count(service, "audit_events", "event = 'audit.pruned'") == 1

    @pytest.mark.all
    def test_the_floor_is_thirty_days(self, service: Service) -> None:
        events(service, days=30.001)
        events(service, days=29.9)
        assert prune(service, "--audit-older-than", "29", status=2) == []
        assert prune(service, "--audit-older-than", "30")[-1] == "audit events: 1 deleted"
        assert count(service, "audit_events", "event = 'session.ended'") == 1

    @pytest.mark.all
    def test_a_dry_run_counts_and_deletes_nothing(self, service: Service) -> None:
        stale_tokens(service, 2)
        events(service, days=91, number=3)
        device = service.device()
        service.sql("UPDATE sessions SET ended_at = :then", then=service.clock.now() - timedelta(days=91))
        dry = prune(service, "--dry-run", "--audit-older-than", "90")
        stale = {"refresh tokens of old sessions: 0", "old sessions: 0"}
        untouched = [line.replace(": 0", ": 1") if line in stale else line for line in UNTOUCHED]
        expected = ("single-use tokens: 2", *untouched, "audit events: 3")
        assert dry == [f"{line} would be deleted" for line in expected]
        assert count(service, "single_use_tokens") == 2
        assert count(service, "audit_events", "event = 'session.ended'") == 3
        real = prune(service, "--audit-older-than", "90")
        assert [line.replace("would be ", "") for line in dry] == real
        assert service.refresh(device.refresh_token).status_code == 401

    def test_twice_at_once_beside_a_running_service_all_goes_and_nobody_fails(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each event goes once, and the service writes its own meanwhile."""
        monkeypatch.setattr(cleaning, "BATCH", 4)
        events(service, days=91, number=40)
        before = service.clock.now() - timedelta(days=90)

        def work(index: int) -> int:
            if index < 3:
                return sum(cleaning.prune_events(service.runtime.platform, before))
            return service.log_in("nobody@example.org").status_code

        results = all_at_once(work, crowd=6)
        assert results[3:] == [401] * 3
        assert sum(results[:3]) + sum(cleaning.prune_events(service.runtime.platform, before)) == 40
        assert count(service, "audit_events", "event = 'session.ended'") == 0
        assert count(service, "audit_events", "event = 'session.started'") == 3

    @pytest.mark.all
    def test_a_terminal_sees_it_work(self, service: Service) -> None:
        stale_tokens(service, 1)
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "prune"],
            env=environment(service) | {"TERM": "xterm-256color"},
            cwd=Path(__file__).parents[2],
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 4096):
                seen += chunk
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(ours)
        assert process.wait(timeout=60) == 0
        assert "single-use tokens: 1 deleted …".encode() in seen
        assert b"single-use tokens: 1 deleted" in seen

    @pytest.mark.all
    def test_a_database_that_is_not_migrated_is_one_sentence(self, tmp_path: Path) -> None:
        environment = {"TOKENVEND_DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}"}
        done = tokenvend("prune", environment=environment, cwd=tmp_path)
        assert (done.returncode, "tokenvend migrate" in done.stderr) == (1, True)
