"""The recipes for pages in docs/app/recipes.md, as they stand there, in a browser at an origin of its own."""

import functools
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from playwright.sync_api import Browser, Page

from app import engine
from app.engine import Engine
from tests.pages.test_uploads import PATIENCE, Quiet
from tests.support import node
from tests.support.databases import SqliteDatabases
from tests.support.documents import ROOT, blocks
from tests.support.engine import of_engine, owner_of
from tests.support.service import Device, running_service

UPLOADS = Path(__file__).parent / "uploads"
RECIPES = {"credentials.js": "uppyWithCredentials", "tickets.js": "uppyWithTickets"}
ENTRY = """
import { uppyWithCredentials } from "./credentials.js";
import { uppyWithTickets } from "./tickets.js";

const send = async (uppy, size, parts) => {
  if (parts) uppy.iteratePlugins((plugin) => plugin.setOptions({ shouldUseMultipart: true }));
  uppy.addFile({ name: "film.mov", type: "video/quicktime", data: new Blob([new Uint8Array(size).fill(7)]) });
  const done = new Promise((resolve) => uppy.on("upload-success", () => resolve("done")));
  const result = await uppy.upload();
  return Promise.race([done, new Promise((resolve) => setTimeout(() => resolve(JSON.stringify(result)), 60000))]);
};
globalThis.withCredentials = (prefix, size, parts) => send(uppyWithCredentials(() => vend(), prefix), size, parts);
globalThis.withTickets = (size) => send(uppyWithTickets((wish) => ticket(wish)), size, false);
"""

pytestmark = pytest.mark.xdist_group("page uploads")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a web app that has the recipes in it."""
    node.install(UPLOADS)
    directory = tmp_path_factory.mktemp("recipes")
    shown = blocks(ROOT / "docs" / "app" / "recipes.md")
    for file, function in RECIPES.items():
        (code,) = [block.code for block in shown if f"function {function}(" in block.code]
        (directory / file).write_text(code)
    (directory / "entry.js").write_text(ENTRY)
    subprocess.run(
        [
            UPLOADS / "node_modules" / ".bin" / "esbuild",
            "entry.js",
            "--bundle",
            "--outfile=page.js",
            "--log-level=error",
        ],
        cwd=directory,
        env=os.environ | {"NODE_PATH": str(UPLOADS / "node_modules")},
        check=True,
        timeout=60,
    )
    (directory / "index.html").write_text('<!doctype html><meta charset="utf-8"><script src="page.js"></script>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=directory))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(origin)
        yield page


@pytest.fixture(scope="module")
def store(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine.start(tmp_path_factory.mktemp("store"), allowed_origins=[origin]) as running:
        yield running


@pytest.fixture(scope="module")
def device(
    store: Engine, sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Device]:
    url = sqlite_databases.create(tmp_path_factory.mktemp("service"))
    with running_service(url, s3_public_endpoint_url=store.endpoint_url, **of_engine(store)) as service:
        yield service.device()


class TestUppyWithCredentials:
    @pytest.mark.parametrize(("size", "parts"), [(5_000, False), (12_000_000, True)])
    def test_uploads_whole_and_in_parts(
        self, page: Page, device: Device, store: Engine, size: int, parts: bool
    ) -> None:
        page.expose_function("vend", lambda: device.vend().json())
        assert self._upload(page, device, size, parts) == "done"
        assert self._stored(store, device) == b"\7" * size

    def test_asks_again_where_it_is_refused(self, page: Page, device: Device, store: Engine) -> None:
        """The first keys open another folder alone, so S3 says of them what it says of revoked ones."""
        answers = [device.vend(path="elsewhere/").json(), device.vend().json()]
        page.expose_function("vend", lambda: answers.pop(0))
        assert self._upload(page, device, 5_000, False) == "done"
        assert answers == []
        assert self._stored(store, device) == b"\7" * 5_000

    def test_asks_again_before_the_end(self, page: Page, device: Device, store: Engine) -> None:
        asked = []

        def vend() -> Any:
            asked.append(device.vend().json())
            return asked[-1] | {"expiration": "2026-01-01T00:00:00Z"}

        page.expose_function("vend", vend)
        assert self._upload(page, device, 12_000_000, True) == "done"
        assert len(asked) > 2

    def _upload(self, page: Page, device: Device, size: int, parts: bool) -> Any:
        prefix = device.vend().json()["prefix"]
        return page.evaluate("these => withCredentials(...these)", [prefix, size, parts])

    def _stored(self, store: Engine, device: Device) -> bytes:
        place = {"Bucket": store.bucket, "Key": f"{device.vend().json()['prefix']}film.mov"}
        with closing(owner_of(store)) as owner:
            stored: bytes = owner.get_object(**place)["Body"].read()
            owner.delete_object(**place)
        return stored


class TestUppyWithTickets:
    """moto is in AWS's place: the embedded engine takes no forms of temporary credentials."""

    @pytest.fixture
    def aws(self) -> Iterator[str]:
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()

    def test_uploads_without_keys(
        self, page: Page, origin: str, aws: str, sqlite_databases: SqliteDatabases, tmp_path: Path
    ) -> None:
        s3 = boto3.client(
            "s3", endpoint_url=aws, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any"
        )
        s3.create_bucket(Bucket="photos")
        place = {"s3_endpoint_url": aws, "s3_force_path_style": True, "bucket": "photos", "upload_tickets": "on"}
        with running_service(sqlite_databases.create(tmp_path), **place) as service:
            device, told = service.device(), []

            def ticket(wish: Any) -> Any:
                told.append(device.post("/v1/uploads", wish).json())
                return told[-1]

            page.expose_function("ticket", ticket)
            assert page.evaluate("size => withTickets(size)", 5_000) == "done", told
            assert s3.get_object(Bucket="photos", Key=told[0]["key"])["Body"].read() == b"\7" * 5_000
