"""`/healthz` says alive, `/readyz` says able, and what is missing."""

from pathlib import Path

import pytest

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
