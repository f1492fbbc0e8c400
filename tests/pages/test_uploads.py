"""The libraries with which pages upload, in a browser, at an origin other than the engine's."""

import functools
import hashlib
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from app import engine
from app.engine import Engine
from app.platform.page_access import EXPOSED_HEADERS
from tests.support import node
from tests.support.databases import SqliteDatabases
from tests.support.engine import of_engine, owner_of
from tests.support.service import Device, running_service

HERE = Path(__file__).parent / "uploads"
PATIENCE = 120_000
"""Milliseconds."""

pytestmark = pytest.mark.xdist_group("page uploads")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a web app that has its page there."""
    node.install(HERE)
    directory = tmp_path_factory.mktemp("web app")
    done = subprocess.run(
        ["node", HERE / "build.js", directory], cwd=HERE, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    (directory / "index.html").write_text('<!doctype html><meta charset="utf-8"><script src="page.js"></script>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=directory))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def store(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    exposed = (*EXPOSED_HEADERS, "x-amz-meta-caption")
    with engine.start(tmp_path_factory.mktemp("store"), allowed_origins=[origin], exposed_headers=exposed) as running:
        yield running


@pytest.fixture(scope="module")
def device(
    store: Engine, sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Device]:
    url = sqlite_databases.create(tmp_path_factory.mktemp("service"))
    with running_service(url, s3_public_endpoint_url=store.endpoint_url, **of_engine(store)) as service:
        yield service.device()


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(origin)
        yield page


@pytest.mark.parametrize(
    "size",
    [1000, 12_000_000, pytest.param(120_000_000, marks=pytest.mark.long)],
    ids=["1 kB", "12 MB", "120 MB"],
)
@pytest.mark.parametrize("library", ["lib-storage", "uppy", "minio"])
def test_a_library_uploads_by_its_defaults(page: Page, device: Device, store: Engine, library: str, size: int) -> None:
    target = device.vend().json()
    key = f"{target['prefix']}film.mov"
    page.evaluate("([library, ...rest]) => upload[library](...rest)", [library, target, key, size])
    stored = hashlib.sha256()
    with closing(owner_of(store)) as owner:
        for chunk in owner.get_object(Bucket=store.bucket, Key=key)["Body"].iter_chunks(1 << 20):
            stored.update(chunk)
        owner.delete_object(Bucket=store.bucket, Key=key)
    sent = (bytes(range(251)) * (size // 251 + 1))[:size]
    assert stored.hexdigest() == hashlib.sha256(sent).hexdigest()


def test_a_page_reads_the_metadata_whose_names_are_exposed(page: Page, device: Device) -> None:
    target = device.vend().json()
    metadata = {"caption": "beach", "place": "somewhere"}
    read = page.evaluate("these => describe(...these)", [target, f"{target['prefix']}beach.jpg", metadata])
    assert read["metadata"] == {"caption": "beach"}
    assert read["etag"]
    assert read["range"] == "bytes 0-2/7"
