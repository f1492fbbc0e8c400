"""The guide's code for each platform: short, well-formed, and run where that can be: it uploads the photograph."""

import shutil
import uuid
from pathlib import Path

import pytest

from tests.conftest import DevServer
from tests.journeys.deployment import Deployment
from tests.sdk.conftest import CODE, HERE, NODE_TOOLS, PHOTOGRAPH, SDK, TOOLS, run

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

    def test_in_typescript(self, dev_server: DevServer, bucket: Deployment, tmp_path: Path) -> None:
        """In a package of its own, which has the client in its node_modules."""
        client = SDK / "typescript"
        app = SDK / "guide"
        shutil.rmtree(app, ignore_errors=True)
        (app / "src").mkdir(parents=True)
        shutil.copy(client / "tsconfig.json", app)
        (app / "package.json").write_text('{"type": "module"}', encoding="utf-8")
        (app / "node_modules").mkdir()
        (app / "node_modules" / "tokenvend-client").symlink_to(client, target_is_directory=True)
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
