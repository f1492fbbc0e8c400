"""The guide's code for each platform: short, well-formed, and run where that can be: it uploads the photograph."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import DevServer
from tests.journeys.deployment import Deployment, person
from tests.sdk.conftest import BUILD, CODE, HERE, NODE_TOOLS, PHOTOGRAPH, SDK, TOOLS, Kotlin, run

PASSWORD = "violet tractor moonlight"


@pytest.mark.parametrize("language", ["kotlin", "swift", "dart", "typescript", "python"])
def test_takes_fewer_than_thirty_lines(language: str) -> None:
    assert 5 < len(CODE[language].splitlines()) < 30


@pytest.mark.parametrize("language", ["swift", "dart"])
def test_is_well_formed(language: str, tmp_path: Path) -> None:
    (tmp_path / f"guide.{language}").write_text(CODE[language], encoding="utf-8")
    assert run(TOOLS / "python", HERE / "well_formed.py", language, tmp_path).split() == [f"guide.{language}"]


def stored(bucket: Deployment, key: str) -> bool:
    answer = bucket.as_owner.get_object(Bucket=bucket.bucket, Key=key.strip())
    return bool(answer["Body"].read() == PHOTOGRAPH.read_bytes())


def here(language: str, dev_server: DevServer) -> str:
    """The code, for the service of the test."""
    assert "http://127.0.0.1:8000" in CODE[language]
    return CODE[language].replace("http://127.0.0.1:8000", dev_server.url)


def package(name: str) -> Path:
    """One in TypeScript, which has the client in its node_modules."""
    client, app = SDK / "typescript", SDK / name
    shutil.rmtree(app, ignore_errors=True)
    (app / "src").mkdir(parents=True)
    shutil.copy(client / "tsconfig.json", app)
    (app / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (app / "node_modules").mkdir()
    (app / "node_modules" / "tokenvend-client").symlink_to(client, target_is_directory=True)
    return app


class TestUpload:
    def test_in_python(
        self, dev_server: DevServer, bucket: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photo = f"open('{PHOTOGRAPH}', 'rb').read()"
        call = f"print(upload({photo}, 'a.jpg', '{uuid.uuid4()}@example.org', '{PASSWORD}'))"
        (tmp_path / "guide.py").write_text(f"{here('python', dev_server)}\n{call}\n", encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(SDK / "python"))
        assert stored(bucket, run(TOOLS / "python", tmp_path / "guide.py"))

    def test_in_parts_in_python(
        self, dev_server: DevServer, bucket: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the session of the guide's other code."""
        short = here("python", dev_server).replace("    return photos.prefix + name", "    return vendor")
        call = f"""
vendor = upload(b"", "a.jpg", "{uuid.uuid4()}@example.org", "{PASSWORD}")
upload_film(open("{PHOTOGRAPH}", "rb"), "film.mov", vendor)
print(vendor.vended.prefix + "film.mov")
"""
        (tmp_path / "guide.py").write_text(f"{CODE['py']}\n{short}\n{call}", encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(SDK / "python"))
        assert stored(bucket, run(TOOLS / "python", tmp_path / "guide.py"))

    def test_in_kotlin(self, dev_server: DevServer, bucket: Deployment, kotlin: Kotlin) -> None:
        before = bucket.objects("users/").keys()
        run(*kotlin, f"-Durl={dev_server.url}", "KeysKt", PHOTOGRAPH, f"{uuid.uuid4()}@example.org")
        (key,) = bucket.objects("users/").keys() - before
        assert key.endswith(f"/{PHOTOGRAPH.name}")
        assert stored(bucket, key)

    def test_in_typescript(self, dev_server: DevServer, bucket: Deployment, tmp_path: Path) -> None:
        app = package("guide")
        short = here("typescript", dev_server).replace("Promise<string>", "Promise<Vendor>")
        short = short.replace("return prefix + name", "return vendor")
        film = f"""
import {{ readFileSync }} from 'node:fs'
const vendor = await upload(new Uint8Array(), 'a.jpg', '{uuid.uuid4()}@example.org', '{PASSWORD}')
await uploadFilm(new Blob([readFileSync('{PHOTOGRAPH}')]), 'film.mov', vendor)
console.log(vendor.vended!.prefix + 'film.mov')
"""
        parts = CODE["ts"].replace("import type { Vendor } from 'tokenvend-client/vendor'", "")
        (app / "src" / "film.ts").write_text(parts + short + film, encoding="utf-8")
        call = f"""
import {{ readFileSync }} from 'node:fs'
console.log(await upload(readFileSync('{PHOTOGRAPH}'), 'a.jpg', '{uuid.uuid4()}@example.org', '{PASSWORD}'))
"""
        (app / "src" / "guide.ts").write_text(here("typescript", dev_server) + call, encoding="utf-8")
        run(NODE_TOOLS / "tsc", "--project", app)
        assert stored(bucket, run("node", app / "dist" / "guide.js"))
        assert stored(bucket, run("node", app / "dist" / "film.js"))


