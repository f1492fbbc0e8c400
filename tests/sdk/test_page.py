"""The client for TypeScript in a page, in a browser: files and uploads in parts, with nothing set besides."""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.conftest import DevServer
from tests.journeys.deployment import Deployment
from tests.pages.conftest import browser
from tests.sdk.conftest import ROOT, run
from tests.support import node
from tests.support.service import PASSWORD

__all__ = ["browser"]

UPLOADS = ROOT / "tests" / "pages" / "uploads"
SIZES = [1_000, 12_000_000]


@pytest.fixture
def page(browser: Browser, dev_server: DevServer, tmp_path: Path) -> Iterator[Page]:
    """A web app at the service's origin. The engine is at another one."""
    node.install(UPLOADS)
    run("node", UPLOADS / "build.js", tmp_path, "vendor.js", directory=UPLOADS)
    with browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        page.goto(f"{dev_server.url}/healthz")
        page.add_script_tag(path=tmp_path / "vendor.js")
        yield page


def test_uploads_files_whole_and_in_parts(page: Page, bucket: Deployment) -> None:
    email = f"{uuid.uuid4()}@example.org"
    keys = page.evaluate("these => uploadAll(...these)", [email, PASSWORD, SIZES])
    assert len(keys) == 2 * len(SIZES)
    for key, size in keys.items():
        stored = bucket.as_owner.get_object(Bucket=bucket.bucket, Key=key)["Body"].read()
        sent = (bytes(range(251)) * (size // 251 + 1))[:size]
        assert hashlib.sha256(stored).hexdigest() == hashlib.sha256(sent).hexdigest(), key
