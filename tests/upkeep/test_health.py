"""`/healthz` says alive, `/readyz` says able, and what is missing."""

from pathlib import Path

import psycopg
import pytest

from app.platform.write_faults import WriteFaults
from tests.security.test_faults import limit_pages
from tests.support.logged import capture_logs
from tests.support.service import Service, running_service


class TestReadiness:
    def test_is_ok_when_everything_answers(self, service: Service) -> None:
        answer = service.client.get("/readyz", headers={"Host": "10.1.2.3"})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    def test_names_the_engine(self, service: Service) -> None:
        service.sts.fail("AccessDenied", 403)
        answer = service.client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["code"] == "not_ready"
        assert answer.json()["detail"] == "Not ready: engine (sts_refused)."
        assert answer.headers["Retry-After"] == "1"

    @pytest.mark.parametrize(("code", "status"), [("MethodNotAllowed", 405), ("InvalidParameterValue", 400)])
    def test_takes_an_engine_that_does_not_say_whose_keys_these_are(
        self, service: Service, code: str, status: int
    ) -> None:
        """Ceph RGW and MinIO: they know AssumeRole, and not GetCallerIdentity."""
        service.sts.fail(code, status)
        assert service.client.get("/readyz").status_code == 200
        assert [form["Action"] for form in service.sts.forms] == ["GetCallerIdentity"]

    def test_asks_the_engine_once_in_two_seconds(self, service: Service) -> None:
        for _ in range(20):
            service.client.get("/readyz")
        assert len(service.sts.forms) == 1
        service.clock.advance(seconds=2.1)
        service.client.get("/readyz")
        assert len(service.sts.forms) == 2

    def test_says_that_it_is_about_to_stop(self, service: Service) -> None:
        """Everything else is served as before: who balances the load has to notice first."""
        service.app.state.draining.set()
        answer = service.client.get("/readyz")
        assert (answer.status_code, answer.json()["detail"]) == (503, "Not ready: stopping.")
        assert service.client.get("/healthz").status_code == 200
        assert service.register("ada@example.org").status_code == 201

    @pytest.mark.parametrize(("version", "ready"), [("20261123", False), ("2999010101", True)])
    def test_is_able_with_the_tables_of_the_next_version(self, service: Service, version: str, ready: bool) -> None:
        """Which a rolling upgrade has for as long as it lasts; those of the one before are not enough."""
        service.sql("UPDATE alembic_version SET version_num = :version", version=version)
        assert (service.client.get("/readyz").status_code == 200) is ready

    @pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
    def test_knows_a_full_disk_until_a_write_succeeds(self, service: Service) -> None:
        """OP9: on SQLite, whose file may not grow."""
        limit_pages(service, None)
        with capture_logs() as logs:
            while service.register().status_code == 201:
                pass
            for _ in range(2):
                answer = service.client.get("/readyz")
                assert (answer.status_code, answer.json()["detail"]) == (503, "Not ready: database (disk_full).")
                assert "tokenvend_database_takes_no_writes 1.0" in service.client.get("/metrics").text
                service.clock.advance(seconds=2.1)
            limit_pages(service, 1_000_000)
            assert service.client.get("/readyz").status_code == 200
        assert "tokenvend_database_takes_no_writes 0.0" in service.client.get("/metrics").text
        assert service.sql("SELECT count(*) FROM write_probes") == [(0,)]
        assert service.register().status_code == 201
        told = [log["event"] for log in logs if str(log["event"]).startswith("database_takes")]
        assert told == ["database_takes_no_writes", "database_takes_writes_again"]

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_knows_a_postgresql_without_room(self, service: Service) -> None:
        """OP9: by triggers that raise what a full disk raises (53100), on the hot path's line and in a story."""
        device = service.device()
        service.sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END$$"
        )
        for table in ("issued_credentials", "write_probes"):
            service.sql(f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()")
        assert service.client.get("/readyz").status_code == 200
        assert device.vend().status_code == 503
        service.clock.advance(seconds=2.1)
        assert service.client.get("/readyz").json()["detail"] == "Not ready: database (disk_full)."
        for table in ("issued_credentials", "write_probes"):
            service.sql(f"DROP TRIGGER refuse ON {table}")
        service.clock.advance(seconds=2.1)
        assert service.client.get("/readyz").status_code == 200
        assert device.vend().status_code == 200

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_knows_a_postgresql_that_is_read_only(self, service: Service) -> None:
        """OP9."""
        engine = service.runtime.platform.database.engine
        name = engine.url.database
        service.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        engine.dispose()  # it holds for new connections
        assert service.register().status_code == 503
        assert service.client.get("/readyz").json()["detail"] == "Not ready: database (read_only)."
        with engine.connect() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
            connection.commit()
            connection.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            connection.commit()
        engine.dispose()
        service.clock.advance(seconds=2.1)
        assert service.client.get("/readyz").status_code == 200
        assert service.register().status_code == 201

    def test_tells_a_fault_of_one_statement_from_one_that_lasts(self) -> None:
        faults = WriteFaults()
        for passing in (psycopg.errors.LockNotAvailable(), psycopg.errors.UniqueViolation(), OSError(), None):
            faults.note(passing)
        assert faults.current is None
        faults.note(psycopg.errors.DiskFull())
        assert faults.current == "disk_full"

    def test_names_the_migrations(self, tmp_path: Path) -> None:
        with running_service(f"sqlite:///{tmp_path / 'empty.db'}") as service:
            answer = service.client.get("/readyz")
            assert answer.status_code == 503
            assert "database (migrations_pending)" in answer.json()["detail"]
            assert "keys (keys_unavailable)" in answer.json()["detail"]
            assert service.client.get("/healthz").json() == {"status": "ok"}
            assert service.register().status_code == 503

    def test_a_database_that_is_down_leaves_the_process_up(self) -> None:
        with running_service("postgresql+psycopg://nobody@127.0.0.1:1/none") as service:
            assert service.client.get("/healthz").status_code == 200
            assert "database (database_unavailable)" in service.client.get("/readyz").json()["detail"]
            login = service.log_in("ada@example.org")
            assert (login.status_code, login.json()["code"]) == (503, "database_unavailable")
            assert login.headers["Retry-After"]
