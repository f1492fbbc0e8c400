from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.receiver import Receiver, receiving
from tests.support.service import Service


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def telling(make_service: Callable[..., Service], receiver: Receiver) -> Callable[..., Service]:
    """A service that tells the receiver: `telling(email_verification="required")`."""

    def make(**changes: Any) -> Service:
        return make_service(**(receiver.settings | changes))

    return make


def deliver(service: Service) -> None:
    """Sends all that is due."""
    courier = service.runtime.courier
    assert service.client.portal is not None
    assert courier is not None
    while service.client.portal.call(courier.deliver_waiting):
        pass
