"""Pictures by a CDN: an edge that verifies what was signed, in front of a real engine that it reads as the owner."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app import engine
from app.crypto.cdn_signatures import public_pem
from app.crypto.rsa_keys import generate_key_pair
from app.engine import Engine
from app.upkeep.checks import cdn
from tests.support.clock import ManualClock
from tests.support.databases import SqliteDatabases
from tests.support.edge import Edge, running_edge
from tests.support.engine import of_engine, owner_of
from tests.support.ports import free_port
from tests.support.service import Device, Service, running_service

PHOTO = (Path(__file__).parents[1] / "photos" / "flower.jpg").read_bytes()
NAMES = ("photo.jpg", "albums/2026/a+b c.jpg", "albums/2026/Blüte 🌸.jpg", "albums/2026/100%41.jpg", "what?*.jpg")
FOLDER = "albums/2026/"
KEY_PAIR_ID = "K2JCJMDEHXQW5F"


@dataclass(frozen=True)
class World:
    service: Service
    edge: Edge
    owner: Any
    ada: Device
    bob: Device

    def put(self, device: Device, name: str, body: bytes = PHOTO) -> None:
        self.owner.put_object(Bucket=self.edge.bucket, Key=f"users/{device.user_id}/{name}", Body=body)


def downloads(device: Device, **wish: Any) -> list[dict[str, Any]]:
    answer = device.post("/v1/downloads", json=wish)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def url_of(item: dict[str, Any], name: str) -> str:
    """As an app writes it: the base, the rest of the key, the query."""
    return f"{item['base_url']}{quote(name)}?{item['query']}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine.start(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="module")
def world(
    store: Engine, sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    clock = ManualClock(datetime.now(UTC))
    with ExitStack() as stack:
        owner = owner_of(store)
        stack.callback(owner.close)
        edge = stack.enter_context(running_edge(owner, store.bucket, clock.now))
        service = stack.enter_context(
            running_service(
                sqlite_databases.create(tmp_path_factory.mktemp("service")),
                clock=clock,
                cdn_url=edge.url,
                cdn_key_pair_id=KEY_PAIR_ID,
                **of_engine(store),
            )
        )
        edge.key_group[KEY_PAIR_ID] = public_key(service)
        world = World(service, edge, owner, service.device(), service.device())
        for name in NAMES:
            world.put(world.ada, name)
        world.put(world.bob, "photo.jpg", b"of Bob")
        yield world


def public_key(service: Service) -> str:
    ((jwk,),) = service.sql("SELECT public_jwk FROM signing_keys WHERE purpose = 'cdn'")
    return public_pem(json.loads(jwk))


class TestOwn:
    def test_pictures_come_down_byte_for_byte(self, world: World) -> None:
        (item,) = downloads(world.ada)
        for name in NAMES:
            assert world.edge.get(url_of(item, name)) == (200, PHOTO), name
        assert world.edge.served[-1] == f"users/{world.ada.user_id}/what?*.jpg"

    def test_pictures_come_down_by_cookies(self, world: World) -> None:
        (item,) = downloads(world.ada)
        cookies = {cookie["name"]: cookie["value"] for cookie in item["cookies"]}
        assert world.edge.get(f"{item['base_url']}photo.jpg", cookies) == (200, PHOTO)
        assert world.edge.get(f"{item['base_url']}photo.jpg")[0] == 403

    def test_folder_is_signed_alone(self, world: World) -> None:
        (item,) = downloads(world.ada, path=FOLDER)
        assert item["prefix"] == f"users/{world.ada.user_id}/{FOLDER}"
        assert world.edge.get(url_of(item, "a+b c.jpg")) == (200, PHOTO)
        above = f"{world.edge.url}/users/{world.ada.user_id}/photo.jpg?{item['query']}"
        assert world.edge.get(above)[0] == 403

    def test_what_does_not_exist_is_not_found(self, world: World) -> None:
        (item,) = downloads(world.ada)
        assert world.edge.get(url_of(item, "absent.jpg"))[0] == 404


class TestAnothers:
    def test_picture_is_refused(self, world: World) -> None:
        """VC9: by URL and by cookie, though the edge could read it."""
        (item,) = downloads(world.ada)
        cookies = {cookie["name"]: cookie["value"] for cookie in item["cookies"]}
        foreign = f"{world.edge.url}/users/{world.bob.user_id}/photo.jpg"
        (theirs,) = downloads(world.bob)
        assert world.edge.get(f"{foreign}?{theirs['query']}") == (200, b"of Bob")
        assert world.edge.get(f"{foreign}?{item['query']}")[0] == 403
        assert world.edge.get(foreign, cookies)[0] == 403
        assert world.edge.get(foreign)[0] == 403

    @pytest.mark.parametrize(
        "path",
        [
            "{own}../{bob}/photo.jpg",
            "{own}%2e%2e/{bob}/photo.jpg",
            "{own}%2E%2E/{bob}/photo.jpg",
            "{own}.%2e/{bob}/photo.jpg",
            "{own}..%2f{bob}%2fphoto.jpg",
            "{own}%252e%252e/{bob}/photo.jpg",
            "{own}%252e%252e%252f{bob}/photo.jpg",
            "{own}..%5c{bob}%5cphoto.jpg",
            "{own}x/../../{bob}/photo.jpg",
            "{own}%00/../../{bob}/photo.jpg",
            "{own}%c0%ae%c0%ae/{bob}/photo.jpg",
            "/users/*/photo.jpg",
            "/users/%2a/photo.jpg",
            "/users/????????-????-????-????-????????????/photo.jpg",
            "/users/{ada}*/../{bob}/photo.jpg",
            "/users//{bob}/photo.jpg",
            "/users/{ADA}/photo.jpg",
            "/users/{ada}",
            "/users/{ada}.jpg",
            "/",
            "/users/",
        ],
    )
    def test_is_reached_by_no_spelling(self, world: World, path: str) -> None:
        (item,) = downloads(world.ada)
        ids = {"ada": world.ada.user_id, "bob": world.bob.user_id, "ADA": world.ada.user_id.upper()}
        target = path.format(own=f"/users/{world.ada.user_id}/", **ids)
        before = len(world.edge.served)
        assert world.edge.get(f"{target}?{item['query']}")[0] == 403
        assert len(world.edge.served) == before

    @pytest.mark.parametrize("path", ["*", "*/", "a?/", "../", "%2e%2e/", "a/%2E%2e/b/", "/", "albums", "a//", "a/./"])
    def test_is_signed_for_by_no_path(self, world: World, path: str) -> None:
        answer = world.ada.post("/v1/downloads", json={"path": path})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_path")


class TestAltered:
    @pytest.mark.parametrize("part", ["policy_of_another", "wider", "later", "signature", "other_key", "twice", "none"])
    def test_signature_is_refused(self, world: World, part: str) -> None:
        (mine,), (theirs,) = downloads(world.ada), downloads(world.bob)
        own, other = (dict(p.split("=", 1) for p in one["query"].split("&")) for one in (mine, theirs))
        target = f"{world.edge.url}/users/{world.bob.user_id}/photo.jpg"
        policy = json.loads(base64.b64decode(own["Policy"].translate(str.maketrans("-_~", "+=/"))))
        match part:
            case "policy_of_another":
                own["Policy"] = other["Policy"]
            case "wider":
                policy["Statement"][0]["Resource"] = f"{world.edge.url}/*"
                own["Policy"] = encoded(policy)
            case "later":
                policy["Statement"][0]["Condition"]["DateLessThan"]["AWS:EpochTime"] += 1
                own["Policy"], target = encoded(policy), f"{mine['base_url']}photo.jpg"
            case "signature":
                own["Signature"] = own["Signature"][:-10] + "AAAAAAAAA_"
                target = f"{mine['base_url']}photo.jpg"
            case "other_key":
                own["Key-Pair-Id"], target = "K0THER", f"{mine['base_url']}photo.jpg"
            case "twice":
                target += f"?{theirs['query']}&Policy={own['Policy']}"
                assert world.edge.get(target)[0] == 403
                return
            case "none":
                del own["Signature"]
        assert world.edge.get(f"{target}?" + "&".join(f"{name}={value}" for name, value in own.items()))[0] == 403

    def test_one_that_expired_is_refused(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        (item,) = downloads(world.ada)
        url, until = url_of(item, "photo.jpg"), datetime.fromisoformat(item["expires_at"])
        assert timedelta(seconds=450) < until - world.service.clock.now() <= timedelta(seconds=900)
        monkeypatch.setattr(world.edge, "now", lambda: until - timedelta(seconds=1))
        assert world.edge.get(url) == (200, PHOTO)
        monkeypatch.setattr(world.edge, "now", lambda: until)
        assert world.edge.get(url)[0] == 403


def encoded(policy: dict[str, Any]) -> str:
    text = json.dumps(policy, separators=(",", ":")).encode()
    return base64.b64encode(text).decode().translate(str.maketrans("+=/", "-_~"))


class TestShared:
    def test_folder_is_read_until_its_grant_is_withdrawn(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """And by the signature that was handed out before, to its end: a CDN takes none back."""
        carol = world.service.device()
        grant = world.ada.post("/v1/grants", json={"grantee_email": carol.email, "path": FOLDER}).json()
        assert len(downloads(carol)) == 1
        own, shared = downloads(carol, grant_ids=[grant["grant_id"]])
        assert shared["prefix"] == f"users/{world.ada.user_id}/{FOLDER}"
        assert world.edge.get(url_of(shared, "a+b c.jpg")) == (200, PHOTO)
        for reached in ("photo.jpg", "albums/x.jpg"):
            target = f"{world.edge.url}/users/{world.ada.user_id}/{reached}"
            assert world.edge.get(f"{target}?{shared['query']}")[0] == 403
            assert world.edge.get(f"{target}?{own['query']}")[0] == 403
        world.ada.delete(f"/v1/grants/{grant['grant_id']}")
        assert downloads(carol) == [own]
        assert downloads(carol, grant_ids=[grant["grant_id"]]) == [own]
        assert world.edge.get(url_of(shared, "a+b c.jpg")) == (200, PHOTO)
        monkeypatch.setattr(world.edge, "now", lambda: datetime.fromisoformat(shared["expires_at"]))
        assert world.edge.get(url_of(shared, "a+b c.jpg"))[0] == 403


class TestDoctor:
    def look(self, world: World) -> tuple[str, str]:
        portal, runtime = world.service.client.portal, world.service.runtime
        assert portal is not None
        (found,) = portal.call(cdn.check, runtime.platform, runtime.downloads, runtime.fetcher)
        assert found.name == "CDN"
        return found.state, found.message

    def test_finds_that_the_edge_takes_what_is_signed_and_nothing_else(self, world: World) -> None:
        said = f"{world.edge.url} refuses what is not signed, and takes what {KEY_PAIR_ID} signs"
        assert self.look(world) == ("ok", said)

    def test_stops_before_an_edge_that_is_open(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(world.edge, "is_open", True)
        state, said = self.look(world)
        assert state == "failed"
        assert "STOP: without a signature everybody reads everything" in said

    def test_says_that_the_edge_has_another_key(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        other = public_pem(generate_key_pair().public_jwk)
        for group in ({}, {KEY_PAIR_ID: other}):
            monkeypatch.setattr(world.edge, "key_group", group)
            state, said = self.look(world)
            assert state == "failed"
            assert said.startswith(f"it refuses what is signed as {KEY_PAIR_ID}; TOKENVEND_CDN_KEY_PAIR_ID must be")

    def test_warns_where_nothing_answers(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """The edge may be out of this machine's reach."""
        fetcher = world.service.runtime.fetcher

        async def fail(*_arguments: Any) -> tuple[int, bytes]:
            return await type(fetcher).request(fetcher, "GET", f"http://127.0.0.1:{free_port()}/")

        monkeypatch.setattr(fetcher, "request", fail)
        state, said = self.look(world)
        assert (state, said.partition(":")[0]) == ("warning", "nothing answers at http")