@dataclass(frozen=True)
class Shared:
    """What Ada shares with Bob: one picture."""

    url: str
    ada: str
    bob: str
    key: str

    def is_told(self, answer: str) -> bool:
        """Who shares, what is there, and why keys for Bob's own pictures alone do not get it."""
        seen = json.loads(answer)
        return bool(seen == {"owners": [self.ada], "keys": [self.key], "allowed": False, "reason": "session_policy"})


@pytest.fixture
def shared(bucket: Deployment) -> Iterator[Shared]:
    with person(bucket) as ada, person(bucket) as bob:
        emails = [someone.http.get("/v1/me").json()["email"] for someone in (ada, bob)]
        for key in (f"{ada.prefix}albums/a.jpg", f"{ada.prefix}private.jpg"):
            bucket.as_owner.put_object(Bucket=bucket.bucket, Key=key, Body=b"a picture")
        granted = ada.http.post("/v1/grants", json={"grantee_email": emails[1], "path": "albums/"})
        assert granted.status_code == 201, granted.text
        yield Shared(bucket.url, emails[0], emails[1], f"{ada.prefix}albums/a.jpg")


class TestSharing:
    def test_in_python(self, shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        call = f"""
import json
store = TokenStore("{shared.url}")
store.log_in("{shared.bob}", "{PASSWORD}", "Bob's laptop")
check = why_refused(store, Vendor(store.client), "s3:GetObject", "{shared.key}")
offered = list(received(store))
for grant in offered:
    accept(store, grant)
owners = [grant.owner_email for grant in offered if grant.accepted_at is None]
seen = {{"owners": owners, "keys": list(shared_keys(store)), "allowed": check.allowed, "reason": check.reason}}
print(json.dumps(seen))
"""
        app = tmp_path / "sharing.py"
        app.write_text(CODE["python sharing"] + call, encoding="utf-8")
        environment = {"PATH": os.environ["PATH"], "MYPYPATH": str(SDK / "python")}
        run(TOOLS / "mypy", "--strict", "--cache-dir", BUILD / ".mypy_cache", app, environment=environment)
        monkeypatch.setenv("PYTHONPATH", str(SDK / "python"))
        assert shared.is_told(run(TOOLS / "python", app))

    def test_in_typescript(self, shared: Shared) -> None:
        app = package("sharing")
        call = f"""
const store = new TokenStore('{shared.url}')
await store.logIn({{ email: '{shared.bob}', password: '{PASSWORD}', device_name: "Bob's browser" }})
const vendor = new Vendor(store.client)
await vendor.s3()
const {{ allowed, reason }} = await whyRefused(store, vendor, 's3:GetObject', '{shared.key}')
const owners: string[] = []
const keys: string[] = []
for await (const grant of received(store)) {{
  if (grant.accepted_at === null) owners.push(grant.owner_email!)
  await accept(store, grant)
}}
for await (const key of sharedKeys(store)) keys.push(key)
console.log(JSON.stringify({{ owners, keys, allowed, reason }}))
"""
        (app / "src" / "sharing.ts").write_text(CODE["typescript sharing"] + call, encoding="utf-8")
        run(NODE_TOOLS / "tsc", "--project", app)
        assert shared.is_told(run("node", app / "dist" / "sharing.js"))
