"""Events of objects where `tokenvend dev` runs: by its own look at the engine, told to a real server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from app.cli import polling
from app.cli.polling import Poller
from tests.cli.test_development import running
from tests.support.engine import eventually
from tests.support.receiver import SECRET, receiving
from tests.support.service import Service


class Bucket:
    """What a client lists of it. A test fills it; the engine's own list is tried below."""

    def __init__(self) -> None:
        self.contents: list[dict[str, Any]] = []
        self.is_away = False

    def get_paginator(self, _name: str) -> "Bucket":
        return self

    def paginate(self, **_parameters: str) -> list[Any]:
        if self.is_away:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
        return [{"Contents": self.contents}]

    def put(self, service: Service, key: str, etag: str = "1") -> None:
        self.remove(key)
        made = {"Key": key, "Size": 3, "ETag": f'"{etag}"', "LastModified": service.clock.now()}
        self.contents = [*self.contents, made]

    def remove(self, key: str) -> None:
        self.contents = [one for one in self.contents if one["Key"] != key]


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service(webhook_url="http://127.0.0.1:1/told", webhook_secret=(SECRET,))


def told(service: Service) -> list[str]:
    rows = service.sql("SELECT type FROM outgoing_events WHERE type LIKE 'object.%' ORDER BY sequence")
    return [kind.removeprefix("object.") for (kind,) in rows]


class TestPoller:
    def test_tells_what_came_and_went_since_the_last_look(self, service: Service) -> None:
        device, bucket = service.device(), Bucket()
        poller = Poller(service.runtime.platform, bucket)

        def look() -> list[str]:
            asyncio.run(poller.look())
            return told(service)

        key = f"users/{device.user_id}/a b+ü.jpg"
        bucket.put(service, f"users/{device.user_id}/old.jpg")
        assert look() == []
        bucket.put(service, key)
        bucket.put(service, "users/nobody/a.jpg")
        assert look() == look() == ["created"]
        bucket.put(service, key, etag="2")
        assert look() == ["created", "created"]
        bucket.is_away = True
        assert look() == ["created", "created"]
        bucket.is_away = False
        bucket.remove(key)
        assert look() == ["created", "created", "removed"]
        service.clock.advance(seconds=1)
        bucket.put(service, key, etag="2")
        assert look()[-1] == "created"
        service.clock.advance(seconds=1)
        bucket.remove(key)
        assert look() == ["created", "created", "removed", "created", "removed"]

    def test_tells_nothing_of_a_bucket_that_is_too_large(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(polling, "MOST", 2)
        device, bucket = service.device(), Bucket()
        poller = Poller(service.runtime.platform, bucket)
        asyncio.run(poller.look())
        for number in range(3):
            bucket.put(service, f"users/{device.user_id}/{number}.jpg")
        asyncio.run(poller.look())
        assert told(service) == []


@pytest.mark.all
def test_dev_tells_of_objects_that_its_engine_stores(tmp_path: Path) -> None:
    with receiving([SECRET]) as receiver:
        settings = {"TOKENVEND_WEBHOOK_URL": receiver.url, "TOKENVEND_WEBHOOK_SECRET": SECRET}
        with running(tmp_path, **settings) as stack:
            vended = stack.vend()
            s3 = boto3.client(
                "s3",
                endpoint_url=stack.engine_url,
                region_name="us-east-1",
                aws_access_key_id=vended["access_key_id"],
                aws_secret_access_key=vended["secret_access_key"],
                aws_session_token=vended["session_token"],
                config=Config(proxies={}, s3={"addressing_style": "path"}),
            )
            key = f"{vended['prefix']}a b+ü.jpg"

            def objects() -> list[Any]:
                return [one for one in receiver.events if one["type"].startswith("object.")]

            s3.put_object(Bucket="photos", Key=key, Body=b"abc")
            assert eventually(lambda: len(objects()) == 1)
            s3.delete_object(Bucket="photos", Key=key)
            assert eventually(lambda: len(objects()) == 2)
            s3.close()
        created, removed = objects()
        assert (created["type"], created["data"]["key"], created["data"]["size"]) == ("object.created", key, 3)
        assert (removed["type"], removed["data"]["key"]) == ("object.removed", key)
        assert vended["prefix"] == f"users/{created['data']['user_id']}/"
        others = {event["type"] for event in receiver.events} - {"object.created", "object.removed"}
        assert others == {"user.registered", "session.started"}
