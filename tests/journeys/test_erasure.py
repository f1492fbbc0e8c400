"""An account erased while the service is killed in the middle of deleting its pictures."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from app import engine
from tests.journeys.deployment import PASSWORD, Deployment, Keys, person
from tests.journeys.served import serving
from tests.support.engine import eventually

pytestmark = pytest.mark.all

OBJECTS, FEWER_OBJECTS = 3500, 2300


def sql(database_url: str, statement: str) -> list[tuple[object, ...]]:
    database = create_engine(database_url)
    try:
        with database.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        database.dispose()


@pytest.mark.long
class TestKilledInTheMiddle:
    def test_the_next_start_finishes_it(self, tmp_path: Path, database_url: str, in_full: bool) -> None:
        count = OBJECTS if in_full else FEWER_OBJECTS
        with engine.start(tmp_path / "engine") as running:
            owner = Keys(running.owner_access_key_id, running.owner_secret_access_key)
            with serving(tmp_path, running, database_url) as first:
                deployment = Deployment(first.url, running.endpoint_url, running.bucket, owner)
                with person(deployment) as ada, person(deployment) as bob:
                    names = [f"{ada.prefix}{number}.jpg" for number in range(count)]
                    with ThreadPoolExecutor(8) as pool:
                        place = {"Bucket": running.bucket, "Body": b"x"}
                        list(pool.map(lambda key: deployment.as_owner.put_object(Key=key, **place), names))
                    deployment.as_owner.put_object(Key=f"{bob.prefix}his.jpg", **place)
                    answer = ada.http.request("DELETE", "/v1/me", json={"password": PASSWORD})
                    assert answer.status_code == 202
                    assert ada.http.get("/v1/me").status_code == 401
                assert eventually(lambda: deleted(database_url) > 0, within=60)
                first.process.send_signal(signal.SIGKILL)
                first.process.wait()
            left = len(deployment.objects(ada.prefix))
            assert 0 < left < count, "killed too early or too late to tell anything"
            sql(database_url, "UPDATE erasures SET next_try_at = requested_at")  # its lease is over
            with serving(tmp_path, running, database_url):
                assert eventually(lambda: completed(database_url), within=60)
            assert deployment.objects(ada.prefix) == {}
            assert list(deployment.objects(bob.prefix)) == [f"{bob.prefix}his.jpg"]
            [(credentials,)] = sql(database_url, "SELECT count(*) FROM issued_credentials")
            assert credentials == 2, "the job's own, one for each start"


def deleted(database_url: str) -> int:
    [(count,)] = sql(database_url, "SELECT coalesce(sum(deleted_objects), 0) FROM erasures")
    return int(str(count))


def completed(database_url: str) -> bool:
    return sql(database_url, "SELECT count(*) FROM erasures WHERE completed_at IS NOT NULL") == [(1,)]
