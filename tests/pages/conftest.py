import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.pages.desk import Company, Desk, open_company
from tests.pages.visit import DESKTOP, Visit
from tests.support.needs import BROWSERS, need

# As root there is no sandbox; the rest keeps the browser from talking to its maker during a test.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=20_000)  # five seconds are short where other tests run beside these
PHOTOGRAPHS = Path(__file__).parent.parent / "photos"


class Served(Protocol):
    @property
    def url(self) -> str: ...


@pytest.fixture(scope="package")  # not for the session: playwright's event loop would be in the way of other tests
def browser() -> Iterator[Browser]:
    need("chromium")
    executable = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Browser, dev_server: Served) -> Iterator[Callable[..., Visit]]:
    """Opens a browser of its own for each person. At the end none of them may have complained or called elsewhere."""
    visits: list[Visit] = []

    def begin(*, host: str = "localhost", **options: Any) -> Visit:
        url = dev_server.url.replace("localhost", host)
        visits.append(Visit(browser, url, **{"viewport": DESKTOP, **options}))
        return visits[-1]

    yield begin
    for one in visits:
        strangers = one.foreign_hosts()
        one.close()
        assert one.complaints == []
        assert strangers == set()


@pytest.fixture(scope="module")
def china() -> Path:
    return PHOTOGRAPHS / "china.jpg"


@pytest.fixture(scope="module")
def flower() -> Path:
    return PHOTOGRAPHS / "flower.jpg"


@pytest.fixture(scope="module")
def panorama(china: Path, flower: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of more than 8 MB: a real one, with others after its end marker, which every decoder ignores."""
    large = tmp_path_factory.mktemp("photographs") / "panorama.jpg"
    large.write_bytes(china.read_bytes() + flower.read_bytes() * 80)
    return large


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Company]:
    """A service in development, where administrators need no second factor, with three hundred users.

    It limits rates where the module says so: `RATE_LIMITS = "on"`.
    """
    rate_limits = getattr(request.module, "RATE_LIMITS", "off")
    with open_company(tmp_path_factory.mktemp("company"), rate_limits=rate_limits) as opened:
        opened.add_users(
            [{"email": f"person{n:03}@many.example", "display_name": f"Person {n:03}"} for n in range(300)]
        )
        yield opened


@pytest.fixture
def desk(browser: Browser, company: Company) -> Iterator[Callable[..., Desk]]:
    """As `visit`, at the console."""
    desks: list[Desk] = []

    def begin(at: Company = company, **options: Any) -> Desk:
        desks.append(Desk(browser, at, **{"viewport": DESKTOP, **options}))
        return desks[-1]

    yield begin
    for one in desks:
        strangers = one.foreign_hosts()
        one.close()
        assert one.complaints == []
        assert strangers == set()
