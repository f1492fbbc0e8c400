from collections.abc import Callable, Iterator

import pytest

from app.accounts import passwords
from tests.security.cheap_hashing import CountingContext
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, running_issuer
from tests.support.outside import Outside, trusting
from tests.support.service import Service


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> CountingContext:
    """Password hashes of a thousandth of the cost, counted."""
    context = CountingContext()
    monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", context)
    return context


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer(ManualClock()) as running:
        yield running


@pytest.fixture
def outside(make_service: Callable[..., Service], issuer: Issuer) -> Outside:
    """The service, which trusts the issuer."""
    service = make_service(oidc_providers=trusting(issuer))
    issuer.clock = service.clock
    return Outside(service, issuer)
